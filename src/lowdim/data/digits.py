"""scikit-learn's bundled 8x8 digits: real images that are always there."""

from __future__ import annotations

import numpy as np
import torch

from lowdim.data.task import Split, Task


def digits_task(*, validation: int = 297, test: int = 300, split_seed: int = 0) -> Task:
    """Return classification of 1,797 8x8 digits: train, and held out `monitor` and `test`.

    The samples are shuffled once, by `split_seed`: the last go to `test`, those before to
    `monitor` (validation), the first, 1,200 by default, to train. Inputs are rows of 64,
    (x - 0.5) / 0.5 of brightness in [0, 1].
    """
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    rest = len(pixels) - validation - test
    if min(validation, test, rest) < 1:
        raise ValueError(
            f"validation and test must be positive and leave some of {len(pixels)} samples, "
            f"got {validation} and {test}"
        )
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(split_seed))
    inputs = (torch.from_numpy(pixels.astype(np.float32) / 16)[order] - 0.5) / 0.5
    targets = torch.from_numpy(classes.astype(np.int64))[order]
    splits = [
        Split(x[None], y[None])
        for x, y in zip(
            inputs.split([rest, validation, test]),
            targets.split([rest, validation, test]),
            strict=True,
        )
    ]
    return Task("digits", "cross_entropy", splits[0], {"monitor": splits[1], "test": splits[2]})
