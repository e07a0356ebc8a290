"""How kron_matmul runs on the CPU: what a call needs besides addresses is worked out once."""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import prod

import torch
from torch import Size, Tensor

from lowdim_kernels.kronecker_geometry import Factor, Kronecker
from lowdim_kernels.kronecker_parts import gradients_in_parts, product_in_parts
from lowdim_kernels.kronecker_program import gradients_program, product_program
from lowdim_kernels.loops.workspace import space
from lowdim_kernels.products.program import Program
from lowdim_kernels.replicas import replica_count
from lowdim_kernels.threads import part_count, thread_count


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


def product_on_cpu(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return the product by a compiled program."""
    plan = _plan(x.shape, x.dtype, *_shapes(factors))
    y = x.new_empty(plan.y_shape)
    if plan.kronecker is None:
        return y.zero_()
    if not x.is_contiguous():
        x = x.contiguous()
    addresses = [x.data_ptr(), y.data_ptr(), *[a.data_ptr() for a in factors]]
    count = thread_count(plan.flops)
    if count > 1:
        product_in_parts(plan.kronecker, addresses, count)
    else:
        program, needed = plan.product()
        program.run(*addresses[:2], space(needed), *addresses[2:])
    return y


def gradients_on_cpu(
    x_needed: bool, g: Tensor, x: Tensor, factors: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients by a compiled program."""
    plan = _plan(x.shape, x.dtype, *_shapes(factors))
    results = [x.new_empty(shape) for shape in plan.gradient_shapes]
    if x_needed:
        results.insert(0, x.new_empty((*g.shape[:-1], x.shape[-1])))
    if plan.kronecker is None:
        return [t.zero_() for t in results]
    if not g.is_contiguous():
        g = g.contiguous()
    if not x.is_contiguous():
        x = x.contiguous()
    addresses = [g.data_ptr(), x.data_ptr(), *[a.data_ptr() for a in factors]]
    parts, count = part_count(3 * plan.replica_flops), thread_count(3 * plan.flops)
    if parts > 1 or count > 1:
        gradients_in_parts(plan.kronecker, addresses, results, x_needed, parts, count)
    else:
        program, needed = plan.gradients(x_needed)
        written = [t.data_ptr() for t in results]
        program.run(*addresses[:2], space(needed), *written, *addresses[2:])
    return results


class _Plan:
    """What the shapes and strides of a call decide; `kronecker` is None where all is empty."""

    def __init__(
        self,
        kronecker: Kronecker | None,
        y_shape: tuple[int, ...],
        gradient_shapes: list[tuple[int, ...]],
    ) -> None:
        self.kronecker = kronecker
        self.y_shape = y_shape
        self.gradient_shapes = gradient_shapes
        self.replica_flops = 0.0 if kronecker is None else kronecker.flops
        self.flops = 0.0 if kronecker is None else kronecker.flops * kronecker.replicas
        self.product = cache(self._product)
        self.gradients = cache(self._gradients)

    def _product(self) -> tuple[Program, int]:
        assert self.kronecker is not None
        return product_program(self.kronecker)

    def _gradients(self, x_needed: bool) -> tuple[Program, int]:
        assert self.kronecker is not None
        return gradients_program(self.kronecker, x_needed=x_needed)


def _shapes(factors: Sequence[Tensor]) -> tuple[tuple[Size, ...], tuple[tuple[int, ...], ...]]:
    return tuple([a.shape for a in factors]), tuple([a.stride() for a in factors])


@lru_cache(maxsize=1024)
def _plan(
    x_shape: Size,
    dtype: torch.dtype,
    shapes: tuple[Size, ...],
    strides: tuple[tuple[int, ...], ...],
) -> _Plan:
    element = _element(dtype)
    counts = [shape[0] for shape in shapes if len(shape) == 3]
    replicas = max(counts, default=1) if 0 not in counts else 0
    own = x_shape[1:-1] if counts else x_shape[:-1]
    rows, out = prod(own), prod(shape[-2] for shape in shapes)
    step = rows * x_shape[-1] if counts and x_shape[0] > 1 else 0
    layout = [
        Factor(
            shape[-2],
            shape[-1],
            stride[0] if len(shape) == 3 and shape[0] > 1 else 0,
            stride[-2],
            stride[-1],
        )
        for shape, stride in zip(shapes, strides)
    ]
    leading = (replicas,) if counts else ()
    empty = not replicas * rows * out * x_shape[-1]
    return _Plan(
        None if empty else Kronecker(element, tuple(layout), step, replicas, rows, rows),
        (*leading, *own, out),
        [(*leading, *shape[-2:]) for shape in shapes],
    )


def _element(dtype: torch.dtype) -> str:
    if dtype not in _ELEMENTS:
        raise TypeError(f"kernels of the CPU take float32 or float64, got {dtype}")
    return _ELEMENTS[dtype]


_ELEMENTS = {torch.float32: "float32", torch.float64: "float64"}
