"""Kronecker products: one factor after another, over as many rows as stay in cache.

Stage k of a row holds it with factors k, k + 1, ... applied: an array of in_1 .. in_(k-1), out_k ..
out_m. Stage m is x and stage 0 is y. Between the two the last axis is padded to whole vectors, so
each factor but the last is a product whose columns are contiguous and whole: (out_k, in_k) by
(in_k, what follows). For the last one x gives the numbers and the transposed factor the vectors.

Flops: forward, and the gradient of x, rows * sum over k of (size of stage k * in_k) * 2; gradients
of the factors the same again, and the stages between are computed anew.
"""

import numpy as np
from numba import carray

from lowdim_kernels.loops.compilation import kernel, pointer
from lowdim_kernels.loops.tiles import MULTIPLY, TRANSPOSE
from lowdim_kernels.loops.vectors import BYTES, item_size

ADDRESS, OUT, IN, REPLICA, ROW, COLUMN = range(6)
GROUP_BYTES = 64 * 1024
TURNED_BYTES = 16 * 1024

multiply, transpose = MULTIPLY.call, TRANSPOSE.call


@kernel
def kron_product(tools, x, y, factors, layout, x_step, replicas, rows, tag, space, space_bytes):
    """Write y = x (A1 ⊗ ... ⊗ Am)^T for contiguous rows at the addresses x and y.

    `tools` are the addresses of MULTIPLY and TRANSPOSE, `factors` those of the factors, of which
    `layout` has a row each: out, in, and strides by replica, row and column, in elements. `x_step`
    is the stride of x by replica, 0 where they share it. Returns 0, or the bytes `space` needs.
    """
    table = _table(factors, layout)
    size, last = item_size(tag), table.shape[0] - 1
    lefts, chunks = _extents(table)
    out, padded = table[last, OUT], _whole(table[last, OUT], tag)
    x_width, y_width = lefts[last] * table[last, IN], _first_stage(table, chunks)
    group = _group(rows, lefts, chunks, table, padded, size)
    stages, end = _stages(lefts, chunks, table, padded, group, space, size)
    packed = end
    end += table[last, IN] * padded * size
    if end - space > space_bytes:
        return end - space
    at = tools[0]
    for r in range(replicas):
        _pack(tag, table, r, packed, padded, True)
        for start in range(0, rows, group):
            height = min(group, rows - start)
            source = x + (r * x_step + start * x_width) * size
            target = y + (r * rows + start) * y_width * size
            if last == 0:
                _numbers(at, tag, source, table[0, IN], packed, padded, target, out, height, out)
                continue
            _forward(at, tag, table, r, lefts, chunks, padded, packed, source, stages, height)
            _apply(
                at, tag, table, 0, r, False, stages[1], padded, target, out, height, chunks[0], out
            )
    return 0


@kernel
def kron_gradients(
    tools, g, x, dx, da, factors, layout, x_step, replicas, rows, tag, space, space_bytes
):
    """Write the gradients of every factor, to the addresses `da`, and of x unless `dx` is 0.

    The rest as in `kron_product`.
    """
    table = _table(factors, layout)
    size, last = item_size(tag), table.shape[0] - 1
    lefts, chunks = _extents(table)
    inner, out = table[last, IN], table[last, OUT]
    padded, inner_padded = _whole(out, tag), _whole(inner, tag)
    x_width, y_width = lefts[last] * inner, _first_stage(table, chunks)
    group = _group(rows, lefts, chunks, table, padded, size)
    stages, end = _stages(lefts, chunks, table, padded, group, space, size)
    backs, turned = _stages(lefts, chunks, table, padded, group, end, size)
    packed = turned + _turned(table, chunks, out, tag) * size
    plain = packed + inner * padded * size
    end = plain + out * inner_padded * size
    if end - space > space_bytes:
        return end - space
    at = tools[0]
    for r in range(replicas):
        _pack(tag, table, r, packed, padded, True)
        _pack(tag, table, r, plain, inner_padded, False)
        for k in range(last + 1):
            count = table[k, OUT] * table[k, IN]
            carray(pointer(da[k], tag), (r + 1) * count)[r * count :] = 0
        for start in range(0, rows, group):
            height = min(group, rows - start)
            x_now = x + (r * x_step + start * x_width) * size
            back, chunk = g + (r * rows + start) * y_width * size, out
            _forward(at, tag, table, r, lefts, chunks, padded, packed, x_now, stages, height)
            for k in range(last):
                to = da[k] + r * table[k, OUT] * table[k, IN] * size
                _inner_factor(
                    tools, tag, table, k, back, chunk, stages[k + 1], padded, turned, to,
                    height * lefts[k], chunks[k], out,
                )  # fmt: skip
                _apply(
                    at, tag, table, k, r, True, back, chunk, backs[k + 1], padded,
                    height * lefts[k], chunks[k], out,
                )  # fmt: skip
                back, chunk = backs[k + 1], padded
            count = height * lefts[last]
            to = da[last] + r * out * inner * size
            sides = ((back, 1, chunk, 0), (x_now, inner, 1, 0), (to, inner, 1, 0))
            multiply(at, tag, (*sides, out, inner, count, True, 1))
            if dx:
                to = dx + (r * rows + start) * x_width * size
                sides = ((back, chunk, 1, 0), (plain, inner_padded, 1, 0), (to, inner, 1, 0))
                multiply(at, tag, (*sides, count, inner, out, False, 1))
    return 0


@kernel
def _table(factors, layout):
    table = np.empty((layout.shape[0], 6), np.int64)
    table[:, ADDRESS] = factors
    table[:, OUT:] = layout
    return table


@kernel
def _extents(table):
    """Return, for each factor, the product of earlier ins, and of later outs but the last."""
    m = table.shape[0]
    lefts, chunks = np.ones(m, np.int64), np.ones(m, np.int64)
    for k in range(m):
        for j in range(k):
            lefts[k] *= table[j, IN]
        for j in range(k + 1, m - 1):
            chunks[k] *= table[j, OUT]
    return lefts, chunks


@kernel
def _first_stage(table, chunks):
    """Return the width of y."""
    last = table.shape[0] - 1
    return chunks[0] * table[last, OUT] * (table[0, OUT] if last else 1)


@kernel
def _whole(count, tag):
    """Return the count rounded up to whole vectors."""
    lanes = BYTES // item_size(tag)
    return (count + lanes - 1) // lanes * lanes


@kernel
def _stage_size(k, lefts, chunks, table, padded):
    own = 1 if k == table.shape[0] - 1 else table[k, OUT]
    return lefts[k] * own * chunks[k] * padded


@kernel
def _group(rows, lefts, chunks, table, padded, size):
    """Return how many rows go through all stages together."""
    largest = 1
    for k in range(1, table.shape[0]):
        largest = max(largest, _stage_size(k, lefts, chunks, table, padded))
    return max(1, min(rows, GROUP_BYTES // (largest * size)))


@kernel
def _stages(lefts, chunks, table, padded, group, start, size):
    """Return the addresses of stages 1 .. m - 1 of a group of rows, and the first one after."""
    m = table.shape[0]
    starts = np.zeros(m, np.int64)
    for k in range(1, m):
        starts[k] = start
        start += group * _stage_size(k, lefts, chunks, table, padded) * size
    return starts, start


@kernel
def _turned(table, chunks, out, tag):
    """Return the elements for transposed pieces of a stage."""
    largest, size = 0, item_size(tag)
    for k in range(table.shape[0] - 1):
        width = _whole(table[k, IN], tag)
        piece = chunks[k] * out * width
        largest = max(largest, max(piece, TURNED_BYTES // size) + BYTES // size * width)
    return largest


@kernel
def _pack(tag, table, replica, address, padded, transposed):
    """Write the last factor or its transpose in rows padded to whole vectors."""
    last = table.shape[0] - 1
    rows, columns, row, column = (
        table[last, OUT], table[last, IN], table[last, ROW], table[last, COLUMN]
    )  # fmt: skip
    if transposed:
        rows, columns, row, column = columns, rows, column, row
    first = table[last, ADDRESS] + replica * table[last, REPLICA] * item_size(tag)
    a = carray(pointer(first, tag), 1)
    packed = carray(pointer(address, tag), rows * padded)
    for i in range(rows):
        for j in range(columns):
            packed[i * padded + j] = a[i * row + j * column]
        packed[i * padded + columns : (i + 1) * padded] = 0


@kernel
def _numbers(at, tag, source, inner, packed, padded, target, target_row, rows, columns):
    """Write rows of numbers times the packed last factor."""
    sides = ((source, inner, 1, 0), (packed, padded, 1, 0), (target, target_row, 1, 0))
    multiply(at, tag, (*sides, rows, columns, inner, False, 1))


@kernel
def _forward(at, tag, table, replica, lefts, chunks, padded, packed, source, stages, height):
    """Write stages m - 1 .. 1 of some rows of x."""
    last = table.shape[0] - 1
    if last == 0:
        return
    rows = height * lefts[last]
    _numbers(at, tag, source, table[last, IN], packed, padded, stages[last], padded, rows, padded)
    for k in range(last - 1, 0, -1):
        _apply(
            at, tag, table, k, replica, False, stages[k + 1], padded, stages[k], padded,
            height * lefts[k], chunks[k], padded,
        )  # fmt: skip


@kernel
def _apply(
    at, tag, table, k, replica, transposed, source, source_chunk, target, target_chunk, lefts,
    chunks, out,
):  # fmt: skip
    """Write factor k, or its transpose, times axis k of `lefts` pieces of a stage.

    What follows the axis are `chunks` rows of `out` numbers, padded to the given chunks' sizes.
    """
    size = item_size(tag)
    rows, depth, row, column = table[k, OUT], table[k, IN], table[k, ROW], table[k, COLUMN]
    if transposed:
        rows, depth, row, column = depth, rows, column, row
    a = table[k, ADDRESS] + replica * table[k, REPLICA] * size
    source_row, target_row = chunks * source_chunk, chunks * target_chunk
    pieces, columns = chunks, out
    if source_chunk == target_chunk:
        pieces, columns = 1, source_row
    for j in range(pieces):
        b = (source + j * source_chunk * size, source_row, 1, depth * source_row)
        c = (target + j * target_chunk * size, target_row, 1, rows * target_row)
        multiply(at, tag, ((a, row, column, 0), b, c, rows, columns, depth, False, lefts))


@kernel
def _inner_factor(
    tools, tag, table, k, back, back_chunk, stage, padded, turned, da, lefts, chunks, out
):
    """Add the gradient of factor k, not the last: pieces of g times transposed pieces of a stage.

    Both run along the summed axis; the stage is turned so that its other axis gives the vectors.
    """
    size = item_size(tag)
    rows, columns = table[k, OUT], table[k, IN]
    width = _whole(columns, tag)
    pieces, depth = (1, chunks * out) if back_chunk == out else (chunks, out)
    # A transposed piece spills over into the next, which must not have been written before.
    together = 1
    if chunks == 1:
        together = max(1, min(lefts, TURNED_BYTES // (out * width * size)))
    for first in range(0, lefts, together):
        count = min(together, lefts - first)
        b = stage + first * columns * chunks * padded * size
        a = back + first * rows * chunks * back_chunk * size
        for j in range(chunks):
            source = (b + j * padded * size, chunks * padded, columns * chunks * padded)
            target = (turned + j * out * width * size, width, chunks * out * width)
            transpose(tools[1], tag, (source, target, columns, out, count))
        for j in range(pieces):
            left = (a + j * back_chunk * size, chunks * back_chunk, 1, rows * chunks * back_chunk)
            right = (turned + j * out * width * size, width, 1, chunks * out * width)
            sides = (left, right, (da, columns, 1, 0))
            multiply(tools[0], tag, (*sides, rows, columns, depth, True, count))
