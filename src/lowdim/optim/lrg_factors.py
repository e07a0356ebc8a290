"""Low-rank gradients of dense layers from the two thin factors of which autograd makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lowdim.optim.lrg_projection import Limit, leading
from lowdim.optim.lrg_taped import TapedProjection
from lowdim.optim.rules import Params

Factors = tuple[Tensor, Tensor]
# How far G w may be from dY^T (X w), relative, by the dtype in which the layer computed.
_AGREEMENT = {torch.float64: 1e-9, torch.float32: 1e-3}
_COARSE_AGREEMENT = 5e-2


class LinearFactors:
    """Keeps what the gradient of every dense layer of a model is made of: G = dY^T X.

    Hooks hold X (rows, in) and dY (rows, out) of all backward passes since the weight's gradient
    was last None; rows are samples, and with further axes all of their places.
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept: dict[Tensor, list[Factors]] = {}
        self._pending: dict[Tensor, list[Factors]] = {}
        self._handles: list[Any] = []
        for module in model.modules():
            if type(module) is nn.Linear and module.weight not in self._kept:
                self._kept[module.weight] = []
                done = module.weight.register_post_accumulate_grad_hook(self._accumulated)
                self._handles.append(done)
            if type(module) is nn.Linear:
                self._handles.append(module.register_forward_hook(self._after_forward))

    def of(self, weight: Tensor) -> Factors | None:
        """Return dY and X of all passes whose sum is the gradient; None if no hook saw it."""
        pairs = self._kept.get(weight)
        if not pairs:
            return None
        if len(pairs) > 1:
            pairs[:] = [(torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs]))]
        return pairs[0]

    def forget(self) -> None:
        """Drop what was kept: the gradients were set to zero."""
        for pairs in (*self._kept.values(), *self._pending.values()):
            pairs.clear()

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _after_forward(self, module: nn.Linear, inputs: Sequence[Tensor], output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad and module.weight.requires_grad:
            x = inputs[0].detach().reshape(-1, module.in_features)
            output.register_hook(partial(self._after_backward, module.weight, x))

    def _after_backward(self, weight: Tensor, x: Tensor, gradient: Tensor) -> None:
        waiting = self._pending.setdefault(weight, [])
        if not waiting and weight.grad is None:
            self._kept[weight].clear()
        waiting.append((gradient.detach().reshape(len(x), -1), x))

    def _accumulated(self, weight: Tensor) -> None:
        waiting = self._pending.pop(weight, [])
        self._kept[weight] += waiting


@dataclass(frozen=True)
class FactoredProjection(TapedProjection):
    """The projection of mode `matrix`, exact and cheap where thin factors of a gradient are known.

    Single models only: the replica axis has length one.
    """

    factors: Mapping[str, Factors] = field(default_factory=dict)

    def _by_matrix(
        self, tensors: Params, limit: Limit, starts: Mapping[str, Tensor]
    ) -> tuple[Params, Params]:
        thin = {
            name: cut_factors(name, tensors[name][0], *pair, limit)[None]
            for name, pair in self.factors.items()
            if name in tensors and len(pair[0]) < min(tensors[name].shape[1:])
        }
        rest = {name: t for name, t in tensors.items() if name not in thin}
        low, found = super()._by_matrix(rest, limit, starts)
        return {name: thin.get(name, low.get(name)) for name in tensors}, found  # type: ignore[misc]


def cut_factors(name: str, g: Tensor, dy: Tensor, x: Tensor, limit: Limit) -> Tensor:
    """Return the best approximation of g = scale dy^T x within a limit, from the thin factors.

    Shapes: g (out, in), dy (rows, out), x (rows, in), with fewer rows than out and in. Cost:
    rows^2 (out + in) and one decomposition of rows by rows. The scale is 1 unless the gradient was
    clipped or rescaled. Raises ValueError if g is not of that form.
    """
    scale = _scale(name, g, dy, x)
    left, right = (torch.linalg.qr(t.to(g.dtype).mT) for t in (dy, x))
    found = leading((left.R @ right.R.mT)[None], limit, {})
    if found is None:
        return g
    u, s, v = (t[0] for t in found)
    return (left.Q @ (u * (scale * s))) @ (right.Q @ v).mT


def _scale(name: str, g: Tensor, dy: Tensor, x: Tensor) -> Tensor:
    """Return by how much g is larger than dy^T x, compared on one vector."""
    draw = torch.Generator(g.device).manual_seed(0)
    probe = torch.randn(g.shape[1], generator=draw, device=g.device, dtype=g.dtype)
    seen, given = dy.to(g.dtype).mT @ (x.to(g.dtype) @ probe), g @ probe
    square = seen.square().sum()
    scale = torch.where(square > 0, (seen @ given) / square, 1.0)
    agreement = _AGREEMENT.get(dy.dtype, _COARSE_AGREEMENT)
    if (given - scale * seen).norm() > agreement * given.norm():
        raise ValueError(
            f"the gradient of {name} is not a multiple of what the hooks of factored=True saw: "
            f"the weight is used elsewhere too, or its gradient was changed or kept without "
            f"zero_grad of this optimiser; use factored=False"
        )
    return scale
