"""Verdicts on hypotheses: paired over seeds, exact tests, Holm within the study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lowdim.config import Contrast, Hypothesis

LEVEL = 0.05
_EXACT_UP_TO = 16
_RESAMPLES = 9_999
_DIGITS = 12
_TEST = "sign-flip permutation of paired differences"


def judge(runs: pd.DataFrame, hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Return each hypothesis with its contrasts, p (raw and Holm over the study) and verdict.

    A hypothesis on an arm that has no runs is `not run` and takes no part in Holm's correction.
    """
    arms = set(runs["arm"])
    rows = [_hypothesis(runs, h) if _arms(h) <= arms else _not_run(h) for h in hypotheses]
    judged = [row for row in rows if row["verdict"] != "not run"]
    if judged:
        adjusted = multipletests([row["p"] for row in judged], alpha=LEVEL, method="holm")[1]
        for row, p in zip(judged, adjusted, strict=True):
            row["p_holm"] = float(p)
            row["verdict"] = _verdict(row)
    return rows


def compare(runs: pd.DataFrame, contrast: Contrast) -> dict[str, Any]:
    """Return the estimate of a contrast with its bootstrap interval and p value.

    For a direction the null hypothesis is the margin where that is negative (no worse than), else
    zero; `different` is tested on both sides of zero. `left_out` counts the seeds at which one of
    the two runs has no finite value.
    """
    every = _differences(runs, contrast)
    differences = every[np.isfinite(every)]
    sign = -1.0 if contrast.direction == "less" else 1.0
    null = 0.0 if contrast.direction == "different" else min(0.0, contrast.margin)
    sided = "two-sided" if contrast.direction == "different" else "greater"
    low, high = bootstrap_interval(differences)
    exact = len(differences) <= _EXACT_UP_TO
    return {
        **contrast.model_dump(),
        "n": len(differences),
        "left_out": len(every) - len(differences),
        "estimate": float(differences.mean()) if len(differences) else math.nan,
        "ci95_low": low,
        "ci95_high": high,
        "test": f"{_TEST}, {'exact' if exact else f'{_RESAMPLES} draws'}",
        "p": sign_flip_p(sign * differences - null, sided),
    }


def sign_flip_p(values: np.ndarray, alternative: str) -> float:
    """Return the p value of a mean above zero (`greater`) or unlike it (`two-sided`).

    Every sign pattern is tried up to sixteen values, a seeded sample of them beyond. Means that
    differ by rounding alone count as equal.
    """
    largest = np.abs(values).max(initial=0.0)
    if len(values) < 2 or largest == 0:
        return 1.0
    resamples = np.inf if len(values) <= _EXACT_UP_TO else _RESAMPLES
    result = stats.permutation_test(
        (values / largest,),
        lambda x, axis: np.round(np.mean(x, axis=axis), _DIGITS),
        permutation_type="samples",
        alternative=alternative,
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % BCa bootstrap interval of the mean, from a seeded generator."""
    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) <= 10.0**-_DIGITS * np.abs(values).max():
        return float(values.min()), float(values.max())
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, rng=np.random.default_rng(0), method="BCa"
    ).confidence_interval
    return float(found.low), float(found.high)


def _differences(runs: pd.DataFrame, contrast: Contrast) -> np.ndarray:
    """Return a - b by seed, NaN at a seed where either is not finite."""
    if contrast.metric not in runs:
        raise ValueError(f"hypotheses: no metric {contrast.metric!r} among {sorted(runs.columns)}")
    table = runs.pivot(index="seed", columns="arm", values=contrast.metric)
    a, b = table[contrast.a].to_numpy(float), table[contrast.b].to_numpy(float)
    if contrast.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = np.log10(a), np.log10(b)
    return np.where(np.isfinite(a) & np.isfinite(b), a - b, np.nan)


def _arms(hypothesis: Hypothesis) -> set[str]:
    return {arm for contrast in hypothesis.contrasts for arm in (contrast.a, contrast.b)}


def _not_run(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "name": hypothesis.name,
        "statement": hypothesis.statement,
        "combine": hypothesis.combine,
        "p": None,
        "contrasts": [],
        "p_holm": None,
        "verdict": "not run",
    }


def _hypothesis(runs: pd.DataFrame, hypothesis: Hypothesis) -> dict[str, Any]:
    contrasts = [compare(runs, contrast) for contrast in hypothesis.contrasts]
    return {
        "name": hypothesis.name,
        "statement": hypothesis.statement,
        "combine": hypothesis.combine,
        "p": _joint_p(contrasts, hypothesis.combine),
        "contrasts": contrasts,
        "verdict": "undecided",
    }


def _joint_p(contrasts: list[dict[str, Any]], combine: str) -> float:
    """Return the p value of a statement on all contrasts, the largest, or on any of them.

    Of any contrasts one must be both sure and large enough, so the small ones count as p = 1, and
    the choice among them is paid for as Bonferroni does.
    """
    if combine == "all":
        return max(row["p"] for row in contrasts)
    return min(1.0, len(contrasts) * min(_p_if_large(row) for row in contrasts))


def _p_if_large(contrast: dict[str, Any]) -> float:
    return contrast["p"] if _large_enough(contrast) else 1.0


def _verdict(row: dict[str, Any]) -> str:
    """Return supported, not supported or undecided, by p value, estimate and interval."""
    combine = all if row["combine"] == "all" else any
    if row["p_holm"] < LEVEL and combine(map(_large_enough, row["contrasts"])):
        return "supported"
    refuting = any if row["combine"] == "all" else all
    return "not supported" if refuting(map(_excluded, row["contrasts"])) else "undecided"


def _large_enough(contrast: dict[str, Any]) -> bool:
    estimate, margin = contrast["estimate"], contrast["margin"]
    if contrast["direction"] == "different":
        return abs(estimate) >= margin
    return (-estimate if contrast["direction"] == "less" else estimate) >= margin


def _excluded(contrast: dict[str, Any]) -> bool:
    """Whether the interval lies wholly short of the margin."""
    low, high, margin = contrast["ci95_low"], contrast["ci95_high"], contrast["margin"]
    if contrast["direction"] == "different":
        return -margin < low and high < margin
    return -low < margin if contrast["direction"] == "less" else high < margin
