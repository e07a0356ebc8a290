"""Whole training runs on the fused engine against the same runs on the torch engine.

    python benchmarks/bench_equality.py [--seeds 50]

For each kind of layer the arm that the studies publish, by its own protocol (network, batches,
epochs, data) at one fixed rate. Seed by seed both engines train from the same start on the same
batches in float32. `least` and `most` are the ends of the 90 % interval of the mean difference
fused - torch of the final accuracy, in points; within -1 and 1 the engines are equivalent at
level 0.05 (two one-sided paired t tests). Writes results/engine_equality.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from lowdim.config import RunConfig, load_study
from lowdim.engine import train
from lowdim.engine.pool import AT_ONCE
from lowdim.studies.programs import final_program, plan_final
from lowdim.studies.tasks import TaskShelf
from reporting import write_results

STUDIES = Path(__file__).parent.parent / "config" / "studies"
# arm by kind of layer, and about the rate that tuning chooses for it
CASES = {
    "dense": ("structured_weights", "dense", 0.01),
    "kronecker": ("structured_weights", "kronecker", 0.04),
    "lowrank_diag": ("structured_weights", "lowrank_diag", 0.04),
    "masked": ("structured_weights", "sparse", 0.04),
    "nlmf": ("nlmf", "nlmf", 0.03),
}
WITHIN, LEVEL = 1.0, 0.90


def accuracies(kind: str, engine: str, seeds: int) -> dict[str, np.ndarray]:
    """Return the accuracy of every seed on each split that is read after the last epoch."""
    study_name, arm_name, rate = CASES[kind]
    run = RunConfig(studies=[study_name], study_folder=STUDIES)
    study = load_study(study_name, folder=STUDIES, seeds=seeds)
    arm = study.arms[arm_name].model_copy(update={"probes": {}})
    task = TaskShelf(run, study).task(arm.data)
    program = final_program(arm, task)
    hyper = {"learning_rate": rate}
    replicas = [plan_final(arm_name, arm, run, s, hyper, task).replica for s in range(seeds)]
    results = [
        result
        for start in range(0, seeds, AT_ONCE)
        for result in train(program, task, replicas[start : start + AT_ONCE], engine=engine)
    ]
    return {
        split: np.array([result.metrics[split, "accuracy"] for result in results])
        for split in program.final
    }


def rows_of(kind: str, seeds: int) -> list[dict[str, Any]]:
    """Return a row a split: both means, and the interval of their paired difference."""
    fused, plain = (accuracies(kind, engine, seeds) for engine in ("fused", "torch"))
    rows = []
    for split, ours in fused.items():
        gap = ours - plain[split]
        low, high = stats.t.interval(LEVEL, seeds - 1, gap.mean(), stats.sem(gap))
        rows.append(
            {
                "layer": kind,
                "split": split,
                "seeds": seeds,
                "learning_rate": CASES[kind][2],
                "torch": round(plain[split].mean(), 2),
                "fused": round(ours.mean(), 2),
                "difference": round(gap.mean(), 3),
                "least": round(low, 3),
                "most": round(high, 3),
                "within": WITHIN,
                "met": bool(low > -WITHIN and high < WITHIN),
            }
        )
        print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=50)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    write_results("engine_equality", [row for kind in CASES for row in rows_of(kind, chosen.seeds)])


if __name__ == "__main__":
    main()
