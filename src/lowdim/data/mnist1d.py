"""MNIST-1D: the published draw, and further draws that nothing was chosen on."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from lowdim.data.cache import Arrays, cached_arrays
from lowdim.data.task import Split, Task

CLASSES = 10
PUBLISHED_SEED = 42
_REDRAWN_SEED = 4_000_042


def mnist1d_task(
    samples: int = 5_000,
    *,
    monitor: int = 10_000,
    fresh: int = 10_000,
    seed: int = PUBLISHED_SEED,
    monitor_seed: int = 1_000_042,
    fresh_seed: int = 2_000_042,
    sets: int = 1,
    folder: str | os.PathLike[str] | None = None,
) -> Task:
    """Return classification of ten digit-like signals of length 40, with held-out test splits.

    Train and `test` are the first 80 % and last 20 % of one draw of `samples` by mnist1d's own
    generator with its default arguments; with the default seed and size, the published data.
    `monitor` and `fresh` are whole draws of their own. Training samples come in `sets`: those of
    set k are the train part of a draw of their own, for k = 0 of the one above. Each draw is
    standardised by one mean and one deviation over all its own numbers, as generated, so test
    samples share these two numbers with train samples, and draws differ in them by sampling error.
    Every draw has as many samples of each class. Cached below `folder` (see `cache_folder`).
    """
    sizes = {"samples": samples, "monitor": monitor, "fresh": fresh}
    for name, size in sizes.items():
        if size < CLASSES or size % CLASSES:
            raise ValueError(f"{name} must be a positive multiple of {CLASSES}, got {size}")
    seeds = {"samples": seed, "monitor": monitor_seed, "fresh": fresh_seed}
    if len(set(seeds.values())) < len(seeds):
        raise ValueError(f"seed, monitor_seed and fresh_seed must differ, got {seeds}")

    def build() -> Arrays:
        return {
            f"{name}_{part}": array
            for name, size in sizes.items()
            for part, array in zip("xy", _draw(size, seeds[name]))
        }

    arguments = {"sizes": sizes, "seeds": seeds, "mnist1d": version("mnist1d"), "layout": 1}
    arrays = cached_arrays("mnist1d", arguments, build, folder=folder)
    cut = int(samples * 0.8)
    x, y = arrays["samples_x"], arrays["samples_y"]
    held_out = {
        "test": _split(x[cut:], y[cut:]),
        "monitor": _split(arrays["monitor_x"], arrays["monitor_y"]),
        "fresh": _split(arrays["fresh_x"], arrays["fresh_y"]),
    }
    drawn = [_redrawn(samples, place, folder) for place in range(1, sets)]
    train_x = np.stack([x[:cut], *(own["samples_x"][:cut] for own in drawn)])
    train_y = np.stack([y[:cut], *(own["samples_y"][:cut] for own in drawn)])
    train = Split(torch.from_numpy(train_x), torch.from_numpy(train_y))
    return Task("mnist1d", "cross_entropy", train, held_out)


def with_label_noise(task: Task, share: float, *, seed: int = 3_000_042) -> Task:
    """Return a task where that share of the training samples has one of the other classes.

    Which samples, and which of the other classes, is uniform; held-out splits are left as they are.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    targets = task.train.targets.clone()
    draw = torch.Generator().manual_seed(seed)
    count = targets.shape[1]
    wrong = torch.randperm(count, generator=draw)[: round(share * count)]
    classes = int(targets.max()) + 1
    shift = torch.randint(1, classes, (len(targets), len(wrong)), generator=draw)
    targets[:, wrong] = (targets[:, wrong] + shift) % classes
    return replace(task, train=Split(task.train.inputs, targets))


def _redrawn(samples: int, place: int, folder: str | os.PathLike[str] | None) -> Arrays:
    """Return the draw from which a training set after the first is taken."""
    seed = _REDRAWN_SEED + place

    def build() -> Arrays:
        return dict(zip(("samples_x", "samples_y"), _draw(samples, seed), strict=True))

    arguments = {"samples": samples, "seed": seed, "mnist1d": version("mnist1d"), "layout": 1}
    return cached_arrays("mnist1d", arguments, build, folder=folder)


def _draw(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return signals (samples, 40) and classes (samples,), train part before test part."""
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples = samples
    arguments.seed = seed
    with _global_generators_kept():
        drawn = make_dataset(arguments)
    x = np.concatenate([drawn["x"], drawn["x_test"]]).astype(np.float32)
    return x, np.concatenate([drawn["y"], drawn["y_test"]]).astype(np.int64)


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Restore the global generators of Python, numpy and torch after the block."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.from_numpy(x.copy())[None], torch.from_numpy(y.copy())[None])
