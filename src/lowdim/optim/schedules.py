"""How the learning rate changes over a run."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine")


def rate_factor(schedule: str, step: int, steps: int) -> float:
    """Return what the learning rate is multiplied by at a step of 0 ... steps - 1.

    `cosine` falls from 1 towards 0 over the whole run (Loshchilov and Hutter, "SGDR: Stochastic
    Gradient Descent with Warm Restarts", 2017, without restarts), changing with every step.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    raise ValueError(f"schedule must be one of {SCHEDULES}, got {schedule!r}")
