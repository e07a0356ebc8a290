"""Benchmark tables that name the machine, the versions and the commit they were measured on."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def write_results(name: str, rows: Sequence[Mapping[str, Any]], folder: Path = FOLDER) -> Path:
    """Write benchmarks/results/<name>.csv and return its path.

    Lines before the header begin with `#` and say device, versions, commit and day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    columns = list({column: None for row in rows for column in row})
    with path.open("w", newline="") as file:
        for key, value in circumstances().items():
            file.write(f"# {key}: {value}\n")
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def circumstances() -> dict[str, str]:
    """Return where and with what something is measured now."""
    import torch

    from lowdim.records.provenance import commit, processor, versions

    found = {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "commit": str(commit()),
        "day": datetime.now(UTC).date().isoformat(),
    }
    if hasattr(os, "getloadavg"):
        found["load"] = f"{os.getloadavg()[2]:.1f} in the last quarter of an hour"
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
    return found
