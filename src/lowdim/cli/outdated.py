"""Which stages a run would make again, as Snakemake sees it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lowdim.cli.options import CONFIG_VARIABLE
from lowdim.cli.run import snakemake_command
from lowdim.config import RunConfig

_STAGES = ("tune", "train", "analyse", "figures")
_KEPT = "no update"


def outdated_lines(run: RunConfig, config: Path) -> list[str]:
    """Return a line for each study that has something to make, or one that nothing is to be done.

    Returns nothing where there is no workflow to ask.
    """
    if not Path("Snakefile").exists():
        return []
    os.environ[CONFIG_VARIABLE] = str(config)
    asked = [*snakemake_command(run), "--summary", "--nolock"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    if answer.returncode:
        return []
    stages = outdated(answer.stdout, run.results)
    if not stages:
        return ["nothing is to be done: every result is up to date"]
    return [f"would run: {', '.join(rules)} of {study}" for study, rules in stages.items()]


def outdated(summary: str, results: Path) -> dict[str, list[str]]:
    """Return the stages to be made by study, from Snakemake's table of output files."""
    found: dict[str, set[str]] = {}
    for line in summary.splitlines()[1:]:
        path, _, rule, *_, plan = line.split("\t")
        if plan != _KEPT and rule in _STAGES:
            study = Path(path).relative_to(results).parts[0]
            found.setdefault(study, set()).add(rule)
    return {study: [s for s in _STAGES if s in rules] for study, rules in found.items()}
