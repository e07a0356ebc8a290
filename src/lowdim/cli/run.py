"""The whole run: one at a time, damaged files removed, Snakemake, its report."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowdim.cli.lacking import lacking_lines
from lowdim.cli.options import CONFIG_VARIABLE, config_file, read_study, settings_beyond
from lowdim.cli.plan import plan_lines
from lowdim.cli.run_lock import hold
from lowdim.cli.watch import announce_run, signal_family
from lowdim.config import RunConfig, UserError, load_run
from lowdim.progress import duration
from lowdim.records import remove_damaged

_SNAKEMAKE_LOCKS = Path(".snakemake/locks")
_INTERRUPTED = 130
_LOOK_EVERY_S = 0.2
_END_AFTER_S = 3.0


def run_studies(run: RunConfig, config: Path, cores: str) -> int:
    """Bring every result of the configured studies up to date; return the exit code."""
    if not Path("Snakefile").exists():
        raise UserError(f"{Path.cwd()}: holds no Snakefile; run this in the project's folder")
    studies = [read_study(run, name) for name in run.studies]
    os.environ[CONFIG_VARIABLE] = str(config)
    start = time.monotonic()
    lock = hold(run.results)
    announce_run()
    for path in remove_damaged(run.results):
        _say(f"{path} is damaged (its checksum differs) and is made again")
    # The lock above is ours, so no run is alive and Snakemake's own was left by one that died.
    shutil.rmtree(_SNAKEMAKE_LOCKS, ignore_errors=True)
    _say("\n".join([*plan_lines(run, studies), *lacking_lines(run, studies)]))
    before = _times(run.results)
    code = _snakemake(run, lock, "--cores", cores)
    took = duration(time.monotonic() - start)
    if code:
        _say(f"not finished after {took}; what is done is kept, and the same command goes on there")
        _say(f"Snakemake's log: {_newest_log()}")
        return _INTERRUPTED if code in (_INTERRUPTED, -signal.SIGINT) else 1
    report, provenance = run.results / "report.html", run.results / "provenance.html"
    if _times(run.results) == before and provenance.exists():
        _say(f"nothing was to be done: {report} is up to date")
        return 0
    if _snakemake(run, lock, "--report", str(provenance), quiet=True):
        _say(f"{provenance} could not be written; the results are not touched by that")
    _say(f"done in {took}: read {report}; what made it stands in {provenance}")
    return 0


def snakemake_command(run: RunConfig) -> list[str]:
    """Return what starts Snakemake on a run; the configuration's file is in the environment."""
    beyond = settings_beyond(run, load_run(config_file()))
    settings = [f"{key}={value}" for key, value in beyond.items()]
    return [sys.executable, "-m", "snakemake", *(["--config", *settings] if settings else [])]


def _snakemake(run: RunConfig, lock: int, *arguments: str, quiet: bool = False) -> int:
    """Run Snakemake to its end and return its exit code, 130 if it was told to stop before.

    It holds the lock as long as it lives.
    """
    command = [*snakemake_command(run), "--quiet", "all", *arguments]
    output = subprocess.DEVNULL if quiet else None
    with subprocess.Popen(command, pass_fds=[lock], stdout=output, stderr=output) as process:
        told = False

        def stop(number: int, _: Any) -> None:
            nonlocal told
            told = True
            # Ctrl-C reaches Snakemake and its jobs by itself; being asked to end is handed on.
            if number == signal.SIGTERM:
                signal_family(process.pid, signal.SIGINT)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = _waited(process, lambda: told)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return _INTERRUPTED if told and code else code


def _waited(process: subprocess.Popen[bytes], told: Callable[[], bool]) -> int:
    """Wait for a process and return its exit code; once told to stop, end its family.

    An interrupt can be swallowed, by an import it arrives in, or ignored, as `nohup` has it.
    """
    end_at: float | None = None
    while True:
        try:
            return process.wait(timeout=_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            if not told():
                continue
        if end_at and time.monotonic() >= end_at:
            signal_family(process.pid, signal.SIGTERM)
            end_at = None
        end_at = end_at or time.monotonic() + _END_AFTER_S


def _newest_log() -> Path:
    return max(Path(".snakemake/log").glob("*.log"), default=Path(".snakemake/log"))


def _times(results: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in results.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "provenance.html"
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
