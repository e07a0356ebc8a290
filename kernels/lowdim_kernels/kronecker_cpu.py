"""How kron_matmul runs on the CPU: what a call needs besides addresses is worked out once."""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Size, Tensor

from lowdim_kernels.ops import TAG
from lowdim_kernels.replicas import replica_count


def allocate_product(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return the product, unwritten."""
    count = replica_count([(a, 2) for a in factors])
    leading = x.shape[:-1] if count is None else (count, *x.shape[1:-1])
    return x.new_empty((*leading, prod([a.shape[-2] for a in factors])))


def allocate_gradients(
    x_needed: bool, g: Tensor, x: Tensor, factors: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of x, where needed, and of every factor, unwritten."""
    count = replica_count([(a, 2) for a in factors])
    leading = () if count is None else (count,)
    results = [x.new_empty((*leading, *a.shape[-2:])) for a in factors]
    if x_needed:
        results.insert(0, x.new_empty((*g.shape[:-1], x.shape[-1])))
    return results


def product_numba(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return the product by the loops."""
    plan = _plan(x.shape, x.dtype, *_shapes(factors))
    y = x.new_empty(plan.y_shape)
    if not plan.empty:
        x = x.contiguous()
        addresses = np.array([a.data_ptr() for a in factors])
        kernels = plan.kernels
        kernels.run(
            kernels.product, kernels.tools, x.data_ptr(), y.data_ptr(), addresses, *plan.geometry
        )
        return y
    return y.zero_()


def gradients_numba(
    x_needed: bool, g: Tensor, x: Tensor, factors: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients by the loops."""
    plan = _plan(x.shape, x.dtype, *_shapes(factors))
    results = [x.new_empty(shape) for shape in plan.gradient_shapes]
    dx = x.new_empty((*g.shape[:-1], x.shape[-1])) if x_needed else None
    if not plan.empty:
        g, x = g.contiguous(), x.contiguous()
        kernels = plan.kernels
        kernels.run(
            kernels.gradients,
            kernels.tools,
            g.data_ptr(),
            x.data_ptr(),
            0 if dx is None else dx.data_ptr(),
            np.array([t.data_ptr() for t in results]),
            np.array([a.data_ptr() for a in factors]),
            *plan.geometry,
        )
    results = results if dx is None else [dx, *results]
    return [t.zero_() for t in results] if plan.empty else results


class _Kernels(NamedTuple):
    """Compiled loops for one element type."""

    run: Any
    product: Any
    gradients: Any
    tools: tuple[int, int]


class _Plan(NamedTuple):
    """What the shapes and strides of a call decide; `geometry` as the kernels take it."""

    kernels: _Kernels
    y_shape: tuple[int, ...]
    gradient_shapes: list[tuple[int, ...]]
    geometry: tuple[Any, ...]
    empty: bool


def _shapes(factors: Sequence[Tensor]) -> tuple[tuple[Size, ...], tuple[tuple[int, ...], ...]]:
    return tuple([a.shape for a in factors]), tuple([a.stride() for a in factors])


@lru_cache(maxsize=1024)
def _plan(
    x_shape: Size,
    dtype: torch.dtype,
    shapes: tuple[Size, ...],
    strides: tuple[tuple[int, ...], ...],
) -> _Plan:
    counts = [shape[0] for shape in shapes if len(shape) == 3]
    replicas = max(counts, default=1) if 0 not in counts else 0
    own = x_shape[1:-1] if counts else x_shape[:-1]
    rows, out = prod(own), prod(shape[-2] for shape in shapes)
    step = rows * x_shape[-1] if counts and x_shape[0] > 1 else 0
    layout = [
        (*shape[-2:], stride[0] if len(shape) == 3 and shape[0] > 1 else 0, *stride[-2:])
        for shape, stride in zip(shapes, strides)
    ]
    leading = (replicas,) if counts else ()
    return _Plan(
        _kernels(dtype),
        (*leading, *own, out),
        [(*leading, *shape[-2:]) for shape in shapes],
        (np.array(layout), step, replicas, rows, TAG[dtype]),
        not (replicas * rows * out * x_shape[-1]),
    )


@cache
def _kernels(dtype: torch.dtype) -> _Kernels:
    from lowdim_kernels.loops.kronecker import kron_gradients, kron_product
    from lowdim_kernels.loops.tiles import MULTIPLY, TRANSPOSE
    from lowdim_kernels.loops.workspace import run

    tools = MULTIPLY.address(TAG[dtype]), TRANSPOSE.address(TAG[dtype])
    return _Kernels(run, kron_product, kron_gradients, tools)
