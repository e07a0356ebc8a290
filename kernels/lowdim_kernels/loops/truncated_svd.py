"""Truncated SVD of batches of small matrices by their Gram matrices, in float64, batch in lanes."""

import numpy as np
from numba import carray

from lowdim_kernels.loops.compilation import kernel, pointer
from lowdim_kernels.loops.eigen import eigenvalues, eigenvectors, normalise
from lowdim_kernels.loops.interleaved import (
    gram_matrix,
    interleave,
    multiply,
    orthonormalise,
    write_back,
)
from lowdim_kernels.loops.lanes import aligned
from lowdim_kernels.loops.tridiagonal import reflect_back, tridiagonalise

W = 8
FINE, NOT_FINITE, DOUBTFUL = 0, 1, 2
# The largest excess of the squared error over the best that passes for exact.
EXCESS = 2e-4
ROUNDING = 1e-12


@kernel
def gram_svd(g, u, s, v, status, batch, m, n, k, rounds, passes, least_tail, tag):
    """Write the leading k singular triplets of every matrix, and how it went.

    Matrices are contiguous, m by n with m >= n. The first four arguments and `status` are
    addresses. A matrix is DOUBTFUL when its vectors came out dependent, when what they capture
    falls short of what the eigenvalues promise, or when the square of the tail is below
    `least_tail` of the whole, where a Gram matrix cannot see it.
    """
    g = carray(pointer(g, tag), batch * m * n)
    u = carray(pointer(u, tag), batch * m * k)
    s = carray(pointer(s, tag), batch * k)
    v = carray(pointer(v, tag), batch * n * k)
    status = carray(pointer(status, np.int64(0)), batch)
    rows, columns, count = (m + 3) // 4 * 4, (n + 3) // 4 * 4, (k + 3) // 4 * 4
    packed = aligned(rows * columns * W, np.float64)
    c, z = aligned(n * n * W, np.float64), aligned(count * n * W, np.float64)
    y, work = aligned(count * rows * W, np.float64), aligned(4 * n * W, np.float64)
    d, e, inverse = (
        aligned(n * W, np.float64),
        aligned(n * W, np.float64),
        aligned(n * W, np.float64),
    )
    squared, values = aligned(n * W, np.float64), aligned(count * W, np.float64)
    norms, bound = aligned(count * W, np.float64), aligned(W, np.float64)
    weak, scales = aligned(W, np.float64), aligned(W, np.float64)
    for first in range(0, batch, W):
        interleave(g, first, batch, m, n, packed, scales)
        gram_matrix(packed, m, n, c)
        tridiagonalise(c, n, d, e, inverse, work)
        normalise(d, e, squared, n, bound)
        eigenvalues(d, squared, n, k, rounds, values)
        z[:] = 0
        eigenvectors(d, e, n, k, rounds, passes, values, z, work)
        weak[:] = 0
        orthonormalise(z, n, n, k, values, norms, weak, work)
        reflect_back(c, n, inverse, z, k)
        y[:] = 0
        multiply(packed, m, n, z, k, y)
        orthonormalise(y, m, rows, k, values, norms, weak, work)
        for lane in range(min(W, batch - first)):
            at = first + lane
            status[at] = _judge(lane, n, k, d, bound, values, norms, weak, scales, least_tail)
            least = np.inf
            for j in range(k):
                least = min(least, norms[j * W + lane])
                s[at * k + j] = least * scales[lane]
        write_back(y, m, rows, k, first, batch, scales, u)
        write_back(z, n, n, k, first, batch, scales, v)


@kernel
def _judge(lane, n, k, d, bound, values, norms, weak, scales, least_tail):
    """Return the status of one matrix."""
    if scales[lane] != scales[lane]:
        return NOT_FINITE
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
