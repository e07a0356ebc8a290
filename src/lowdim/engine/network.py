"""R networks of one architecture seen as one function of stacked parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Tensors = dict[str, Tensor]


class StackedNetwork:
    """R networks whose trainable parameters lie in one tensor theta (R, P), a network a row.

    The networks are of one class and one size; buffers and frozen parameters may differ and are
    shared where they do not. One network is called plainly, several through `torch.func.vmap`.
    Raises ValueError for layers that change their buffers while training.
    """

    def __init__(
        self, modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype
    ) -> None:
        _refuse_running_statistics(modules[0])
        trainable = [_trainable(module) for module in modules]
        self.shapes = {name: p.shape for name, p in trainable[0].items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        rows = [torch.cat([p.detach().reshape(-1) for p in own.values()]) for own in trainable]
        self.theta = torch.stack(rows).to(device, dtype)
        self.shared, self.own = _fixed(modules, device, dtype)
        self.module = copy.deepcopy(modules[0]).to("meta").train()

    def __len__(self) -> int:
        return self.theta.shape[0]

    def keep(self, places: Tensor) -> None:
        """Drop every replica but those at the given places."""
        self.theta = self.theta[places]
        self.own = {name: tensor[places] for name, tensor in self.own.items()}

    def params(self, theta: Tensor | None = None) -> Tensors:
        """Return the parameters by name, views (R, *shape) of theta."""
        theta = self.theta if theta is None else theta
        pieces = theta.split(self.sizes, dim=1)
        return {
            name: piece.view(-1, *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return (R, batch, *outputs) of inputs x (R, batch, *features)."""
        return stacked_outputs(self.module, {**self.params(theta), **self.own}, self.shared, x)

    def gradients(self, loss: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return each replica's loss (R,) and its gradient (R, P) on one batch."""
        theta = self.theta.detach().requires_grad_()
        losses = self.losses(theta, loss, x, y)
        (gradient,) = torch.autograd.grad(losses.sum(), theta)
        return losses.detach(), gradient

    def losses(self, theta: Tensor, loss: str, x: Tensor, y: Tensor) -> Tensor:
        """Return each replica's mean loss (R,) on one batch, as the task defines it."""
        if loss == "map_mse":
            # the gap A - A* is formed first: the difference of two products would cancel
            unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand_as(x)
            return replica_losses("mse", x @ (self.outputs(theta, unit) - y), torch.zeros_like(y))
        return replica_losses(loss, self.outputs(theta, x), y)

    def state(self, place: int) -> Tensors:
        """Return parameters and buffers of one replica, copied to the CPU."""
        own = {n: t[place] for n, t in {**self.params(), **self.own}.items()}
        return {name: t.detach().cpu().clone() for name, t in {**own, **self.shared}.items()}


def stacked_outputs(module: nn.Module, own: Tensors, shared: Tensors, x: Tensor) -> Tensor:
    """Return (R, batch, *outputs) of R networks whose tensors `own` have a leading axis R."""
    if len(x) == 1:
        first = {name: tensor[0] for name, tensor in own.items()}
        return functional_call(module, {**first, **shared}, (x[0],))[None]

    def one(tensors: Tensors, features: Tensor) -> Tensor:
        return functional_call(module, {**tensors, **shared}, (features,))

    return vmap(one, randomness="different")(own, x)


def replica_losses(loss: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss (R,) of outputs (R, batch, ...) over batch and outputs."""
    if loss == "cross_entropy":
        each = nn.functional.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), reduction="none"
        )
        return each.view(len(outputs), -1).mean(1)
    gap = (outputs - targets).flatten(1)
    return torch.linalg.vecdot(gap, gap) / gap.shape[1]


def load_start(module: nn.Module, start: Mapping[str, Tensor]) -> nn.Module:
    """Put given parameters into a network; raises KeyError or RuntimeError if they do not fit."""
    module.load_state_dict({**module.state_dict(), **start})
    return module


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not own:
        raise ValueError(f"{type(module).__name__} has no trainable parameter")
    return own


def _fixed(
    modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype
) -> tuple[Tensors, Tensors]:
    """Return buffers and frozen parameters: the shared ones, and (R, ...) those that differ."""
    shared, own = {}, {}
    for name in _fixed_names(modules[0]):
        tensors = [_place(_find(module, name), device, dtype) for module in modules]
        if all(torch.equal(tensors[0], other) for other in tensors[1:]):
            shared[name] = tensors[0]
        else:
            own[name] = torch.stack(tensors)
    return shared, own


def _fixed_names(module: nn.Module) -> list[str]:
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    return frozen + [name for name, _ in module.named_buffers()]


def _find(module: nn.Module, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(owner), leaf).detach()


def _place(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def _refuse_running_statistics(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if getattr(part, "track_running_stats", False):
            raise ValueError(
                f"{name}: {type(part).__name__} changes its buffers while training; "
                f"use track_running_stats=False or another normalisation"
            )
