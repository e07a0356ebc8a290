"""Update rules: pure functions of parameters, gradients, state and hyperparameters.

Parameters are a mapping from names to tensors. A hyperparameter is a number, or a tensor (R,)
where every tensor has a leading replica axis of length R. Engines and `torch.optim` classes are
shells over these rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Params = dict[str, Tensor]
State = dict[str, Any]
Hyper = Mapping[str, float | Tensor]


class Rule(Protocol):
    """An update rule; `elementwise` says that each scalar is updated by itself.

    Then an engine may present all parameters as one tensor. `defaults` are the hyperparameters
    with their usual values; learning_rate has none.
    """

    elementwise: bool
    defaults: Mapping[str, float]

    def init(self, params: Params) -> State:
        """Return the state before the first step."""
        ...

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        """Return parameters and state after one step; the arguments are left as they are."""
        ...


class Sgd:
    """Gradient descent with momentum: b <- momentum b + g + weight_decay p; p <- p - rate b."""

    elementwise = True
    defaults: Mapping[str, float] = {"momentum": 0.0, "weight_decay": 0.0}

    def init(self, params: Params) -> State:
        return {"velocity": {name: torch.zeros_like(p) for name, p in params.items()}}

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        momentum = hyper.get("momentum", 0.0)
        rate = hyper["learning_rate"]
        new, velocity = {}, {}
        for name, p in params.items():
            g = decayed(p, grads[name], hyper.get("weight_decay", 0.0))
            if _is_zero(momentum):
                velocity[name] = state["velocity"][name]
            else:
                g = velocity[name] = g + state["velocity"][name] * along(momentum, p)
            new[name] = p - g * along(rate, p)
        return new, {"velocity": velocity}


class Adam:
    """Adam with L2 weight decay (Kingma and Ba, "Adam: A Method for Stochastic Optimization").

    Bias corrections are computed in float64 and rounded once.
    """

    elementwise = True
    defaults: Mapping[str, float] = {
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
    }

    def init(self, params: Params) -> State:
        zeros = {name: torch.zeros_like(p) for name, p in params.items()}
        return {"step": 0, "mean": zeros, "square": dict(zeros)}

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        state = self.moments(params, grads, state, hyper)
        return self.stepped(params, state, hyper), state

    def moments(self, params: Params, grads: Params, state: State, hyper: Hyper) -> State:
        """Return the state after a step, of which the step itself is still to be taken."""
        hyper = {**self.defaults, **hyper}
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        mean, square = {}, {}
        for name, p in params.items():
            g = decayed(p, grads[name], hyper["weight_decay"])
            mean[name] = torch.lerp(state["mean"][name], g, along(1 - _wide(beta1), p))
            fresh = (g * g).mul_(along(1 - _wide(beta2), p))
            square[name] = fresh.add_(state["square"][name] * along(beta2, p))
        return {"step": state["step"] + 1, "mean": mean, "square": square}

    def stepped(self, params: Params, state: State, hyper: Hyper) -> Params:
        """Return the parameters after the step that moments ask for."""
        hyper = {**self.defaults, **hyper}
        step, epsilon = state["step"], hyper["epsilon"]
        size = _wide(hyper["learning_rate"]) / (1 - _wide(hyper["beta1"]) ** step)
        spread = (1 - _wide(hyper["beta2"]) ** step) ** -0.5
        new = {}
        for name, p in params.items():
            scale = state["square"][name].sqrt().mul_(along(spread, p)).add_(along(epsilon, p))
            new[name] = p - state["mean"][name].div(scale).mul_(along(size, p))
        return new


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves, by rate * weight_decay a step.

    (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.)
    """

    defaults: Mapping[str, float] = {**Adam.defaults, "weight_decay": 0.01}

    def moments(self, params: Params, grads: Params, state: State, hyper: Hyper) -> State:
        return super().moments(params, grads, state, {**hyper, "weight_decay": 0.0})

    def stepped(self, params: Params, state: State, hyper: Hyper) -> Params:
        hyper = {**self.defaults, **hyper}
        share = 1 - _wide(hyper["learning_rate"]) * _wide(hyper["weight_decay"])
        shrunk = {name: p * along(share, p) for name, p in params.items()}
        return super().stepped(shrunk, state, hyper)


def decayed(p: Tensor, g: Tensor, weight_decay: float | Tensor) -> Tensor:
    """Return g + weight_decay p."""
    return g if _is_zero(weight_decay) else g + p * along(weight_decay, p)


def along(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Return a hyperparameter in the form that broadcasts over `like`.

    A number stays one; a tensor, one value a replica, is rounded to the dtype of `like`.
    """
    if not isinstance(value, Tensor):
        return value
    value = value.to(like.device, like.dtype)
    return value.reshape(value.shape + (1,) * (like.dim() - 1)) if value.dim() else value


def select(state: State, keep: Tensor) -> State:
    """Return the state of those replicas whose places are in `keep`."""
    chosen: State = {}
    for key, value in state.items():
        if isinstance(value, dict):
            chosen[key] = {name: tensor[keep] for name, tensor in value.items()}
        else:
            chosen[key] = value[keep] if isinstance(value, Tensor) and value.dim() else value
    return chosen


def _wide(value: float | Tensor) -> float | Tensor:
    return value.double() if isinstance(value, Tensor) else value


def _is_zero(value: float | Tensor) -> bool:
    return not isinstance(value, Tensor) and value == 0
