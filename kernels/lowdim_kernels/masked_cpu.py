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


def product_numba(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product by the loops."""
    y = allocate_product(transposed, x, values, bias, *index)
    if not y.numel():
        return y
    # Kept by name: addresses alone do not keep a copy alive.
    operands = [
        x.contiguous(),
        y,
        _whole(values),
        _whole(bias),
        *(map(_whole, index[2:]) if transposed else (*map(_whole, index[:2]), None)),
    ]
    replicas = count_replicas(values, bias, *index) or 1
    rows = y.numel() // (y.shape[-1] * replicas)
    kernels = _kernels(x.dtype)
    kernels.run(
        kernels.product,
        kernels.product_tools,
        _addresses(operands),
        _layout(rows, *_shapes(operands)),
        _vectors(rows, x.shape[-1], x.dtype),
        replicas,
        rows,
        TAG[x.dtype],
    )
    return y


def gradient_numba(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values by the loops."""
    result = allocate_gradient(g, x, *index)
    if not result.numel() or not g.numel():
        return result.zero_()
    count = count_replicas(*index)
    rows = prod(g.shape[:-1] if count is None else g.shape[1:-1])
    operands = [x.contiguous(), g.contiguous(), result, None, *map(_whole, index[:2])]
    kernels = _kernels(x.dtype)
    kernels.run(
        kernels.gradient,
        kernels.gradient_tools,
        _addresses(operands),
        _layout(rows, *_shapes(operands)),
        _vectors(rows, max(x.shape[-1], g.shape[-1]), x.dtype),
        count or 1,
        rows,
        0,
        result.shape[-1],
        TAG[x.dtype],
    )
    return result


def _whole(t: Tensor | None) -> Tensor | None:
    return t if t is None or t.stride(-1) == 1 else t.contiguous()


def _addresses(operands: Sequence[Tensor | None]) -> Any:
    return np.array([0 if t is None else t.data_ptr() for t in operands])


Shape = tuple[Size, int] | None


def _shapes(operands: Sequence[Tensor | None]) -> list[Shape]:
    """Return the shape and the first stride of each operand."""
    return [None if t is None else (t.shape, t.stride(0)) for t in operands]


@lru_cache(maxsize=1024)
def _layout(rows: int, *shapes: Shape) -> Any:
    """Return the step from a replica to the next and the width of each operand, data first."""
    layout = []
    for k, entry in enumerate(shapes):
        if entry is None:
            layout.append((0, 0))
            continue
        shape, stride = entry
        if k < 2:
            own = rows * shape[-1]
            layout.append((own if prod(shape) > own else 0, shape[-1]))
        else:
            layout.append((stride if len(shape) == 2 and shape[0] > 1 else 0, shape[-1]))
    return np.array(layout)


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
