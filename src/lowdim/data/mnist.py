"""MNIST from a folder, its files checked before use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from lowdim.config.data_root import MNIST_FILES as FILES
from lowdim.config.data_root import data_folder
from lowdim.data.task import Split, Task


class DataUnavailableError(RuntimeError):
    """A data set is neither here, whole, nor to be had; the text says where it was sought."""


def mnist_task(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    validation: int = 6_000,
    samples: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return classification of 28x28 digits: train, and held out `monitor` and `test`.

    The published 60,000 are split once, by `split_seed`, into the validation samples (`monitor`)
    and the rest (train, of which `samples` keeps that many); `test` is the published 10,000. Inputs
    are rows of 784, (x - 0.5) / 0.5 of brightness in [0, 1]. For `root` see `data_folder`.
    Raises DataUnavailableError if a file is missing and cannot be fetched, or is damaged.
    """
    train_x, train_y, test_x, test_y = _load(data_folder(root), download)
    rest = len(train_x) - validation
    if not 0 < validation < len(train_x):
        raise ValueError(f"validation must be in 1..{len(train_x) - 1}, got {validation}")
    if samples is not None and not 0 < samples <= rest:
        raise ValueError(f"samples must be in 1..{rest}, got {samples}")
    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(split_seed))
    train, held = order[:rest][:samples], order[rest:]
    held_out = {
        "monitor": _split(train_x[held], train_y[held]),
        "test": _split(test_x, test_y),
    }
    return Task("mnist", "cross_entropy", _split(train_x[train], train_y[train]), held_out)


def find_mnist(root: str | os.PathLike[str] | None = None, *, download: bool = False) -> Path:
    """Return the folder of the four files, each of them whole; raise DataUnavailableError else."""
    root = data_folder(root)
    folder = root / "MNIST" / "raw"
    if download and any(not (folder / name).exists() for name in FILES):
        _download(root)
    for name, (size, md5) in FILES.items():
        _check(folder / name, size, md5)
    return folder


def _load(root: Path, download: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    find_mnist(root, download=download)
    from torchvision import datasets

    class MNIST(datasets.MNIST):
        """Reads the files that were checked, never an old torchvision's processed copy."""

        def _check_legacy_exist(self) -> bool:
            return False

    train, test = MNIST(root, train=True), MNIST(root, train=False)
    return train.data, train.targets, test.data, test.targets


def _download(root: Path) -> None:
    from torchvision import datasets

    try:
        datasets.MNIST(root, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataUnavailableError(
            f"MNIST is not below {root} and cannot be fetched ({reason})"
        ) from None


def _check(path: Path, size: int, md5: str) -> None:
    try:
        found = path.stat().st_size
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise DataUnavailableError(
            f"{path} cannot be read ({error.strerror}); point the data root at a folder with "
            f"MNIST/raw, or allow the download"
        ) from None
    if (found, digest) != (size, md5):
        raise DataUnavailableError(
            f"{path} must have {size} bytes and md5 {md5}, got {found} bytes and {digest}; "
            f"delete it to fetch it again"
        )


def _split(images: Tensor, labels: Tensor) -> Split:
    inputs = (images.flatten(1).float() / 255 - 0.5) / 0.5
    return Split(inputs[None], labels.long()[None])
