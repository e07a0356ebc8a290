"""What a judged hypothesis says, in plain sentences."""

from __future__ import annotations

from typing import Any

from lowdim.config import Contrast, Study
from lowdim.drawing.quantities import quantity
from lowdim.report.numbers import amount, is_number, times

MARKS = {"supported": "✓", "not supported": "✗", "undecided": "?", "not run": "–"}

# ratios within a tenth of one are told to a thousandth
_FINE_DECADES = 0.041


def verdict_rows(verdicts: list[dict[str, Any]], study: Study) -> list[dict[str, Any]]:
    """Return each verdict with its mark, a sentence on it, and its contrasts in words."""
    return [
        {
            **row,
            "mark": MARKS[row["verdict"]],
            "sentence": _sentence(row),
            "contrasts": [_contrast_row(contrast, study) for contrast in row["contrasts"]],
        }
        for row in verdicts
    ]


def _contrast_row(contrast: dict[str, Any], study: Study) -> dict[str, Any]:
    a, b = (study.arms[contrast[side]].label for side in ("a", "b"))
    shown = quantity(contrast["metric"])
    return {
        **contrast,
        "label": f"{a} against {b}",
        "metric_label": shown.label,
        "unit": "decades" if contrast["scale"] == "log" else shown.difference or shown.unit,
        "finding": finding(contrast, a, b),
        "asked": asked(contrast),
    }


def finding(contrast: dict[str, Any], a: str, b: str) -> str:
    """Return in words how arm a stands to arm b."""
    shown, estimate = quantity(contrast["metric"]), contrast["estimate"]
    if not is_number(estimate):
        return f"No pair of runs of {a} and {b} has a finite {shown.label}."
    low, high = contrast["ci95_low"], contrast["ci95_high"]
    if contrast["scale"] == "log":
        fine = is_number(low) and max(abs(low), abs(high)) < _FINE_DECADES
        text = f"The {shown.label} of {a} is {times(10**estimate, fine=fine)} that of {b}"
        least = times(10**low, fine=fine).removesuffix(" times") if is_number(low) else ""
        ends = f"{least} to {times(10**high, fine=fine)}" if least else ""
    else:
        way = "above" if estimate > 0 else "below"
        text = f"{a} lies {amount(estimate, shown)} {way} {b} in {shown.label}"
        if estimate == 0:
            text = f"{a} and {b} are alike in {shown.label}"
        ends = f"of the difference {shown.shown(low)} to {shown.shown(high)}"
        ends = ends if is_number(low) else ""
    pairs = f"{contrast['n']} pair{'s' if contrast['n'] > 1 else ''} of runs"
    left = contrast.get("left_out", 0)
    gone = f", {left} left out because a run diverged" if left else ""
    return f"{text} ({f'95 % interval {ends}; ' if ends else ''}{pairs}{gone})."


def asked(contrast: dict[str, Any]) -> str:
    """Return in words what the contrast had to show, as fixed before the run."""
    stated = Contrast(**{key: contrast[key] for key in Contrast.model_fields})
    shown, margin = quantity(stated.metric), stated.margin
    if stated.scale == "log":
        size = f"a factor of {10 ** abs(margin):.3g}"
    else:
        unit = shown.difference or shown.unit
        size = f"{abs(margin):g} {unit.removesuffix('s') if abs(margin) == 1 else unit}".strip()
    if stated.direction == "different":
        return f"apart by at least {size}" if margin else "apart"
    better, worse = ("below", "above") if stated.direction == "less" else ("above", "below")
    if margin < 0:
        return f"at most {size} {worse}"
    return f"at least {size} {better}" if margin else better


def _sentence(row: dict[str, Any]) -> str:
    count, every = len(row["contrasts"]), row["combine"] == "all"
    which = (
        "the comparison shows"
        if count == 1
        else ("every comparison shows" if every else "at least one comparison shows")
    )
    if row["verdict"] == "not run":
        return "Not run: an arm that it compares has no runs; the reason stands above."
    if row["verdict"] == "supported":
        return f"Supported: {which} what was asked, and chance is an unlikely reason."
    if row["verdict"] == "not supported":
        where = "the" if count == 1 else "at least one" if every else "every"
        return f"Not supported: {where} 95 % interval lies wholly short of what was asked."
    return "Undecided: the runs neither show what was asked nor rule it out."
