"""Where results come from, read from the sidecars beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lowdim.drawing.tables import Tables
from lowdim.records import read_json, sidecar


def provenance_rows(tables: Tables, others: Iterable[Path] = ()) -> list[tuple[str, str]]:
    """Return pairs of what and its value: versions, commits, code, machine, engine, time."""
    sidecars = [sidecar(path) for path in (*tables.files.all(), *others)]
    marks = [read_json(path) for path in sidecars if path.exists()]
    rows = [
        ("commit", _joined(mark.get("commit") or "not a git checkout" for mark in marks)),
        ("code", _joined(f"{mark['stage']} {mark['code']}" for mark in marks)),
        ("processor", _joined(mark["machine"]["processor"] for mark in marks)),
        ("system", _joined(mark["machine"]["system"] for mark in marks)),
        ("versions", _joined(f"{k} {v}" for mark in marks for k, v in mark["versions"].items())),
        ("written", _span([mark["written"] for mark in marks])),
    ]
    return [*_of_runs(tables), *((what, value) for what, value in rows if value)]


def _of_runs(tables: Tables) -> list[tuple[str, str]]:
    runs, trials = tables.runs, tables.trials
    counted = f"{len(runs)} final runs, {len(trials)} tuning trials"
    seconds = sum(float(frame["seconds"].sum()) for frame in (runs, trials) if "seconds" in frame)
    pairs = zip(runs.get("engine", ()), runs.get("device", ()), strict=True)
    why: dict[str, str] = {}
    if "engine_reason" in runs:
        on_torch = runs[(runs["engine"] == "torch") & (runs["engine_reason"] != "asked for")]
        why = dict(zip(on_torch["arm"], on_torch["engine_reason"], strict=True))
    return [
        ("replicas", f"{counted}, {seconds:,.0f} s of work"),
        ("engine and device", _joined(f"{engine} on {device}" for engine, device in pairs)),
        ("on torch, because", "; ".join(f"{arm}: {reason}" for arm, reason in why.items())),
    ]


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _span(times: list[str]) -> str:
    if not times:
        return ""
    first, last = min(times), max(times)
    return first if first == last else f"{first} to {last}"
