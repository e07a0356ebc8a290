"""Independent random streams of one replica, by name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

_GLOBAL_GENERATOR = threading.Lock()


def stream_seed(seed: int, stream: str) -> int:
    """Return the 63-bit seed of a named stream of a replica's seed."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, stream: str) -> torch.Generator:
    """Return a CPU generator of a named stream."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


@contextmanager
def global_seed(seed: int, stream: str) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block and restore it after.

    All threads share that generator, so one block at a time may hold it.
    """
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(stream_seed(seed, stream))
        yield


def built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a network at the start that belongs to a seed, on the CPU."""
    with global_seed(seed, "start"):
        return build()


def split_rows(samples: int, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (training, validation) of a random split that belongs to a seed."""
    held = round(samples * fraction)
    if not 0 < held < samples:
        raise ValueError(f"validation {fraction} of {samples} samples leaves one side empty")
    order = torch.randperm(samples, generator=generator(seed, "validation"))
    return order[held:].sort().values, order[:held].sort().values
