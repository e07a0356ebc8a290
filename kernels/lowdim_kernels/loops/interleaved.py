"""Small matrices side by side in lanes: filled, multiplied and written back.

An interleaved matrix is cut into panels of four columns, stored by row, with rows and columns
rounded up to 4 by zeros. A set of vectors is stored vector by vector.
"""

from math import frexp, ldexp

import numpy as np

from lowdim_kernels.loops.compilation import part
from lowdim_kernels.loops.lane_functions import fma, largest, magnitude
from lowdim_kernels.loops.lanes import clear, collect, lanes_of, load, load_widened, splat, store


@part
def interleave(g, first, batch, m, n, packed, scales, starts, factors):
    """Fill `packed` with matrices from `first` on, each scaled to entries about one.

    `scales` gets what undoes the scaling, a power of two, or NaN for a matrix that is not finite.
    Lanes past the batch repeat the last matrix. `starts` and `factors` are scratch.
    """
    w = lanes_of(packed)
    rows = (m + 3) // 4 * 4
    for lane in range(w):
        starts[lane] = min(first + lane, batch - 1) * m * n
        scales[lane] = _scale(g[starts[lane] : starts[lane] + m * n], factors)
    for lane in range(w):
        factors[lane] = 1.0 / scales[lane]
    clear(packed)
    factor = load(factors, 0)
    for i in range(m):
        for j in range(n):
            at = ((j // 4 * rows + i) * 4 + j % 4) * w
            store(packed, at, factor * collect(packed, g, starts, i * n + j))


@part
def _scale(entries, scratch):
    """Return a power of two near the largest magnitude, NaN where an entry is not finite."""
    w = lanes_of(scratch)
    zero = splat(load(scratch, 0), 0.0)
    tops, more, poison = zero, zero, zero
    whole = entries.size // (2 * w) * 2 * w
    for i in range(0, whole, 2 * w):
        x, y = load_widened(scratch, entries, i), load_widened(scratch, entries, i + w)
        tops, more = largest(tops, magnitude(x)), largest(more, magnitude(y))
        poison = fma(x, zero, fma(y, zero, poison))
    store(scratch, 0, largest(tops, more))
    top = scratch[0]
    for lane in range(1, w):
        top = max(top, scratch[lane])
    store(scratch, 0, poison)
    doubt = scratch[0]
    for lane in range(1, w):
        doubt += scratch[lane]
    for i in range(whole, entries.size):
        top = max(top, abs(entries[i]))
        doubt += entries[i] * 0
    if doubt != 0:
        return np.nan
    limit = 120 if scratch.itemsize == 4 else 1000
    return ldexp(1.0, min(max(frexp(top)[1], -limit), limit)) if top > 0 else 1.0


@part
def gram_matrix(packed, m, n, c):
    """Write the lower triangle of G^T G, (n, n)."""
    w = lanes_of(c)
    panel = (m + 3) // 4 * 4 * 4
    zero = splat(load(c, 0), 0.0)
    for j in range(0, n, 4):
        for i in range(j, n, 4):
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            d0, d1, d2, d3 = zero, zero, zero, zero
            left, right = i // 4 * panel * w, j // 4 * panel * w
            for _ in range(m):
                x0, x1 = load(packed, right), load(packed, right + w)
                x2, x3 = load(packed, right + 2 * w), load(packed, right + 3 * w)
                y = load(packed, left)
                a0, a1, a2, a3 = fma(y, x0, a0), fma(y, x1, a1), fma(y, x2, a2), fma(y, x3, a3)
                y = load(packed, left + w)
                b0, b1, b2, b3 = fma(y, x0, b0), fma(y, x1, b1), fma(y, x2, b2), fma(y, x3, b3)
                y = load(packed, left + 2 * w)
                c0, c1, c2, c3 = fma(y, x0, c0), fma(y, x1, c1), fma(y, x2, c2), fma(y, x3, c3)
                y = load(packed, left + 3 * w)
                d0, d1, d2, d3 = fma(y, x0, d0), fma(y, x1, d1), fma(y, x2, d2), fma(y, x3, d3)
                left += 4 * w
                right += 4 * w
            _four(c, i, j, n, n, a0, a1, a2, a3)
            _four(c, i + 1, j, n, n, b0, b1, b2, b3)
            _four(c, i + 2, j, n, n, c0, c1, c2, c3)
            _four(c, i + 3, j, n, n, d0, d1, d2, d3)


@part
def _four(target, row, column, rows, columns, x0, x1, x2, x3):
    """Store four neighbours, where they are inside the matrix."""
    w = lanes_of(target)
    if row < rows:
        at = (row * columns + column) * w
        store(target, at, x0)
        if column + 1 < columns:
            store(target, at + w, x1)
        if column + 2 < columns:
            store(target, at + 2 * w, x2)
        if column + 3 < columns:
            store(target, at + 3 * w, x3)


@part
def multiply(packed, m, n, z, count, y):
    """Write G z for each of `count` vectors z, rounded up to 4; y has vectors of m rounded up."""
    w = lanes_of(y)
    rows = (m + 3) // 4 * 4
    step = n * w
    zero = splat(load(y, 0), 0.0)
    for i in range(0, m, 4):
        for k in range(0, count, 4):
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            d0, d1, d2, d3 = zero, zero, zero, zero
            for j in range(n):
                left, right = ((j // 4 * rows + i) * 4 + j % 4) * w, k * step + j * w
                x0, x1 = load(packed, left), load(packed, left + 4 * w)
                x2, x3 = load(packed, left + 8 * w), load(packed, left + 12 * w)
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


@part
def multiply_transposed(packed, m, n, y, count, z):
    """Write G^T y for each of `count` vectors y, rounded up to 4; z has vectors of n."""
    w = lanes_of(z)
    rows = (m + 3) // 4 * 4
    step = rows * w
    zero = splat(load(z, 0), 0.0)
    for j in range(0, n, 4):
        for k in range(0, count, 4):
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            c0, c1, c2, c3 = zero, zero, zero, zero
            d0, d1, d2, d3 = zero, zero, zero, zero
            left, right = j * rows * w, k * step
            for _ in range(m):
                x0, x1 = load(packed, left), load(packed, left + w)
                x2, x3 = load(packed, left + 2 * w), load(packed, left + 3 * w)
                t = load(y, right)
                a0, a1, a2, a3 = fma(t, x0, a0), fma(t, x1, a1), fma(t, x2, a2), fma(t, x3, a3)
                t = load(y, right + step)
                b0, b1, b2, b3 = fma(t, x0, b0), fma(t, x1, b1), fma(t, x2, b2), fma(t, x3, b3)
                t = load(y, right + 2 * step)
                c0, c1, c2, c3 = fma(t, x0, c0), fma(t, x1, c1), fma(t, x2, c2), fma(t, x3, c3)
                t = load(y, right + 3 * step)
                d0, d1, d2, d3 = fma(t, x0, d0), fma(t, x1, d1), fma(t, x2, d2), fma(t, x3, d3)
                left += 4 * w
                right += w
            _four(z, k, j, count + 3, n, a0, a1, a2, a3)
            _four(z, k + 1, j, count + 3, n, b0, b1, b2, b3)
            _four(z, k + 2, j, count + 3, n, c0, c1, c2, c3)
            _four(z, k + 3, j, count + 3, n, d0, d1, d2, d3)


@part
def write_back(z, size, step, count, first, half, batch, scales, target):
    """Write vectors as the columns of contiguous matrices, NaN where the scale is NaN.

    The lanes of z belong to matrices from first + 8 * half on.
    """
    w = lanes_of(z)
    start = first + half * w
    for i in range(size):
        for lane in range(min(w, batch - start)):
            at = ((start + lane) * size + i) * count
            broken = scales[half * w + lane] * 0.0
            for j in range(count):
                target[at + j] = z[(j * step + i) * w + lane] + broken


@part
def panels_of(z, step, size, count, half, packed):
    """Write vectors as the columns of an interleaved float64 matrix, (size, count).

    Eight lanes of z are taken, from lane 8 * half on.
    """
    w, wide = lanes_of(z), lanes_of(packed)
    rows = (size + 3) // 4 * 4
    clear(packed)
    for k in range(count):
        for i in range(size):
            value = load_widened(packed, z, (k * step + i) * w + half * wide)
            store(packed, ((k // 4 * rows + i) * 4 + k % 4) * wide, value)
