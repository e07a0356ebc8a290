"""Configuration of how a network is trained and tuned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from lowdim.config.base import Count, Fraction, NonNegative, Positive, Strict

Share = Annotated[float, Field(ge=0, lt=1)]


class _Optimiser(Strict):
    """`learning_rate` may stay out where tuning chooses it.

    Keys in `_options` make the update rule; the others are its hyperparameters. Of every tuple in
    `_needed` one must be set or tuned.
    """

    _options: ClassVar[tuple[str, ...]] = ()
    _needed: ClassVar[tuple[tuple[str, ...], ...]] = (("learning_rate",),)

    learning_rate: Positive | None = None

    def hyper(self) -> dict[str, float]:
        """Return the update rule's hyperparameters that are set here."""
        return self.model_dump(exclude={"name", *self._options}, exclude_none=True)

    def options(self) -> dict[str, Any]:
        """Return what the update rule is made with."""
        return self.model_dump(include=set(self._options), exclude_none=True)

    def tunable(self) -> list[str]:
        """Return the hyperparameters that tuning may choose."""
        return sorted(set(type(self).model_fields) - {"name", *self._options})

    def check_whole(self, tuned: Collection[str]) -> None:
        """Raise ValueError where something is neither set here nor tuned."""
        for names in self._needed:
            if not any(name in tuned or getattr(self, name) is not None for name in names):
                raise ValueError(
                    f"optimiser.{' or '.join(names)} must be set where tuning does not choose it"
                )


class _AdamLike(_Optimiser):
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0


class AdamOptimiser(_AdamLike):
    """Adam; weight_decay is added to the gradient."""

    name: Literal["adam"] = "adam"


class AdamWOptimiser(_AdamLike):
    """Adam whose weight_decay shrinks the parameters by rate times weight_decay in each step."""

    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegative = 0.01


class LrgAdamOptimiser(_AdamLike):
    """Adam on the leading singular directions of the gradient: `rank` of them, or those that hold
    the share `energy` of its squared norm.

    `mode` flat cuts all gradients as one padded square, matrix each matrix by itself.
    """

    _options = (
        *("mode", "project", "method", "oversample", "iterations"),
        *("warm_start", "error_feedback"),
    )
    _needed = (("learning_rate",), ("rank", "energy"))

    name: Literal["lrg_adam"] = "lrg_adam"
    rank: Count | None = None
    energy: Annotated[float, Field(gt=0, le=1)] | None = None
    rank_end: Count | None = None
    rank_steps: Count | None = None
    mode: Literal["flat", "matrix"] = "flat"
    project: Literal["grad", "momentum"] = "grad"
    method: Literal["auto", "exact", "gram", "iterate"] = "auto"
    oversample: Annotated[int, Field(ge=0)] | None = None
    iterations: Annotated[int, Field(ge=0)] | None = None
    warm_start: bool = False
    error_feedback: bool = False

    @model_validator(mode="after")
    def _fits(self) -> LrgAdamOptimiser:
        if self.warm_start and self.method != "iterate":
            raise ValueError(f"warm_start serves method 'iterate', got {self.method!r}")
        if (self.rank_end is None) != (self.rank_steps is None):
            raise ValueError("rank_end and rank_steps must be given together")
        return self


class MuonOptimiser(_AdamLike):
    """Muon on matrices, Adam at the same rate on vectors; weight_decay shrinks matrices.

    `adjust` scales the rate by a matrix's shape: `original` by sqrt(max(1, out / in)),
    `match_rms_adamw` by 0.2 sqrt(max(out, in)), for rates like those of Adam.
    """

    _options = ("adjust",)

    name: Literal["muon"] = "muon"
    momentum: Share = 0.95
    adjust: Literal["original", "match_rms_adamw"] = "original"


class GaloreOptimiser(_AdamLike):
    """Adam on matrices projected to `rank` rows or columns, found anew every `refresh` steps.

    `scale` multiplies the step of a matrix; vectors take Adam's.
    """

    _options = ("rank", "refresh")

    name: Literal["galore"] = "galore"
    rank: Count
    refresh: Count = 200
    scale: Positive = 0.25


class DionOptimiser(_AdamLike):
    """Orthonormal steps of `rank` from one power iteration on a momentum; vectors take Adam's."""

    _options = ("rank",)

    name: Literal["dion"] = "dion"
    rank: Count
    momentum: Share = 0.95


class SgdOptimiser(_Optimiser):
    """Stochastic gradient descent; weight_decay is added to the gradient."""

    name: Literal["sgd"] = "sgd"
    momentum: Share = 0.0
    weight_decay: NonNegative = 0.0


class ProximalSgdOptimiser(_Optimiser):
    """Gradient descent followed by the proximal step of nuclear_norm times the nuclear norm."""

    name: Literal["proximal_sgd"] = "proximal_sgd"
    nuclear_norm: NonNegative


OptimiserConfig = Annotated[
    AdamOptimiser
    | AdamWOptimiser
    | SgdOptimiser
    | ProximalSgdOptimiser
    | LrgAdamOptimiser
    | MuonOptimiser
    | GaloreOptimiser
    | DionOptimiser,
    Field(discriminator="name"),
]


class TrainingConfig(Strict):
    """Epochs over the training samples; batch_size `full` takes them all in every step.

    `step_metrics` keeps the loss and the norm of the gradient by step, and its cosine with the
    gradient of the step before, each averaged over `step_window` steps.
    """

    epochs: Count
    batch_size: Count | Literal["full"]
    schedule: Literal["constant", "cosine"] = "constant"
    step_metrics: bool = False
    step_window: Count = 1


class Range(Strict):
    """The interval from which a hyperparameter is drawn."""

    low: float
    high: float
    scale: Literal["log", "linear", "integer"] = "log"

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low must be positive on a log scale, got {self.low}")
        return self


class TuningConfig(Strict):
    """Trials a seed, each trained on part of the training samples and scored on the rest."""

    trials: Count
    epochs: Count
    space: dict[str, Range]
    validation: Fraction = 0.2
    batch_size: Count | None = None
    objective: Literal["accuracy", "loss"] = "accuracy"
