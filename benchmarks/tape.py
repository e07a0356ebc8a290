"""Microseconds a replica-step on the tape, its floor, and the plain PyTorch loop beside it.

    python benchmarks/tape.py [--seconds 2]

CPU time on one thread, Adam, cross-entropy. Tape and loop take turns in one process; the median
over rounds is reported with its range. The floor is the step's multiply-adds in products over the
machine's measured matrix rate. The networks are those of tests/kernels/test_tape_training.py.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from reporting import write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kernels.tape_networks import NETWORKS, Network, dense, random_start, torch_weights
from lowdim_kernels.tape.bounds import record_fields
from lowdim_kernels.tape.program import Program
from lowdim_kernels.tape.schedules import adam_schedule
from lowdim_kernels.tape.tape import Tape
from lowdim_kernels.tape.truncation import truncate_flat

STEPS, SAMPLES, RATE = 40, 4000, 1e-3
# an epoch is a millisecond: several, so that the plain loop's cold caches do not count
EPOCHS = 8
PRODUCTS = ("gemm", "dot", "sparse_product", "sampled_product")
LOW_RANK_GRADIENT = "40-128-64-10, gradients of rank 20"
START = """
import time
began = time.process_time()
import numpy, llvmlite.binding
from lowdim_kernels.tape.library import load_library
imported = time.process_time()
load_library(folder=__import__("pathlib").Path({folder!r}))
print(imported - began, time.process_time() - imported)
"""


def cases() -> dict[str, tuple[Network, int]]:
    """Return the network and batch of each row."""
    deep = dense(40, 128, 64, 10)
    small = {f"40-100-10 {name}": (network, 100) for name, network in NETWORKS.items()}
    return small | {
        "40-128-64-10 dense": (deep, 100),
        LOW_RANK_GRADIENT: (deep, 100),
        "256-128-10 dense": (dense(256, 128, 10), 128),
    }


def program_of(name: str, network: Network, batch: int) -> Program:
    """Return the training program of a row."""
    tape = Tape(batch)
    x = tape.samples(network.layers[0].into)
    for number, layer in enumerate(network.layers):
        y = tape.buffer(layer.out, "relu" if number + 1 < len(network.layers) else None)
        layer.record(tape, str(number), x, y)
        x = y
    tape.cross_entropy(x)
    tape.backward()
    if name == LOW_RANK_GRADIENT:
        truncate_flat(tape, 20)
    tape.adam()
    return tape.finish()


def tape_run(program: Program, network: Network) -> Callable[[], int]:
    """Return a function that does epochs of one replica and says how many steps that was."""
    states, _ = random_start(network, program)
    rng = np.random.default_rng(0)
    if "flat.noise" in program.kept:
        noise = program.kept_view(states, "flat.noise")
        noise[...] = rng.standard_normal(noise.shape)
    arrays = {
        "samples": program.padded_samples(rng.standard_normal((SAMPLES, network.layers[0].into))),
        "targets": rng.integers(0, 10, SAMPLES),
        "order": np.stack([rng.permutation(SAMPLES)[: program.batch] for _ in range(STEPS)]),
        "schedule": adam_schedule(np.full(STEPS, RATE), loss_scale=1 / program.batch, rank=20),
        "workspace": program.workspace(),
    }
    return lambda: sum(program.run(states[0], **arrays) for _ in range(EPOCHS))


def plain_run(program: Program, network: Network, steps: int = 10) -> Callable[[], int]:
    """Return the same steps as a plain PyTorch loop."""
    states, tables = random_start(network, program)
    weights = {
        name: value.detach().float().requires_grad_()
        for name, value in torch_weights(program, states[0]).items()
    }
    optimiser = torch.optim.Adam(list(weights.values()), lr=RATE)
    x = torch.randn(SAMPLES, network.layers[0].into)
    y = torch.randint(0, 10, (SAMPLES,))

    def run() -> int:
        for rows in torch.randperm(SAMPLES)[: steps * program.batch].split(program.batch):
            optimiser.zero_grad()
            network.reference_loss(weights, tables[0], x[rows], y[rows]).backward()
            if "flat.noise" in program.kept:
                truncate_plainly(list(weights.values()), 20)
            optimiser.step()
        return steps

    return run


def truncate_plainly(parameters: list[torch.Tensor], rank: int) -> None:
    """Replace all gradients by the rank-k truncation of their zero-padded square."""
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    side = int(np.ceil(np.sqrt(len(flat))))
    square = torch.zeros(side * side)
    square[: len(flat)] = flat
    u, s, v = torch.linalg.svd(square.view(side, side), full_matrices=False)
    flat = ((u[:, :rank] * s[:rank]) @ v[:rank]).flatten()
    for parameter in parameters:
        part, flat = flat[: parameter.numel()], flat[parameter.numel() :]
        parameter.grad.copy_(part.view_as(parameter))


def alternated(runs: dict[str, Callable[[], int]], seconds: float) -> dict[str, list[float]]:
    """Return microseconds of CPU time a step of each run, round by round in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            began = time.process_time()
            steps = run()
            times[name].append(1e6 * (time.process_time() - began) / steps)
    return times


def matrix_rate(size: int = 1024) -> float:
    """Return the flops a microsecond of a large float32 product on one thread."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(40):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e6


def product_flops(program: Program) -> float:
    """Return the flops of a step's products, without those on padded columns."""
    columns = -(-program.batch // program.target.lanes) * program.target.lanes
    parsed = (record_fields(record) for record in program.records)
    flops = sum(o.flops(f, program.target) for o, f in parsed if o.name in PRODUCTS)
    return flops * program.batch / columns


def start_rows() -> list[dict[str, object]]:
    """Return CPU seconds of a cold and of a cached start of the library."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        code = START.format(folder=folder)
        for variant in ("compiled", "from the cache"):
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            imports, load = map(float, done.stdout.split())
            rows.append(
                {
                    "case": f"library {variant}",
                    "seconds": round(load, 4),
                    "seconds_of_imports": round(imports, 3),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    rate = matrix_rate()
    rows = []
    for name, (network, batch) in cases().items():
        began = time.process_time()
        program = program_of(name, network, batch)
        table_ms = 1e3 * (time.process_time() - began)
        runs = {"tape": tape_run(program, network), "plain": plain_run(program, network)}
        times = alternated(runs, seconds)
        mine, plain = (statistics.median(values) for values in times.values())
        row = {
            "case": name,
            "batch": batch,
            "us_per_replica_step": round(mine, 2),
            "least": round(min(times["tape"]), 2),
            "most": round(max(times["tape"]), 2),
            "floor_us": round(product_flops(program) / rate, 2),
            "predicted_us": round(program.predicted_microseconds(), 2),
            "plain_torch_us": round(plain, 1),
            "times_faster": round(plain / mine, 1),
            "workspace_kib": round(program.workspace_bytes / 1024),
            "table_ms": round(table_ms, 2),
        }
        rows.append(row)
        print(*row.values(), sep="\t", flush=True)
    rows += start_rows()
    print(f"floor by {rate / 1e3:.0f} GFLOP/s")
    for row in rows[-2:]:
        print(*row.values(), sep="\t")
    write_results("tape", rows)


if __name__ == "__main__":
    main()
