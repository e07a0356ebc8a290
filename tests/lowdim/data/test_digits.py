"""The bundled 8x8 digits: sizes, scale, a fixed split."""

import pytest
import torch

from lowdim.data import digits_task


def test_samples_are_split_once_and_none_is_lost():
    task = digits_task()
    sizes = {name: split.samples for name, split in task.held_out.items()}
    assert task.train.inputs.shape == (1, 1200, 64)
    assert sizes == {"monitor": 297, "test": 300}
    whole = torch.cat([task.train.inputs[0], *(s.inputs[0] for s in task.held_out.values())])
    other = digits_task(split_seed=1)
    again = torch.cat([other.train.inputs[0], *(s.inputs[0] for s in other.held_out.values())])
    assert not torch.equal(whole, again)
    assert torch.equal(whole.sum(1).sort().values, again.sum(1).sort().values)
    assert torch.equal(whole[:1200], digits_task().train.inputs[0])


def test_inputs_lie_between_minus_one_and_one():
    inputs = digits_task().train.inputs
    assert (inputs.min(), inputs.max()) == (-1, 1)


def test_every_class_is_in_every_split():
    task = digits_task()
    for split in (task.train, *task.held_out.values()):
        assert len(split.targets.unique()) == 10


def test_sizes_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="1797 samples, got 1000 and 797"):
        digits_task(validation=1000, test=797)
