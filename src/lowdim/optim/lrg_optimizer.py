"""LRG-Adam as a `torch.optim.Optimizer`, a shell over the pure update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from lowdim.optim.lrg_adam import LrgAdam, Projected
from lowdim.optim.lrg_factors import FactoredProjection, LinearFactors
from lowdim.optim.lrg_groups import (
    NotFinite,
    check_group,
    check_loaded,
    group_hyper,
    named_with_gradient,
    rule_options,
)
from lowdim.optim.lrg_projection import Mode
from lowdim.optim.lrg_taped import TapedProjection
from lowdim.optim.rules import Params
from lowdim.optim.torch_adam import TorchAdam


class LRGAdam(torch.optim.Optimizer):
    """Adam on the leading singular directions of the gradient, in any training loop.

    `mode="flat"` is the published algorithm: all gradients of a parameter group, flattened and
    padded with zeros to a square matrix, are cut to `rank` singular values. `mode="matrix"` cuts
    each gradient of two or more axes by itself (further axes joined) and leaves vectors alone.
    What is kept is `rank` directions, or the fewest that hold the share `energy` of the squared
    norm (at most `rank` of them, where both are given); a group whose rank and energy are None is
    plain Adam. The rank moves evenly to `rank_end` over `rank_steps` steps. Where it reaches the
    matrix's side, the step equals that of `torch.optim.Adam` (foreach=False) to the last bit.

    `project="momentum"` takes moments of the whole gradient and cuts the first one. `method`,
    `oversample`, `iterations` are those of `lowdim_kernels.truncated_svd`; `warm_start` begins
    at the step before. `error_feedback` adds what was cut away to the next gradient.
    `factored=True` (mode matrix) hooks the dense layers of `model`, whose gradients are products
    of two thin factors, and decomposes those: exact, and cheap for batches smaller than layers.

    A gradient that is not finite raises ValueError by name (`nonfinite="raise"`), skips the step of
    its group (`skip`) or makes its matrix NaN (`propagate`). Sparse and complex ones are refused.
    All options may differ by group. State dicts of `torch.optim.Adam` can be loaded, but those made
    with an option that changes its steps and that is not here (`amsgrad`, `maximize`) are refused.
    """

    _factors: LinearFactors | None = None
    _model: nn.Module | None = None

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        rank: int | None = None,
        energy: float | None = None,
        rank_end: int | None = None,
        rank_steps: int = 1,
        mode: Mode = "flat",
        project: Projected = "grad",
        method: str = "auto",
        oversample: int | None = None,
        iterations: int | None = None,
        warm_start: bool = False,
        error_feedback: bool = False,
        nonfinite: NotFinite = "raise",
        factored: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "rank": rank,
            "energy": energy,
            "rank_end": rank_end,
            "rank_steps": rank_steps,
            "mode": mode,
            "project": project,
            "method": method,
            "oversample": oversample,
            "iterations": iterations,
            "warm_start": warm_start,
            "error_feedback": error_feedback,
            "nonfinite": nonfinite,
            "factored": factored,
        }
        self._model = model
        super().__init__(params, defaults)
        if all(group["rank"] is None and group["energy"] is None for group in self.param_groups):
            raise ValueError("rank or energy must be given for a parameter group, got neither")
        if model is not None:
            self._factors = LinearFactors(model)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; raises ValueError for one out of range."""
        group = {**self.defaults, **param_group}
        check_group(group)
        if group["factored"] and self._model is None:
            raise ValueError("factored=True needs the model whose dense layers it hooks, got None")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state of LRGAdam or of `torch.optim.Adam`; ValueError names what differs."""
        check_loaded(state_dict)
        super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take a step and return the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for place in range(len(self.param_groups)):
            self._step_group(place)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear all gradients, and the factors that were kept of them."""
        super().zero_grad(set_to_none)
        if self._factors is not None:
            self._factors.forget()

    def remove_hooks(self) -> None:
        """Take the hooks of `factored=True` off the model."""
        if self._factors is not None:
            self._factors.remove()

    def _step_group(self, place: int) -> None:
        group = self.param_groups[place]
        params = named_with_gradient(group, place)
        if not params or not self._finite(params, group["nonfinite"]):
            return
        rule = self._rule(group, params)
        with_axis = {name: p.detach()[None] for name, p in params.items()}
        grads = {name: p.grad[None] for name, p in params.items()}  # type: ignore[index]
        first = next(iter(params.values()))
        state = self._read(group, params, first)
        # TorchAdam changes parameters and moments where they are.
        _, state = rule.update(with_axis, grads, state, group_hyper(group))
        for name, p in params.items():
            own = self.state[p]
            own["step"] += 1
            if state.get("error"):
                own["error"] = state["error"][name][0]
            if name in state.get("start", {}):
                own["start"] = state["start"][name][0]
        if "flat" in state.get("start", {}):
            self.state[first]["flat_start"] = state["start"]["flat"][0]

    def _rule(self, group: dict[str, Any], params: Params) -> LrgAdam:
        rule = LrgAdam(**rule_options(group), adam=TorchAdam())
        options = vars(rule.projection)
        rule.projection = TapedProjection(**options)
        if self._factors is not None and group["factored"]:
            known = {name: self._factors.of(p) for name, p in params.items()}
            rule.projection = FactoredProjection(
                **options, factors={name: pair for name, pair in known.items() if pair is not None}
            )
        return rule

    def _read(self, group: dict[str, Any], params: Params, first: Tensor) -> dict[str, Any]:
        """Return the rule's state; parameters that were never stepped start at zero."""
        state: dict[str, Any] = {key: {} for key in ("steps", "start", "mean", "square")}
        if group["error_feedback"]:
            state["error"] = {}
        for name, p in params.items():
            own = self.state[p]
            if not own:
                own["step"] = torch.tensor(0.0)
                own["exp_avg"], own["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            state["steps"][name] = int(own["step"])
            state["mean"][name], state["square"][name] = (
                own["exp_avg"][None],
                own["exp_avg_sq"][None],
            )
            if group["error_feedback"]:
                error = own.get("error")
                state["error"][name] = (torch.zeros_like(p) if error is None else error)[None]
            if "start" in own:
                state["start"][name] = own["start"][None]
        if "flat_start" in self.state[first]:
            state["start"]["flat"] = self.state[first]["flat_start"][None]
        return {**state, "step": max(state["steps"].values())}

    def _finite(self, params: Params, action: NotFinite) -> bool:
        """Return whether to take the step; raise by name where that is asked for."""
        grads = [p.grad for p in params.values() if p.grad is not None]
        # A sum is quicker than a test of every entry; where it overflows, these decide.
        if action == "propagate" or isfinite(sum(g.sum().item() for g in grads)):
            return True
        if all(g.isfinite().all() for g in grads):
            return True
        if action == "raise":
            name = next(n for n, p in params.items() if not p.grad.isfinite().all())  # type: ignore[union-attr]
            raise ValueError(
                f"gradient of {name} must be finite, got inf or nan; "
                f"nonfinite='skip' leaves such steps out"
            )
        return False
