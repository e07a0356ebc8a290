"""What figures compute before they draw."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from lowdim.drawing.arms import geometric
from lowdim.drawing.convergence import band
from lowdim.drawing.labels import spread
from lowdim.drawing.quantities import quantity
from lowdim.drawing.rates import running_median
from lowdim.drawing.size import Point, frontier
from lowdim.drawing.ticks import plain_ticks

DIGITS = {"rel": 1e-9}


def test_a_band_is_the_t_interval_at_every_epoch():
    values = np.random.default_rng(0).normal(size=(7, 3))
    found = band(np.arange(3), values)
    for place in range(3):
        expected = stats.ttest_1samp(values[:, place], 0).confidence_interval(0.95)
        assert found.low[place] == pytest.approx(expected.low, **DIGITS)
        assert found.high[place] == pytest.approx(expected.high, **DIGITS)


def test_a_band_of_one_seed_has_no_width():
    found = band(np.arange(2), np.array([[1.0, 2.0]]))
    assert (found.low == found.mean).all()
    assert (found.high == found.mean).all()


def test_the_geometric_interval_is_the_t_interval_of_the_logarithms():
    values = np.array([0.01, 0.02, 0.05, 0.03])
    found = geometric(values)
    expected = stats.ttest_1samp(np.log(values), 0).confidence_interval(0.95)
    ends = (math.exp(expected.low), math.exp(expected.high))
    assert (found.low, found.high) == pytest.approx(ends, **DIGITS)
    assert found.middle == pytest.approx(stats.gmean(values), **DIGITS)


def test_one_rate_has_a_mean_and_no_interval():
    assert geometric(np.array([0.01])).middle == pytest.approx(0.01, **DIGITS)
    assert math.isnan(geometric(np.array([0.01])).low)


def test_the_running_median_follows_a_monotone_curve_and_ignores_an_outlier():
    x = np.logspace(-3, -1, 40)
    y = np.log10(x)
    y[7] = math.inf
    places, median = running_median(x, y)
    assert all(a < b for a, b in pairwise(places))
    assert all(a < b for a, b in pairwise(median))
    assert np.isfinite(median).all()


def points(sizes, means):
    return [
        Point(str(i), s, m, m, m, None) for i, (s, m) in enumerate(zip(sizes, means, strict=True))
    ]


@pytest.mark.parametrize("greater", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_frontier_holds_exactly_what_nothing_beats(seed, greater):
    draws = np.random.default_rng(seed)
    every = points(draws.integers(1, 6, 12), draws.integers(1, 9, 12))
    sign = 1 if greater else -1

    def is_beaten(point):
        return any(
            other.size <= point.size
            and sign * other.mean >= sign * point.mean
            and (other.size, other.mean) != (point.size, point.mean)
            for other in every
        )

    expected = {(p.size, p.mean) for p in every if not is_beaten(p)}
    found = frontier(every, greater)
    assert {(p.size, p.mean) for p in found} == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_in_order_and_no_closer_than_the_gap(seed):
    heights = np.random.default_rng(seed).uniform(0, 1, 9)
    moved = spread(heights, 0.08)
    order = np.argsort(heights)
    assert (np.diff(moved[order]) >= 0.08 * (1 - 1e-9)).all()
    assert moved.mean() == pytest.approx(heights.mean(), **DIGITS)


def test_labels_that_are_apart_stay_where_they_are():
    heights = np.array([0.5, 0.1, 0.9])
    assert (spread(heights, 0.2) == heights).all()


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("test_accuracy", 61.1, "61.10"),
        ("test_accuracy", -3.125, "−3.12"),
        ("parameters", 5110.0, "5,110"),
        ("learning_rate", 0.0182931, "0.01829"),
        ("best_loss", 1.8204e-9, "1.820e−09"),
        ("rel_err", 0.7563, "0.7563"),
        ("something_new", 0.0, "0"),
        ("learning_rate", math.nan, "–"),
    ],
)
def test_numbers_are_printed_with_digits_that_fit_the_metric(metric, value, text):
    assert quantity(metric).shown(value) == text


def test_a_metric_relative_to_the_start_is_named_after_its_base():
    found = quantity("err_null_relative_to_start")
    assert found.label == "error off the support (as a share of its start)"
    at_level = quantity("err_null_at_rel_err_0.01")
    assert at_level.label == "error off the support (at a relative error of 0.01)"
    assert at_level.scale == "log"
    assert quantity("something_new").label == "something new"


def test_what_probes_read_of_a_layer_is_named_after_it():
    assert quantity("fc1_effective_rank").label == "effective rank of fc1"
    assert quantity("fc1_u_gradient_norm").label == "gradient norm of fc1 u"
    assert quantity("fc1_u_gradient_norm").scale == "log"
    assert quantity("effective_rank").label == "effective rank"


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 1.8), (1e-3, 0.1), (0.95, 3.2), (250, 6500), (1.31, 1.34), (3e-9, 8e-7), (0.9, 9e3)],
)
def test_a_log_axis_has_a_few_plain_ticks_within_its_limits(low, high):
    ticks = plain_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    assert len({f"{tick:,.6g}" for tick in ticks}) == len(ticks)
