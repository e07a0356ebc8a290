"""Weights from a low-rank product and an element-wise network: W = phi(U V^T).

phi(p) = c + sum_j a2_j activation(a1_j p + b1_j), the same 1-h-1 network for every entry. Both
passes go row by row and hold the h activations of an entry in registers only.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from lowdim_kernels.nlmf_cuda import gradients_on_cuda, product_on_cuda
from lowdim_kernels.ops import TAG, Operation, Saved, autocast_together
from lowdim_kernels.rules import folding, pushed_forward
from lowdim_kernels.svd_backends import without_autocast

Activation = Literal["silu", "relu", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


class ElementwiseNetwork(NamedTuple):
    """A 1-h-1 network: weights a1 and biases b1 of the h units (h,), weights a2 (h,), bias c ()."""

    a1: Tensor
    b1: Tensor
    a2: Tensor
    c: Tensor


def nlmf_weight(
    u: Tensor, v: Tensor, phi: ElementwiseNetwork, *, activation: Activation = "silu"
) -> Tensor:
    """Return phi(U V^T) without storing the hidden activations.

    Shapes: u (out, r), v (in, r) -> (out, in). With a replica axis in front of u, v or any of phi
    the result has it too, (R, out, in), and the others may lack it. Cost: out * in * h
    activations, again in the backward pass; memory of U V^T is not needed either.
    Differentiable to any order; second derivatives go through the reference.
    Raises ValueError if shapes do not fit, TypeError if dtypes or devices differ.
    """
    operands = autocast_together(u, v, *phi)
    replicas = _checked(activation, operands)
    stacked = [_with_replicas(t, n, replicas or 1) for t, n in zip(operands, _AXES)]
    weight = _product(activation, *stacked)
    return weight if replicas is not None else weight.squeeze(0)


def nlmf_weight_reference(
    u: Tensor, v: Tensor, phi: ElementwiseNetwork, *, activation: Activation = "silu"
) -> Tensor:
    """Return phi(U V^T) with all hidden activations at once, in plain torch."""
    replicas = _checked(activation, [u, v, *phi])
    stacked = [_with_replicas(t, n, replicas or 1) for t, n in zip((u, v, *phi), _AXES)]
    weight = _plain(activation, *stacked)
    return weight if replicas is not None else weight.squeeze(0)


_NAMES = ("u", "v", "a1", "b1", "a2", "c")
_AXES = (2, 2, 1, 1, 1, 0)


def _checked(activation: str, operands: Sequence[Tensor | None]) -> int | None:
    """Return the number of replicas, None without that axis, or raise where shapes do not fit."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    replicas = None
    shapes = {name: tuple(t.shape) for name, t in zip(_NAMES, operands) if t is not None}
    for name, t, axes in zip(_NAMES, operands, _AXES):
        assert t is not None
        if t.dtype != operands[0].dtype or t.device != operands[0].device:  # type: ignore[union-attr]
            raise TypeError(f"nlmf_weight: {name} is {t.dtype} on {t.device}, unlike u")
        if t.dim() == axes + 1 and replicas in (None, t.shape[0]):
            replicas = t.shape[0]
        elif t.dim() != axes:
            raise ValueError(
                f"nlmf_weight: {name} must have {axes} axes, or one more of the replicas, "
                f"got shapes {shapes}"
            )
    u, v, *units = operands[:5]
    if u.shape[-1] != v.shape[-1] or len({t.shape[-1] for t in units}) > 1:  # type: ignore[union-attr]
        raise ValueError(
            f"nlmf_weight: u and v must end in one rank, a1, b1 and a2 in one h, got {shapes}"
        )
    return replicas


def _with_replicas(t: Tensor | None, axes: int, replicas: int) -> Tensor:
    assert t is not None
    if t.dim() > axes:
        return t
    # Its derivative is a view, where that of `expand` is a sum.
    return t.unsqueeze(0) if replicas == 1 else t.expand(replicas, *t.shape)


# Backends, for tensors that all lead with the replica axis


@without_autocast
def _plain(
    activation: str, u: Tensor, v: Tensor, a1: Tensor, b1: Tensor, a2: Tensor, c: Tensor
) -> Tensor:
    a1, b1, a2 = (t[:, None, None, :] for t in (a1, b1, a2))
    hidden = _FUNCTIONS[activation]((u @ v.mT).unsqueeze(-1) * a1 + b1)
    return (hidden * a2).sum(-1) + c[:, None, None]


def _plain_gradients(activation: str, g: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    pull_back = torch.func.vjp(lambda *leaves: _plain(activation, *leaves), *operands)[1]
    return tuple(torch.empty_like(d).copy_(d) for d in pull_back(g))


def _allocate_product(activation: str, u: Tensor, v: Tensor, *units: Tensor) -> Tensor:
    return u.new_empty((u.shape[0], u.shape[1], v.shape[1]))


def _allocate_gradients(activation: str, g: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in operands)


def _product_on_cpu(activation: str, *operands: Tensor) -> Tensor:
    from lowdim_kernels.loops.nlmf import nlmf_product

    tag = TAG[operands[0].dtype]
    weight = _allocate_product(activation, *operands)
    operands = tuple(t.contiguous() for t in operands)
    addresses = np.array([t.data_ptr() for t in (*operands, weight)])
    if weight.numel():
        nlmf_product(addresses, *_sizes(operands), ACTIVATIONS.index(activation), tag)  # type: ignore[arg-type]
    return weight


def _gradients_on_cpu(activation: str, g: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    from lowdim_kernels.loops.nlmf import nlmf_gradients

    tag = TAG[g.dtype]
    results = _allocate_gradients(activation, g, *operands)
    if not g.numel():
        return tuple(t.zero_() for t in results)
    read = [t.contiguous() for t in (g, *operands[:-1])]
    addresses = np.array([t.data_ptr() for t in (*read, *results)])
    nlmf_gradients(addresses, *_sizes(operands), ACTIVATIONS.index(activation), tag)  # type: ignore[arg-type]
    return results


def _sizes(operands: Sequence[Tensor]) -> tuple[int, int, int, int, int]:
    """Return replicas, out, in, rank and hidden units."""
    u, v, a1 = operands[:3]
    return u.shape[0], u.shape[1], v.shape[1], u.shape[2], a1.shape[1]


# Derivatives


def _product_vjp(
    saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    activation, *operands = saved.inputs
    found = _gradients(activation, gradients[0], *operands)
    return [None, *(d if n else None for d, n in zip(found, needed[1:]))]


def _product_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor:
    activation, *operands = saved.inputs
    return pushed_forward(lambda *leaves: _plain(activation, *leaves), operands, tangents[1:])


def _closed_gradients(activation: str, g: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients as a function that differentiates again."""
    return torch.func.vjp(lambda *leaves: _plain(activation, *leaves), *operands)[1](g)


def _gradients_vjp(
    saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    activation, *leaves = saved.inputs
    given = [torch.zeros_like(t) if d is None else d for t, d in zip(leaves[1:], gradients)]
    pull_back = torch.func.vjp(lambda *a: _closed_gradients(activation, *a), *leaves)[1]
    return [None, *(d if n else None for d, n in zip(pull_back(tuple(given)), needed[1:]))]


def _gradients_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Any:
    activation, *leaves = saved.inputs
    return pushed_forward(lambda *a: _closed_gradients(activation, *a), leaves, tangents[1:])


_OPERANDS = "Tensor u, Tensor v, Tensor a1, Tensor b1, Tensor a2, Tensor c"

_product: Operation = Operation(
    "nlmf_weight",
    f"(str activation, {_OPERANDS}) -> Tensor",
    allocate=_allocate_product,
    kernels={"reference": _plain, "numba": _product_on_cpu, "cuda": product_on_cuda},
    vjp=_product_vjp,
    jvp=_product_jvp,
    batch=folding(lambda: _product),
)
_gradients: Operation = Operation(
    "nlmf_gradients",
    f"(str activation, Tensor g, {_OPERANDS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    allocate=_allocate_gradients,
    kernels={
        "reference": _plain_gradients,
        "numba": _gradients_on_cpu,
        "cuda": gradients_on_cuda,
    },
    vjp=_gradients_vjp,
    jvp=_gradients_jvp,
    batch=folding(lambda: _gradients),
)
