"""Metrics against a hyperparameter: every value swept, tuned seeds beside, words with numbers."""

from __future__ import annotations

import numpy as np
import pytest

from by_hand import FOLDER, read_study, write_results
from lowdim.config import load_study
from lowdim.drawing.over_hyper import middle, over_hyper
from lowdim.drawing.picture import drawn
from lowdim.studies import low_rank_gradients

SWEPT = ("dense_h12", "dense_h6", "dense_h8")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"), read_study())[1]


def picture(tables, metrics=("best_loss", "test_accuracy"), hyper="effective_parameters", **more):
    asked = {"swept": SWEPT, "tuned": ("kronecker", "absent"), "without": "dense", **more}
    found = drawn(over_hyper("swept", title="Swept", hyper=hyper, metrics=metrics, **asked), tables)
    return found[0] if found else None


def test_the_line_goes_through_the_means_in_the_order_of_the_values(tables):
    shown = picture(tables)
    for axes, metric in zip(shown.figure.axes, ("best_loss", "test_accuracy"), strict=True):
        line = next(line for line in axes.lines if line.get_label() == "swept")
        assert list(line.get_xdata()) == sorted(line.get_xdata())
        by_size = tables.runs.groupby("effective_parameters")[metric]
        means = by_size.apply(lambda values, metric=metric: middle(metric, values.to_numpy())[0])
        assert list(line.get_ydata()) == [means[x] for x in line.get_xdata()]


def test_every_seed_of_a_tuned_arm_has_a_point(tables):
    axes = picture(tables).figure.axes[0]
    label = f"{tables.label('kronecker')}, each seed at its own"
    cloud = next(line for line in axes.lines if line.get_label() == label)
    own = tables.runs[tables.runs["arm"] == "kronecker"]
    assert sorted(cloud.get_ydata()) == sorted(own["best_loss"])


def test_words_name_the_values_and_what_stands_beside(tables):
    shown = picture(tables)
    assert "hollow markers are seeds of Kronecker" in shown.caption
    assert "the level is Dense as tuned" in shown.caption
    sizes = tables.runs.set_index("arm")["effective_parameters"]
    for arm in SWEPT:
        assert f"{sizes[arm].iloc[0]:g}: " in shown.alt


def test_nothing_is_drawn_of_a_hyperparameter_or_a_metric_that_is_not_there(tables):
    assert picture(tables, hyper="rank") is None
    assert picture(tables, metrics=("energy_kept",)) is None
    assert picture(tables, swept=("dense_h6",)) is None


def test_the_middle_of_a_log_metric_is_geometric():
    values = np.array([1.0, 4.0, 16.0])
    assert middle("best_loss", values)[0] == pytest.approx(4.0, rel=1e-12)
    assert middle("test_accuracy", values)[0] == pytest.approx(7.0, rel=1e-12)
    assert middle("best_loss", values[:1]) == pytest.approx((1.0, 1.0, 1.0))


def test_the_study_of_gradients_draws_arms_that_it_has():
    study = load_study("low_rank_gradients", folder=FOLDER, scale="full")
    named = {
        arm
        for part in (low_rank_gradients.TUNED, low_rank_gradients.OTHERS, low_rank_gradients.SWEPT)
        for arm in part
    }
    assert named <= set(study.arms)
