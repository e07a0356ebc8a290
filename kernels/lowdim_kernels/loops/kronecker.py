"""Kronecker products over rows: one factor after another on a sample that stays in cache."""

import numpy as np
from numba import carray

from lowdim_kernels.loops.compilation import kernel, pointer

ADDRESS, OUT, IN, REPLICA, ROW, COLUMN = range(6)


@kernel
def kron_product(x_address, y_address, x_step, replicas, rows, table, tag):
    """Write y = x (A1 ⊗ ... ⊗ Am)^T for contiguous x and y; `table` as the caller lays it out."""
    widths = _widths(table)
    m = table.shape[0]
    x = carray(pointer(x_address, tag), replicas * rows * widths[m])
    y = carray(pointer(y_address, tag), replicas * rows * widths[0])
    largest = widths.max()
    scratch = np.empty((2, largest), x.dtype)
    for r in range(replicas):
        for b in range(rows):
            source = x[r * x_step + b * widths[m] : r * x_step + (b + 1) * widths[m]]
            for k in range(m - 1, -1, -1):
                if k == 0:
                    start = (r * rows + b) * widths[0]
                    target = y[start : start + widths[0]]
                else:
                    target = scratch[k % 2]
                _apply(table, k, r, False, source, target, widths[k + 1], tag)
                source = target


@kernel
def kron_gradients(
    g_address, x_address, dx_address, da_addresses, x_step, replicas, rows, table, tag
):
    """Write the gradients of every factor, and of x unless its address is 0."""
    widths = _widths(table)
    m = table.shape[0]
    g = carray(pointer(g_address, tag), replicas * rows * widths[0])
    x = carray(pointer(x_address, tag), replicas * rows * widths[m])
    dx = carray(pointer(dx_address, tag), replicas * rows * widths[m])
    largest = widths.max()
    kept = np.empty((m + 1, largest), x.dtype)
    scratch = np.empty((2, largest), x.dtype)
    for r in range(replicas):
        for k in range(m):
            size = table[k, OUT] * table[k, IN]
            carray(pointer(da_addresses[k], tag), replicas * size)[r * size : (r + 1) * size] = 0
        for b in range(rows):
            start = r * x_step + b * widths[m]
            kept[m, : widths[m]] = x[start : start + widths[m]]
            for k in range(m - 1, 0, -1):
                _apply(table, k, r, False, kept[k + 1], kept[k], widths[k + 1], tag)
            start = (r * rows + b) * widths[0]
            source = g[start : start + widths[0]]
            for k in range(m):
                size = table[k, OUT] * table[k, IN]
                da = carray(pointer(da_addresses[k], tag), replicas * size)
                _accumulate(
                    table, k, source, kept[k + 1], da[r * size : (r + 1) * size], widths[k + 1]
                )
                if k == m - 1 and dx_address == 0:
                    break
                if k == m - 1:
                    start = (r * rows + b) * widths[m]
                    target = dx[start : start + widths[m]]
                else:
                    target = scratch[k % 2]
                _apply(table, k, r, True, source, target, widths[k], tag)
                source = target


@kernel
def _widths(table):
    """Return the width of a sample when factors k.. have been applied, for k = 0 .. m."""
    m = table.shape[0]
    widths = np.ones(m + 1, np.int64)
    for k in range(m + 1):
        for j in range(m):
            widths[k] *= table[j, OUT] if j >= k else table[j, IN]
    return widths


@kernel
def _apply(table, k, replica, transposed, source, target, width, tag):
    """Write A_k (or its transpose) times axis k of a sample of `width` elements."""
    out, inner = table[k, OUT], table[k, IN]
    row, column = table[k, ROW], table[k, COLUMN]
    if transposed:
        out, inner, row, column = inner, out, column, row
    a = carray(pointer(table[k, ADDRESS], tag), 1)
    right = 1
    for j in range(k + 1, table.shape[0]):
        right *= table[j, OUT]
    base = replica * table[k, REPLICA]
    for left in range(width // (inner * right)):
        for o in range(out):
            to = (left * out + o) * right
            target[to : to + right] = 0
            for i in range(inner):
                weight = a[base + o * row + i * column]
                of = (left * inner + i) * right
                for n in range(right):
                    target[to + n] += weight * source[of + n]


@kernel
def _accumulate(table, k, g, x, da, width):
    """Add a sample's gradient of factor k."""
    out, inner = table[k, OUT], table[k, IN]
    right = 1
    for j in range(k + 1, table.shape[0]):
        right *= table[j, OUT]
    for left in range(width // (inner * right)):
        for o in range(out):
            for i in range(inner):
                total = da[o * inner + i]
                for n in range(right):
                    total += g[(left * out + o) * right + n] * x[(left * inner + i) * right + n]
                da[o * inner + i] = total
