"""Adam on gradients, or with a momentum, of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from lowdim.optim.lrg_projection import LowRankProjection, Mode, limit_at
from lowdim.optim.rules import Adam, Hyper, Params, State

Projected = Literal["grad", "momentum"]
PROJECTED: tuple[Projected, ...] = get_args(Projected)


class LrgAdam:
    """Adam that sees only the leading singular directions of the gradient.

    The published step, mode `flat`: flatten all gradients into one vector, pad it with zeros to a
    square matrix, keep its `rank` leading singular values, put the entries back, step with Adam.
    Mode `matrix` treats each matrix by itself and leaves vectors as they are. With
    `project="momentum"` moments are those of the whole gradient, and the step takes the leading
    directions of the first one. A rank of at least the matrix's side is Adam to the last bit.

    Hyperparameters beside Adam's: `rank`, a whole number for each replica; `energy`, the share of
    the squared norm that is kept, with at most `rank` directions where both are given; `rank_end`
    and `rank_steps`, which move the rank evenly over the first steps. Every tensor leads with the
    replica axis. A replica whose gradient is not finite becomes NaN alone.
    """

    elementwise = False
    defaults: Mapping[str, float] = Adam.defaults

    def __init__(
        self,
        mode: Mode = "flat",
        *,
        project: Projected = "grad",
        method: str = "auto",
        oversample: int | None = None,
        iterations: int | None = None,
        warm_start: bool = False,
        error_feedback: bool = False,
        adam: Adam | None = None,
    ) -> None:
        if project not in PROJECTED:
            raise ValueError(f"project must be one of {PROJECTED}, got {project!r}")
        self.project = project
        self.projection = LowRankProjection(
            mode, method, oversample, iterations, warm_start, error_feedback
        )
        self.adam = adam or Adam()

    def used(self, grads: Params, hyper: Hyper) -> Params | None:
        """Return what the step takes in place of gradients; None if that hangs on the state."""
        if self.project != "grad" or self.projection.error_feedback or "rank_end" in hyper:
            return None
        return self.projection.cut(grads, {}, limit_at(hyper, 0))[0]

    def init(self, params: Params) -> State:
        return {**self.adam.init(params), **self.projection.init(params)}

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        limit = limit_at(hyper, state["step"])
        if self.project == "grad":
            low, own = self.projection.cut(grads, state, limit)
            params, moments = self.adam.update(params, low, state, hyper)
            return params, {**moments, **own}
        moments = self.adam.moments(params, grads, state, hyper)
        low, own = self.projection.cut(moments["mean"], state, limit)
        return self.adam.stepped(params, {**moments, "mean": low}, hyper), {**moments, **own}
