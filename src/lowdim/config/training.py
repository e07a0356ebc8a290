"""Configuration of how a network is trained and tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lowdim.config.base import Count, Fraction, NonNegative, Positive, Strict


class _Optimiser(Strict):
    """`learning_rate` may stay out where tuning chooses it."""

    learning_rate: Positive | None = None

    def hyper(self) -> dict[str, float]:
        """Return the update rule's hyperparameters that are set here."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class AdamOptimiser(_Optimiser):
    """Adam; weight_decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0


class SgdOptimiser(_Optimiser):
    """Stochastic gradient descent; weight_decay is added to the gradient."""

    name: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegative = 0.0


class ProximalSgdOptimiser(_Optimiser):
    """Gradient descent followed by the proximal step of nuclear_norm times the nuclear norm."""

    name: Literal["proximal_sgd"] = "proximal_sgd"
    nuclear_norm: NonNegative


OptimiserConfig = Annotated[
    AdamOptimiser | SgdOptimiser | ProximalSgdOptimiser, Field(discriminator="name")
]


class TrainingConfig(Strict):
    """Epochs over the training samples; batch_size `full` takes them all in every step.

    `step_metrics` keeps each step's loss, squared gradient norm and product with the gradient of
    the step before.
    """

    epochs: Count
    batch_size: Count | Literal["full"]
    schedule: Literal["constant", "cosine"] = "constant"
    step_metrics: bool = False


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
