"""Gram-Schmidt for sets of interleaved vectors."""

from lowdim_kernels.loops.compilation import part
from lowdim_kernels.loops.lane_functions import fma, largest, root, where_less
from lowdim_kernels.loops.lanes import lanes_of, load, splat, store

# A vector that kept less of its square than this is projected again.
KEPT = 0.9
# One that kept less than this lay in the span of those before it.
DEPENDENT = 1e-8


@part
def orthonormalise(z, size, step, count, alive, norms, weak, coefficients):
    """Orthonormalise vectors in order, writing the norm that each had left.

    Where `alive` is not positive any vector will do, and the norm is zero. `weak` becomes 1 in the
    lanes where a vector depended on those before it, and another took its place.
    """
    w = lanes_of(z)
    zero = splat(load(z, 0), 0.0)
    one, tiny = splat(zero, 1.0), splat(zero, 1e-30)
    for j in range(count):
        here = z[j * step * w : (j * step + size) * w]
        live = load(alive, j * w)
        for lane in range(w):
            if not alive[j * w + lane] > 0:
                fill(here, size, j, lane)
        before = _square(here, size)
        _project(z, here, size, step, j, zero - one, coefficients)
        kept = _square(here, size)
        again = where_less(kept, before * splat(zero, KEPT), one, zero)
        again = where_less(zero, live, again, one)
        if _any(again, coefficients):
            _project(z, here, size, step, j, zero - again, coefficients)
            kept = _square(here, size)
        lost = where_less(before * splat(zero, DEPENDENT), kept, zero, one)
        if _any(lost, coefficients):
            store(weak, 0, largest(load(weak, 0), lost))
            for lane in range(w):
                if coefficients[lane] > 0:
                    fill(here, size, j, lane)
            _project(z, here, size, step, j, zero - lost, coefficients)
            _project(z, here, size, step, j, zero - lost, coefficients)
            kept = _square(here, size)
        norm = root(kept)
        store(norms, j * w, where_less(zero, live, norm, zero))
        factor = one / largest(norm, tiny)
        for i in range(size):
            store(here, i * w, load(here, i * w) * factor)


@part
def fill(here, size, seed, lane):
    """Put fixed pseudo-random numbers into one lane of a vector."""
    w = lanes_of(here)
    state = (seed + 1) * 747796405 % 2147483647
    for i in range(size):
        state = state * 48271 % 2147483647
        here[i * w + lane] = state / 2147483647.0 - 0.5


@part
def _square(here, size):
    w = lanes_of(here)
    zero = splat(load(here, 0), 0.0)
    even, odd = zero, zero
    for i in range(0, size - 1, 2):
        x, y = load(here, i * w), load(here, i * w + w)
        even, odd = fma(x, x, even), fma(y, y, odd)
    if size % 2:
        x = load(here, (size - 1) * w)
        even = fma(x, x, even)
    return even + odd


@part
def _any(mask, scratch):
    w = lanes_of(scratch)
    store(scratch, 0, mask)
    for lane in range(w):  # noqa: SIM110 - Numba compiles no any()
        if scratch[lane] > 0:
            return True
    return False


@part
def _project(z, here, size, step, count, factor, coefficients):
    """Add `factor` times its parts along the first `count` vectors to a vector."""
    w = lanes_of(here)
    zero = splat(load(here, 0), 0.0)
    jump = step * w
    for j in range(0, count, 4):
        t0, t1, t2, t3 = zero, zero, zero, zero
        for i in range(size):
            x, a = load(here, i * w), j * jump + i * w
            t0, t1 = fma(x, load(z, a), t0), fma(x, load(z, a + jump), t1)
            t2 = fma(x, load(z, a + 2 * jump), t2)
            t3 = fma(x, load(z, a + 3 * jump), t3)
        store(coefficients, j * w, t0 * factor)
        store(coefficients, j * w + w, t1 * factor if j + 1 < count else zero)
        store(coefficients, j * w + 2 * w, t2 * factor if j + 2 < count else zero)
        store(coefficients, j * w + 3 * w, t3 * factor if j + 3 < count else zero)
    for j in range(0, count, 4):
        t0, t1 = load(coefficients, j * w), load(coefficients, j * w + w)
        t2, t3 = load(coefficients, j * w + 2 * w), load(coefficients, j * w + 3 * w)
        for i in range(size):
            a = j * jump + i * w
            x = fma(t0, load(z, a), load(here, i * w))
            x = fma(t1, load(z, a + jump), x)
            x = fma(t2, load(z, a + 2 * jump), x)
            store(here, i * w, fma(t3, load(z, a + 3 * jump), x))


@part
def orthonormalise_together(z, size, step, count, square):
    """Orthonormalise vectors by one Cholesky factor of their Gram matrix (CholeskyQR).

    As good as that matrix's condition allows; a vector that depends on others becomes zero. Sizes
    of sets are rounded up to 4, by zero vectors. `square` is scratch for the factor.
    """
    wide = (count + 3) // 4 * 4
    for i in range(0, wide, 4):
        for j in range(0, i + 4, 4):
            _gram_tile(z, size, step, wide, i, j, square)
    _factorise(square, wide)
    for row in range(size):
        for j in range(0, wide, 4):
            _solve_four(z, row, step, wide, j, square)


@part
def _gram_tile(z, size, step, wide, i, j, square):
    """Write products of vectors i to i + 3 with j to j + 3."""
    w = lanes_of(z)
    jump = step * w
    zero = splat(load(z, 0), 0.0)
    a0, a1, a2, a3 = zero, zero, zero, zero
    b0, b1, b2, b3 = zero, zero, zero, zero
    c0, c1, c2, c3 = zero, zero, zero, zero
    d0, d1, d2, d3 = zero, zero, zero, zero
    left, right = i * jump, j * jump
    for _ in range(size):
        x0, x1 = load(z, right), load(z, right + jump)
        x2, x3 = load(z, right + 2 * jump), load(z, right + 3 * jump)
        t = load(z, left)
        a0, a1, a2, a3 = fma(t, x0, a0), fma(t, x1, a1), fma(t, x2, a2), fma(t, x3, a3)
        t = load(z, left + jump)
        b0, b1, b2, b3 = fma(t, x0, b0), fma(t, x1, b1), fma(t, x2, b2), fma(t, x3, b3)
        t = load(z, left + 2 * jump)
        c0, c1, c2, c3 = fma(t, x0, c0), fma(t, x1, c1), fma(t, x2, c2), fma(t, x3, c3)
        t = load(z, left + 3 * jump)
        d0, d1, d2, d3 = fma(t, x0, d0), fma(t, x1, d1), fma(t, x2, d2), fma(t, x3, d3)
        left += w
        right += w
    at = (i * wide + j) * w
    _store_four(square, at, a0, a1, a2, a3)
    _store_four(square, at + wide * w, b0, b1, b2, b3)
    _store_four(square, at + 2 * wide * w, c0, c1, c2, c3)
    _store_four(square, at + 3 * wide * w, d0, d1, d2, d3)


@part
def _store_four(target, at, x0, x1, x2, x3):
    w = lanes_of(target)
    store(target, at, x0)
    store(target, at + w, x1)
    store(target, at + 2 * w, x2)
    store(target, at + 3 * w, x3)


@part
def _factorise(square, wide):
    """Replace a lower triangle by its Cholesky factor, with inverses on the diagonal."""
    w = lanes_of(square)
    zero = splat(load(square, 0), 0.0)
    one, least = splat(zero, 1.0), splat(zero, 1e-6 if square.itemsize == 4 else 1e-14)
    tiny = splat(zero, 1e-30)
    for j in range(wide):
        row = j * wide * w
        whole = load(square, row + j * w)
        rest = whole
        for p in range(j):
            x = load(square, row + p * w)
            rest = fma(zero - x, x, rest)
        inverse = one / root(largest(rest, tiny))
        inverse = where_less(largest(whole * least, tiny), rest, inverse, zero)
        store(square, row + j * w, inverse)
        for i in range(j + 1, wide):
            other = i * wide * w
            x = load(square, other + j * w)
            for p in range(j):
                x = fma(zero - load(square, other + p * w), load(square, row + p * w), x)
            store(square, other + j * w, x * inverse)


@part
def _solve_four(z, row, step, wide, j, square):
    """Finish one entry of vectors j to j + 3, where earlier vectors are finished."""
    w = lanes_of(z)
    jump, line = step * w, wide * w
    zero = splat(load(z, 0), 0.0)
    at, factor = j * jump + row * w, j * line
    x0, x1 = load(z, at), load(z, at + jump)
    x2, x3 = load(z, at + 2 * jump), load(z, at + 3 * jump)
    for p in range(j):
        y = zero - load(z, p * jump + row * w)
        x0, x1 = fma(y, load(square, factor), x0), fma(y, load(square, factor + line), x1)
        x2 = fma(y, load(square, factor + 2 * line), x2)
        x3 = fma(y, load(square, factor + 3 * line), x3)
        factor += w
    x0 = x0 * load(square, factor)
    y = zero - x0
    x1 = fma(y, load(square, factor + line), x1) * load(square, factor + line + w)
    x2 = fma(y, load(square, factor + 2 * line), x2)
    x3 = fma(y, load(square, factor + 3 * line), x3)
    y = zero - x1
    factor += w
    x2 = fma(y, load(square, factor + 2 * line), x2) * load(square, factor + 2 * line + w)
    x3 = fma(y, load(square, factor + 3 * line), x3)
    factor += w
    x3 = fma(zero - x2, load(square, factor + 3 * line), x3)
    store(z, at, x0)
    store(z, at + jump, x1)
    store(z, at + 2 * jump, x2)
    store(z, at + 3 * jump, x3 * load(square, factor + 3 * line + w))
