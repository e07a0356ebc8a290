"""Interleaved symmetric matrices brought to tridiagonal form by Householder reflections."""

from lowdim_kernels.loops.compilation import part
from lowdim_kernels.loops.lane_functions import fma, largest, magnitude, root, where_less, with_sign
from lowdim_kernels.loops.lanes import clear, load, splat, store

W = 8
LEAST_PIVOT = 1e-150


@part
def tridiagonalise(c, n, d, e, inverse, work):
    """Reduce c to diagonal d and off-diagonal e; keep the reflectors in c and `inverse`.

    Reflector j is I - inverse[j] v v^T with v in row j beyond the diagonal. What it changes, v w^T
    and w v^T, waits in one of two slots: c is written in every second pass only. `work` holds six
    vectors.
    """
    step = n * W
    v, w, x = work[: 2 * step], work[2 * step : 4 * step], work[4 * step : 5 * step]
    p = work[5 * step :]
    clear(work)
    zero = splat(load(c, 0), 0.0)
    for j in range(n - 1):
        _reflector(c, n, j, d, e, inverse, v, w, x)
        clear(p)
        slot = j % 2 * step
        if slot:
            _multiply(c, n, j + 1, x, p)
            _correct(n, j + 1, v, w, x, p)
        else:
            _update_and_multiply(c, n, j + 1, v, w, x, p)
            clear(v[step:])
            clear(w[step:])
        scale = load(inverse, j * W)
        total = zero
        for i in range((j + 1) * W, step, W):
            total = fma(load(x, i), load(p, i), total)
        total = total * scale * scale * splat(zero, 0.5)
        for i in range((j + 1) * W, step, W):
            vi = load(x, i)
            store(v, slot + i, vi)
            store(w, slot + i, load(p, i) * scale - total * vi)
    last = step - W
    end = load(c, (n * n - 1) * W)
    end = fma(splat(zero, -2.0) * load(v, last), load(w, last), end)
    end = fma(splat(zero, -2.0) * load(v, step + last), load(w, step + last), end)
    store(d, last, end)


@part
def _reflector(c, n, j, d, e, inverse, v, w, x):
    """Bring column j up to date, and leave the reflector that clears it in x and in c."""
    step, here = n * W, j * W
    zero = splat(load(c, 0), 0.0)
    v0, w0 = zero - load(v, here), zero - load(w, here)
    v1, w1 = zero - load(v, step + here), zero - load(w, step + here)
    value = fma(v0 + v0, load(w, here), load(c, j * step + here))
    store(d, here, fma(v1 + v1, load(w, step + here), value))
    below = zero
    for i in range(here + W, step, W):
        value = fma(v0, load(w, i), fma(w0, load(v, i), load(c, n * i + here)))
        value = fma(v1, load(w, step + i), fma(w1, load(v, step + i), value))
        store(x, i, value)
        below = fma(value, value, below)
    head = load(x, here + W)
    norm = root(below)
    store(e, here, zero - with_sign(norm, head))
    first = head + with_sign(norm, head)
    h = norm * magnitude(first)
    tiny = splat(zero, LEAST_PIVOT)
    store(inverse, here, where_less(h, tiny, zero, splat(zero, 1.0) / largest(h, tiny)))
    store(x, here + W, first)
    for i in range(here + W, step, W):
        store(c, j * step + i, load(x, i))


@part
def _correct(n, start, v, w, x, p):
    """Take what waits in the first slot off the product p."""
    zero = splat(load(x, 0), 0.0)
    by_v, by_w = zero, zero
    for i in range(start * W, n * W, W):
        by_v, by_w = fma(load(v, i), load(x, i), by_v), fma(load(w, i), load(x, i), by_w)
    by_v, by_w = zero - by_v, zero - by_w
    for i in range(start * W, n * W, W):
        store(p, i, fma(by_w, load(v, i), fma(by_v, load(w, i), load(p, i))))


@part
def _multiply(c, n, start, x, p):
    """Add to p the product of c, from row and column `start` on, with x."""
    zero = splat(load(c, 0), 0.0)
    first, step = start * W, n * W
    i = first
    while i + 3 * W < step:
        a = i * n
        xa, xb, xc, xd = load(x, i), load(x, i + W), load(x, i + 2 * W), load(x, i + 3 * W)
        ya, yb, yc, yd = zero, zero, zero, zero
        for k in range(first, i, W):
            xk = load(x, k)
            ca, cb = load(c, a + k), load(c, a + step + k)
            cc, cd = load(c, a + 2 * step + k), load(c, a + 3 * step + k)
            ya, yb, yc, yd = fma(ca, xk, ya), fma(cb, xk, yb), fma(cc, xk, yc), fma(cd, xk, yd)
            store(p, k, fma(ca, xa, fma(cb, xb, load(p, k))) + fma(cc, xc, cd * xd))
        c0, c1, c2, c3 = a + i, a + step + i, a + 2 * step + i, a + 3 * step + i
        ba, ca, da = load(c, c1), load(c, c2), load(c, c3)
        cb, db, dc = load(c, c2 + W), load(c, c3 + W), load(c, c3 + 2 * W)
        ya = fma(ba, xb, fma(load(c, c0), xa, ya)) + fma(ca, xc, da * xd)
        yb = fma(ba, xa, fma(load(c, c1 + W), xb, yb)) + fma(cb, xc, db * xd)
        yc = fma(ca, xa, fma(cb, xb, yc)) + fma(load(c, c2 + 2 * W), xc, dc * xd)
        yd = fma(da, xa, fma(db, xb, yd)) + fma(dc, xc, load(c, c3 + 3 * W) * xd)
        store(p, i, load(p, i) + ya)
        store(p, i + W, load(p, i + W) + yb)
        store(p, i + 2 * W, load(p, i + 2 * W) + yc)
        store(p, i + 3 * W, load(p, i + 3 * W) + yd)
        i += 4 * W
    for row in range(i, step, W):
        _one_row(c, n, row, first, x, p)


@part
def _one_row(c, n, i, first, x, p):
    """Add the product of one row, from column `first` on, and of the column like it, with x."""
    xi, total = load(x, i), splat(load(x, i), 0.0)
    for k in range(first, i, W):
        ck = load(c, i * n + k)
        total = fma(ck, load(x, k), total)
        store(p, k, fma(ck, xi, load(p, k)))
    store(p, i, load(p, i) + fma(load(c, i * n + i), xi, total))


@part
def _update_and_multiply(c, n, start, v, w, x, p):
    """Apply both slots to c, from row and column `start` on, and add its product with x to p."""
    zero = splat(load(c, 0), 0.0)
    first, step = start * W, n * W
    i = first
    if (step - first) // W % 2:
        _update_row(c, n, i, first, v, w, x, p)
        i += W
    while i < step:
        a = i * n
        b = a + step
        va, wa, xa = zero - load(v, i), zero - load(w, i), load(x, i)
        vb, wb, xb = zero - load(v, i + W), zero - load(w, i + W), load(x, i + W)
        sa, ta = zero - load(v, step + i), zero - load(w, step + i)
        sb, tb = zero - load(v, step + i + W), zero - load(w, step + i + W)
        ya, yb = zero, zero
        for k in range(first, i, W):
            vk, wk, sk, tk, xk = (
                load(v, k),
                load(w, k),
                load(v, step + k),
                load(w, step + k),
                load(x, k),
            )
            ca = fma(va, wk, fma(wa, vk, load(c, a + k)))
            cb = fma(vb, wk, fma(wb, vk, load(c, b + k)))
            ca, cb = fma(sa, tk, fma(ta, sk, ca)), fma(sb, tk, fma(tb, sk, cb))
            store(c, a + k, ca)
            store(c, b + k, cb)
            ya, yb = fma(ca, xk, ya), fma(cb, xk, yb)
            store(p, k, fma(ca, xa, fma(cb, xb, load(p, k))))
        corner = fma(va + va, load(w, i), fma(sa + sa, load(w, step + i), load(c, a + i)))
        side = fma(vb, load(w, i), fma(wb, load(v, i), load(c, b + i)))
        side = fma(sb, load(w, step + i), fma(tb, load(v, step + i), side))
        end = fma(vb + vb, load(w, i + W), load(c, b + i + W))
        end = fma(sb + sb, load(w, step + i + W), end)
        store(c, a + i, corner)
        store(c, b + i, side)
        store(c, b + i + W, end)
        store(p, i, load(p, i) + fma(corner, xa, fma(side, xb, ya)))
        store(p, i + W, load(p, i + W) + fma(side, xa, fma(end, xb, yb)))
        i += 2 * W


@part
def _update_row(c, n, i, first, v, w, x, p):
    """Update one row from column `first` on, adding its product with x to p."""
    zero, step, a = splat(load(x, i), 0.0), n * W, i * n
    vi, wi, xi = zero - load(v, i), zero - load(w, i), load(x, i)
    si, ti = zero - load(v, step + i), zero - load(w, step + i)
    total = zero
    for k in range(first, i + W, W):
        ck = fma(vi, load(w, k), fma(wi, load(v, k), load(c, a + k)))
        ck = fma(si, load(w, step + k), fma(ti, load(v, step + k), ck))
        store(c, a + k, ck)
        if k < i:
            total = fma(ck, load(x, k), total)
            store(p, k, fma(ck, xi, load(p, k)))
    store(p, i, load(p, i) + fma(load(c, a + i), xi, total))


@part
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
