"""Numbers for readers: what is printed, and beside it in the page the value to every digit."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from lowdim.drawing.quantities import Quantity, quantity


def number(value: Any, metric: str) -> Markup:
    """Return a value of a metric as HTML; the `value` attribute holds every digit."""
    if not is_number(value):
        return Markup("–")
    text = quantity(metric).shown(float(value))
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), text)


def p_value(p: float) -> Markup:
    """Return a p value as HTML, to two significant digits."""
    if p < 1e-4:
        text = "< 0.0001"
    else:
        text = f"{p:.{max(2, 1 - math.floor(math.log10(p)))}f}"
    return Markup('<data value="{}">{}</data>').format(repr(float(p)), text)


def amount(size: float, shown: Quantity) -> str:
    """Return the size of a difference with its unit."""
    unit = shown.difference or shown.unit
    return f"{shown.shown(abs(size))} {unit}".strip()


def times(ratio: float, *, fine: bool = False) -> str:
    """Return a ratio in words, to a thousandth where that is asked for."""
    digits = 3 if fine else 1 if ratio >= 10 else 2
    return f"{ratio:.{digits}f} times" if ratio >= 0.1 else f"{ratio:.2g} times"


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
