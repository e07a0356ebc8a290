"""Paired tests by brute force, and the verdicts that follow from them."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from lowdim.analyse.verdicts import bootstrap_interval, compare, judge, sign_flip_p
from lowdim.config import Contrast, Hypothesis

DIGITS = {"rel": 1e-12}
METRIC = "test_accuracy"


def by_brute_force(values, alternative) -> float:
    """The share of sign patterns whose sum is at least as extreme; sums in whole thousandths."""
    whole = [round(1000 * value) for value in values]
    signs = itertools.product((1, -1), repeat=len(whole))
    sums = [sum(s * v for s, v in zip(pattern, whole, strict=True)) for pattern in signs]
    above = sum(total >= sum(whole) for total in sums) / len(sums)
    below = sum(total <= sum(whole) for total in sums) / len(sums)
    return above if alternative == "greater" else min(1.0, 2 * min(above, below))


def runs(metric=METRIC, **arms) -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, metric: value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def contrast(**changes) -> Contrast:
    return Contrast(**{"metric": METRIC, "a": "a", "b": "b", **changes})


def verdict(table, *contrasts, combine="all") -> dict:
    hypothesis = Hypothesis(
        name="one", statement="It is so.", contrasts=list(contrasts), combine=combine
    )
    return judge(table, [hypothesis])[0]


def around(mean, spread=1.0, n=10) -> np.ndarray:
    """n values with that mean, spread evenly."""
    return mean + spread * np.linspace(-1, 1, n)


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_the_p_value_is_the_share_of_sign_patterns(n, alternative):
    for seed in range(5):
        values = np.random.default_rng([n, seed]).normal(0.5, 1, n).round(3)
        expected = by_brute_force(values, alternative)
        assert sign_flip_p(values, alternative) == pytest.approx(expected, **DIGITS)


@pytest.mark.parametrize(
    "values", [[0.1, 0.2, -0.3], [0.1] * 6, [0.3, -0.1, -0.2, 0.1, 0.0, 0.7, -0.8], [0.0] * 4]
)
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_sums_that_tie_but_for_rounding_count_as_ties(values, alternative):
    accuracies = 43.9 + np.array(values)
    differences = accuracies - 43.9
    expected = by_brute_force(differences, alternative)
    assert sign_flip_p(differences, alternative) == pytest.approx(expected, **DIGITS)


def test_five_seeds_cannot_reach_the_level_on_both_sides_and_ten_can():
    assert sign_flip_p(np.full(5, 9.0), "two-sided") == 2 / 2**5
    assert sign_flip_p(np.full(10, 9.0), "two-sided") == 2 / 2**10
    assert sign_flip_p(np.array([9.0]), "greater") == 1.0


def test_many_seeds_are_sampled_alike_each_time():
    values = np.random.default_rng(1).normal(0.2, 1, 20)
    first = sign_flip_p(values, "greater")
    assert first == sign_flip_p(values, "greater")
    exact = by_brute_force(values[:16], "greater")
    assert sign_flip_p(values[:16], "greater") == pytest.approx(exact, abs=2e-3)


def test_the_bootstrap_interval_is_near_the_t_interval_and_the_same_each_time():
    values = np.random.default_rng(3).normal(5, 2, 200)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(200)
    expected = (values.mean() - half, values.mean() + half)
    assert (low, high) == pytest.approx(expected, abs=0.1 * half)
    assert (low, high) == bootstrap_interval(values)


def test_equal_differences_have_an_interval_of_no_width():
    assert bootstrap_interval(43.9 + np.full(6, 0.3) - 43.9) == pytest.approx((0.3, 0.3), **DIGITS)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
def test_few_seeds_still_have_an_interval_that_holds_the_mean(values):
    low, high = bootstrap_interval(np.array(values))
    assert low <= np.mean(values) <= high


def test_pairs_are_matched_by_seed_whatever_the_order_of_rows():
    table = runs(a=around(60), b=around(55)[::-1])
    shuffled = table.sample(frac=1, random_state=0)
    assert compare(table, contrast()) == compare(shuffled, contrast())


def test_a_seed_at_which_either_run_diverged_is_left_out_and_said():
    table = runs(a=[60, math.nan, 62, 63], b=[50, 51, math.nan, 53])
    found = compare(table, contrast())
    assert (found["n"], found["left_out"], found["estimate"]) == (2, 2, 10)


def test_an_arm_without_a_finite_run_leaves_the_verdict_undecided():
    found = verdict(runs(a=[math.nan] * 10, b=around(55)), contrast())
    assert found["verdict"] == "undecided"
    assert found["p_holm"] == 1
    assert math.isnan(found["contrasts"][0]["estimate"])


def test_a_log_contrast_is_in_decades():
    table = runs("learning_rate", a=[0.1, 0.2], b=[0.01, 0.02])
    found = compare(table, contrast(metric="learning_rate", scale="log"))
    assert found["estimate"] == pytest.approx(1.0, **DIGITS)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="no metric 'speed'"):
        compare(runs(a=[1], b=[2]), contrast(metric="speed"))


@pytest.mark.parametrize(
    ("mean", "spread", "changes", "expected"),
    [
        (8, 1, {"margin": 5}, "supported"),
        (3, 1, {"margin": 5}, "not supported"),
        (5, 9, {"margin": 5}, "supported"),
        (4.5, 9, {"margin": 5}, "undecided"),
        (1, 9, {}, "undecided"),
        (-8, 1, {}, "not supported"),
        (-3, 1, {"margin": -5}, "supported"),
        (-8, 1, {"margin": -5}, "not supported"),
        (-4, 9, {"margin": -5}, "undecided"),
        (0, 1, {"margin": -5}, "supported"),
        (-8, 1, {"direction": "less", "margin": 5}, "supported"),
        (-3, 1, {"direction": "less", "margin": 5}, "not supported"),
        (8, 1, {"direction": "less"}, "not supported"),
        (3, 1, {"direction": "less", "margin": -5}, "supported"),
        (8, 1, {"direction": "less", "margin": -5}, "not supported"),
        (8, 1, {"direction": "different", "margin": 5}, "supported"),
        (-8, 1, {"direction": "different", "margin": 5}, "supported"),
        (2, 1, {"direction": "different", "margin": 5}, "not supported"),
        (5.2, 16, {"direction": "different", "margin": 5}, "undecided"),
        (0, 1, {"direction": "different"}, "undecided"),
    ],
)
def test_verdict_by_direction_margin_and_spread(mean, spread, changes, expected):
    table = runs(a=50 + around(mean, spread), b=np.full(10, 50.0))
    assert verdict(table, contrast(**changes))["verdict"] == expected


def test_a_statement_on_all_contrasts_falls_with_one():
    table = runs(a=around(60), b=around(50), c=around(70))
    up, down = contrast(), contrast(b="c")
    assert verdict(table, up, down)["verdict"] == "not supported"
    assert verdict(table, up, down)["p"] == compare(table, down)["p"]
    assert verdict(table, up, up)["verdict"] == "supported"


def test_a_statement_on_any_contrast_stands_with_one_and_pays_for_the_choice():
    table = runs(a=around(60), b=around(50), c=around(70))
    up, down = contrast(), contrast(b="c")
    found = verdict(table, up, down, combine="any")
    assert found["verdict"] == "supported"
    assert found["p"] == pytest.approx(2 * compare(table, up)["p"], **DIGITS)
    assert verdict(table, down, down, combine="any")["verdict"] == "not supported"


def test_of_any_contrasts_the_same_one_must_be_sure_and_large():
    table = runs(a=np.zeros(10), b=around(-1, 0.5), c=around(-6, 30))
    sure_but_small, large_but_unsure = contrast(margin=5), contrast(b="c", margin=5)
    assert compare(table, sure_but_small)["p"] < 0.01
    assert compare(table, large_but_unsure)["estimate"] > 5
    found = verdict(table, sure_but_small, large_but_unsure, combine="any")
    assert found["verdict"] == "undecided"


def test_holm_is_applied_over_the_hypotheses_of_a_study():
    shifts = {"b": 60 - 8, "c": 60 - 0.9, "d": 60 - 0.5}
    table = runs(a=around(60, 2), **{arm: around(mean, -0.5) for arm, mean in shifts.items()})
    hypotheses = [
        Hypothesis(name=f"over_{arm}", statement="Above.", contrasts=[contrast(b=arm)])
        for arm in shifts
    ]
    judged = judge(table, hypotheses)
    raw = sorted(row["p"] for row in judged)
    stepped = [min(1.0, (3 - place) * p) for place, p in enumerate(raw)]
    expected = np.maximum.accumulate(stepped)
    assert sorted(row["p_holm"] for row in judged) == pytest.approx(expected, **DIGITS)
    assert len(set(raw)) == 3


def test_a_study_without_hypotheses_has_no_verdicts():
    assert judge(runs(a=[1.0], b=[2.0]), []) == []
