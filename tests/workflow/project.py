"""A project folder of one's own, whose only study is small, and what one does with it."""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from lowdim.cli.watch import is_alive

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

WAITED_FOR_S = 300

CONFIG = """\
studies: [tiny]
threads: 1
"""
STUDY = """\
question: Does the workflow work?
seeds: 2
defaults:
  data: {name: mnist1d, samples: 200, monitor: 50, fresh: 50}
  model: {name: mlp, sizes: [40, 10, 10], layers: [{kind: dense}, {kind: dense}]}
  optimiser: {name: adam}
  training: {epochs: 2, batch_size: 32}
  tuning:
    trials: 2
    epochs: 1
    space: {learning_rate: {low: 1.0e-3, high: 1.0e-1}}
arms:
  dense: {label: Dense}
  lowrank:
    label: Low rank
    model: {layers: [{kind: lowrank, rank: 1}, {kind: lowrank, rank: 1}]}
"""


class Project:
    """A copy of the workflow with a small study in a folder of its own, made or taken over."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.config = folder / "config" / "config.yaml"
        self.study = folder / "config" / "studies" / "tiny.yaml"
        self.results = folder / "results"
        self.block = self.results / "tiny" / "all"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LOWDIM_")},
            "LOWDIM_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
        }
        if not self.study.exists():
            for name in ("workflow", "profiles"):
                shutil.copytree(ROOT / name, folder / name)
            shutil.copy(ROOT / "Snakefile", folder)
            self.study.parent.mkdir(parents=True)
            self.config.write_text(CONFIG)
            self.study.write_text(STUDY)

    def edit(self, old: str, new: str) -> None:
        """Change the study's file."""
        text = self.study.read_text()
        assert old in text
        self.study.write_text(text.replace(old, new))

    @contextmanager
    def running(self, command: str, *arguments: str) -> Iterator[subprocess.Popen]:
        """Start a program of this environment here; it and all that it started end with the block.

        It leads a process group of its own, as a command on a terminal does.
        """
        process = subprocess.Popen(
            [str(BIN / command), *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for member in family(process.pid):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def call(self, command: str, *arguments: str) -> tuple[int, str]:
        """Return exit code and output of a program that ran to its end."""
        with self.running(command, *arguments) as process:
            output, _ = process.communicate(timeout=900)
        return process.returncode, output

    def outdated(self, *arguments: str) -> set[str]:
        """Return the rules that a run would call."""
        code, output = self.call("snakemake", "--dry-run", "--quiet", "rules", *arguments)
        assert code == 0, output
        names = ("tune", "train", "analyse", "figures", "report")
        return {line.split()[0] for line in output.splitlines() if line.startswith(names)}


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started, itself first, the youngest generation last."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until(happened: Callable[[], bool], what: str, within_s: float = WAITED_FOR_S) -> None:
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen in {within_s} s"
        time.sleep(0.02)


def wait_for_end(members: list[psutil.Process]) -> None:
    wait_until(lambda: not any(is_alive(m.pid) for m in members), "the end of every process")


def contents(results: Path) -> dict[str, bytes]:
    """Return what each result file says by its path; times that were measured are left out."""
    kept = (".csv", ".json", ".parquet", ".svg")
    paths = [
        path
        for path in sorted(results.rglob("*"))
        if path.suffix in kept and not path.name.endswith(".meta.json")
    ]
    return {
        path.relative_to(results).as_posix(): (
            _without_seconds(path) if path.suffix == ".csv" else path.read_bytes()
        )
        for path in paths
    }


def _without_seconds(path: Path) -> bytes:
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("metric") != "seconds"]
    return repr([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
