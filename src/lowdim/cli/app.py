"""The commands and their options; each reads its input, calls one function, and returns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lowdim.cli import stages
from lowdim.cli.options import (
    DEFAULT_CONFIG,
    ConfigFile,
    Scale,
    Seeds,
    Settings,
    StudyName,
    read_run,
    read_study,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="When does low-dimensional structure pay? Run the studies, or one stage of one study.",
)

Block = Annotated[str, typer.Option(help="Group of arms, as in the key `blocks`; `all` is one.")]
Log = Annotated[Path | None, typer.Option(help="File to which progress is written as well.")]
OneFile = Annotated[Path | None, typer.Option(help="Where it lies; else in the results folder.")]
Files = Annotated[str | None, typer.Option(help="Paths in one word, parted by spaces.")]


@app.callback()
def _lowdim(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error happened.")] = False,
) -> None:
    pass


@app.command("run")
def run_command(
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
    cores: Annotated[str, typer.Option(help="Cores for all jobs together.")] = "all",
) -> None:
    """Run every stage of the configured studies that is missing or outdated."""
    from lowdim.cli.run import run_studies

    raise typer.Exit(run_studies(read_run(config, scale, seeds, settings), config, cores))


@app.command("plan")
def plan_command(
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Say what a run trains, how long that takes, and which stages it would make again."""
    from lowdim.cli.lacking import lacking_lines
    from lowdim.cli.outdated import outdated_lines
    from lowdim.cli.plan import plan_lines

    run = read_run(config, scale, seeds, settings)
    studies = [read_study(run, name) for name in run.studies]
    typer.echo("\n".join([*plan_lines(run, studies), *lacking_lines(run, studies)]))
    for line in outdated_lines(run, config):
        typer.echo(line)


@app.command("studies")
def studies_command(
    config: ConfigFile = DEFAULT_CONFIG, scale: Scale = None, settings: Settings = None
) -> None:
    """List the studies, their questions and arms."""
    from lowdim.cli.plan import study_lines

    typer.echo("\n".join(study_lines(read_run(config, scale, None, settings))))


@app.command("doctor")
def doctor_command(config: ConfigFile = DEFAULT_CONFIG, settings: Settings = None) -> None:
    """Say what was found: versions, devices, backends, data and cache folders."""
    from lowdim.doctor import findings

    for name, found in findings(read_run(config, None, None, settings)):
        typer.echo(f"{name:<16} {found}")


@app.command("tape")
def tape_command(
    study: StudyName,
    arm: Annotated[str, typer.Argument(help="One of the study's arms.")],
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    settings: Settings = None,
) -> None:
    """Print an arm's training step as the fused engine runs it: records, flops, bytes, time."""
    from lowdim.cli.tape import tape_text

    run = read_run(config, scale, None, settings)
    typer.echo(tape_text(run, read_study(run, study), arm))


@app.command("bench")
def bench_command(
    seconds: Annotated[float, typer.Option(help="Time for each figure of the table.", min=0)] = 1.0,
) -> None:
    """Time the engines on this machine, replica-step by replica-step, against a plain loop."""
    from lowdim.bench import bench_lines

    for line in bench_lines(seconds):
        typer.echo(line)


@app.command("tune")
def tune_command(
    study: StudyName,
    block: Block = "all",
    trials: OneFile = None,
    tuned: OneFile = None,
    log: Log = None,
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Choose the hyperparameters of a block's arms."""
    run = read_run(config, scale, seeds, settings)
    stages.tune(run, read_study(run, study), block, trials, tuned, log)


@app.command("train")
def train_command(
    study: StudyName,
    block: Block = "all",
    tuned: OneFile = None,
    runs: OneFile = None,
    curves: OneFile = None,
    log: Log = None,
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Train a block's arms at their chosen hyperparameters over all seeds."""
    run = read_run(config, scale, seeds, settings)
    stages.train(run, read_study(run, study), block, tuned, runs, curves, log)


@app.command("analyse")
def analyse_command(
    study: StudyName,
    runs: Files = None,
    summary: OneFile = None,
    verdicts: OneFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Summarise the runs of a study and judge its hypotheses."""
    run = read_run(config, scale, seeds, settings)
    stages.analyse(run, read_study(run, study), runs, summary, verdicts)


@app.command("figures")
def figures_command(
    study: StudyName,
    runs: Files = None,
    trials: Files = None,
    curves: Files = None,
    summary: OneFile = None,
    verdicts: OneFile = None,
    folder: OneFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Draw a study's figures from its result files."""
    run = read_run(config, scale, seeds, settings)
    stages.figures(run, read_study(run, study), runs, trials, curves, summary, verdicts, folder)


@app.command("report")
def report_command(
    output: OneFile = None,
    config: ConfigFile = DEFAULT_CONFIG,
    scale: Scale = None,
    seeds: Seeds = None,
    settings: Settings = None,
) -> None:
    """Write one page on all studies for a person."""
    run = read_run(config, scale, seeds, settings)
    stages.report(run, [read_study(run, name) for name in run.studies], output)
