"""What is read where an error first falls to a level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lowdim.config import load_study
from lowdim.config.study import ArmConfig, Crossing
from lowdim.studies.readings import crossed

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


def test_crossings_without_their_probe_are_refused():
    arm = next(iter(load_study("structured_weights", folder=STUDIES).arms.values()))
    raw = arm.model_dump() | {"crossings": [HALF.model_dump()]}
    with pytest.raises(ValidationError, match="need the probe linear_map_errors"):
        ArmConfig.model_validate(raw)
