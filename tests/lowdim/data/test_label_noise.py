"""Wrong labels: as many as asked for, of other classes, and of training samples alone."""

import pytest
import torch

from lowdim.data.mnist1d import with_label_noise
from lowdim.data.task import Split, Task


def clean(samples=2000) -> Task:
    y = torch.arange(samples).remainder(10)[None]
    x = torch.randn(1, samples, 3)
    return Task("ten classes", "cross_entropy", Split(x, y), {"test": Split(x, y)})


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_the_share_asked_for_is_wrong(share):
    task = clean()
    wrong = with_label_noise(task, share).train.targets != task.train.targets
    assert wrong.sum() == round(share * 2000)


def test_every_other_class_is_as_likely():
    task = clean(20_000)
    noisy = with_label_noise(task, 0.5).train.targets
    shift = (noisy - task.train.targets).remainder(10)
    counts = torch.bincount(shift[shift > 0], minlength=10)[1:]
    expected = 10_000 / 9
    assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_inputs_and_held_out_splits_are_left_as_they_are():
    task = clean()
    noisy = with_label_noise(task, 0.2)
    assert torch.equal(noisy.train.inputs, task.train.inputs)
    assert noisy.held_out["test"] is task.held_out["test"]
    assert torch.equal(task.train.targets, clean().train.targets)


def test_the_same_labels_are_wrong_every_time():
    first, second = (with_label_noise(clean(), 0.2).train.targets for _ in range(2))
    assert torch.equal(first, second)


def test_a_share_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\), got 1"):
        with_label_noise(clean(), 1)
