"""Low-rank gradients of one model's small matrices, iterated on the tape library.

Torch's and LAPACK's calls cost more than the arithmetic of a matrix of 119 by 119; a tape is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowdim.optim.lrg_projection import Limit, LowRankProjection

LARGEST_SIDE = 256
_NAMES = {torch.float32: "float32", torch.float64: "float64"}
_BASIS, _GRADIENT, _LOW = "svd.basis", "gradient", "low"


@dataclass(frozen=True)
class TapedProjection(LowRankProjection):
    """The projection of one model: method `iterate` runs on the tape where matrices are small.

    The replica axis has length one. `start` is then an orthonormal basis that holds the leading
    right singular vectors, with as many columns as vectors of the processor take.
    """

    def _cut_matrices(
        self, g: Tensor, limit: Limit, start: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        rank = limit.rank
        if (
            self.method != "iterate"
            or limit.energy is not None
            or not isinstance(rank, int)
            or not _suited(g, rank)
        ):
            return super()._cut_matrices(g, limit, start)
        # As many products with g as the kernel of torch tensors takes, and one.
        rounds = 1 + (2 if self.iterations is None else self.iterations)
        wider = max(rank // 2, 4) if self.oversample is None else self.oversample
        columns = min(rank + wider, *g.shape[1:])
        cut = _taped(*g.shape[1:], rank, columns, rounds, _NAMES[g.dtype])
        low, basis = cut(g[0].numpy(), start if self.warm_start else None)
        return torch.from_numpy(low)[None], torch.from_numpy(basis)[None]


def _suited(g: Tensor, rank: int) -> bool:
    sides = g.shape[1:]
    return (
        len(g) == 1
        and g.is_cpu
        and g.dtype in _NAMES
        and 16 <= min(sides) <= max(sides) <= LARGEST_SIDE
        and 1 <= rank < min(sides)
        and isfinite(g.sum().item())
    )


@dataclass
class _Taped:
    """A program that cuts matrices of one shape, with the memory that it runs in."""

    program: Any
    schedule: np.ndarray
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.states = self.program.new_states(1)
        self.workspace = self.program.workspace()
        noise = self._view("svd.noise")
        noise[...] = np.random.default_rng(0).standard_normal(noise.shape)

    def _view(self, name: str) -> np.ndarray:
        view: np.ndarray = self.program.kept_view(self.states, name)[0]
        return view

    def __call__(self, g: np.ndarray, start: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the approximation, and the basis that it came from."""
        rows = g.shape[1]
        with self.lock:
            basis = self._view(_BASIS)
            basis[...] = 0
            if start is not None:
                known = start[0].numpy()[:, : basis.shape[1]]
                basis[:rows, : known.shape[1]] = known
            self._view(_GRADIENT)[...] = g
            self.program.run(self.states[0], workspace=self.workspace, schedule=self.schedule)
            return self._view(_LOW).copy(), basis[:rows].copy()


@lru_cache(maxsize=16)
def _taped(rows: int, columns: int, rank: int, width: int, rounds: int, dtype: str) -> _Taped:
    from lowdim_kernels.tape import truncation
    from lowdim_kernels.tape.schedules import adam_schedule
    from lowdim_kernels.tape.tape import Tape

    tape = Tape(1, dtype=dtype)
    gradient = tape.keep(_GRADIENT, rows, columns)
    low = tape.keep(_LOW, rows, columns)
    share = width / rank
    truncation.truncate(tape, "svd", low, gradient, rank, oversample=share, iterations=rounds)
    program = tape.finish()
    return _Taped(program, adam_schedule(np.zeros(1), rank=rank, dtype=program.dtype))
