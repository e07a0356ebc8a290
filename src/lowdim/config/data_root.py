"""Where real data are looked for, and whether they seem to be there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# bytes and md5 of the original files, unzipped
MNIST_FILES = {
    "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
}


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder given, else that of LOWDIM_CACHE, else the platform's for users' caches."""
    if folder is None:
        folder = os.environ.get("LOWDIM_CACHE") or None
    return _platform_folder() / "lowdim" if folder is None else Path(folder).expanduser()


def data_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder given, else that of LOWDIM_DATA, else `data` in the cache folder.

    In it, MNIST/raw holds the files as `torchvision.datasets.MNIST` lays them out.
    """
    if root is None:
        root = os.environ.get("LOWDIM_DATA") or None
    return cache_folder() / "data" if root is None else Path(root).expanduser()


def mnist_lacks(root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return a file of MNIST that is missing or has the wrong size, None if all are there."""
    folder = data_folder(root) / "MNIST" / "raw"
    for name, (size, _) in MNIST_FILES.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return path
    return None


def _platform_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
