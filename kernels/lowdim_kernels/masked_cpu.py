"""How masked_matmul runs on the CPU: what a call needs besides addresses is worked out once."""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Size, Tensor

from lowdim_kernels.ops import TAG
from lowdim_kernels.replicas import replica_count

# A tile of rows, turned, stays in the second cache.
TILE_BYTES = 1 << 20
VECTORS = 4
VECTOR_BYTES = 64


def count_replicas(*operands: Tensor | None) -> int | None:
    """Return how many replicas values, bias and index hold, None without that axis."""
    return replica_count([(t, 1) for t in operands])


def allocate_product(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product, unwritten."""
    count = count_replicas(values, bias, *index)
    leading = x.shape[:-1] if count is None else (count, *x.shape[1:-1])
    return x.new_empty((*leading, index[2 if transposed else 0].shape[-1] - 1))


def allocate_gradient(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values, unwritten."""
    count = count_replicas(*index)
    nnz = index[1].shape[-1]
    return x.new_empty((nnz,) if count is None else (count, nnz))


def product_on_cpu(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product by the loops."""
    matrix = index[2:] if transposed else (*index[:2], None)
    x, operands = x.contiguous(), _unit_strides((values, bias, *matrix))
    plan = _product_plan(x.dtype, x.shape, *_shapes(operands))
    y = x.new_empty(plan.shape)
    if plan.rows:
        kernels = plan.kernels
        kernels.run(
            kernels.product, kernels.product_tools, _addresses(x, y, *operands), *plan.geometry
        )
    return y


def gradient_on_cpu(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values by the loops."""
    g, x, matrix = g.contiguous(), x.contiguous(), _unit_strides(index[:2])
    plan = _gradient_plan(x.dtype, g.shape, x.shape, *_shapes(matrix))
    result = x.new_empty(plan.shape)
    if not plan.rows:
        return result.zero_()
    kernels = plan.kernels
    kernels.run(
        kernels.gradient,
        kernels.gradient_tools,
        _addresses(x, g, result, None, *matrix),
        *plan.geometry,
    )
    return result


Shape = tuple[Size, tuple[int, ...]] | None


def _unit_strides(operands: Sequence[Tensor | None]) -> list[Any]:
    return [t if t is None or t.stride(-1) == 1 else t.contiguous() for t in operands]


def _addresses(*operands: Tensor | None) -> Any:
    return np.array([0 if t is None else t.data_ptr() for t in operands])


def _shapes(operands: Sequence[Tensor | None]) -> list[Shape]:
    """Return the shape and the strides of each operand."""
    return [None if t is None else (t.shape, t.stride()) for t in operands]


class _Plan(NamedTuple):
    """What the shapes of a call decide; `geometry` as the kernels take it, no rows if empty."""

    kernels: "_Kernels"
    shape: tuple[int, ...]
    rows: int
    geometry: tuple[Any, ...]


@lru_cache(maxsize=1024)
def _product_plan(dtype: torch.dtype, x: Size, *shapes: Shape) -> _Plan:
    count, replicas = _replicas(shapes)
    own, offsets = x[1:-1] if count else x[:-1], shapes[2]
    assert offsets is not None
    shape = (*count, *own, offsets[0][-1] - 1)
    rows = prod(own) if prod(shape) else 0
    layout = [*_data(rows, x, shape), *map(_step, shapes)]
    vectors = _vectors(rows, x[-1], dtype)
    geometry = (np.array(layout), vectors, replicas, rows, TAG[dtype])
    return _Plan(_kernels(dtype), shape, rows, geometry)


@lru_cache(maxsize=1024)
def _gradient_plan(dtype: torch.dtype, g: Size, x: Size, *shapes: Shape) -> _Plan:
    count, replicas = _replicas(shapes)
    columns = shapes[1]
    assert columns is not None
    nnz = columns[0][-1]
    rows = prod(g[1:-1] if count else g[:-1]) if replicas * nnz else 0
    layout = [*_data(rows, x, g), (nnz, nnz), (0, 0), *map(_step, shapes)]
    vectors = _vectors(rows, max(x[-1], g[-1]), dtype)
    geometry = (np.array(layout), vectors, replicas, rows, 0, nnz, TAG[dtype])
    return _Plan(_kernels(dtype), (*count, nnz), rows, geometry)


def _replicas(shapes: Sequence[Shape]) -> tuple[tuple[int, ...], int]:
    """Return the leading axis that operands with replicas give, if any, and how many there are."""
    counts = [entry[0][0] for entry in shapes if entry is not None and len(entry[0]) == 2]
    if not counts:
        return (), 1
    count = next((n for n in counts if n != 1), 1)
    return (count,), count


def _data(rows: int, *shapes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the step from a replica to the next, and the width, of contiguous data."""
    return [
        (rows * shape[-1] if prod(shape) > rows * shape[-1] else 0, shape[-1]) for shape in shapes
    ]


def _step(entry: Shape) -> tuple[int, int]:
    """Return the step from a replica to the next, and the width, of values or an index."""
    if entry is None:
        return 0, 0
    shape, strides = entry
    return strides[0] if len(shape) == 2 and shape[0] > 1 else 0, shape[-1]


def _vectors(rows: int, width: int, dtype: torch.dtype) -> int:
    """Return the vectors of rows in a tile."""
    lanes = VECTOR_BYTES // dtype.itemsize
    vectors = 1
    while (
        vectors < VECTORS
        and vectors * lanes < rows
        and 2 * vectors * VECTOR_BYTES * width <= TILE_BYTES
    ):
        vectors *= 2
    return vectors


class _Kernels(NamedTuple):
    """Compiled loops for one element type."""

    run: Any
    product: Any
    gradient: Any
    product_tools: tuple[int, int]
    gradient_tools: tuple[int, int]


@cache
def _kernels(dtype: torch.dtype) -> _Kernels:
    from lowdim_kernels.loops.masked import masked_gradient, masked_product
    from lowdim_kernels.loops.sparse_tiles import GRADIENT_TILE, PRODUCT_TILE, TO_TILE
    from lowdim_kernels.loops.workspace import run

    turn, product, gradient = (
        t.address(TAG[dtype]) for t in (TO_TILE, PRODUCT_TILE, GRADIENT_TILE)
    )
    return _Kernels(run, masked_product, masked_gradient, (turn, product), (turn, gradient))
