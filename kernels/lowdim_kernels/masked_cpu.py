"""How masked_matmul runs on the CPU: what a call needs besides addresses is worked out once."""

from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor

from lowdim_kernels.loops.workspace import run
from lowdim_kernels.masked_geometry import (
    Shape,
    data_steps,
    leading_axis,
    operand_step,
    shapes_of,
    unit_strides,
)
from lowdim_kernels.ops import TAG
from lowdim_kernels.threads import cuts, run_together, thread_count

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
        plan.run(_addresses(x, y, *operands))
    return y


def gradient_on_cpu(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values by the loops."""
    g, x, matrix = g.contiguous(), x.contiguous(), unit_strides(index[:2])
    plan = _gradient_plan(x.dtype, g.shape, x.shape, *shapes_of(matrix))
    result = x.new_empty(plan.shape)
    if not plan.rows:
        return result.zero_()
    plan.run(_addresses(x, g, result, None, *matrix))
    return result


def _addresses(*operands: Tensor | None) -> Any:
    return np.array([0 if t is None else t.data_ptr() for t in operands])


@dataclass(frozen=True)
class _Plan:
    """What the shapes of a call decide; no rows if empty.

    `geometry` as the kernel takes it: layout, vectors, replicas, rows, for a gradient the first
    and the last of its entries, and the tag.
    """

    kernel: "_Kernel"
    shape: tuple[int, ...]
    rows: int
    geometry: tuple[Any, ...]
    flops: float

    def run(self, addresses: Any) -> None:
        """Run the kernel over operands at these addresses, on several threads if it is long."""
        count = thread_count(self.flops)
        if count == 1:
            run(*self.kernel, addresses, *self.geometry)
        else:
            parts = self._parts(addresses, count)
            run_together([partial(run, *self.kernel, *part) for part in parts])

    def _parts(self, addresses: Any, count: int) -> list[tuple[Any, ...]]:
        """Return addresses and geometry of parts that write different results in the same order.

        Parts are replicas, or whole tiles of rows of a product, or whole vectors of the entries of
        a gradient, each of which is a sum over all rows.
        """
        layout, vectors, replicas, rows, *rest = self.geometry
        size = rest[-1].itemsize
        if replicas >= count:
            steps = layout[:, 0] * _sizes(layout, size)
            return [
                (addresses + first * steps, layout, vectors, last - first, rows, *rest)
                for first, last in cuts(replicas, count)
            ]
        lanes = VECTOR_BYTES // size
        if len(rest) > 1:
            return [
                (addresses, layout, vectors, replicas, rows, *entries, rest[-1])
                for entries in cuts(rest[1], count, lanes)
            ]
        steps = np.zeros_like(addresses)
        steps[:2] = layout[:2, 1] * size
        return [
            (addresses + first * steps, layout, vectors, replicas, last - first, *rest)
            for first, last in cuts(rows, count, vectors * lanes)
        ]


def _sizes(layout: Any, size: int) -> Any:
    """Return the bytes of an element of x, y, values, bias, and of what is in the index."""
    return np.array([size] * 4 + [4] * (len(layout) - 4))


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
    flops = 2.0 * replicas * rows * layout[-2][1]
    return _Plan(_product_kernel(dtype), shape, rows, geometry, flops)


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
    flops = 2.0 * replicas * rows * nnz
    return _Plan(_gradient_kernel(dtype), (*count, nnz), rows, geometry, flops)


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


# The compiled loop for one element type, and the addresses of the two that it calls.
_Kernel = tuple[Any, tuple[int, int]]


@cache
def _product_kernel(dtype: torch.dtype) -> _Kernel:
    from lowdim_kernels.loops.masked import masked_product
    from lowdim_kernels.loops.sparse_tiles import PRODUCT_TILE, TO_TILE

    return masked_product, (TO_TILE.address(TAG[dtype]), PRODUCT_TILE.address(TAG[dtype]))


@cache
def _gradient_kernel(dtype: torch.dtype) -> _Kernel:
    from lowdim_kernels.loops.masked import masked_gradient
    from lowdim_kernels.loops.sparse_tiles import GRADIENT_TILE, TO_TILE

    return masked_gradient, (TO_TILE.address(TAG[dtype]), GRADIENT_TILE.address(TAG[dtype]))
