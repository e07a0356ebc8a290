"""Truncated SVDs of batches of small matrices, by their Gram matrices or by iteration, in lanes."""

import numpy as np
from numba import carray

from lowdim_kernels.loops.compilation import kernel, part, pointer
from lowdim_kernels.loops.eigen import eigenvalues, eigenvectors, normalise
from lowdim_kernels.loops.interleaved import (
    gram_matrix,
    interleave,
    multiply,
    multiply_transposed,
    panels_of,
    write_back,
)
from lowdim_kernels.loops.lanes import aligned, clear, collect, lanes_of, store
from lowdim_kernels.loops.orthonormal import fill, orthonormalise, orthonormalise_together
from lowdim_kernels.loops.tridiagonal import reflect_back, tridiagonalise

W = 8
FINE, NOT_FINITE, DOUBTFUL = 0, 1, 2
# The largest excess of the squared error over the best that passes for exact.
EXCESS = 2e-4
ROUNDING = 1e-12


@kernel
def gram_svd(addresses, batch, m, n, k, rounds, passes, least_tail, tag):
    """Write the leading k singular triplets of every matrix, and how it went.

    `addresses` of g, u, s, v and the status; matrices are contiguous, m by n with m >= n. A matrix
    is DOUBTFUL when its vectors came out dependent, when what they capture falls short of what the
    eigenvalues promise, or when the square of the tail is below `least_tail` of the whole, where a
    Gram matrix cannot see it.
    """
    g = carray(pointer(addresses[0], tag), batch * m * n)
    u = carray(pointer(addresses[1], tag), batch * m * k)
    s = carray(pointer(addresses[2], tag), batch * k)
    v = carray(pointer(addresses[3], tag), batch * n * k)
    status = carray(pointer(addresses[4], np.int64(0)), batch)
    rows, count = (m + 3) // 4 * 4, (k + 3) // 4 * 4
    packed = aligned(rows * ((n + 3) // 4 * 4) * W, np.float64)
    y, z = aligned(count * rows * W, np.float64), aligned(count * n * W, np.float64)
    norms, scales = aligned(count * W, np.float64), aligned(W, np.float64)
    space = aligned(decomposition_space(n, k), np.float64)
    judged = np.empty(W, np.int64)
    for first in range(0, batch, W):
        interleave(g, first, batch, m, n, packed, scales)
        decompose(packed, m, n, k, rounds, passes, least_tail, y, norms, z, judged, space)
        _report(norms, scales, 0, k, first, batch, judged, s, status)
        write_back(y, m, rows, k, first, 0, batch, scales, u)
        write_back(z, n, n, k, first, 0, batch, scales, v)


@kernel
def iterated_svd(addresses, batch, m, n, k, width, started, iterations, rounds, passes, tag):
    """Write triplets after G^T (G G^T)^iterations G on `width` columns, G^T taken once more.

    `addresses` of g, u, s, v, the status and `started` columns to start from, (n, started) for each
    matrix. Iterates are in the dtype of g; the last decomposition, of G^T times an orthonormal
    block, is that of `gram_svd`.
    """
    g = carray(pointer(addresses[0], tag), batch * m * n)
    u = carray(pointer(addresses[1], tag), batch * m * k)
    s = carray(pointer(addresses[2], tag), batch * k)
    v = carray(pointer(addresses[3], tag), batch * n * k)
    status = carray(pointer(addresses[4], np.int64(0)), batch)
    start = carray(pointer(addresses[5], tag), batch * n * started)
    w = lanes_of(g)
    rows, lines, count = (m + 3) // 4 * 4, (n + 3) // 4 * 4, (width + 3) // 4 * 4
    packed = aligned(rows * lines * w, g.dtype)
    y, z = aligned(count * rows * w, g.dtype), aligned(count * n * w, g.dtype)
    alive, norms = aligned(count * w, g.dtype), aligned(count * w, g.dtype)
    weak, work = aligned(w, g.dtype), aligned(count * w, g.dtype)
    square, scales = aligned(count * count * w, g.dtype), aligned(w, np.float64)
    block = aligned(max(rows, lines) * count * W, np.float64)
    few = (k + 3) // 4 * 4
    left, right = aligned(few * lines * W, np.float64), aligned(few * width * W, np.float64)
    turned = aligned(few * rows * W, np.float64)
    sizes = aligned(few * W, np.float64)
    space = aligned(decomposition_space(width, k), np.float64)
    judged = np.empty(W, np.int64)
    noise = _noise(n, width - started, z)
    clear(y)
    clear(z)
    for i in range(alive.size):
        alive[i] = 1
    for first in range(0, batch, w):
        interleave(g, first, batch, m, n, packed, scales)
        _first_columns(start, first, batch, n, started, width, noise, z)
        multiply(packed, m, n, z, width, y)
        orthonormalise_together(y, m, rows, width, square)
        for _ in range(iterations):
            multiply_transposed(packed, m, n, y, width, z)
            orthonormalise_together(z, n, n, width, square)
            multiply(packed, m, n, z, width, y)
            orthonormalise_together(y, m, rows, width, square)
        orthonormalise(y, m, rows, width, alive, norms, weak, work)
        multiply_transposed(packed, m, n, y, width, z)
        for half in range(w // W):
            panels_of(z, n, n, width, half, block)
            decompose(block, n, width, k, rounds, passes, 0.0, left, sizes, right, judged, space)
            _report(sizes, scales, half, k, first, batch, judged, s, status)
            write_back(left, n, lines, k, first, half, batch, scales, v)
            panels_of(y, rows, m, width, half, block)
            clear(turned)
            multiply(block, m, width, right, k, turned)
            write_back(turned, m, rows, k, first, half, batch, scales, u)


@part
def _noise(n, count, like):
    """Return fixed pseudo-random vectors with norms of about one, the same in all lanes."""
    w = lanes_of(like)
    noise = aligned(n * count * w, like.dtype)
    for lane in range(w):
        fill(noise, n * count, 0, lane)
    for i in range(noise.size):
        noise[i] *= 3.5 / n**0.5
    return noise


@part
def _first_columns(start, first, batch, n, started, width, noise, z):
    """Fill vectors with the columns given, and then with noise."""
    w = lanes_of(z)
    starts = np.empty(w, np.int64)
    for lane in range(w):
        starts[lane] = min(first + lane, batch - 1) * n * started
    for k in range(started):
        for i in range(n):
            store(z, (k * n + i) * w, collect(z, start, starts, i * started + k))
    for i in range(noise.size):
        z[started * n * w + i] = noise[i]


@part
def decomposition_space(n, k):
    """Return how many numbers of scratch `decompose` takes."""
    return (n * n + 11 * n + (k + 3) // 4 * 4 + 2) * W


@part
def decompose(packed, m, n, k, rounds, passes, least_tail, y, norms, z, judged, space):
    """Write left vectors y, singular values and right vectors z of an interleaved matrix."""
    c, rest = space[: n * n * W], space[n * n * W :]
    d, e, inverse, squared = rest[: n * W], rest[n * W :], rest[2 * n * W :], rest[3 * n * W :]
    work, values = rest[4 * n * W :], rest[11 * n * W :]
    bound, weak = space[-2 * W : -W], space[-W:]
    gram_matrix(packed, m, n, c)
    tridiagonalise(c, n, d, e, inverse, work[: 6 * n * W])
    normalise(d, e, squared, n, bound)
    eigenvalues(d, squared, n, k, rounds, values)
    clear(z)
    eigenvectors(d, e, n, k, rounds, passes, values, z, work)
    clear(weak)
    orthonormalise(z, n, n, k, values, norms, weak, work)
    reflect_back(c, n, inverse, z, k)
    clear(y)
    multiply(packed, m, n, z, k, y)
    orthonormalise(y, m, (m + 3) // 4 * 4, k, values, norms, weak, work)
    for lane in range(W):
        judged[lane] = _judge(lane, n, k, d, bound, values, norms, weak, least_tail)


@part
def _judge(lane, n, k, d, bound, values, norms, weak, least_tail):
    """Return FINE or DOUBTFUL."""
    total = 0.0
    for i in range(n):
        total += d[i * W + lane]
    best = total
    reached = total
    for j in range(k):
        best -= values[j * W + lane]
        reached -= norms[j * W + lane] ** 2 / bound[lane]
        if not reached - best <= EXCESS * max(best, 0.0) + ROUNDING * total:
            return DOUBTFUL
    if weak[lane] > 0 or best < least_tail * total:
        return DOUBTFUL
    return FINE


@part
def _report(norms, scales, half, k, first, batch, judged, s, status):
    """Write singular values, descending to the last bit, and the status of each matrix."""
    for lane in range(W):
        at = first + half * W + lane
        if at < batch:
            scale = scales[half * W + lane]
            status[at] = judged[lane] if scale == scale else NOT_FINITE
            least = np.inf
            for j in range(k):
                least = min(least, norms[j * W + lane])
                s[at * k + j] = least * scale
