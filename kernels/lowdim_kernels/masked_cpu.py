"""How masked_matmul runs on the CPU: what a call needs besides addresses is worked out once."""

from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Size, Tensor

from lowdim_kernels.masked_geometry import (
    Shape,
    data_steps,
    leading_axis,
    operand_step,
    shapes_of,
    unit_strides,
)
from lowdim_kernels.ops import TAG

# A tile of rows, turned, stays in the second cache.
TILE_BYTES = 1 << 20
VECTORS = 4
VECTOR_BYTES = 64


def product_on_cpu(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product by the loops."""
    matrix = index[2:] if transposed else (*index[:2], None)
    x, operands = x.contiguous(), unit_strides((values, bias, *matrix))
    plan = _product_plan(x.dtype, x.shape, *shapes_of(operands))
    y = x.new_empty(plan.shape)
    if plan.rows:
        kernels = plan.kernels
        kernels.run(
            kernels.product, kernels.product_tools, _addresses(x, y, *operands), *plan.geometry
        )
    return y


def gradient_on_cpu(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values by the loops."""
    g, x, matrix = g.contiguous(), x.contiguous(), unit_strides(index[:2])
    plan = _gradient_plan(x.dtype, g.shape, x.shape, *shapes_of(matrix))
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


def _addresses(*operands: Tensor | None) -> Any:
    return np.array([0 if t is None else t.data_ptr() for t in operands])


class _Plan(NamedTuple):
    """What the shapes of a call decide; `geometry` as the kernels take it, no rows if empty."""

    kernels: "_Kernels"
    shape: tuple[int, ...]
    rows: int
    geometry: tuple[Any, ...]


@lru_cache(maxsize=1024)
def _product_plan(dtype: torch.dtype, x: Size, *shapes: Shape) -> _Plan:
    count, replicas = leading_axis(shapes)
    own, offsets = x[1:-1] if count else x[:-1], shapes[2]
    assert offsets is not None
    shape = (*count, *own, offsets[0][-1] - 1)
    rows = prod(own) if prod(shape) else 0
    layout = [*data_steps(rows, x, shape), *map(operand_step, shapes)]
    vectors = _vectors(rows, x[-1], dtype)
    geometry = (np.array(layout), vectors, replicas, rows, TAG[dtype])
    return _Plan(_kernels(dtype), shape, rows, geometry)


@lru_cache(maxsize=1024)
def _gradient_plan(dtype: torch.dtype, g: Size, x: Size, *shapes: Shape) -> _Plan:
    count, replicas = leading_axis(shapes)
    columns = shapes[1]
    assert columns is not None
    nnz = columns[0][-1]
    rows = prod(g[1:-1] if count else g[:-1]) if replicas * nnz else 0
    layout = [*data_steps(rows, x, g), (nnz, nnz), (0, 0), *map(operand_step, shapes)]
    vectors = _vectors(rows, max(x[-1], g[-1]), dtype)
    geometry = (np.array(layout), vectors, replicas, rows, 0, nnz, TAG[dtype])
    return _Plan(_kernels(dtype), (*count, nnz), rows, geometry)


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
