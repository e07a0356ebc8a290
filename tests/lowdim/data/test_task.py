"""Splits: agreement of their parts, and moves that leave class indices whole."""

import pytest
import torch

from lowdim.data import Split


def test_parts_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(1, 5\)"):
        Split(torch.zeros(1, 4, 3), torch.zeros(1, 5))


def test_class_indices_stay_whole_and_real_targets_change_dtype():
    classes = Split(torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.long))
    moved = classes.to("cpu", torch.float64)
    assert (moved.inputs.dtype, moved.targets.dtype) == (torch.float64, torch.long)
    reals = Split(torch.zeros(2, 4, 3), torch.zeros(2, 4, 2)).to("meta", torch.float64)
    assert (reals.targets.dtype, reals.targets.device.type) == (torch.float64, "meta")
    assert (classes.sets, classes.samples) == (2, 4)
