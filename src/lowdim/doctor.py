"""What there is on this machine for the studies: versions, devices, backends, folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from lowdim.config import RunConfig
from lowdim.records.provenance import commit, processor

_PACKAGES = ("lowdim", "torch", "numpy", "numba", "optuna", "snakemake", "mnist1d", "scikit-learn")
_CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


def findings(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield pairs of what was looked for and what was found."""
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in _PACKAGES:
        yield package, _version(package) or "not installed"
    found = next((f"{_version(name)} ({name})" for name in _CUPY if _version(name)), None)
    yield "cupy", found or "not installed: no CUDA kernels; extra cuda12 or cuda13 brings it"
    yield "commit", commit() or "not in a git repository"
    yield "processor", f"{processor()}, {os.cpu_count()} cores, {run.threads} threads configured"
    yield from _devices(run)
    yield "engine", f"{run.engine} (configured)"
    yield "cache", _folder(_cache(run))
    yield "data", _data(run)
    yield "results", _folder(run.results)


def _devices(run: RunConfig) -> Iterator[tuple[str, str]]:
    import torch

    built = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if not torch.cuda.is_available():
        yield "gpu", f"none ({built})"
        yield "backends", "reference, numba"
        if run.device != "cpu":
            yield "device", f"{run.device} is configured and not there; set the key `device` to cpu"
        return
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield f"gpu {index}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB ({built})"
    cuda = ", cuda" if find_spec("cupy") else "; cuda lacks CuPy"
    yield "backends", f"reference, numba{cuda}"


def _cache(run: RunConfig) -> Path:
    from lowdim.config.data_root import cache_folder

    return cache_folder(run.cache)


def _data(run: RunConfig) -> str:
    """Say whether the files of real MNIST lie below the data folder."""
    from lowdim.config.data_root import data_folder, mnist_lacks

    gone = mnist_lacks(run.data_root)
    return f"{data_folder(run.data_root)}, {f'{gone} is not there' if gone else 'MNIST is there'}"


def _folder(path: Path) -> str:
    if not path.exists():
        parent = next((p for p in path.absolute().parents if p.exists()), path)
        return f"{path}, not there yet, {_may_write(parent)}"
    files = [p for p in path.rglob("*") if p.is_file()]
    size_mib = sum(p.stat().st_size for p in files) / 2**20
    return f"{path}, {len(files)} files, {size_mib:.1f} MiB, {_may_write(path)}"


def _may_write(path: Path) -> str:
    return "can be written" if os.access(path, os.W_OK) else "CANNOT BE WRITTEN"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
