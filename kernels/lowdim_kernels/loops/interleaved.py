"""Small matrices side by side in lanes: filled, multiplied, orthonormalised, written back.

An interleaved matrix is cut into panels of four columns, stored by row, with rows and columns
rounded up to 4 by zeros. A set of vectors is stored vector by vector.
"""

from math import frexp, ldexp

import numpy as np

from lowdim_kernels.loops.compilation import kernel
from lowdim_kernels.loops.lanes import (
    collect,
    fma,
    largest,
    load,
    load_float64,
    magnitude,
    root,
    splat,
    store,
    where_less,
)

W = 8
# A vector that kept less of its square than this is projected again.
KEPT = 0.9
# One that kept less than this lay in the span of those before it.
DEPENDENT = 1e-8


@kernel
def interleave(g, first, batch, m, n, packed, scales):
    """Fill `packed` with matrices from `first` on, each scaled to entries of at most one.

    `scales` gets what undoes the scaling, a power of two, or NaN for a matrix that is not finite.
    Lanes past the batch repeat the last matrix.
    """
    rows = (m + 3) // 4 * 4
    starts = np.empty(W, np.int64)
    factors = np.empty(W, np.float64)
    for lane in range(W):
        starts[lane] = min(first + lane, batch - 1) * m * n
        scales[lane] = _scale(g[starts[lane] : starts[lane] + m * n], factors)
    for lane in range(W):
        factors[lane] = 1.0 / scales[lane]
    packed[:] = 0
    factor = load(factors, 0)
    for i in range(m):
        for j in range(n):
            at = ((j // 4 * rows + i) * 4 + j % 4) * W
            store(packed, at, factor * collect(g, starts, i * n + j))


@kernel
def _scale(entries, scratch):
    """Return a power of two above every magnitude, one for zeros, NaN where one is not finite."""
    zero = splat(load(scratch, 0), 0.0)
    tops, more, poison = zero, zero, zero
    whole = entries.size // (2 * W) * 2 * W
    for i in range(0, whole, 2 * W):
        x, y = load_float64(entries, i), load_float64(entries, i + W)
        tops, more = largest(tops, magnitude(x)), largest(more, magnitude(y))
        poison = fma(x, zero, fma(y, zero, poison))
    store(scratch, 0, largest(tops, more))
    top = scratch.max()
    store(scratch, 0, poison)
    doubt = scratch.sum()
    for i in range(whole, entries.size):
        top = max(top, abs(entries[i]))
        doubt += entries[i] * 0
    if doubt != 0:
        return np.nan
    return ldexp(1.0, max(frexp(top)[1], -1000)) if top > 0 else 1.0


@kernel
def gram_matrix(packed, m, n, c):
    """Write the lower triangle of G^T G, (n, n)."""
    panel = (m + 3) // 4 * 4 * 4
    zero = splat(load(c, 0), 0.0)
    for j in range(0, n, 4):
        for i in range(j, n, 4):
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            d0, d1, d2, d3 = zero, zero, zero, zero
            left, right = i // 4 * panel * W, j // 4 * panel * W
            for _ in range(m):
                x0, x1 = load(packed, right), load(packed, right + W)
                x2, x3 = load(packed, right + 2 * W), load(packed, right + 3 * W)
                y = load(packed, left)
                a0, a1, a2, a3 = fma(y, x0, a0), fma(y, x1, a1), fma(y, x2, a2), fma(y, x3, a3)
                y = load(packed, left + W)
                b0, b1, b2, b3 = fma(y, x0, b0), fma(y, x1, b1), fma(y, x2, b2), fma(y, x3, b3)
                y = load(packed, left + 2 * W)
                c0, c1, c2, c3 = fma(y, x0, c0), fma(y, x1, c1), fma(y, x2, c2), fma(y, x3, c3)
                y = load(packed, left + 3 * W)
                d0, d1, d2, d3 = fma(y, x0, d0), fma(y, x1, d1), fma(y, x2, d2), fma(y, x3, d3)
                left += 4 * W
                right += 4 * W
            _four(c, i, j, n, n, a0, a1, a2, a3)
            _four(c, i + 1, j, n, n, b0, b1, b2, b3)
            _four(c, i + 2, j, n, n, c0, c1, c2, c3)
            _four(c, i + 3, j, n, n, d0, d1, d2, d3)


@kernel
def _four(target, row, column, rows, columns, x0, x1, x2, x3):
    """Store four neighbours, where they are inside the matrix."""
    if row < rows:
        at = (row * columns + column) * W
        store(target, at, x0)
        if column + 1 < columns:
            store(target, at + W, x1)
        if column + 2 < columns:
            store(target, at + 2 * W, x2)
        if column + 3 < columns:
            store(target, at + 3 * W, x3)


@kernel
def multiply(packed, m, n, z, count, y):
    """Write G z for each of `count` vectors z, rounded up to 4; y has vectors of m rounded up."""
    rows = (m + 3) // 4 * 4
    step = n * W
    zero = splat(load(y, 0), 0.0)
    for i in range(0, m, 4):
        for k in range(0, count, 4):
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            d0, d1, d2, d3 = zero, zero, zero, zero
            for j in range(n):
                left, right = ((j // 4 * rows + i) * 4 + j % 4) * W, k * step + j * W
                x0, x1 = load(packed, left), load(packed, left + 4 * W)
                x2, x3 = load(packed, left + 8 * W), load(packed, left + 12 * W)
                t = load(z, right)
                a0, a1, a2, a3 = fma(t, x0, a0), fma(t, x1, a1), fma(t, x2, a2), fma(t, x3, a3)
                t = load(z, right + step)
                b0, b1, b2, b3 = fma(t, x0, b0), fma(t, x1, b1), fma(t, x2, b2), fma(t, x3, b3)
                t = load(z, right + 2 * step)
                c0, c1, c2, c3 = fma(t, x0, c0), fma(t, x1, c1), fma(t, x2, c2), fma(t, x3, c3)
                t = load(z, right + 3 * step)
                d0, d1, d2, d3 = fma(t, x0, d0), fma(t, x1, d1), fma(t, x2, d2), fma(t, x3, d3)
            _four(y, k, i, count + 3, rows, a0, a1, a2, a3)
            _four(y, k + 1, i, count + 3, rows, b0, b1, b2, b3)
            _four(y, k + 2, i, count + 3, rows, c0, c1, c2, c3)
            _four(y, k + 3, i, count + 3, rows, d0, d1, d2, d3)


@kernel
def orthonormalise(z, size, step, count, alive, norms, weak, coefficients):
    """Orthonormalise vectors in order, writing the norm that each had left.

    Where `alive` is not positive any vector will do, and the norm is zero. `weak` becomes 1 in the
    lanes where a vector depended on those before it.
    """
    zero = splat(load(z, 0), 0.0)
    one, tiny = splat(zero, 1.0), splat(zero, 1e-300)
    for j in range(count):
        here = z[j * step * W : (j * step + size) * W]
        live = load(alive, j * W)
        for lane in range(W):
            if not alive[j * W + lane] > 0:
                _fill(here, size, j, lane)
        before = _square(here, size)
        _project(z, here, size, step, j, zero - one, coefficients)
        kept = _square(here, size)
        again = where_less(kept, before * splat(zero, KEPT), one, zero)
        again = where_less(zero, live, again, one)
        if _any(again, coefficients):
            _project(z, here, size, step, j, zero - again, coefficients)
            kept = _square(here, size)
        lost = where_less(before * splat(zero, DEPENDENT), kept, zero, one)
        store(weak, 0, largest(load(weak, 0), lost))
        norm = root(kept)
        store(norms, j * W, where_less(zero, live, norm, zero))
        factor = one / largest(norm, tiny)
        for i in range(size):
            store(here, i * W, load(here, i * W) * factor)


@kernel
def _fill(here, size, seed, lane):
    """Put fixed pseudo-random numbers into one lane of a vector."""
    state = (seed + 1) * 747796405 % 2147483647
    for i in range(size):
        state = state * 48271 % 2147483647
        here[i * W + lane] = state / 2147483647.0 - 0.5


@kernel
def _square(here, size):
    zero = splat(load(here, 0), 0.0)
    even, odd = zero, zero
    for i in range(0, size - 1, 2):
        x, y = load(here, i * W), load(here, i * W + W)
        even, odd = fma(x, x, even), fma(y, y, odd)
    if size % 2:
        x = load(here, (size - 1) * W)
        even = fma(x, x, even)
    return even + odd


@kernel
def _any(mask, scratch):
    store(scratch, 0, mask)
    return scratch[:W].max() > 0


@kernel
def _project(z, here, size, step, count, factor, coefficients):
    """Add `factor` times its parts along the first `count` vectors to a vector."""
    zero = splat(load(here, 0), 0.0)
    jump = step * W
    for j in range(0, count, 4):
        t0, t1, t2, t3 = zero, zero, zero, zero
        for i in range(size):
            x, a = load(here, i * W), j * jump + i * W
            t0, t1 = fma(x, load(z, a), t0), fma(x, load(z, a + jump), t1)
            t2 = fma(x, load(z, a + 2 * jump), t2)
            t3 = fma(x, load(z, a + 3 * jump), t3)
        store(coefficients, j * W, t0 * factor)
        store(coefficients, j * W + W, t1 * factor if j + 1 < count else zero)
        store(coefficients, j * W + 2 * W, t2 * factor if j + 2 < count else zero)
        store(coefficients, j * W + 3 * W, t3 * factor if j + 3 < count else zero)
    for j in range(0, count, 4):
        t0, t1 = load(coefficients, j * W), load(coefficients, j * W + W)
        t2, t3 = load(coefficients, j * W + 2 * W), load(coefficients, j * W + 3 * W)
        for i in range(size):
            a = j * jump + i * W
            x = fma(t0, load(z, a), load(here, i * W))
            x = fma(t1, load(z, a + jump), x)
            x = fma(t2, load(z, a + 2 * jump), x)
            store(here, i * W, fma(t3, load(z, a + 3 * jump), x))


@kernel
def write_back(z, size, step, count, first, batch, scales, target):
    """Write vectors as the columns of contiguous matrices, NaN where the scale is NaN."""
    lanes = min(W, batch - first)
    for i in range(size):
        for lane in range(lanes):
            start = ((first + lane) * size + i) * count
            broken = scales[lane] * 0.0
            for j in range(count):
                target[start + j] = z[(j * step + i) * W + lane] + broken
