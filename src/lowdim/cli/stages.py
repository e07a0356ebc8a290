"""One function a stage: paths made whole, progress and log set up, heavy imports done late."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lowdim.cli.watch import end_with_run
from lowdim.config import RunConfig, Study, UserError
from lowdim.progress import Progress, progress_on
from lowdim.records import blocks, study_paths


def tune(
    run: RunConfig,
    study: Study,
    block: str,
    trials: Path | None,
    tuned: Path | None,
    log: Path | None,
) -> None:
    """Tune a block's arms."""
    end_with_run()
    arms, paths = _arms(run, study, block), study_paths(run, study.name).block(block)
    with telling(log) as progress:
        from lowdim.tune import tune_block

        tune_block(study, run, arms, trials or paths.trials, tuned or paths.tuned, progress)


def train(
    run: RunConfig,
    study: Study,
    block: str,
    tuned: Path | None,
    runs: Path | None,
    curves: Path | None,
    log: Path | None,
) -> None:
    """Train a block's arms."""
    end_with_run()
    arms, paths = _arms(run, study, block), study_paths(run, study.name).block(block)
    needs_tuning = any(study.arms[arm].tuning for arm in arms)
    chosen = (tuned or paths.tuned) if needs_tuning else None
    if chosen and not chosen.exists():
        raise UserError(f"{chosen}: is missing; `lowdim tune {study.name}` writes it")
    with telling(log) as progress:
        from lowdim.train import train_block

        train_block(study, run, arms, chosen, runs or paths.runs, curves or paths.curves, progress)


def analyse(
    run: RunConfig, study: Study, runs: str | None, summary: Path | None, verdicts: Path | None
) -> None:
    """Summarise and judge a study."""
    end_with_run()
    paths = study_paths(run, study.name)
    with telling(None) as progress:
        progress.message(f"{study.name}: analysis")
        from lowdim.analyse import analyse as analyse_study

        analyse_study(
            study,
            _files(run, study, "runs", runs),
            summary or paths.summary,
            verdicts or paths.verdicts,
        )


def figures(
    run: RunConfig,
    study: Study,
    runs: str | None,
    trials: str | None,
    curves: str | None,
    summary: Path | None,
    verdicts: Path | None,
    folder: Path | None,
) -> None:
    """Draw a study's figures."""
    end_with_run()
    paths = study_paths(run, study.name)
    with telling(None) as progress:
        progress.message(f"{study.name}: figures")
        from lowdim.figures import draw

        draw(
            study,
            run,
            _files(run, study, "runs", runs),
            _files(run, study, "trials", trials),
            _files(run, study, "curves", curves),
            summary or paths.summary,
            verdicts or paths.verdicts,
            folder or paths.figures,
        )


def report(run: RunConfig, studies: list[Study], output: Path | None) -> None:
    """Write the page on all studies."""
    end_with_run()
    with telling(None) as progress:
        progress.message(f"report on {', '.join(study.name for study in studies)}")
        from lowdim.report import write_report

        write_report(run, studies, output or run.results / "report.html")


@contextmanager
def telling(log: Path | None) -> Iterator[Progress]:
    """Give progress on standard error and in a log, warnings of the libraries among it."""
    if log is not None:
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)
    progress = progress_on(log=log)
    handler = _Remarks(progress)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield progress
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        progress.close()


class _Remarks(logging.Handler):
    """Passes warnings on, each as one line."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().splitlines()[0]
        self._progress.message(f"{record.levelname.lower()}: {text}")


def _arms(run: RunConfig, study: Study, block: str) -> list[str]:
    known = blocks(study, run)
    if block not in known:
        raise UserError(f"{study.name}: has no block {block!r}, only {list(known)}")
    return known[block]


def _files(run: RunConfig, study: Study, kind: str, given: str | None) -> list[Path]:
    """Return the paths given, or those of a kind of file in every block that has it."""
    if given is not None:
        return [Path(word) for word in shlex.split(given)]
    paths = study_paths(run, study.name)
    every = [getattr(paths.block(block), kind) for block in blocks(study, run)]
    return [path for path in every if path.exists()]
