"""How a run settles is read from its curves: variance of the loss, and when it is accurate."""

import numpy as np
import pytest

from lowdim.config import ArmConfig
from lowdim.config.study import Settling
from lowdim.engine import ReplicaResult
from lowdim.studies.settling import by_window, first_time, settled

PAIRS = ("step_loss", "gradient_square", "gradient_product")


def stepwise(*values: list[float]) -> ReplicaResult:
    """Return a result whose steps had these losses, squared norms and products."""
    curves = {("train", name): np.array(own) for name, own in zip(PAIRS, values, strict=True)}
    steps = np.arange(1, len(values[0]) + 1)
    times = np.stack([(steps + 1) // 2, steps], 1)
    curves["train", "loss"] = np.array([0.5])
    whole = dict.fromkeys(curves, times) | {("train", "loss"): times[-1:]}
    return ReplicaResult(curves=curves, times=whole)


def test_a_level_is_reached_between_readings():
    assert first_time(np.array([10.0, 50.0, 90.0]), 60.0) == pytest.approx(1.25)
    assert first_time(np.array([10.0, 50.0, 40.0, 90.0]), 50.0) == 1.0
    assert first_time(np.array([10.0, 50.0]), 5.0) == 0.0


def test_times_are_to_a_share_of_the_runs_own_best():
    asked = Settling(final_epochs=2, shares=[50, 100])
    found = settled(asked, np.array([3.0, 2.0, 1.0, 1.5]), np.array([0.0, 80.0, 100.0, 60.0]))
    assert found["epochs_to_50"] == pytest.approx(50 / 80)
    assert found["epochs_to_100"] == 2.0
    assert found["final_loss_variance"] == pytest.approx(np.var([1.0, 1.5], ddof=1))


def test_windows_hold_means_and_the_last_may_be_short():
    result = stepwise([1, 3, 5], [4.0, 16.0, 9.0], [0.0, 4.0, -12.0])
    curves, times = by_window(result, 2)
    assert curves["train", "step_loss"].tolist() == [2.0, 5.0]
    assert curves["train", "gradient_norm"] == pytest.approx([np.sqrt(10), 3.0])
    assert curves["train", "gradient_cosine"] == pytest.approx([4 / 8, -12 / 12])
    assert times["train", "gradient_norm"].tolist() == [[1, 2], [2, 3]]
    assert curves["train", "loss"].tolist() == [0.5]


def test_a_window_of_one_step_leaves_every_step():
    curves, times = by_window(stepwise([1, 3], [4.0, 1.0], [0.0, 1.0]), 1)
    assert curves["train", "step_loss"].tolist() == [1.0, 3.0]
    assert np.isnan(curves["train", "gradient_cosine"][0])
    assert times["train", "step_loss"][:, 1].tolist() == [1, 2]


def test_a_run_without_steps_is_left_as_it_is():
    result = ReplicaResult(curves={("train", "loss"): np.array([1.0])})
    assert by_window(result, 5)[0] == result.curves


def test_one_final_epoch_has_no_variance_and_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        Settling(final_epochs=1, shares=[90])
    assert ArmConfig.model_fields["settling"].default is None
