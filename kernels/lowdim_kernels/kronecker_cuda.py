"""How kron_matmul runs on the GPU: the last two factors together where they fit, others by one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from lowdim_kernels.cuda.launcher import (
    Program,
    launch,
    multiprocessors,
    program,
    shared_limit,
    storage_name,
)
from lowdim_kernels.cuda.parts import most_replicas, sum_of_parts
from lowdim_kernels.kronecker_cpu import allocate_gradients, allocate_product
from lowdim_kernels.kronecker_pair_plan import THREADS, pair_plan
from lowdim_kernels.replicas import replica_count, with_replicas

# Blocks that share one replica's samples in a sum, and columns that one part of it takes.
MOST_PARTS = 128
LEAST_SHARE = 256
TILE = 4096
DEPTH = 16
# Below this side the tiles of tensor cores would be mostly padding.
LEAST_FOR_TENSOR_CORES = 8
_HALVES = (torch.float16, torch.bfloat16)


def product_on_cuda(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return the product by launches on the current stream.

    float32 is multiplied as TF32 where torch's matrix products are, by
    `torch.backends.cuda.matmul.fp32_precision`; float16 and bfloat16 are exact in TF32, and
    summed in float32.
    """
    y = allocate_product(x, factors)
    if not y.numel():
        return y
    if not x.numel():
        return y.zero_()
    call = _Call(x, factors)
    data = call.data(x)
    for step in call.steps():
        target = y if step.ends else x.new_empty(call.replicas * call.rows * step.width)
        data = call.multiply(step, data, target)
    return y


def gradients_on_cuda(
    x_needed: bool, g: Tensor, x: Tensor, factors: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of x, where needed, and of every factor, by launches."""
    results = allocate_gradients(x_needed, g, x, factors)
    if not g.numel() or not x.numel() or not all(a.numel() for a in factors):
        return [t.zero_() for t in results]
    call = _Call(x, factors)
    dx = results[0] if x_needed else None
    da = results[x_needed:]
    g, x_data = g.contiguous(), call.data(x)
    if len(factors) == 2 and call.pair(gradients=True):
        call.pair_gradients(g, x_data, dx, da)
    else:
        call.gradients_by_factor(g, x_data, dx, da)
    return results


class _Data(NamedTuple):
    """Contiguous data, and whether each replica has its own."""

    tensor: Tensor
    by_replica: bool


class _Step(NamedTuple):
    """Factors k to `last`, applied to what the later ones left; `width` of a row after it."""

    k: int
    last: int
    width: int
    ends: bool


class _Call:
    """The shapes of a call: sizes, strides and what each launch needs besides addresses."""

    def __init__(self, x: Tensor, factors: Sequence[Tensor]) -> None:
        count = replica_count([(a, 2) for a in factors])
        self.leads = count is not None
        self.replicas = count or 1
        own = x.shape[1:-1] if self.leads else x.shape[:-1]
        self.rows = prod(own)
        self.factors = [with_replicas(a, 2, self.replicas) for a in factors]
        self.outer = [a.shape[-2] for a in factors]
        self.inner = [a.shape[-1] for a in factors]
        self.scalar = storage_name(x.dtype)
        self.dtype, self.device = x.dtype, x.device
        self.sum_dtype = torch.float32 if x.dtype in _HALVES else x.dtype
        in_tf32 = x.dtype in _HALVES or (
            x.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
        )
        least = min(*self.outer, *self.inner)
        self.tf32 = int(in_tf32 and least >= LEAST_FOR_TENSOR_CORES)
        self.unit, self.gap = (16, 8) if self.tf32 else (4, 4)

    def data(self, x: Tensor) -> _Data:
        """Return x as the kernels read it."""
        return _Data(x.contiguous(), self.leads and x.shape[0] > 1)

    def left(self, k: int) -> int:
        """Return the inner sizes before factor k, multiplied."""
        return prod(self.inner[:k])

    def right(self, k: int) -> int:
        """Return the outer sizes after factor k, multiplied."""
        return prod(self.outer[k + 1 :])

    def steps(self) -> list[_Step]:
        """Return the launches that the product takes, in order."""
        last = len(self.factors) - 1
        first = [(last - 1, last)] if last and self.pair(gradients=False) else [(last, last)]
        single = [(k, k) for k in range(first[0][0] - 1, -1, -1)]
        return [
            _Step(k, end, self.left(k) * prod(self.outer[k:]), k == 0)
            for k, end in [*first, *single]
        ]

    def multiply(self, step: _Step, data: _Data, target: Tensor) -> _Data:
        """Launch one step into the target."""
        if step.last > step.k:
            self._pair_product(data, target)
        else:
            a = self.factors[step.k]
            self._factor_product(step.k, a, data, target)
        return _Data(target, True)

    # Two factors at once

    def pair(self, *, gradients: bool) -> tuple[dict[str, int], int] | None:
        """Return the constants and shared bytes of the last two factors, None if too large."""
        o, i = self.outer[-2:], self.inner[-2:]
        samples = self.rows * self.left(len(self.factors) - 2)
        limit = shared_limit(self.device)
        return pair_plan(
            tuple(o), tuple(i), samples, limit, self.unit, self.gap, self._size, gradients
        )

    @property
    def _size(self) -> int:
        return self.sum_dtype.itemsize

    def _pair_program(self, constants: dict[str, int]) -> Program:
        return program("kronecker_pair", SCALAR=self.scalar, TF32=self.tf32, **constants)

    def _pair_strides(self) -> list[int]:
        first, second = self.factors[-2:]
        return [*first.stride(), *second.stride()]

    def _pair_product(self, data: _Data, target: Tensor) -> None:
        found = self.pair(gradients=False)
        assert found is not None
        constants, shared = found
        samples = self.rows * self.left(len(self.factors) - 2)
        x_step = samples * self.inner[-2] * self.inner[-1] if data.by_replica else 0
        groups = -(-samples // constants["GROUP"])
        # As many blocks as run at once: each keeps the factors for all of its samples.
        at_once = multiprocessors(self.device) * max(1, shared_limit(self.device) // shared)
        blocks = min(groups, max(1, -(-at_once // self.replicas)))
        launch(
            self._pair_program(constants | {"X_NEEDED": 0}),
            "pair_product",
            (blocks, most_replicas(self.replicas)),
            THREADS,
            [
                *(data.tensor, *self.factors[-2:], target),
                *(samples, self.replicas, x_step),
                *self._pair_strides(),
            ],
            shared_bytes=shared,
        )

    def pair_gradients(self, g: Tensor, x: _Data, dx: Tensor | None, da: list[Tensor]) -> None:
        """Launch the gradients of two factors, and of x."""
        found = self.pair(gradients=True)
        assert found is not None
        constants, shared = found
        samples = self.rows
        parts = min(-(-samples // constants["GROUP"]), MOST_PARTS)
        sums = [
            g.new_empty((self.replicas, parts, *a.shape[-2:]), dtype=self.sum_dtype)
            for a in self.factors
        ]
        x_step = samples * prod(self.inner) if x.by_replica else 0
        launch(
            self._pair_program(constants | {"X_NEEDED": int(dx is not None)}),
            "pair_gradients",
            (parts, most_replicas(self.replicas)),
            THREADS,
            [
                *(g, x.tensor, *self.factors, g if dx is None else dx, *sums),
                *(samples, self.replicas, x_step),
                *self._pair_strides(),
            ],
            shared_bytes=shared,
        )
        for part, target in zip(sums, da):
            sum_of_parts(part, target, self.replicas, parts)

    # One factor at a time

    def _factor_program(self, outer: int, right: int) -> Program:
        rows = 64 if outer > 16 else 16
        return program(
            "kronecker",
            SCALAR=self.scalar,
            TF32=self.tf32,
            ROWS=rows,
            COLUMNS=TILE // rows,
            RIGHT_IS_ONE=int(right == 1),
        )

    def _tile_bytes(self, rows: int) -> int:
        across = TILE // rows
        return DEPTH * (rows + across + 2 * self.gap) * self._size

    def _factor_product(self, k: int, a: Tensor, data: _Data, target: Tensor) -> None:
        """Launch Y = A X along the axis of factor k; `a` may be that factor, turned."""
        outer, inner = a.shape[-2:]
        right = self.right(k)
        columns = self.rows * self.left(k) * right
        chosen = self._factor_program(outer, right)
        rows = dict(chosen.constants)["ROWS"]
        assert isinstance(rows, int)
        launch(
            chosen,
            "factor_product",
            (-(-columns * rows // TILE), most_replicas(self.replicas), -(-outer // rows)),
            THREADS,
            [
                *(data.tensor, a, target, columns, right, outer, inner, self.replicas),
                *(columns * inner if data.by_replica else 0, *a.stride()),
            ],
            shared_bytes=self._tile_bytes(rows),
        )

    def _factor_gradient(self, k: int, g: Tensor, x: _Data, target: Tensor) -> None:
        outer, inner, right = self.outer[k], self.inner[k], self.right(k)
        columns = self.rows * self.left(k) * right
        share = max(LEAST_SHARE, -(-columns // MOST_PARTS))
        parts = -(-columns // share)
        chosen = self._factor_program(outer, right)
        rows = dict(chosen.constants)["ROWS"]
        assert isinstance(rows, int)
        tiles = -(-outer // rows) * -(-inner * rows // TILE)
        sums = g.new_empty((self.replicas, parts, outer, inner), dtype=self.sum_dtype)
        launch(
            chosen,
            "factor_gradient",
            (parts, most_replicas(self.replicas), tiles),
            THREADS,
            [
                *(g, x.tensor, sums, columns, share, right, outer, inner, self.replicas),
                columns * inner if x.by_replica else 0,
            ],
            shared_bytes=self._tile_bytes(rows),
        )
        sum_of_parts(sums, target, self.replicas, parts)

    def gradients_by_factor(self, g: Tensor, x: _Data, dx: Tensor | None, da: list[Tensor]) -> None:
        """Launch every factor's gradient, and that of x, one factor after the other."""
        inputs = [x]  # of each factor, the last one's first
        for k in range(len(self.factors) - 1, 0, -1):
            target = g.new_empty(self.replicas * self.rows * self.left(k) * prod(self.outer[k:]))
            self._factor_product(k, self.factors[k], inputs[-1], target)
            inputs.append(_Data(target, True))
        for k, a in enumerate(self.factors):
            self._factor_gradient(k, g, inputs[-1 - k], da[k])
            last = k == len(self.factors) - 1
            if last and dx is None:
                return
            width = self.left(k + 1) * self.right(k)
            target = (
                dx if last and dx is not None else g.new_empty(self.replicas * self.rows * width)
            )
            self._factor_product(k, a.mT, _Data(g, True), target)
            g = target
