"""Read YAML files into configuration models; an error names file, key, value and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lowdim.config.complaints import complaint
from lowdim.config.errors import UserError
from lowdim.config.run import RunConfig
from lowdim.config.study import ArmConfig, Study, StudyFile

Model = TypeVar("Model", bound=BaseModel)


def load_run(path: Path | str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the run configuration in a file, with the keys of `overrides` put over it."""
    raw = {**_read(Path(path)), **{k: v for k, v in (overrides or {}).items() if v is not None}}
    return _validate(RunConfig, raw, str(path))


def study_names(folder: Path | str) -> list[str]:
    """Return the names of the studies in a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.yaml"))


def load_study(
    name: str,
    *,
    folder: Path | str = "config/studies",
    scale: str = "standard",
    seeds: int | None = None,
) -> Study:
    """Return a study at a scale, every arm made whole from defaults, own keys and the scale's."""
    path = Path(folder) / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"{path}: no such study; there are {study_names(folder)}")
    file = _validate(StudyFile, _read(path), str(path))
    change = file.scales.get(scale)  # type: ignore[call-overload]
    kept = change.arms if change and change.arms else list(file.arms)
    override = change.override if change else {}
    arms = {}
    for arm in kept:
        whole = _merge(_merge({"label": arm, **file.defaults}, file.arms[arm] or {}), override)
        arms[arm] = _validate(ArmConfig, whole, str(path), ("arms", arm))
    return Study(
        name=name,
        title=file.title or name.replace("_", " ").capitalize(),
        question=file.question,
        about=file.about,
        scale=scale,  # type: ignore[arg-type]
        seeds=seeds or (change.seeds if change and change.seeds else file.seeds),
        hypotheses=[h for h in file.hypotheses if _arms_of(h) <= set(arms)],
        arms=arms,
        published={arm: row for arm, row in file.published.items() if arm in arms},
    )


def _arms_of(hypothesis) -> set[str]:
    return {arm for contrast in hypothesis.contrasts for arm in (contrast.a, contrast.b)}


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML: {text}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, got {type(raw).__name__}")
    return raw


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return base with the keys of change put over it, mappings merged key by key.

    A mapping that names another `name` or `kind` replaces the old one whole, for its keys mean
    something else.
    """
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _same_kind(old, value):
            value = _merge(old, value)
        merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(new.get(tag, old.get(tag)) == old.get(tag) for tag in ("name", "kind"))


def _validate(model: type[Model], raw: Any, file: str, prefix: tuple = ()) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{file}: {complaint(model, error, prefix)}") from None
