"""Element-wise networks on low-rank products: a row at a time, hidden activations in registers."""

import numpy as np
from numba import carray

from lowdim_kernels.loops.activations import activation
from lowdim_kernels.loops.compilation import kernel, pointer
from lowdim_kernels.loops.lane_functions import fma
from lowdim_kernels.loops.lanes import aligned, load, splat, store, total

# Rows after which sums over elements go on from single lanes to float64.
ROWS_OF_A_SUM = 16


@kernel
def nlmf_product(addresses, replicas, out, inner, rank, hidden, kind, tag):
    """Write phi(U V^T); `addresses` of u, v, a1, b1, a2, c and the result."""
    u = carray(pointer(addresses[0], tag), replicas * out * rank)
    v = carray(pointer(addresses[1], tag), replicas * inner * rank)
    a1 = carray(pointer(addresses[2], tag), replicas * hidden)
    b1 = carray(pointer(addresses[3], tag), replicas * hidden)
    a2 = carray(pointer(addresses[4], tag), replicas * hidden)
    c = carray(pointer(addresses[5], tag), replicas)
    w = carray(pointer(addresses[6], tag), replicas * out * inner)
    lanes = 64 // u.itemsize
    width = (inner + 2 * lanes - 1) // (2 * lanes) * 2 * lanes
    columns = aligned(rank * width, u.dtype)
    row = aligned(width, u.dtype)
    zero = splat(load(row, 0), 0.0)
    for r in range(replicas):
        _turn(v[r * inner * rank : (r + 1) * inner * rank], inner, rank, width, columns)
        own = slice(r * hidden, (r + 1) * hidden)
        p1, q1, p2 = a1[own], b1[own], a2[own]
        for i in range(out):
            start = (r * out + i) * rank
            for k in range(0, width, 2 * lanes):
                x, y = zero, zero
                for j in range(rank):
                    uj, at = splat(zero, u[start + j]), j * width + k
                    x, y = fma(uj, load(columns, at), x), fma(uj, load(columns, at + lanes), y)
                s = splat(zero, c[r])
                t = s
                for j in range(hidden):
                    a, b, weight = splat(zero, p1[j]), splat(zero, q1[j]), splat(zero, p2[j])
                    value, _ = activation(fma(a, x, b), kind)
                    s = fma(weight, value, s)
                    value, _ = activation(fma(a, y, b), kind)
                    t = fma(weight, value, t)
                store(row, k, s)
                store(row, k + lanes, t)
            start = (r * out + i) * inner
            for k in range(inner):
                w[start + k] = row[k]


@kernel
def _turn(v, inner, rank, width, columns):
    """Store V^T by rows of `width`, zero past its end."""
    columns[:] = 0
    for i in range(inner):
        for j in range(rank):
            columns[j * width + i] = v[i * rank + j]


@kernel
def nlmf_gradients(addresses, replicas, out, inner, rank, hidden, kind, tag):
    """Write all gradients; `addresses` of g, u, v, a1, b1, a2 and of the gradients of u to c."""
    g = carray(pointer(addresses[0], tag), replicas * out * inner)
    u = carray(pointer(addresses[1], tag), replicas * out * rank)
    v = carray(pointer(addresses[2], tag), replicas * inner * rank)
    a1 = carray(pointer(addresses[3], tag), replicas * hidden)
    b1 = carray(pointer(addresses[4], tag), replicas * hidden)
    a2 = carray(pointer(addresses[5], tag), replicas * hidden)
    du = carray(pointer(addresses[6], tag), replicas * out * rank)
    dv = carray(pointer(addresses[7], tag), replicas * inner * rank)
    da1 = carray(pointer(addresses[8], tag), replicas * hidden)
    db1 = carray(pointer(addresses[9], tag), replicas * hidden)
    da2 = carray(pointer(addresses[10], tag), replicas * hidden)
    dc = carray(pointer(addresses[11], tag), replicas)
    lanes = 64 // u.itemsize
    width = (inner + 2 * lanes - 1) // (2 * lanes) * 2 * lanes
    columns, turned = aligned(rank * width, u.dtype), aligned(rank * width, u.dtype)
    row, change = aligned(width, u.dtype), aligned(width, u.dtype)
    sums = aligned((3 * hidden + 1) * lanes, u.dtype)
    totals = np.empty(3 * hidden + 1, np.float64)
    for r in range(replicas):
        _turn(v[r * inner * rank : (r + 1) * inner * rank], inner, rank, width, columns)
        own = slice(r * hidden, (r + 1) * hidden)
        turned[:], sums[:], totals[:] = 0, 0, 0
        row[:] = 0
        for i in range(out):
            start = (r * out + i) * inner
            for k in range(inner):
                row[k] = g[start + k]
            at = slice((r * out + i) * rank, (r * out + i + 1) * rank)
            _row_gradients(
                row, u[at], columns, width, a1[own], b1[own], a2[own], kind, change, sums
            )
            _spread(change, columns, turned, width, u[at], du[at])
            if i % ROWS_OF_A_SUM == ROWS_OF_A_SUM - 1 or i == out - 1:
                _collect(sums, lanes, totals)
        for j in range(hidden):
            da1[r * hidden + j] = totals[3 * j] * a2[r * hidden + j]
            db1[r * hidden + j] = totals[3 * j + 1] * a2[r * hidden + j]
            da2[r * hidden + j] = totals[3 * j + 2]
        dc[r] = totals[3 * hidden]
        for i in range(inner):
            for j in range(rank):
                dv[(r * inner + i) * rank + j] = turned[j * width + i]


@kernel
def _row_gradients(row, u, columns, width, a1, b1, a2, kind, change, sums):
    """Write the gradient of a row of U V^T, and add to the sums of a1, b1, a2 by unit, and c."""
    lanes = 64 // row.itemsize
    zero = splat(load(row, 0), 0.0)
    hidden = a1.size
    for k in range(0, width, 2 * lanes):
        x, y = zero, zero
        for j in range(u.size):
            uj, at = splat(zero, u[j]), j * width + k
            x, y = fma(uj, load(columns, at), x), fma(uj, load(columns, at + lanes), y)
        g, h = load(row, k), load(row, k + lanes)
        dx, dy = zero, zero
        for j in range(hidden):
            a, b, weight = splat(zero, a1[j]), splat(zero, b1[j]), splat(zero, a2[j])
            value, slope = activation(fma(a, x, b), kind)
            other, tilt = activation(fma(a, y, b), kind)
            slope, tilt = slope * g, tilt * h
            at = 3 * j * lanes
            store(sums, at, fma(slope, x, fma(tilt, y, load(sums, at))))
            store(sums, at + lanes, load(sums, at + lanes) + (slope + tilt))
            store(sums, at + 2 * lanes, fma(g, value, fma(h, other, load(sums, at + 2 * lanes))))
            weight = weight * a
            dx, dy = fma(weight, slope, dx), fma(weight, tilt, dy)
        store(change, k, dx)
        store(change, k + lanes, dy)
        at = 3 * hidden * lanes
        store(sums, at, load(sums, at) + (g + h))


@kernel
def _spread(change, columns, turned, width, u, du):
    """Write a row of the gradient of U, and add the row's part to that of V^T."""
    lanes = 64 // change.itemsize
    zero = splat(load(change, 0), 0.0)
    for j in range(u.size):
        dot, uj = zero, splat(zero, u[j])
        for k in range(0, width, lanes):
            d, at = load(change, k), j * width + k
            dot = fma(d, load(columns, at), dot)
            store(turned, at, fma(d, uj, load(turned, at)))
        du[j] = total(dot)


@kernel
def _collect(sums, lanes, totals):
    """Move the sums by lane to their totals."""
    for j in range(totals.size):
        for k in range(lanes):
            totals[j] += sums[j * lanes + k]
    sums[:] = 0
