"""Options that all commands share, and what they read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lowdim.config import RunConfig, Study, UserError, load_run, load_study

CONFIG_VARIABLE = "LOWDIM_CONFIG"
DEFAULT_CONFIG = Path("config/config.yaml")

StudyName = Annotated[str, typer.Argument(help="Name of a file in config/studies.")]
ConfigFile = Annotated[
    Path, typer.Option("--config", envvar=CONFIG_VARIABLE, help="The run's configuration.")
]
Scale = Annotated[str | None, typer.Option(help="smoke, standard or full.")]
Seeds = Annotated[int | None, typer.Option(help="Seeds of every study.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for a key of the file."),
]


def read_run(
    config: Path, scale: str | None, seeds: int | None, settings: list[str] | None
) -> RunConfig:
    """Return the configuration in a file with what the command line puts over it."""
    named = {key: value for key, value in (("scale", scale), ("seeds", seeds)) if value is not None}
    return load_run(config, {**_parsed(settings or []), **named})


def config_file() -> Path:
    """Return the run's configuration file: the environment's choice, else the project's."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def read_study(run: RunConfig, name: str) -> Study:
    """Return a study at the run's scale."""
    return load_study(name, folder=run.study_folder, scale=run.scale, seeds=run.seeds)


def settings_beyond(run: RunConfig, base: RunConfig) -> dict[str, str]:
    """Return the keys in which a run differs from another, values as YAML on one line."""
    wanted, there = run.model_dump(mode="json"), base.model_dump(mode="json")
    return {key: _written(wanted[key]) for key in wanted if wanted[key] != there[key]}


def _written(value: Any) -> str:
    import yaml

    plain = isinstance(value, str) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value)


def _parsed(settings: list[str]) -> dict[str, Any]:
    import yaml

    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set must be KEY=VALUE, got {setting!r}")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {key}: {value!r} is not a value; quote it") from None
    return parsed
