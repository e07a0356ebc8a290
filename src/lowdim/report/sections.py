"""What the page says of one study, gathered from its result files."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowdim.config import RunConfig, Study, UserError
from lowdim.drawing.quantities import QUANTITIES, quantity
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.figures import INDEX
from lowdim.records import read_json, sidecar, study_paths
from lowdim.report.method import arms_table, protocol
from lowdim.report.middles import shown_row
from lowdim.report.provenance import provenance_rows
from lowdim.report.published import published_rows
from lowdim.report.verdicts import verdict_rows

_EDGE_SHARE = 0.25
_NOT_IN_TABLE = {"seconds", "diverged"}
_OF_A_LAYER = "mean_gradient_norm."


@dataclass
class Section:
    """A study on the page; `missing` says why there are no results, and the rest is then empty."""

    study: Study
    missing: str = ""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)
    arms: tuple[list[str], list[list[str]]] = ((), ())  # type: ignore[assignment]
    provenance: list[tuple[str, str]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


def section(study: Study, run: RunConfig, page: Path) -> Section:
    """Return what is said of a study on a page, or why there is nothing to say."""
    files = ResultFiles.of(study, run)
    folder = study_paths(run, study.name).figures
    absent = [path for path in (*files.all(), folder / INDEX) if not path.exists()]
    if absent:
        more = f", and {len(absent) - 1} more" if len(absent) > 1 else ""
        return Section(study, missing=f"{_link(absent[0], page)} is missing{more}.")
    tables = Tables(study, files)
    try:
        return Section(
            study,
            verdicts=verdict_rows(tables.verdicts, study),
            published=published_rows(tables),
            results=_results(tables),
            figures=[_figure(entry, folder, page) for entry in read_json(folder / INDEX)],
            notes=notes(tables),
            protocol=protocol(study),
            arms=arms_table(study),
            provenance=provenance_rows(tables, [folder / INDEX]),
            links=[(path.name, _link(path, page)) for path in files.all()],
        )
    except UserError as error:
        return Section(study, missing=f"{error}.")


def notes(tables: Tables) -> list[str]:
    """Return what a reader should know before trusting the numbers."""
    said = []
    if tables.study.scale == "smoke":
        said.append("This is the scale `smoke`: it shows that everything runs, and nothing else.")
    for reason, labels in _unavailable(tables).items():
        said.append(f"Left out, for want of data: {', '.join(labels)}. {reason}.")
    for arm in tables.study.arms:
        if seeds := tables.diverged(arm):
            count = f"{len(seeds)} of {tables.study.seeds} runs"
            listed = ", ".join(map(str, seeds))
            said.append(f"{tables.label(arm)}: {count} diverged (seeds {listed}) and are left out.")
    for arm, choices in tables.tuned.items():
        said += _edges(tables, arm, choices)
    return said


def _unavailable(tables: Tables) -> dict[str, list[str]]:
    """Return the labels of arms whose data could not be had, by the reason told when training."""
    found: dict[str, list[str]] = {}
    for path in map(sidecar, tables.files.runs):
        missing = read_json(path).get("unavailable", {}) if path.exists() else {}
        for arm, reason in missing.items():
            found.setdefault(reason, []).append(tables.label(arm))
    return found


def _edges(tables: Tables, arm: str, choices: dict[str, Any]) -> list[str]:
    tuning = tables.study.arms[arm].tuning
    said = []
    for hyper, space in tuning.space.items() if tuning else ():
        count = sum(hyper in choice["at_edge"] for choice in choices.values())
        if count > _EDGE_SHARE * len(choices):
            said.append(
                f"{tables.label(arm)}: the best {quantity(hyper).label} of {count} of "
                f"{len(choices)} seeds lies at an edge of {space.low:g} to {space.high:g}; a wider "
                f"range might serve it better."
            )
    return said


def _results(tables: Tables) -> dict[str, Any]:
    """Return heads and cells of the table of all arms."""
    measured = [m for m in tables.summary["metric"].unique() if _is_in_table(m)]
    order = {metric: place for place, metric in enumerate(QUANTITIES)}
    metrics = sorted(measured, key=lambda metric: order.get(metric, len(order)))
    rows: list[dict[str, Any]] = []
    for arm in tables.study.arms:
        cells = [shown_row(tables, arm, metric) for metric in metrics]
        if not any(cells):
            continue
        rows.append({"arm": arm, "label": tables.label(arm), "cells": cells})
    return {
        "metrics": [(metric, quantity(metric).axis) for metric in metrics],
        "rows": rows,
        "has_medians": any(cell and cell["is_median"] for row in rows for cell in row["cells"]),
    }


def _is_in_table(metric: str) -> bool:
    """Whether a metric has a column; the shares of single layers do not."""
    return metric not in _NOT_IN_TABLE and not metric.startswith(_OF_A_LAYER)


def _figure(entry: dict[str, Any], folder: Path, page: Path) -> dict[str, Any]:
    payload = (folder / f"{entry['name']}.svg").read_bytes()
    there = [ending for ending in ("svg", "png", "csv") if f"{ending}_sha256" in entry]
    links = [(e.upper(), _link(folder / f"{entry['name']}.{e}", page)) for e in there]
    source = f"data:image/svg+xml;base64,{base64.b64encode(payload).decode()}"
    return {**entry, "source": source, "links": links}


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()
