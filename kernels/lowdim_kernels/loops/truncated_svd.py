"""Truncated SVDs of batches of small matrices, by their Gram matrices or by iteration, in lanes."""

import numpy as np
from numba import carray, types

from lowdim_kernels.loops.compilation import Callee, kernel, part, pointer
from lowdim_kernels.loops.eigen import eigenvalues, eigenvectors, normalise
from lowdim_kernels.loops.interleaved import (
    gram_matrix,
    interleave,
    multiply,
    multiply_transposed,
    panels_of,
    write_back,
)
from lowdim_kernels.loops.lanes import clear, collect, lanes_of, store
from lowdim_kernels.loops.orthonormal import fill, orthonormalise, orthonormalise_together
from lowdim_kernels.loops.tridiagonal import reflect_back, tridiagonalise

W, LINE = 8, 64
FINE, NOT_FINITE, DOUBTFUL = 0, 1, 2
# The largest excess of the squared error over the best that passes for exact.
EXCESS = 2e-4
ROUNDING = 1e-12


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


def whole(number):
    """Return a number of rows or columns rounded up to a panel."""
    return (number + 3) // 4 * 4


def decomposition_lines(n, k):
    """Return how many vectors of scratch `decompose` takes."""
    return n * n + 11 * n + whole(k) + 2


def _decompose(tag, packed, m, n, k, rounds, passes, least_tail, y, norms, z, judged, space):
    """Write left vectors y, singular values and right vectors z of an interleaved matrix."""
    rows, count = (m + 3) // 4 * 4, (k + 3) // 4 * 4
    packed = carray(pointer(packed, tag), rows * ((n + 3) // 4 * 4) * W)
    y, z = carray(pointer(y, tag), count * rows * W), carray(pointer(z, tag), count * n * W)
    norms, judged = carray(pointer(norms, tag), count * W), carray(pointer(judged, np.int64(0)), W)
    line = n * LINE
    c = carray(pointer(space, tag), n * n * W)
    d = carray(pointer(space + n * line, tag), n * W)
    e = carray(pointer(space + (n + 1) * line, tag), n * W)
    inverse = carray(pointer(space + (n + 2) * line, tag), n * W)
    squared = carray(pointer(space + (n + 3) * line, tag), n * W)
    work = carray(pointer(space + (n + 4) * line, tag), 7 * n * W)
    reducing = carray(pointer(space + (n + 4) * line, tag), 6 * n * W)
    values = carray(pointer(space + (n + 11) * line, tag), count * W)
    bound = carray(pointer(space + (n + 11) * line + count * LINE, tag), W)
    weak = carray(pointer(space + (n + 11) * line + (count + 1) * LINE, tag), W)
    gram_matrix(packed, m, n, c)
    tridiagonalise(c, n, d, e, inverse, reducing)
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


# Compiled by itself, once: both kernels call it.
DECOMPOSE = Callee(_decompose, *[types.intp] * 6, types.float64, *[types.intp] * 5)
decompose = DECOMPOSE.call


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


def gram_places(m, n, k):
    """Return the bytes of each array of scratch of `gram_svd`."""
    rows, count = whole(m), whole(k)
    lines = rows * whole(n), count * rows, count * n, count, 1, 1, decomposition_lines(n, k), 1, 1
    return [LINE * number for number in lines]


@kernel
def gram_svd(addresses, places, batch, m, n, k, rounds, passes, least_tail, decomposing, tag):
    """Write the leading k singular triplets of every matrix, and how it went.

    `addresses` of g, u, s, v and the status; matrices are contiguous, m by n with m >= n. `places`
    of scratch as `gram_places` has it; `decomposing` is the address of DECOMPOSE. A matrix is
    DOUBTFUL when its vectors came out dependent, when what they capture falls short of what the
    eigenvalues promise, or when the square of the tail is below `least_tail` of the whole, where a
    Gram matrix cannot see it.
    """
    g = carray(pointer(addresses[0], tag), batch * m * n)
    u = carray(pointer(addresses[1], tag), batch * m * k)
    s = carray(pointer(addresses[2], tag), batch * k)
    v = carray(pointer(addresses[3], tag), batch * n * k)
    status = carray(pointer(addresses[4], np.int64(0)), batch)
    wide, rows, count = np.float64(0), (m + 3) // 4 * 4, (k + 3) // 4 * 4
    packed = carray(pointer(places[0], wide), rows * ((n + 3) // 4 * 4) * W)
    y = carray(pointer(places[1], wide), count * rows * W)
    z = carray(pointer(places[2], wide), count * n * W)
    norms = carray(pointer(places[3], wide), count * W)
    scales = carray(pointer(places[4], wide), W)
    judged = carray(pointer(places[5], np.int64(0)), W)
    starts = carray(pointer(places[7], np.int64(0)), W)
    factors = carray(pointer(places[8], wide), W)
    for first in range(0, batch, W):
        interleave(g, first, batch, m, n, packed, scales, starts, factors)
        sides = (places[1], places[3], places[2], places[5], places[6])
        decompose(decomposing, wide, (places[0], m, n, k, rounds, passes, least_tail, *sides))
        _report(norms, scales, 0, k, first, batch, judged, s, status)
        write_back(y, m, rows, k, first, 0, batch, scales, u)
        write_back(z, n, n, k, first, 0, batch, scales, v)


def iterated_places(m, n, k, width):
    """Return the bytes of each array of scratch of `iterated_svd`."""
    rows, lines, count, few = whole(m), whole(n), whole(width), whole(k)
    narrow = rows * lines, count * rows, count * n, count, count, 1, count, count * count
    wide = max(rows, lines) * count, few * lines, few * width, few * rows, few, 1
    # Scales and starts of all lanes take eight bytes each in either dtype.
    numbers = [*narrow, width * n, 2, *wide, decomposition_lines(width, k), 2, 1]
    return [LINE * number for number in numbers]


@kernel
def iterated_svd(
    addresses, places, batch, m, n, k, width, started, iterations, rounds, passes, decomposing, tag
):
    """Write triplets after G^T (G G^T)^iterations G on `width` columns, G^T taken once more.

    `addresses` of g, u, s, v, the status and `started` columns to start from, (n, started) for each
    matrix; `places` as `iterated_places` has them. Iterates are in the dtype of g; the last
    decomposition, of G^T times an orthonormal block, is that of `gram_svd`.
    """
    g = carray(pointer(addresses[0], tag), batch * m * n)
    u = carray(pointer(addresses[1], tag), batch * m * k)
    s = carray(pointer(addresses[2], tag), batch * k)
    v = carray(pointer(addresses[3], tag), batch * n * k)
    status = carray(pointer(addresses[4], np.int64(0)), batch)
    start = carray(pointer(addresses[5], tag), batch * n * started)
    w, wide = lanes_of(g), np.float64(0)
    rows, lines, count = (m + 3) // 4 * 4, (n + 3) // 4 * 4, (width + 3) // 4 * 4
    few = (k + 3) // 4 * 4
    packed = carray(pointer(places[0], tag), rows * lines * w)
    y = carray(pointer(places[1], tag), count * rows * w)
    z = carray(pointer(places[2], tag), count * n * w)
    alive = carray(pointer(places[3], tag), count * w)
    norms = carray(pointer(places[4], tag), count * w)
    weak = carray(pointer(places[5], tag), w)
    work = carray(pointer(places[6], tag), count * w)
    square = carray(pointer(places[7], tag), count * count * w)
    noise = carray(pointer(places[8], tag), (width - started) * n * w)
    scales = carray(pointer(places[9], wide), w)
    block = carray(pointer(places[10], wide), max(rows, lines) * count * W)
    left = carray(pointer(places[11], wide), few * lines * W)
    right = carray(pointer(places[12], wide), few * width * W)
    turned = carray(pointer(places[13], wide), few * rows * W)
    sizes = carray(pointer(places[14], wide), few * W)
    judged = carray(pointer(places[15], np.int64(0)), W)
    starts = carray(pointer(places[17], np.int64(0)), w)
    factors = carray(pointer(places[18], tag), w)
    _fill_with_noise(n, noise)
    clear(y)
    clear(z)
    for i in range(alive.size):
        alive[i] = 1
    for first in range(0, batch, w):
        interleave(g, first, batch, m, n, packed, scales, starts, factors)
        _first_columns(start, first, batch, n, started, noise, z, starts)
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
            sides = (places[11], places[14], places[12], places[15], places[16])
            decompose(decomposing, wide, (places[10], n, width, k, rounds, passes, 0.0, *sides))
            _report(sizes, scales, half, k, first, batch, judged, s, status)
            write_back(left, n, lines, k, first, half, batch, scales, v)
            panels_of(y, rows, m, width, half, block)
            clear(turned)
            multiply(block, m, width, right, k, turned)
            write_back(turned, m, rows, k, first, half, batch, scales, u)


@part
def _fill_with_noise(n, noise):
    """Write fixed pseudo-random vectors with norms of about one, the same in all lanes."""
    for lane in range(lanes_of(noise)):
        fill(noise, noise.size // lanes_of(noise), 0, lane)
    for i in range(noise.size):
        noise[i] *= 3.5 / n**0.5


@part
def _first_columns(start, first, batch, n, started, noise, z, starts):
    """Fill vectors with the columns given, and then with noise."""
    w = lanes_of(z)
    for lane in range(w):
        starts[lane] = min(first + lane, batch - 1) * n * started
    for k in range(started):
        for i in range(n):
            store(z, (k * n + i) * w, collect(z, start, starts, i * started + k))
    for i in range(noise.size):
        z[started * n * w + i] = noise[i]
