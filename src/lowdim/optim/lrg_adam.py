"""Adam on gradients, or with a momentum, of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from lowdim.optim.lrg_projection import LowRankProjection, Mode, limit_at
from lowdim.optim.rules import Adam, Hyper, Params, State, along

Projected = Literal["grad", "momentum"]
PROJECTED: tuple[Projected, ...] = get_args(Projected)


class LrgAdam:
    """Adam that sees only the leading singular directions of the gradient.

    The published step, mode `flat`: flatten all gradients into one vector, pad it with zeros to a
    square matrix, keep its `rank` leading singular values, put the entries back, step with Adam.
    Mode `matrix` treats each matrix by itself and leaves vectors as they are. With
    `project="momentum"` moments are those of the whole gradient, and the step takes the leading
    directions of the first one, no entry of which is larger than Adam's own could be beside its
    second moment: one without gradients stays where it is. A rank of at least the matrix's side is
    Adam to the last bit.

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
        low = {name: _within_reach(m, moments["square"][name], hyper) for name, m in low.items()}
        return self.adam.stepped(params, {**moments, "mean": low}, hyper), {**moments, **own}


def _within_reach(mean: Tensor, square: Tensor, hyper: Hyper) -> Tensor:
    """Return a first moment with no entry beyond what Adam's could be beside the second one.

    By Cauchy and Schwarz mean^2 <= (1 - beta1)^2 / ((1 - beta2) (1 - beta1^2 / beta2)) square,
    whatever the gradients were. Truncation alone does not keep to that, and where an entry's own
    gradients were zero the step would be divided by epsilon.
    """
    given = {**Adam.defaults, **hyper}
    beta1, beta2 = (along(given[name], mean) for name in ("beta1", "beta2"))
    spread = (1 - beta2) * (1 - beta1**2 / beta2)
    if not isinstance(spread, Tensor) and spread <= 0:
        return mean
    # one thousandth for rounding, so that a whole moment passes unchanged
    reach = 1.001 * (1 - beta1) / spread**0.5 * square.sqrt()
    return mean.minimum(reach).maximum(-reach)
