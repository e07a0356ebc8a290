"""Interleaved symmetric matrices brought to tridiagonal form by Householder reflections."""

from lowdim_kernels.loops.compilation import kernel
from lowdim_kernels.loops.lanes import (
    fma,
    largest,
    load,
    magnitude,
    root,
    splat,
    store,
    where_less,
    with_sign,
)

W = 8
LEAST_PIVOT = 1e-150


@kernel
def tridiagonalise(c, n, d, e, inverse, work):
    """Reduce c to diagonal d and off-diagonal e; keep the reflectors in c and `inverse`.

    Reflector j is I - inverse[j] v v^T with v in row j beyond the diagonal. One pass over what is
    left of c applies the last reflector and multiplies by the next.
    """
    v, w, x, p = (
        work[: n * W],
        work[n * W : 2 * n * W],
        work[2 * n * W : 3 * n * W],
        work[3 * n * W :],
    )
    zero = splat(load(c, 0), 0.0)
    for i in range(n):
        store(v, i * W, zero)
        store(w, i * W, zero)
    for j in range(n - 1):
        _reflector(c, n, j, d, e, inverse, v, w, x)
        for i in range(j + 1, n):
            store(p, i * W, zero)
        i = j + 1
        while i + 3 < n:
            _four_rows(c, n, i, j + 1, v, w, x, p)
            i += 4
        while i + 1 < n:
            _two_rows(c, n, i, j + 1, v, w, x, p)
            i += 2
        if i < n:
            _one_row(c, n, i, j + 1, v, w, x, p)
        scale = load(inverse, j * W)
        total = zero
        for i in range(j + 1, n):
            total = fma(load(x, i * W), load(p, i * W), total)
        total = total * scale * scale * splat(zero, 0.5)
        for i in range(j + 1, n):
            vi = load(x, i * W)
            store(v, i * W, vi)
            store(w, i * W, load(p, i * W) * scale - total * vi)
    last = (n - 1) * W
    two = splat(zero, -2.0) * load(v, last)
    store(d, last, fma(two, load(w, last), load(c, (n * n - 1) * W)))


@kernel
def _reflector(c, n, j, d, e, inverse, v, w, x):
    """Bring column j up to date, and leave the reflector that clears it in x and in c."""
    zero = splat(load(c, 0), 0.0)
    vj, wj = zero - load(v, j * W), zero - load(w, j * W)
    at = (j * n + j) * W
    store(d, j * W, fma(vj + vj, load(w, j * W), load(c, at)))
    below = zero
    for i in range(j + 1, n):
        at = (i * n + j) * W
        value = fma(vj, load(w, i * W), fma(wj, load(v, i * W), load(c, at)))
        store(x, i * W, value)
        below = fma(value, value, below)
    head = load(x, (j + 1) * W)
    norm = root(below)
    store(e, j * W, zero - with_sign(norm, head))
    first = head + with_sign(norm, head)
    h = norm * magnitude(first)
    tiny = splat(zero, LEAST_PIVOT)
    store(inverse, j * W, where_less(h, tiny, zero, splat(zero, 1.0) / largest(h, tiny)))
    store(x, (j + 1) * W, first)
    for i in range(j + 1, n):
        store(c, (j * n + i) * W, load(x, i * W))


@kernel
def _four_rows(c, n, i, start, v, w, x, p):
    """Update rows i to i + 3 from column `start` on, adding their products with x to p."""
    zero = splat(load(c, 0), 0.0)
    h = i * W
    ra = i * n * W
    rb, rc, rd = ra + n * W, ra + 2 * n * W, ra + 3 * n * W
    va, wa, xa = zero - load(v, h), zero - load(w, h), load(x, h)
    vb, wb, xb = zero - load(v, h + W), zero - load(w, h + W), load(x, h + W)
    vc, wc, xc = zero - load(v, h + 2 * W), zero - load(w, h + 2 * W), load(x, h + 2 * W)
    vd, wd, xd = zero - load(v, h + 3 * W), zero - load(w, h + 3 * W), load(x, h + 3 * W)
    ya, yb, yc, yd = zero, zero, zero, zero
    for k in range(start * W, h, W):
        vk, wk, xk = load(v, k), load(w, k), load(x, k)
        ca = fma(va, wk, fma(wa, vk, load(c, ra + k)))
        cb = fma(vb, wk, fma(wb, vk, load(c, rb + k)))
        cc = fma(vc, wk, fma(wc, vk, load(c, rc + k)))
        cd = fma(vd, wk, fma(wd, vk, load(c, rd + k)))
        store(c, ra + k, ca)
        store(c, rb + k, cb)
        store(c, rc + k, cc)
        store(c, rd + k, cd)
        ya, yb, yc, yd = fma(ca, xk, ya), fma(cb, xk, yb), fma(cc, xk, yc), fma(cd, xk, yd)
        store(p, k, fma(ca, xa, fma(cb, xb, load(p, k))) + fma(cc, xc, cd * xd))
    store(p, h, load(p, h) + ya)
    store(p, h + W, load(p, h + W) + yb)
    store(p, h + 2 * W, load(p, h + 2 * W) + yc)
    store(p, h + 3 * W, load(p, h + 3 * W) + yd)
    _two_rows(c, n, i, i, v, w, x, p)
    _two_rows(c, n, i + 2, i, v, w, x, p)


@kernel
def _two_rows(c, n, i, start, v, w, x, p):
    """Update rows i and i + 1 from column `start` on, adding their products with x to p."""
    zero = splat(load(c, 0), 0.0)
    a, b = (i * n) * W, (i * n + n) * W
    va, wa, xa = zero - load(v, i * W), zero - load(w, i * W), load(x, i * W)
    vb, wb, xb = zero - load(v, i * W + W), zero - load(w, i * W + W), load(x, i * W + W)
    ya, yb = zero, zero
    for k in range(start, i):
        vk, wk, xk = load(v, k * W), load(w, k * W), load(x, k * W)
        ca = fma(va, wk, fma(wa, vk, load(c, a + k * W)))
        cb = fma(vb, wk, fma(wb, vk, load(c, b + k * W)))
        store(c, a + k * W, ca)
        store(c, b + k * W, cb)
        ya, yb = fma(ca, xk, ya), fma(cb, xk, yb)
        store(p, k * W, fma(ca, xa, fma(cb, xb, load(p, k * W))))
    vi, wi = load(v, i * W), load(w, i * W)
    corner = fma(va, wi, fma(wa, vi, load(c, a + i * W)))
    side = fma(vb, wi, fma(wb, vi, load(c, b + i * W)))
    end = fma(vb + vb, load(w, i * W + W), load(c, b + i * W + W))
    store(c, a + i * W, corner)
    store(c, b + i * W, side)
    store(c, b + i * W + W, end)
    store(p, i * W, load(p, i * W) + fma(corner, xa, fma(side, xb, ya)))
    store(p, i * W + W, load(p, i * W + W) + fma(side, xa, fma(end, xb, yb)))


@kernel
def _one_row(c, n, i, start, v, w, x, p):
    """Update the last row, as `_two_rows` does."""
    zero = splat(load(c, 0), 0.0)
    a = (i * n) * W
    va, wa, xa = zero - load(v, i * W), zero - load(w, i * W), load(x, i * W)
    ya = zero
    for k in range(start, i):
        ca = fma(va, load(w, k * W), fma(wa, load(v, k * W), load(c, a + k * W)))
        store(c, a + k * W, ca)
        ya = fma(ca, load(x, k * W), ya)
        store(p, k * W, fma(ca, xa, load(p, k * W)))
    corner = fma(va + va, load(w, i * W), load(c, a + i * W))
    store(c, a + i * W, corner)
    store(p, i * W, load(p, i * W) + fma(corner, xa, ya))


@kernel
def reflect_back(c, n, inverse, z, count):
    """Turn vectors of the tridiagonal matrix into vectors of the matrix that it came from."""
    zero = splat(load(z, 0), 0.0)
    step = n * W
    for a in range(0, count * step, 4 * step):
        for j in range(n - 2, -1, -1):
            scale = zero - load(inverse, j * W)
            t0, t1, t2, t3 = zero, zero, zero, zero
            for i in range(j + 1, n):
                v, b = load(c, (j * n + i) * W), a + i * W
                t0, t1 = fma(v, load(z, b), t0), fma(v, load(z, b + step), t1)
                t2 = fma(v, load(z, b + 2 * step), t2)
                t3 = fma(v, load(z, b + 3 * step), t3)
            t0, t1, t2, t3 = t0 * scale, t1 * scale, t2 * scale, t3 * scale
            for i in range(j + 1, n):
                v, b = load(c, (j * n + i) * W), a + i * W
                store(z, b, fma(v, t0, load(z, b)))
                store(z, b + step, fma(v, t1, load(z, b + step)))
                store(z, b + 2 * step, fma(v, t2, load(z, b + 2 * step)))
                store(z, b + 3 * step, fma(v, t3, load(z, b + 3 * step)))
