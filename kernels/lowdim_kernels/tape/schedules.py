"""What changes from step to step: the scale of the loss and the hyperparameters of the update.

Every constant is rounded once, from float64: 1 - 0.999 is float32(1 - 0.999).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .records_training import HYPERPARAMETERS


def adam_schedule(
    rates: np.ndarray,
    *,
    first_step: int = 0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    loss_scale: float | np.ndarray = 1.0,
    rank: float | np.ndarray = 0.0,
    dtype: np.dtype | type | str = np.float32,
) -> np.ndarray:
    """Return the schedule of Adam, or of AdamW where `decoupled`, one row a step.

    rates: the learning rate of each step. first_step: steps taken before. loss_scale: what the
    sum of the samples' losses is multiplied by, usually 1 / samples in the step. rank: of the
    gradients that truncation.py records.
    """
    rates = np.asarray(rates, np.float64)
    step = first_step + np.arange(1, len(rates) + 1)
    beta1, beta2 = betas
    return _rows(
        len(rates),
        {
            "step": rates / (1 - beta1**step),
            "inverse_root": 1 / np.sqrt(1 - beta2**step),
            "beta1": beta1,
            "rest1": 1 - beta1,
            "beta2": beta2,
            "rest2": 1 - beta2,
            "epsilon": epsilon,
            "weight_decay": 0.0 if decoupled else weight_decay,
            "shrink": 1 - rates * weight_decay if decoupled else 1.0,
            "rank": rank,
        },
        loss_scale,
        dtype,
    )


def sgd_schedule(
    rates: np.ndarray,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    loss_scale: float | np.ndarray = 1.0,
    rank: float | np.ndarray = 0.0,
    dtype: np.dtype | type | str = np.float32,
) -> np.ndarray:
    """Return the schedule of SGD with momentum and weight decay (L2), one row a step."""
    rates = np.asarray(rates, np.float64)
    return _rows(
        len(rates),
        {
            "step": rates,
            "shrink": 1.0,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "from_gradient": 1.0 if nesterov else 0.0,
            "from_momentum": momentum if nesterov else 1.0,
            "rank": rank,
        },
        loss_scale,
        dtype,
    )


def evaluation_schedule(
    steps: int, *, loss_scale: float = 1.0, dtype: np.dtype | type | str = np.float32
) -> np.ndarray:
    """Return the schedule of a program that updates nothing: sums of losses, unless scaled."""
    return _rows(steps, {}, loss_scale, dtype)


def _rows(
    steps: int,
    values: Mapping[str, float | np.ndarray],
    loss_scale: float | np.ndarray,
    dtype: np.dtype | type | str,
) -> np.ndarray:
    rows = np.zeros((steps, 1 + len(HYPERPARAMETERS)), np.float64)
    rows[:, 0] = loss_scale
    for name, value in values.items():
        rows[:, 1 + HYPERPARAMETERS.index(name)] = value
    return rows.astype(dtype)
