"""Ticks of logarithmic axes in plain numbers."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

_STEPS = (
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.5, 2, 3, 4, 6),
    (1, 2, 5),
    (1,),
)


def plain_log(axis: Axis, low: float, high: float, at_most: int = 7) -> None:
    """Label a log axis that shows low to high at a few round numbers, without powers.

    An axis over more than four decades keeps powers of ten.
    """
    if not 0 < low < high or high > 1e4 * low:
        return
    axis.set_major_locator(FixedLocator(plain_ticks(low, high, at_most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if high < 10 * low:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plain_ticks(low: float, high: float, at_most: int = 7) -> list[float]:
    """Return two round numbers or more, and not many, from low to high."""
    for steps in _STEPS:
        ticks = [float(f"{step}e{power}") for power in range(-12, 13) for step in steps]
        found = [tick for tick in ticks if low <= tick <= high]
        if 2 <= len(found) <= at_most:
            return found
    spaced = MaxNLocator(min(4, at_most)).tick_values(low, high)
    return [float(tick) for tick in spaced if low <= tick <= high]
