"""Sparse products by a fixed pattern: tiles of rows turned to (features, rows) and back.

Flops: 2 rows * nnz each way. Loads: a vector of a tile for every multiply-add of vectors, from the
second cache where a tile exceeds the first; a stored value and its column once a tile.
"""

import numpy as np
from numba import carray, types

from lowdim_kernels.loops.compilation import kernel, pointer
from lowdim_kernels.loops.sparse_tiles import GRADIENT_TILE, PANEL, PRODUCT_TILE, TO_TILE
from lowdim_kernels.loops.vectors import BYTES, item_size

X, Y, VALUES, BIAS, OFFSETS, INNER, POSITIONS = range(7)
STEP, WIDTH = range(2)

to_tile, product_tile, gradient_tile = TO_TILE.call, PRODUCT_TILE.call, GRADIENT_TILE.call


@kernel
def masked_product(tools, addresses, layout, vectors, replicas, rows, tag, space, space_bytes):
    """Write y = x W^T + bias for contiguous rows of x and y.

    `tools` are the addresses of TO_TILE and PRODUCT_TILE. `addresses` of the operands above, and
    `layout` with the step by replica in elements and the width of each. Without bias its address
    is 0; where values are not in the order of the offsets, POSITIONS says where each lies. A tile
    is `vectors` of rows. Returns 0, or the bytes that `space` needs.
    """
    size = item_size(tag)
    tile_rows = vectors * (BYTES // size)
    x_width, y_width, nnz = layout[X, WIDTH], layout[Y, WIDTH], layout[INNER, WIDTH]
    tile = space + BYTES
    lines = tile + (x_width * size + BYTES) * tile_rows
    panel = min(PANEL, (y_width + tile_rows) // tile_rows * tile_rows)
    ordered = lines + panel * vectors * BYTES
    end = ordered + (nnz * size if addresses[POSITIONS] else 0)
    if end - space > space_bytes:
        return end - space
    carray(pointer(space, tag), 1)[0] = 0
    for r in range(replicas):
        values = _place(addresses, layout, VALUES, r, size)
        if addresses[POSITIONS]:
            _gather(tag, values, ordered, _place(addresses, layout, POSITIONS, r, 4), nnz)
            values = ordered
        bias, bias_step = space, 0
        if addresses[BIAS]:
            bias, bias_step = _place(addresses, layout, BIAS, r, size), size
        matrix = (
            values,
            _place(addresses, layout, INNER, r, 4),
            _place(addresses, layout, OFFSETS, r, 4),
        )
        for start in range(0, rows, tile_rows):
            height = min(tile_rows, rows - start)
            x = _place(addresses, layout, X, r, size) + start * x_width * size
            y = _place(addresses, layout, Y, r, size) + start * y_width * size
            to_tile(tools[0], tag, (x, x_width, height, tile, vectors))
            product_tile(
                tools[1],
                tag,
                (tile, vectors, height, lines, y, y_width, *matrix, bias, bias_step),
            )
    return 0


@kernel
def masked_gradient(
    tools, addresses, layout, vectors, replicas, rows, first, last, tag, space, space_bytes
):
    """Write entries first .. last of the products of columns of g, in place of y, and of x.

    `tools` are the addresses of TO_TILE and GRADIENT_TILE, the result is in place of the values;
    the rest as in `masked_product`.
    """
    size = item_size(tag)
    lanes = BYTES // size
    tile_rows = vectors * lanes
    x_width, g_width, nnz = layout[X, WIDTH], layout[Y, WIDTH], last - first
    g_tile = space + (x_width * size + BYTES) * tile_rows
    places = g_tile + (g_width * size + BYTES) * tile_rows
    ends = places + (nnz + lanes) * 4
    end = ends + lanes * (4 + size)
    if end - space > space_bytes:
        return end - space
    whole = nnz // lanes * lanes
    last_sums = ends + lanes * 4
    for r in range(replicas):
        result = _place(addresses, layout, VALUES, r, size) + first * size
        columns = _place(addresses, layout, INNER, r, 4) + first * 4
        if r == 0 or layout[OFFSETS, STEP]:
            offsets = _place(addresses, layout, OFFSETS, r, 4)
            _rows_of(offsets, g_width, first, last, places, lanes)
            _part(types.int32(0), columns + whole * 4, nnz - whole, ends, lanes)
        carray(pointer(result, tag), nnz)[:] = 0
        carray(pointer(last_sums, tag), lanes)[:] = 0
        for start in range(0, rows, tile_rows):
            height = min(tile_rows, rows - start)
            x = _place(addresses, layout, X, r, size) + start * x_width * size
            g = _place(addresses, layout, Y, r, size) + start * g_width * size
            to_tile(tools[0], tag, (x, x_width, height, space, vectors))
            to_tile(tools[0], tag, (g, g_width, height, g_tile, vectors))
            tiles = (g_tile, space, vectors)
            gradient_tile(tools[1], tag, (*tiles, result, places, columns, whole // lanes))
            gradient_tile(tools[1], tag, (*tiles, last_sums, places + whole * 4, ends, 1))
        _part(tag, last_sums, nnz - whole, result + whole * size, 0)
    return 0


@kernel
def _place(addresses, layout, k, replica, size):
    """Return the address of an operand's numbers for one replica."""
    return addresses[k] + replica * layout[k, STEP] * size


@kernel
def _gather(tag, values, target, positions, count):
    """Write the values in the order of the positions."""
    source = carray(pointer(values, tag), count)
    result = carray(pointer(target, tag), count)
    places = carray(pointer(positions, types.int32(0)), count)
    for e in range(count):
        result[e] = source[np.int64(places[e])]


@kernel
def _rows_of(offsets, height, first, last, target, spare):
    """Write the row of each entry first .. last, and 0 for some spare ones."""
    bounds = carray(pointer(offsets, types.int32(0)), height + 1)
    rows = carray(pointer(target, types.int32(0)), last - first + spare)
    for o in range(height):
        for e in range(max(np.int64(bounds[o]), first), min(np.int64(bounds[o + 1]), last)):
            rows[e - first] = o
    rows[last - first :] = 0


@kernel
def _part(tag, source, count, target, spare):
    """Copy a few numbers, with zeros after them up to `spare` numbers."""
    numbers = carray(pointer(source, tag), count)
    result = carray(pointer(target, tag), max(count, spare))
    for k in range(count):
        result[k] = numbers[k]
    result[count:] = 0
