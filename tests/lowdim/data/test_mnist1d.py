"""MNIST-1D: the published draw, fresh draws beside it, and no trace in the global generators."""

import random

import numpy as np
import pytest
import torch

from lowdim.data import mnist1d_task
from lowdim.data.mnist1d import with_label_noise


def small(folder, **arguments):
    sizes = {"samples": 50, "monitor": 20, "fresh": 30}
    return mnist1d_task(**{**sizes, **arguments}, folder=folder)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return small(tmp_path_factory.mktemp("cache"))


def test_the_default_draw_is_the_published_one(tmp_path):
    pytest.importorskip("mnist1d")
    from mnist1d.data import get_dataset_args, make_dataset

    theirs = make_dataset(get_dataset_args())
    ours = mnist1d_task(monitor=10, fresh=10, folder=tmp_path)
    test = ours.held_out["test"]
    assert ours.train.inputs.shape == (1, 4000, 40)
    assert test.inputs.shape == (1, 1000, 40)
    assert np.array_equal(ours.train.inputs[0], theirs["x"].astype(np.float32))
    assert np.array_equal(test.inputs[0], theirs["x_test"].astype(np.float32))
    assert np.array_equal(ours.train.targets[0], theirs["y"])
    assert np.array_equal(test.targets[0], theirs["y_test"])


def test_splits_have_the_sizes_asked_for(task):
    sizes = {name: split.samples for name, split in task.held_out.items()}
    assert sizes == {"test": 10, "monitor": 20, "fresh": 30}
    assert task.train.inputs.shape == (1, 40, 40)
    assert task.train.inputs.dtype == torch.float32
    assert task.train.targets.dtype == torch.int64
    assert (task.name, task.loss) == ("mnist1d", "cross_entropy")


def test_every_draw_is_standardised_and_balanced(task):
    for name in ("monitor", "fresh"):
        x, y = task.held_out[name].inputs.double(), task.held_out[name].targets
        assert abs(x.mean()) < 1e-6
        assert abs(x.std(unbiased=False) - 1) < 1e-6
        assert torch.bincount(y[0], minlength=10).unique().numel() == 1


def test_no_sample_is_in_two_splits(task):
    splits = [task.train, *task.held_out.values()]
    rows = torch.cat([split.inputs[0] for split in splits])
    assert len(rows.unique(dim=0)) == len(rows)


def test_the_global_generators_are_as_they_were(tmp_path):
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    small(tmp_path)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_the_cache_gives_the_same_task(task, tmp_path):
    for _ in range(2):
        again = small(tmp_path)
        assert torch.equal(again.train.inputs, task.train.inputs)
        assert torch.equal(again.held_out["fresh"].targets, task.held_out["fresh"].targets)


def test_another_seed_is_another_draw(task, tmp_path):
    other = small(tmp_path, seed=7)
    assert not torch.equal(other.train.inputs, task.train.inputs)
    assert torch.equal(other.held_out["monitor"].inputs, task.held_out["monitor"].inputs)


def test_further_training_sets_are_draws_of_their_own_judged_on_the_same_samples(task, tmp_path):
    several, more = small(tmp_path, sets=3), small(tmp_path, sets=4)
    assert several.train.inputs.shape == (3, 40, 40)
    assert torch.equal(several.train.inputs[:1], task.train.inputs)
    assert torch.equal(more.train.inputs[:3], several.train.inputs)
    assert torch.equal(more.train.targets[:3], several.train.targets)
    rows = several.train.inputs.flatten(0, 1)
    assert len(rows.unique(dim=0)) == len(rows)
    for name, split in several.held_out.items():
        assert torch.equal(split.inputs, task.held_out[name].inputs)


def test_noise_of_a_training_set_hangs_on_no_other(tmp_path):
    few, more = (with_label_noise(small(tmp_path, sets=sets), 0.2) for sets in (2, 4))
    assert torch.equal(more.train.targets[:2], few.train.targets)
    assert not torch.equal(few.train.targets[1], small(tmp_path, sets=2).train.targets[1])


def test_changing_a_split_in_memory_leaves_the_cache_alone(tmp_path):
    first = small(tmp_path)
    first.train.inputs.zero_()
    assert small(tmp_path).train.inputs.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 55}, "samples must be a positive multiple of 10, got 55"),
        ({"fresh": 0}, "fresh must be a positive multiple of 10, got 0"),
        ({"seed": 5, "fresh_seed": 5}, "must differ"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(tmp_path, **arguments)
