"""Gradients cut to their leading singular directions, all as one matrix or each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from lowdim.optim.rules import Hyper, Params, State
from lowdim_kernels.truncated_svd import METHODS, Triplets, truncated_svd

Mode = Literal["flat", "matrix"]
MODES: tuple[Mode, ...] = get_args(Mode)
EVERYTHING = torch.iinfo(torch.int64).max
_FLAT = "flat"


class Limit(NamedTuple):
    """How much is kept of each matrix: the leading `rank` directions, or fewer of them where these
    hold the share `energy` of the squared norm. Numbers, or a tensor (R,) for R replicas.
    """

    rank: int | Tensor | None
    energy: float | Tensor | None

    def repeated(self, times: int) -> Limit:
        """Return the limit of so many stacked groups of replicas."""
        return Limit(_repeated(self.rank, times), _repeated(self.energy, times))


@dataclass(frozen=True)
class LowRankProjection:
    """Replaces tensors by approximations of low rank; every tensor leads with the replica axis.

    Mode `flat` lays all tensors of a replica end to end, pads them with zeros to a square matrix,
    cuts that and puts the entries back. Mode `matrix` cuts each tensor of two or more axes, the
    further ones joined, by itself, equal shapes in one kernel call, and leaves vectors alone.
    `error_feedback` adds what was cut away to the next tensors (Seide et al., "1-Bit Stochastic
    Gradient Descent", 2014). `warm_start` begins at the singular vectors of the step before.
    """

    mode: Mode = "flat"
    method: str = "auto"
    oversample: int | None = None
    iterations: int | None = None
    warm_start: bool = False
    error_feedback: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {self.mode!r}")
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {self.method!r}")
        if self.warm_start and self.method != "iterate":
            raise ValueError(f"warm_start serves method 'iterate', got method {self.method!r}")

    def init(self, params: Params) -> State:
        """Return the state before the first step."""
        state: State = {}
        if self.error_feedback:
            state["error"] = {name: torch.zeros_like(p) for name, p in params.items()}
        if self.warm_start:
            state["start"] = {}
        return state

    def cut(self, tensors: Params, state: State, limit: Limit) -> tuple[Params, State]:
        """Return the approximations and the state after them."""
        if limit.energy is None and isinstance(limit.rank, int) and limit.rank == EVERYTHING:
            return tensors, {key: state[key] for key in ("error", "start") if key in state}
        if self.error_feedback:
            tensors = {name: t + state["error"][name] for name, t in tensors.items()}
        starts = state.get("start", {})
        low, found = (self._flat if self.mode == "flat" else self._by_matrix)(
            tensors, limit, starts
        )
        new: State = {}
        if self.error_feedback:
            new["error"] = {name: t - low[name] for name, t in tensors.items()}
        if self.warm_start:
            new["start"] = {**starts, **found}
        return low, new

    def _flat(
        self, tensors: Params, limit: Limit, starts: Mapping[str, Tensor]
    ) -> tuple[Params, Params]:
        sizes = [t[0].numel() for t in tensors.values()]
        rows = [t.reshape(len(t), size) for t, size in zip(tensors.values(), sizes, strict=True)]
        vector, entries = torch.cat(rows, dim=1), sum(sizes)
        side = isqrt(max(entries - 1, 0)) + 1
        square = pad(vector, (0, side * side - entries)).view(-1, side, side)
        low, found = self._cut_matrices(square, limit, starts.get(_FLAT))
        pieces = low.flatten(1)[:, :entries].split(sizes, dim=1)
        put_back = {
            name: piece.reshape(t.shape)
            for (name, t), piece in zip(tensors.items(), pieces, strict=True)
        }
        return put_back, {} if found is None else {_FLAT: found}

    def _by_matrix(
        self, tensors: Params, limit: Limit, starts: Mapping[str, Tensor]
    ) -> tuple[Params, Params]:
        low, found = dict(tensors), {}
        for names in same_shapes(tensors).values():
            count = len(tensors[names[0]])
            parts = [tensors[name].flatten(2) for name in names]
            stack = parts[0] if len(parts) == 1 else torch.cat(parts)
            given = [starts.get(name) for name in names]
            start = None if any(s is None for s in given) else torch.cat(given)  # type: ignore[arg-type]
            cut, right = self._cut_matrices(stack, limit.repeated(len(names)), start)
            for place, name in enumerate(names):
                own = slice(place * count, (place + 1) * count)
                low[name] = cut[own].view(tensors[name].shape)
                if right is not None:
                    found[name] = right[own]
        return low, found

    def _cut_matrices(
        self, g: Tensor, limit: Limit, start: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the approximations of g (B, m, n), and V (B, n, k) if the next step needs it."""
        options: dict[str, Any] = {
            "method": self.method,
            "oversample": self.oversample,
            "iterations": self.iterations,
        }
        if self.warm_start and start is not None and start.shape[-2] == g.shape[-1]:
            options["start"] = start
        cut, right = cut_matrices(g, limit, options)
        return cut, right if self.warm_start else None


def cut_matrices(
    g: Tensor, limit: Limit, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Return approximations of matrices g (B, m, n) within a limit, and their V (B, n, k).

    A rank of at least the smaller side gives the matrix itself, to the last bit, and a matrix that
    is not finite becomes NaN alone. `options` are those of `truncated_svd`.
    """
    found = leading(g, limit, options)
    if found is None:
        return g, None
    u, s, v = found
    low = (u * s.unsqueeze(-2)) @ v.mT
    if isinstance(limit.rank, Tensor) and limit.energy is None:
        low = torch.where((limit.rank >= min(g.shape[-2:]))[:, None, None], g, low)
    return low, v


def leading(g: Tensor, limit: Limit, options: Mapping[str, Any]) -> Triplets | None:
    """Return U, S, V of matrices within a limit, or None where it lets all of them through."""
    side = min(g.shape[-2:])
    rank = side if limit.rank is None else limit.rank
    if limit.energy is not None:
        most = rank.clamp(max=side) if isinstance(rank, Tensor) else min(rank, side)
        return _within_energy(g, _triplets(g, most, options), limit.energy)
    whole = torch.as_tensor(rank >= side)
    if whole.all() or not g.numel():
        return None
    return _triplets(g, rank.where(~whole, 1) if isinstance(rank, Tensor) else rank, options)


def _within_energy(g: Tensor, triplets: Triplets, energy: float | Tensor) -> Triplets:
    """Return triplets with zero in place of the singular values beyond a share of g's square."""
    u, s, v = triplets
    share = energy[:, None] if isinstance(energy, Tensor) and energy.dim() else energy
    wanted = share * g.double().square().sum((-2, -1)).unsqueeze(-1)
    held = s.double().square().cumsum(-1)
    before = torch.cat([torch.zeros_like(held[:, :1]), held[:, :-1]], -1)
    # a comparison with NaN is false, so NaN stays in s
    return u, torch.where(before >= wanted, 0, s), v


def _triplets(g: Tensor, rank: int | Tensor, options: Mapping[str, Any]) -> Triplets:
    return truncated_svd(g, rank, check=False, **options)  # type: ignore[return-value]


def _repeated(value: Any, times: int) -> Any:
    return value.repeat(times) if isinstance(value, Tensor) and value.dim() else value


def same_shapes(tensors: Params) -> dict[tuple[Any, ...], Sequence[str]]:
    """Return the names of the tensors that are matrices, in groups of like shape and dtype."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, t in tensors.items():
        if t.dim() > 2:
            key = t.shape[1], t[0, 0].numel(), t.dtype, t.device
            groups.setdefault(key, []).append(name)
    return dict(groups)


def limit_at(hyper: Hyper, step: int) -> Limit:
    """Return what hyperparameters let through at a step of 0, 1, ...

    `rank` moves evenly to `rank_end`, where that is given, over the first `rank_steps` steps.
    Raises ValueError without `rank` and `energy`, and for a rank that is no whole number.
    """
    rank, end, energy = hyper.get("rank"), hyper.get("rank_end"), hyper.get("energy")
    if rank is None and energy is None:
        raise ValueError("rank or energy must be given, got neither")
    if rank is not None and end is not None:
        part = torch.as_tensor(step / torch.as_tensor(hyper.get("rank_steps", 1.0))).clamp(0, 1)
        rank = rank + (end - rank) * part
        rank = rank.round() if rank.dim() else round(rank.item())
    return Limit(None if rank is None else _whole(rank), energy)


def _whole(rank: float | Tensor) -> int | Tensor:
    if isinstance(rank, Tensor):
        return rank.round().to(torch.int64) if rank.dim() else _whole(rank.item())
    if rank != int(rank) or rank < 0:
        raise ValueError(f"rank must be a whole number of at least 0, got {rank}")
    return int(rank)
