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
_TEST = "sign-flip permutation of paired differences"


def judge(runs: pd.DataFrame, hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Return each hypothesis with its contrasts, p (raw and Holm over the study) and verdict."""
    judged = [_hypothesis(runs, hypothesis) for hypothesis in hypotheses]
    if judged:
        adjusted = multipletests([row["p"] for row in judged], alpha=LEVEL, method="holm")[1]
        for row, p in zip(judged, adjusted, strict=True):
            row["p_holm"] = float(p)
            row["verdict"] = _verdict(row)
    return judged


def compare(runs: pd.DataFrame, contrast: Contrast) -> dict[str, Any]:
    """Return the estimate of a contrast with its bootstrap interval and p value.

    For a direction the null hypothesis is the margin where that is negative (no worse than), else
    zero; `different` is tested on both sides of zero.
    """
    differences = _differences(runs, contrast)
    sign = -1.0 if contrast.direction == "less" else 1.0
    null = 0.0 if contrast.direction == "different" else min(0.0, contrast.margin)
    sided = "two-sided" if contrast.direction == "different" else "greater"
    low, high = bootstrap_interval(differences)
    exact = len(differences) <= _EXACT_UP_TO
    return {
        **contrast.model_dump(),
        "n": len(differences),
        "estimate": float(differences.mean()) if len(differences) else math.nan,
        "ci95_low": low,
        "ci95_high": high,
        "test": f"{_TEST}, {'exact' if exact else f'{_RESAMPLES} draws'}",
        "p": sign_flip_p(sign * differences - null, sided),
    }


def sign_flip_p(values: np.ndarray, alternative: str) -> float:
    """Return the p value of a mean above zero (`greater`) or unlike it (`two-sided`).

    Every sign pattern is tried up to sixteen values, a seeded sample of them beyond.
    """
    if len(values) < 2:
        return 1.0
    resamples = np.inf if len(values) <= _EXACT_UP_TO else _RESAMPLES
    result = stats.permutation_test(
        (values,),
        lambda x, axis: np.mean(x, axis=axis),
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
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, rng=np.random.default_rng(0), method="BCa"
    ).confidence_interval
    return float(found.low), float(found.high)


def _differences(runs: pd.DataFrame, contrast: Contrast) -> np.ndarray:
    """Return a - b by seed, for the seeds at which both are finite."""
    if contrast.metric not in runs:
        raise ValueError(f"hypotheses: no metric {contrast.metric!r} among {sorted(runs.columns)}")
    table = runs.pivot(index="seed", columns="arm", values=contrast.metric)
    a, b = table[contrast.a].to_numpy(float), table[contrast.b].to_numpy(float)
    if contrast.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = np.log10(a), np.log10(b)
    differences = a - b
    return differences[np.isfinite(differences)]


def _hypothesis(runs: pd.DataFrame, hypothesis: Hypothesis) -> dict[str, Any]:
    contrasts = [compare(runs, contrast) for contrast in hypothesis.contrasts]
    every = [row["p"] for row in contrasts]
    joint = max(every) if hypothesis.combine == "all" else min(1.0, len(every) * min(every))
    return {
        "name": hypothesis.name,
        "statement": hypothesis.statement,
        "combine": hypothesis.combine,
        "p": joint,
        "contrasts": contrasts,
    }


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
