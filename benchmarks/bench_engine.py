"""Microseconds a replica-step of the engines, of the loop a user writes, and of what else there is.

    python benchmarks/bench_engine.py [--seconds 2] [--only cases|threads|replicas]

Adam, cross-entropy, CPU time on one thread; all of a case take turns in one process, and the
median over rounds is reported with its range. Writes results/engine.csv (cases);
results/engine_threads.csv, by how much two threads are faster than one, on the clock, in turn;
results/engine_scaling.csv and engine.svg, replica-steps a second of more and more replicas.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from engine_peers import compiled_run, jax_run, stacked_run
from lowdim.bench import CASES, Case, Run, engine_run, plain_run, rows
from reporting import FOLDER, write_results

REPLICAS = ((1, 5), (8, 2), (32, 1))  # of the torch engine, and epochs
TWO_THREADS = 1.8
MANY = 32
IN_A_ROW = 5  # replicas that a study hands to a thread
# the fused engine's step must be so many times shorter
BARS = {
    "dense": {"plain": 16, "jax": 2.2},
    "kronecker": {"plain": 50, "jax": 10},
    "lowrank_diag": {"plain": 60},
    "masked": {"plain": 40},
    "nlmf": {"plain": 10},
    "lrg_adam": {"plain": 8},
    "256-128-10": {"plain": 2},
}


def runs_of(name: str, case: Case) -> dict[str, Run]:
    """Return what takes turns in a case, by name."""
    runs = {
        "plain": plain_run(case),
        "plain, fused=True": plain_run(case, fused=True),
        "fused": engine_run(case, "fused", 8, epochs=10),
    }
    runs |= {
        f"torch engine, R={count}": engine_run(case, "torch", count, epochs)
        for count, epochs in REPLICAS
    }
    if case.rank is None:
        runs["torch.compile"] = compiled_run(case)
    if name in ("dense", "256-128-10"):
        runs[f"stacked bmm, R={MANY}"] = stacked_run(case, MANY)
    if name in ("dense", "kronecker", "256-128-10"):
        runs["jax"] = jax_run(case, name, MANY)
    return runs


def table(seconds: float) -> list[dict[str, Any]]:
    """Return the rows of all cases, with the predicted floor and what the bar asks for."""
    found = []
    for name, case in CASES.items():
        measured = rows(runs_of(name, case), seconds)
        middle = {row["variant"]: row["us_per_replica_step"] for row in measured}
        for row in measured:
            ratio = row["us_per_replica_step"] / middle["fused"]
            bar = BARS[name].get(row["variant"], "")
            line = {"case": name, **row, "fused_times_faster": round(ratio, 2), "bar": bar}
            print(*line.values(), sep="\t", flush=True)
            found.append(line)
    return found


def two_threads(seconds: float, replicas: int = 40) -> list[dict[str, Any]]:
    """Return for each case the elapsed time of one thread over that of two, in the same round."""
    found = []
    for name, case in CASES.items():
        runs = [threaded(case, replicas, threads, row=IN_A_ROW) for threads in (1, 2)]
        ratios, end = [], time.perf_counter() + seconds
        for run in runs:
            run()
        while time.perf_counter() < end or len(ratios) < 5:
            taken = []
            for run in runs:
                began = time.perf_counter()
                run()
                taken.append(time.perf_counter() - began)
            ratios.append(taken[0] / taken[1])
        row = {
            "case": name,
            "two_threads_times_faster": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
            "bar": TWO_THREADS,
        }
        print(*row.values(), sep="\t", flush=True)
        found.append(row)
    return found


def scaling(seconds: float) -> list[dict[str, Any]]:
    """Return replica-steps a second of elapsed time by engine and number of replicas."""
    case, found = CASES["dense"], []
    for count in (1, 2, 4, 8, 16, 32, 64):
        variants = {
            "plain": plain_run(case),
            "torch engine": engine_run(case, "torch", count),
            "stacked bmm": stacked_run(case, count),
            "jax": jax_run(case, "dense", count),
            "fused, 1 thread": threaded(case, count, 1),
            "fused, 2 threads": threaded(case, count, 2),
        }
        for name, run in variants.items():
            run()
            speeds, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end or len(speeds) < 3:
                began = time.perf_counter()
                steps = run()
                speeds.append(steps / (time.perf_counter() - began))
            middle = round(statistics.median(speeds))
            found.append({"engine": name, "replicas": count, "replica_steps_per_second": middle})
    return found


def threaded(case: Case, replicas: int, threads: int, epochs: int = 20, row: int = 1) -> Run:
    """Return the fused engine's run of replicas handed to a pool of threads `row` at a time."""
    few = engine_run(case, "fused", row, epochs=epochs)
    pool = ThreadPoolExecutor(threads)

    def run() -> int:
        return sum(pool.map(lambda _: few(), range(replicas // row)))

    return run


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Draw replica-steps a second against replicas, a line an engine."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for engine in dict.fromkeys(row["engine"] for row in found):
        own = [row for row in found if row["engine"] == engine]
        x, y = zip(*((r["replicas"], r["replica_steps_per_second"]) for r in own), strict=True)
        (line,) = axes.plot(x, y, marker="o", markersize=3)
        label = {"jax": "JAX: jit + vmap + scan", "plain": "plain loop"}.get(engine, engine)
        axes.annotate(
            label, (x[-1], y[-1]), (6, 0), textcoords="offset points", va="center",
            color=line.get_color(), fontsize=9,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="replicas", ylabel="replica-steps a second")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"], minor=False)
    marks = [2000, 5000, 10_000, 20_000, 50_000]
    axes.set_yticks(marks, [f"{mark:,}" for mark in marks], minor=False)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Networks 40-100-10, batch 100, Adam, on two CPU cores", fontsize=10)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each variant")
    parser.add_argument("--only", choices=["cases", "threads", "replicas"], help="one part of it")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.only in (None, "cases"):
        write_results("engine", table(chosen.seconds))
    if chosen.only in (None, "threads"):
        write_results("engine_threads", two_threads(2 * chosen.seconds))
    if chosen.only in (None, "replicas"):
        found = scaling(chosen.seconds / 4)
        write_results("engine_scaling", found)
        draw(found, FOLDER / "engine.svg")


if __name__ == "__main__":
    main()
