"""Figures of a study, drawn from its result files alone.

A study draws the generic pictures unless its module `lowdim.studies.<study>` names its own in
`PICTURES`, a sequence of what draws one (see `lowdim.drawing.picture`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowdim.config import RunConfig, Study
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.records import checksum, provenance, remove, write_bytes, write_json

if TYPE_CHECKING:
    from lowdim.drawing.picture import Draw

__all__ = ["INDEX", "draw", "pictures_of"]

INDEX = "index.json"
_ENDINGS = ("svg", "png", "csv")


def draw(
    study: Study,
    run: RunConfig,
    runs_paths: Sequence[Path],
    trials_paths: Sequence[Path],
    curves_paths: Sequence[Path],
    summary_path: Path,
    verdicts_path: Path,
    folder: Path,
) -> list[dict[str, Any]]:
    """Write every figure of a study as SVG and PNG, and `index.json` with their words.

    A figure that brings numbers of its own has them in a CSV of its name.

    Returns the index: name, title, caption, alternative text, and the checksum of each file.
    Figures in the folder that the study no longer draws are deleted.
    """
    from lowdim.drawing.picture import drawn

    files = ResultFiles(runs_paths, curves_paths, trials_paths, summary_path, verdicts_path)
    tables = Tables(study, files)
    index = []
    for drawing in pictures_of(study.name):
        found = drawn(drawing, tables)
        if found is None:
            continue
        picture, payloads = found
        entry = {
            "name": picture.name,
            "title": picture.title,
            "caption": picture.caption,
            "alt": picture.alt,
        }
        for ending, payload in payloads.items():
            write_bytes(folder / f"{picture.name}.{ending}", payload)
            entry[f"{ending}_sha256"] = checksum(payload)
        index.append(entry)
    kept = {
        f"{entry['name']}.{ending}": entry[key]
        for entry in index
        for ending in _ENDINGS
        if (key := f"{ending}_sha256") in entry
    }
    remove(p for e in _ENDINGS for p in folder.glob(f"*.{e}") if p.name not in kept)
    write_json(folder / INDEX, index, provenance("figures", study, scale=run.scale, files=kept))
    return index


def pictures_of(study: str) -> Sequence[Draw]:
    """Return what draws the pictures of a study, in their order on a page."""
    module = f"lowdim.studies.{study}"
    if importlib.util.find_spec(module) is not None:
        own = getattr(importlib.import_module(module), "PICTURES", None)
        if own is not None:
            return own
    from lowdim.drawing.convergence import convergence
    from lowdim.drawing.rates import rates
    from lowdim.drawing.size import by_size

    return (convergence(), by_size(), rates())
