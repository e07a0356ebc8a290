"""CPU time of the published protocol of structured_weights, one seed, against the plain loop.

    python benchmarks/bench_protocol.py [--rounds 5]

Four arms, ten trials of ten epochs each for the learning rate, then thirty epochs at the best one:
the stages `tune` and `train` as `make run` runs them, in a fresh process with warm caches (compiled
library, generated data), one thread, nothing kept from before. `seconds` is CPU time of the process
beyond imports. The plain loop (module, torch.optim.Adam, backward, step, batches of a tensor) is
timed for some epochs of each arm in the same process, in turn, and multiplied by their number;
it evaluates nothing. Writes results/protocol.csv.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import write_results

STUDIES = Path(__file__).parent.parent / "config" / "studies"
ARMS = ("dense", "kronecker", "lowrank_diag", "sparse")
AT_MOST_S = 5.0


def measured(results: Path) -> dict[str, float]:
    """Return CPU seconds of imports, of both stages, and of the plain loop for as many epochs."""
    began = time.process_time()
    import optuna  # noqa: F401
    import pandas as pd  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    from lowdim.config import RunConfig, load_study
    from lowdim.progress import SilentProgress
    from lowdim.records import study_paths
    from lowdim.studies.tasks import TaskShelf
    from lowdim.train import train_block
    from lowdim.tune import tune_block

    torch.set_num_threads(1)
    run = RunConfig(studies=["structured_weights"], results=results, threads=1)
    study = load_study("structured_weights", folder=STUDIES, seeds=1)
    paths, silent = study_paths(run, study.name).block("all"), SilentProgress()
    imported = time.process_time()
    tune_block(study, run, ARMS, paths.trials, paths.tuned, silent)
    train_block(study, run, ARMS, paths.tuned, paths.runs, paths.curves, silent)
    finished = time.process_time()
    arms = {name: study.arms[name] for name in ARMS}
    data = TaskShelf(run, study).task(arms["dense"].data).train
    plain = sum(plain_seconds(arm, data) for arm in arms.values())
    return {"imports": imported - began, "fused": finished - imported, "plain": plain}


def plain_seconds(arm: Any, data: Any, epochs: int = 2) -> float:
    """Return the CPU seconds of an arm's protocol in the loop that a user writes."""
    import torch
    from torch import nn

    from lowdim.models import build_model

    module = build_model(arm.model)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    x, y = data.inputs[0], data.targets[0]
    times, steps = [], 0
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(arm.training.batch_size):
            began = time.process_time()
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
            times.append(time.process_time() - began)
    fitted = round(len(x) * (1 - arm.tuning.validation))
    for samples, count in (
        (fitted, arm.tuning.trials * arm.tuning.epochs),
        (len(x), arm.training.epochs),
    ):
        steps += count * -(-samples // arm.training.batch_size)
    return statistics.median(times) * steps


def row(variant: str, seconds: list[float], imports: list[float], plain: float) -> dict[str, Any]:
    middle = statistics.median(seconds)
    return {
        "variant": variant,
        "seconds": round(middle, 2),
        "least": round(min(seconds), 2),
        "most": round(max(seconds), 2),
        "seconds_of_imports": round(statistics.median(imports), 2),
        "times_faster_than_plain": round(plain / middle, 1),
        "at_most": AT_MOST_S if variant == "fused" else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", metavar="FOLDER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.once:
        print(json.dumps(measured(Path(chosen.once))))
        return
    found = []
    for number in range(chosen.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--once", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        if number:  # the first one warms the caches
            found.append(json.loads(done.stdout))
            print(found[-1], flush=True)
    own = {name: [one[name] for one in found] for name in found[0]}
    plain = statistics.median(own["plain"])
    rows = [row(name, own[name], own["imports"], plain) for name in ("fused", "plain")]
    write_results("protocol", rows)


if __name__ == "__main__":
    main()
