"""What produced a result: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_PACKAGES = ("lowdim", "torch", "numpy", "numba", "optuna", "mnist1d", "pandas", "snakemake")


def provenance(stage: str, configuration: BaseModel | dict, **more: Any) -> dict[str, Any]:
    """Return the sidecar's content: configuration, code digest, versions, commit, machine."""
    from lowdim.records.digests import code_digest

    if isinstance(configuration, BaseModel):
        configuration = configuration.model_dump(mode="json", exclude_none=True)
    return {
        "stage": stage,
        "code": code_digest(stage),
        "configuration": configuration,
        "versions": versions(),
        "commit": commit(),
        "machine": {"processor": processor(), "system": platform.platform()},
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which results rest."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """Return the commit of the source tree, with `+` if it was changed, or None outside git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "-s", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def processor() -> str:
    """Return the processor's name as the system tells it."""
    if sys.platform.startswith("linux"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
