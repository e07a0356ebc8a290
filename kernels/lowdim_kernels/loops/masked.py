"""Sparse products by a fixed pattern, over tiles of rows in (features, rows) order."""

import numpy as np
from numba import carray, types

from lowdim_kernels.loops.compilation import kernel, pointer

X, Y, VALUES, BIAS, ROW_OFFSETS, COLUMNS, COLUMN_OFFSETS, TRANSPOSED_ROWS, POSITIONS = range(9)
ADDRESS, STEP, WIDTH = range(3)
TILE = 64


@kernel
def masked_product(table, transposed, replicas, rows, tag):
    """Write y = x W^T + bias, or x W + bias; `table` holds address, replica step and width."""
    widths = table[:, WIDTH]
    x_tile = np.empty((widths[X], TILE), np.asarray(tag).dtype)
    y_tile = np.empty((widths[Y], TILE), x_tile.dtype)
    for r in range(replicas):
        x = _vector(table, X, r, tag, rows * widths[X])
        y = _vector(table, Y, r, tag, rows * widths[Y])
        values = _vector(table, VALUES, r, tag, widths[VALUES])
        bias = _vector(table, BIAS, r, tag, widths[BIAS])
        offsets = _index(table, COLUMN_OFFSETS if transposed else ROW_OFFSETS, r)
        inner = _index(table, TRANSPOSED_ROWS if transposed else COLUMNS, r)
        positions = _index(table, POSITIONS, r)
        for start in range(0, rows, TILE):
            height = min(TILE, rows - start)
            for b in range(height):
                for i in range(widths[X]):
                    x_tile[i, b] = x[(start + b) * widths[X] + i]
            for o in range(widths[Y]):
                y_tile[o, :height] = bias[o] if widths[BIAS] else 0
                for e in range(offsets[o], offsets[o + 1]):
                    value = values[positions[e]] if transposed else values[e]
                    i = inner[e]
                    for b in range(height):
                        y_tile[o, b] += value * x_tile[i, b]
            for b in range(height):
                for o in range(widths[Y]):
                    y[(start + b) * widths[Y] + o] = y_tile[o, b]


@kernel
def masked_gradient(table, replicas, rows, tag):
    """Write the products of the columns of g (in place of y) and x at the stored places."""
    widths = table[:, WIDTH]
    x_tile = np.empty((widths[X], TILE), np.asarray(tag).dtype)
    g_tile = np.empty((widths[Y], TILE), x_tile.dtype)
    for r in range(replicas):
        x = _vector(table, X, r, tag, rows * widths[X])
        g = _vector(table, Y, r, tag, rows * widths[Y])
        result = _vector(table, VALUES, r, tag, widths[VALUES])
        offsets = _index(table, ROW_OFFSETS, r)
        columns = _index(table, COLUMNS, r)
        result[:] = 0
        for start in range(0, rows, TILE):
            height = min(TILE, rows - start)
            for b in range(height):
                for i in range(widths[X]):
                    x_tile[i, b] = x[(start + b) * widths[X] + i]
                for o in range(widths[Y]):
                    g_tile[o, b] = g[(start + b) * widths[Y] + o]
            for o in range(widths[Y]):
                for e in range(offsets[o], offsets[o + 1]):
                    total = result[e]
                    i = columns[e]
                    for b in range(height):
                        total += g_tile[o, b] * x_tile[i, b]
                    result[e] = total


@kernel
def _vector(table, k, replica, tag, size):
    return carray(pointer(table[k, ADDRESS], tag), replica * table[k, STEP] + size)[
        replica * table[k, STEP] :
    ]


@kernel
def _index(table, k, replica):
    whole = carray(
        pointer(table[k, ADDRESS], types.int32(0)), replica * table[k, STEP] + table[k, WIDTH]
    )
    return whole[replica * table[k, STEP] :]
