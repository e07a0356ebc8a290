"""Milliseconds of a whole training step with LRG-Adam against the same step with torch's Adam.

    python benchmarks/lrg_step.py [--seconds 10]

A step is zero_grad, forward, cross-entropy, backward and the optimiser's step, on batches of
MNIST-1D. CPU time on one thread, float32, one process, steps in turn, each with a network of its
own that trains on. `excess` is the median over the last steps of how much further the gradient
that Adam saw is from the true one than the best of that rank (all gradients as one matrix in mode
`flat`, the weight of 1024 by 1024 in mode `matrix`).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from lowdim.optim import LRGAdam
from lowdim_kernels import excess_error
from network_gradients import mnist1d
from reporting import write_results
from turns import alternated, summary

RATE, PROBED_STEPS = 1e-3, 5
FLAT = {"mode": "flat", "rank": 20}
MATRIX = {"mode": "matrix", "rank": 16}
WARM = {"method": "iterate", "warm_start": True}


def network(sizes: tuple[int, ...]) -> nn.Sequential:
    """Return dense layers with ReLU between them, the same at every call."""
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for one in layers for part in (one, nn.ReLU())][:-1])


class Training:
    """A network with its optimiser; a call is one step."""

    def __init__(self, sizes: tuple[int, ...], batch: int, options: dict[str, Any] | None) -> None:
        self.network, self.batch, self.options = network(sizes), batch, options
        parameters = self.network.parameters()
        if options is None:
            self.optimiser: torch.optim.Optimizer = torch.optim.Adam(parameters, RATE)
        elif options.get("factored"):
            self.optimiser = LRGAdam(parameters, RATE, **options, model=self.network)
        else:
            self.optimiser = LRGAdam(parameters, RATE, **options)
        self.x, self.y = mnist1d()
        self.draw = torch.Generator().manual_seed(1)

    def __call__(self) -> None:
        rows = torch.randint(0, len(self.x), (self.batch,), generator=self.draw)
        self.optimiser.zero_grad()
        cross_entropy(self.network(self.x[rows]), self.y[rows]).backward()
        self.optimiser.step()

    def excess(self) -> float:
        """Return the excess of what the next step uses, seen by an Adam that forgets at once."""
        assert self.options is not None
        state = copy.deepcopy(self.optimiser.state_dict())
        probe = copy.deepcopy(self.network)
        names = {"model": probe} if self.options.get("factored") else {}
        optimiser = LRGAdam(probe.parameters(), RATE, **self.options, **names)
        state["param_groups"] = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict(state)
        for group in optimiser.param_groups:
            group["betas"] = (0.0, 0.0)
        self.network, held = probe, self.network
        self.optimiser, mine = optimiser, self.optimiser
        self()
        self.network, self.optimiser = held, mine
        used = [optimiser.state[p]["exp_avg"] for p in probe.parameters()]
        true = [p.grad for p in probe.parameters()]
        if self.options["mode"] == "matrix":
            place = next(k for k, g in enumerate(true) if g.shape == (1024, 1024))
            return float(excess_error(true[place], used[place], self.options["rank"]))
        return float(excess_error(square(true), square(used), self.options["rank"]))


def square(parts: list[Tensor]) -> Tensor:
    """Return tensors laid end to end as a square matrix, padded with zeros."""
    flat = torch.cat([part.flatten() for part in parts])
    side = int((len(flat) - 1) ** 0.5) + 1
    return pad(flat, (0, side * side - len(flat))).view(side, side)


def rows_of(
    case: str, runs: dict[str, Training], at_most: float, seconds: float
) -> list[dict[str, Any]]:
    """Return a row a run, with its time as a multiple of the step with Adam in the same round."""
    calls: dict[str, Callable[[], Any]] = dict(runs)
    times = alternated(calls, seconds)
    rows = []
    for name, own in times.items():
        ratios = [mine / adam for mine, adam in zip(own, times["Adam"])]
        row = {"case": case, "run": name, **summary(own)}
        row["times_adam"] = round(statistics.median(ratios), 2)
        if name != "Adam":
            found = []
            for _ in range(PROBED_STEPS):
                runs[name]()
                found.append(runs[name].excess())
            row["excess"] = f"{statistics.median(found):.1e}"
            row["at_most"] = at_most
        rows.append(row)
        print(*row.values(), sep="\t", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each case")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    flat = {
        "Adam": None,
        "flat, iterate 20+8, 1": {**FLAT, **WARM, "oversample": 8, "iterations": 1},
        "flat, iterate 20+10, 2": {**FLAT, **WARM},
        "flat, auto": FLAT,
        "flat, full SVD": {**FLAT, "method": "exact"},
    }
    matrix = {
        "Adam": None,
        "matrix, iterate 16+4, 1": {**MATRIX, **WARM, "oversample": 4, "iterations": 1},
        "matrix, iterate 16+8, 1": {**MATRIX, **WARM, "iterations": 1},
        "matrix, factored": {**MATRIX, "factored": True},
    }
    small, large = (40, 128, 64, 10), (40, 1024, 1024, 10)
    rows = rows_of(
        "40-128-64-10 as 119x119, batch 64",
        {name: Training(small, 64, options) for name, options in flat.items()},
        1.5,
        seconds,
    )
    rows += rows_of(
        "40-1024-1024-10, batch 128",
        {name: Training(large, 128, options) for name, options in matrix.items()},
        1.4,
        seconds,
    )
    write_results("lrg_step", rows)


if __name__ == "__main__":
    main()
