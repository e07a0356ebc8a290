"""Time kernels against what a user would pick instead, and write tables and a picture.

    python benchmarks/kernels.py [kronecker masked ...] [--seconds 4] [--shape 64x64] [--threads 1]

Each operation's cases are in cases_<operation>.py. On one thread CPU time counts, on all threads
the clock on the wall, on a GPU the clock once it has finished; runs take turns in one process, a
process for each number of threads.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SUFFIX = {"cpu": "", "cuda": "_cuda"}
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def operations() -> list[str]:
    """Return the operations that have cases."""
    return sorted(path.stem.removeprefix("cases_") for path in FOLDER.glob("cases_*.py"))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("operations", nargs="*", metavar="operation", help="default: all")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each case")
    parser.add_argument("--shape", default="", help="only shapes with this text; writes nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="only this number of threads")
    parser.add_argument(
        "--busy", action="store_true", help="time all threads on a busy machine too"
    )
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for name in chosen.operations:
        if name not in operations():
            parser.error(f"{name!r} is none of {', '.join(operations())}")
    return chosen


def main() -> None:
    chosen = parsed()
    if chosen.rows:
        return measure(chosen)
    if chosen.device == "cuda":
        from turns import ON_GPU

        counts = [ON_GPU]
    else:
        counts = [chosen.threads] if chosen.threads else thread_counts(chosen.busy)
    for operation in chosen.operations or operations():
        rows: list[dict[str, Any]] = []
        for count in counts:
            rows += measured_apart(operation, count, chosen)
        if not chosen.shape:
            from reporting import write_results

            write_results(operation + SUFFIX[chosen.device], rows)
    if not chosen.shape:
        from tables import write_overview

        write_overview()
    return None


def thread_counts(busy: bool) -> list[int]:
    """Return one thread, and all of them where the machine has nothing else to do or may have."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores / 2 and not busy:
        print(f"load {load:.1f} on {cores} cores: time on the clock would say nothing, left out")
        return [1]
    return sorted({1, cores})


def measured_apart(operation: str, threads: int, chosen: argparse.Namespace) -> list[dict]:
    """Return the rows of an operation from a process with this number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [
            sys.executable, __file__, operation, "--threads", str(threads), "--rows", str(path),
            "--seconds", str(chosen.seconds), "--shape", chosen.shape, "--device", chosen.device,
        ]  # fmt: skip
        pools = dict.fromkeys(POOLS, str(threads or 1))
        subprocess.run(command, check=True, env=os.environ | pools)
        return json.loads(path.read_text())


def measure(chosen: argparse.Namespace) -> None:
    """Write the rows of one operation, measured in this process, as JSON."""
    import torch

    torch.set_num_threads(chosen.threads or 1)
    rows = []
    for case in _built(importlib.import_module(f"cases_{chosen.operations[0]}"), chosen.device):
        if chosen.shape in case.shape:
            rows += rows_of(case, chosen.threads, chosen.seconds)
    chosen.rows.write_text(json.dumps(rows))


def _built(module: Any, device: str) -> Iterator[Any]:
    """Yield the cases, made on the device; it is not set while they run, for that takes time."""
    import torch

    cases = module.cases()
    while True:
        with torch.device(device) if device != "cpu" else nullcontext():
            case = next(cases, None)
        if case is None:
            return
        yield case


def rows_of(case: Any, threads: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row a run of one case."""
    from cases import OURS
    from turns import (
        ON_GPU,
        alternated,
        clock_for,
        copy_rate,
        matrix_rate,
        peak_mib,
        summary,
        times_slower,
    )

    clock = clock_for(threads)
    errors = {name: case.error(name, run()) for name, run in case.runs.items()}
    if not errors[OURS] <= case.allowed:
        raise SystemExit(f"{case.operation} {case.shape}: off by {errors[OURS]:.1e}; no timing")
    times = alternated(case.runs, seconds, clock)
    floor = max(
        case.flops / matrix_rate(dtype=case.dtype, clock=clock),
        case.moved / copy_rate(int(case.moved), clock),
    )
    rows = []
    for name, run in case.runs.items():
        row = {
            "operation": case.operation,
            "shape": case.shape,
            "passes": case.passes,
            "threads": threads,
            "run": name,
            "setting": case.settings.get(name, ""),
            **summary(times[name]),
            "times_slower": round(times_slower(times[name], times[OURS]), 2),
            "peak_mib": round(peak_mib(run, threads), 2),
            "error": f"{errors[name]:.1e}",
            "within": bool(errors[name] <= case.allowed),
            "floor_ms": float(f"{floor:.3g}"),
            "bar": "",
            "met": "",
        }
        rows.append(row)
    if threads in (1, ON_GPU):
        hold_to_bars(case, rows)
    for row in rows:
        print(*list(row.values())[1:], sep="\t", flush=True)
    return rows


def hold_to_bars(case: Any, rows: list[dict[str, Any]]) -> None:
    """Write each bar beside the fastest of its peers, and whether it is met."""
    for bar in case.bars:
        held = [row for row in rows if row["run"] in bar.peers and row["within"]]
        if held:
            fastest = min(held, key=lambda row: row["times_slower"])
            fastest["bar"] = bar.at_least
            fastest["met"] = fastest["times_slower"] >= bar.at_least


if __name__ == "__main__":
    main()
