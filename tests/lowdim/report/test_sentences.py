"""Sentences on numbers say what the numbers say."""

import math

import numpy as np
import pytest

from lowdim.config import Contrast
from lowdim.report.middles import is_wide
from lowdim.report.numbers import p_value
from lowdim.report.published import difference
from lowdim.report.verdicts import asked, finding


def test_the_ends_of_a_small_ratio_keep_their_digits():
    small = found(-2.06, metric="err_null", scale="log", ci95_low=-2.072, ci95_high=-2.053)
    assert "(95 % interval 0.0085 to 0.0089 times;" in finding(small, "A", "B")


def test_ratios_near_one_are_told_to_a_thousandth():
    near = found(0.00107, metric="best_loss", scale="log", ci95_low=-0.0051, ci95_high=0.0094)
    words = "1.002 times that of B (95 % interval 0.988 to 1.022 times;"
    assert words in finding(near, "A", "B")


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("err_null", [1.0, 9.9], False),
        ("err_null", [1.0, 10.1], True),
        ("err_null", [0.0, 10.1], False),
        ("err_null", [10.1], False),
        # a tuned rate is no error, and its mean is published beside it
        ("learning_rate", [1.0, 10.1], False),
        ("test_accuracy", [1.0, 10.1], False),
    ],
)
def test_errors_that_differ_tenfold_have_a_median(metric, values, expected):
    assert is_wide(metric, np.array(values)) is expected


def found(estimate, **changes):
    whole = Contrast(metric="test_accuracy", a="a", b="b").model_dump()
    numbers = {"n": 10, "estimate": estimate, "ci95_low": 1.0, "ci95_high": 2.0}
    return {**whole, **numbers, **changes}


@pytest.mark.parametrize(
    ("metric", "told", "values", "words"),
    [
        ("parameters", 5110.0, [5110.0] * 3, "The same."),
        ("parameters", 5110.0, [610.0] * 3, "Ours is 4,500 lower; a count, free of chance."),
        (
            "test_accuracy",
            61.1,
            [60.0, 61.0, 62.0],
            "Ours is 0.10 points lower; the published figure lies within our 95 % interval.",
        ),
        (
            "test_accuracy",
            43.9,
            [52.0, 53.0, 54.0],
            "Ours is 9.10 points higher; the published figure lies outside our 95 % interval and "
            "outside what our 3 seeds span, 52.00 to 54.00.",
        ),
        (
            "test_accuracy",
            51.0,
            [50.0] * 20 + [51.0],
            "Ours is 0.95 points lower; the published figure lies outside our 95 % interval but "
            "within what our 21 seeds span, 50.00 to 51.00.",
        ),
        (
            "learning_rate",
            0.01,
            [0.03, 0.031, 0.032],
            "Ours is 3.10 times the published one; the published figure lies outside our 95 % "
            "interval and outside what our 3 seeds span, 0.03000 to 0.03200.",
        ),
        (
            "err_null",
            2e-3,
            [1e-6, 4e-6, 4e-6, 4e-2],
            "Our median is 0.002 times the published figure, which lies within what our 4 seeds "
            "span, 1.000e−06 to 0.04000.",
        ),
        (
            "test_accuracy",
            61.1,
            [60.0],
            "Ours is 1.10 points lower; one run of ours says nothing of chance.",
        ),
    ],
)
def test_a_difference_from_a_published_figure(metric, told, values, words):
    assert difference(metric, told, np.array(values)) == words


@pytest.mark.parametrize(
    ("contrast", "words"),
    [
        (
            found(1.5),
            "A lies 1.50 points above B in test accuracy (95 % interval of the difference 1.00 to "
            "2.00; 10 pairs of runs).",
        ),
        (
            found(-1.5, ci95_low=-2.0, ci95_high=-1.0),
            "A lies 1.50 points below B in test accuracy (95 % interval of the difference −2.00 to "
            "−1.00; 10 pairs of runs).",
        ),
        (
            found(
                *(math.log10(2),),
                metric="learning_rate",
                scale="log",
                ci95_low=0.0,
                ci95_high=math.log10(4),
                left_out=1,
                n=9,
            ),
            "The learning rate of A is 2.00 times that of B (95 % interval 1.00 to 4.00 times; "
            "9 pairs of runs, 1 left out because a run diverged).",
        ),
        (found(math.nan), "No pair of runs of A and B has a finite test accuracy."),
        (
            found(1.5, n=1, ci95_low=math.nan, ci95_high=math.nan),
            "A lies 1.50 points above B in test accuracy (1 pair of runs).",
        ),
        (
            found(0.0),
            "A and B are alike in test accuracy (95 % interval of the difference 1.00 to "
            "2.00; 10 pairs of runs).",
        ),
    ],
)
def test_a_contrast_in_words(contrast, words):
    assert finding(contrast, "A", "B") == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "above"),
        ({"margin": 5}, "at least 5 points above"),
        ({"margin": 1}, "at least 1 point above"),
        ({"margin": -5}, "at most 5 points below"),
        ({"direction": "less", "margin": 5}, "at least 5 points below"),
        ({"direction": "less", "margin": -5}, "at most 5 points above"),
        ({"direction": "less"}, "below"),
        ({"direction": "different"}, "apart"),
        ({"direction": "different", "margin": 2.5}, "apart by at least 2.5 points"),
        (
            {"metric": "learning_rate", "direction": "different", "scale": "log", "margin": 0.176},
            "apart by at least a factor of 1.5",
        ),
        (
            {"metric": "best_loss", "direction": "less", "scale": "log", "margin": 0.0088},
            "at least a factor of 1.02 below",
        ),
    ],
)
def test_what_was_asked_in_words(changes, words):
    assert asked(found(0.0, **changes)) == words


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "1.00"), (0.9, "0.90"), (0.0449, "0.045"), (0.00196, "0.0020"), (1e-5, "&lt; 0.0001")],
)
def test_a_p_value_keeps_two_digits(p, text):
    assert p_value(p) == f'<data value="{p!r}">{text}</data>'
