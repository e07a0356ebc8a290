"""Weights from an element-wise network against the same network in plain torch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cases import OURS, Case, Method, Problem, bytes_of, drawing
from lowdim_kernels.nlmf import ElementwiseNetwork, nlmf_weight, nlmf_weight_reference

TORCH = "plain torch"
# out, in, rank, hidden units
PROBLEMS = ((100, 40, 4, 16), (10, 100, 4, 16), (512, 512, 8, 16), (512, 512, 8, 64))


def cases() -> Iterator[Case]:
    """Yield every case, one problem in memory at a time."""
    for sizes in PROBLEMS:
        yield from problem(*sizes).cases()


def problem(out: int, inner: int, rank: int, hidden: int) -> Problem:
    """Return the weight of these sizes."""
    generator = drawing()
    shapes = ((out, rank), (inner, rank), (hidden,), (hidden,), (hidden,), ())
    inputs = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    # an activation counts as one flop, so the floor is far below what exponentials allow
    forward = out * inner * (2.0 * rank + 5 * hidden)
    moved = bytes_of(*inputs) + 4 * out * inner
    return Problem(
        operation="nlmf",
        shape=f"{out}x{inner}, rank {rank}, {hidden} units",
        methods={OURS: Method(_weight, inputs), TORCH: Method(_reference, inputs)},
        reference=_reference,
        flops=(forward, 3 * forward),
        moved=(moved, 3 * moved),
    )


def _weight(u: Tensor, v: Tensor, *phi: Tensor) -> Tensor:
    return nlmf_weight(u, v, ElementwiseNetwork(*phi))


def _reference(u: Tensor, v: Tensor, *phi: Tensor) -> Tensor:
    return nlmf_weight_reference(u, v, ElementwiseNetwork(*phi))
