"""What is read where an error first falls to a level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lowdim.config import load_study
from lowdim.config.study import ArmConfig, Crossing
from lowdim.engine import ReplicaResult
from lowdim.studies.readings import crossed, readings_at_crossings

STUDIES = Path(__file__).parents[3] / "config" / "studies"
EPOCHS = np.arange(40)
HALF = Crossing(metric="rel_err", level=0.5, read=["err_null"])
DIGITS = {"rel": 1e-12}


def test_two_exponentials_are_read_exactly_between_epochs():
    curve, other = 0.93**EPOCHS, 3.0 * 0.8**EPOCHS
    exact = 3.0 * 0.8 ** (np.log(0.5) / np.log(0.93))
    assert crossed(curve, other, HALF) == pytest.approx(exact, **DIGITS)


def test_only_the_first_crossing_counts():
    curve = np.array([1.0, 0.4, 0.9, 0.1])
    other = np.array([1.0, 1.0, 7.0, 9.0])
    assert crossed(curve, other, HALF) == pytest.approx(1.0, **DIGITS)


def test_a_level_never_reached_gives_nothing():
    assert crossed(np.array([1.0, 0.51, np.nan]), np.ones(3), HALF) is None


def test_a_curve_that_starts_below_or_meets_a_zero_is_taken_at_the_reading():
    assert crossed(np.array([0.3, 0.2]), np.array([5.0, 4.0]), HALF) == 5.0
    assert crossed(np.array([1.0, 0.0]), np.array([5.0, 4.0]), HALF) == 4.0
    assert crossed(np.array([1.0, 0.4]), np.array([5.0, 0.0]), HALF) == 0.0


def test_the_loss_on_the_monitor_draw_gives_the_epoch_of_its_crossing():
    arm = _arm(crossings=[{"metric": "loss", "level": 1.0, "read": ["epoch"]}])
    pair = "monitor", "loss"
    result = ReplicaResult(curves={pair: 4.0 / 2.0**EPOCHS})
    result.times[pair] = np.stack([EPOCHS, 10 * EPOCHS], 1)
    found = readings_at_crossings(arm, result)
    assert found == {"epoch_at_loss_1": pytest.approx(2.0, **DIGITS)}
    result.curves[pair] = np.full(40, 2.0)
    assert np.isnan(readings_at_crossings(arm, result)["epoch_at_loss_1"])


def _arm(**changes) -> ArmConfig:
    arm = next(iter(load_study("structured_weights", folder=STUDIES).arms.values()))
    return ArmConfig.model_validate(arm.model_dump() | changes)


def test_crossings_without_their_probe_are_refused():
    with pytest.raises(ValidationError, match="need the probe linear_map_errors"):
        _arm(crossings=[HALF.model_dump()])
