"""Means and t intervals against scipy and cases worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lowdim.analyse import summarise
from lowdim.analyse.summary import COLUMNS, interval
from lowdim.config import Study

DIGITS = {"rel": 1e-9}


def study(*arms: str, published: dict | None = None) -> Study:
    """A study of which the summary reads arms and published figures only."""
    return Study.model_construct(arms=dict.fromkeys(arms), published=published or {})


def runs(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def row(frame: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    found = frame[(frame["arm"] == arm) & (frame["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_the_interval_of_three_values_is_the_one_worked_by_hand():
    n, mean, std, low, high = interval(np.array([1.0, 2.0, 3.0]))
    # Student's t with two degrees of freedom has a closed form
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    half = quantile / math.sqrt(3)
    assert (n, mean, std) == (3, 2.0, 1.0)
    assert (low, high) == pytest.approx((2 - half, 2 + half), **DIGITS)


@pytest.mark.parametrize("n", [2, 5, 10, 37])
def test_the_interval_is_scipys_t_interval(n):
    values = np.random.default_rng(n).normal(50, 3, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values)[3:] == pytest.approx((expected.low, expected.high), **DIGITS)


def test_one_value_has_a_mean_and_no_interval():
    n, mean, *rest = interval(np.array([4.0]))
    assert (n, mean) == (1, 4.0)
    assert np.isnan(rest).all()


def test_ninety_five_in_a_hundred_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    held = [low <= 0 <= high for *_, low, high in map(interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


def test_runs_that_diverged_are_counted_and_left_out_of_the_mean():
    table = runs(
        arm=["a"] * 3,
        seed=[0, 1, 2],
        test_accuracy=[60.0, math.nan, 62.0],
        diverged_epoch=[math.nan, 3, math.nan],
    )
    summary = summarise(table, study("a"))
    assert row(summary, "a", "test_accuracy")[["n", "mean"]].tolist() == [2, 61.0]
    assert row(summary, "a", "diverged")[["n", "mean"]].tolist() == [3, 1.0]


def test_a_metric_no_run_reached_has_no_row():
    table = runs(arm=["a"], seed=[0], test_accuracy=[math.nan], diverged_epoch=[1])
    assert set(summarise(table, study("a"))["metric"]) == {"diverged"}


def test_published_figures_stand_beside_their_metric_only():
    table = runs(arm=["a", "b"], seed=[0, 0], test_accuracy=[60.0, 50.0], best_loss=[1.0, 2.0])
    summary = summarise(table, study("a", "b", published={"a": {"test_accuracy": 61.1}}))
    assert row(summary, "a", "test_accuracy")["published"] == 61.1
    assert summary["published"].notna().sum() == 1


def test_arms_stand_in_the_studys_order_under_the_promised_columns():
    table = runs(arm=["a", "b"], seed=[0, 0], test_accuracy=[60.0, 50.0])
    summary = summarise(table, study("b", "a"))
    assert list(summary.columns) == COLUMNS
    assert list(summary["arm"].unique()) == ["b", "a"]


def test_what_only_names_a_run_is_not_summarised():
    table = runs(arm=["a"], seed=[7], engine=["torch"], device=["cpu"], test_accuracy=[1.0])
    assert set(summarise(table, study("a"))["metric"]) == {"test_accuracy", "diverged"}
