"""Result files of a study written by hand through lowdim.records, without training anything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from lowdim.analyse import analyse
from lowdim.config import RunConfig, Study, load_study
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.figures import draw
from lowdim.records import provenance, study_paths, write_json, write_table

FOLDER = Path(__file__).parents[1] / "config" / "studies"
SIZES = {"dense": 5110, "kronecker": 310, "lowrank_diag": 410, "sparse": 610}


def read_study(seeds: int = 4, scale: str = "standard") -> Study:
    return load_study("structured_weights", folder=FOLDER, scale=scale, seeds=seeds)


def write_results(
    folder: Path, study: Study, *, diverged: tuple[str, int] | None = None, edge: str | None = None
) -> tuple[RunConfig, Tables]:
    """Write what tuning, training and analysis of a study leave, and return how to read it.

    `diverged` is an arm and a seed whose run ends early; every rate of the arm `edge` lies at an
    end of its range.
    """
    run = RunConfig(studies=[study.name], results=folder, study_folder=FOLDER)
    paths = study_paths(run, study.name)
    block = paths.block("all")
    draws = np.random.default_rng(0)
    runs, curves, trials = [], [], []
    tuned: dict[str, dict[str, dict]] = {}
    for place, arm in enumerate(study.arms):
        for seed in range(study.seeds):
            lost = (arm, seed) == diverged
            found = draws.uniform(2e-3, 9e-2, 5)
            best = 1e-3 if arm == edge else float(found[0])
            size = SIZES.get(arm, round(330 * 1.2**place))
            runs.append(_run(arm, seed, best, size, 60 - 3 * place + draws.normal(), lost))
            curves += _curves(arm, seed, 60.0 - 3 * place, draws, lost)
            trials += [_trial(arm, seed, n, rate) for n, rate in enumerate(found)]
            choice = {"hyper": {"learning_rate": best}, "trial": 0, "at_edge": []}
            if arm == edge:
                choice["at_edge"] = ["learning_rate"]
            tuned.setdefault(arm, {})[str(seed)] = choice
    write_table(block.runs, pd.DataFrame(runs), provenance("train", study))
    write_table(block.curves, pd.concat(curves, ignore_index=True), provenance("train", study))
    write_table(block.trials, pd.DataFrame(trials), provenance("tune", study))
    write_json(block.tuned, tuned, provenance("tune", study))
    analyse(study, [block.runs], paths.summary, paths.verdicts)
    return run, Tables(study, ResultFiles.of(study, run))


def draw_figures(run: RunConfig, study: Study, folder: Path | None = None) -> list[dict]:
    """Draw a study's figures into a folder, or where they belong, and return their index."""
    files = ResultFiles.of(study, run)
    folder = folder or study_paths(run, study.name).figures
    return draw(
        *(study, run, files.runs, files.trials, files.curves),
        *(files.summary, files.verdicts, folder),
    )


def draw_nothing(run: RunConfig, study: Study) -> None:
    """Write the index of a study that has no figures."""
    folder = study_paths(run, study.name).figures
    write_json(folder / "index.json", [], provenance("figures", study))


def matrix(arm: str, layer: str, out: int, inner: int) -> np.ndarray:
    """The weight that `write_results` keeps of an arm's layer."""
    seed = sum(map(ord, arm + layer))
    return np.random.default_rng(seed).normal(size=(out, inner)).round(6)


def _run(arm: str, seed: int, rate: float, size: int, accuracy: float, lost: bool) -> dict:
    return {
        "arm": arm,
        "seed": seed,
        "learning_rate": rate,
        "parameters": size,
        "effective_parameters": size,
        "test_accuracy": math.nan if lost else accuracy,
        "fresh_accuracy": math.nan if lost else accuracy - 0.5,
        "best_loss": 1.1 + (60 - accuracy) / 50,
        "final_loss": math.nan if lost else 1.2 + (60 - accuracy) / 50,
        "diverged_epoch": 3 if lost else math.nan,
        "engine": "torch",
        "device": "cpu",
        "seconds": 0.5,
    }


def _curves(
    arm: str, seed: int, height: float, draws: np.random.Generator, lost: bool
) -> list[pd.DataFrame]:
    epochs = np.arange(3 if lost else 6)
    rise = 1 - 0.8 ** (3 * epochs)
    values = {
        "accuracy": 10 + (height - 10) * rise + draws.normal(size=len(epochs)),
        "loss": 2.3 - 0.01 * height * rise + 0.02 * draws.normal(size=len(epochs)),
    }
    frames = [_long(arm, seed, epochs, "monitor", metric, v) for metric, v in values.items()]
    for layer, out, inner in (("layers.0", 6, 4), ("layers.1", 3, 6)):
        if seed == 0 and not lost:
            flat = matrix(arm, layer, out, inner).reshape(-1)
            metric = f"weight.{layer}.{out}x{inner}"
            frame = _long(arm, seed, np.full(len(flat), 5), "final", metric, flat)
            frames.append(frame.assign(index=np.arange(len(flat), dtype=np.int32)))
    return frames


def _long(arm, seed, epochs, split, metric, values) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "epoch": epochs,
            "step": 50 * epochs,
            "split": split,
            "metric": metric,
            "index": np.zeros(len(values), np.int32),
            "value": values,
        }
    )


def _trial(arm: str, seed: int, number: int, rate: float) -> dict:
    return {
        "arm": arm,
        "seed": seed,
        "trial": number,
        "learning_rate": rate,
        "validation_accuracy": 50 - 10 * abs(math.log10(rate / 0.02)),
        "validation_loss": 1.2 + abs(math.log10(rate / 0.02)),
        "diverged_epoch": math.nan,
        "engine": "torch",
        "device": "cpu",
        "seconds": 0.1,
    }
