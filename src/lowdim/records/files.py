"""Result files: written whole or not at all, each with a sidecar that says what made it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowdim.config.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SIDECAR = ".meta.json"


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that at every moment it is the old one or the new one, whole."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another folder with the "
            f"key `results` in config/config.yaml"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); free some space") from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_result(path: Path, payload: bytes, provenance: Mapping[str, Any]) -> None:
    """Write a result file and beside it its checksum and provenance."""
    meta = {"sha256": hashlib.sha256(payload).hexdigest(), **provenance}
    write_bytes(path, payload)
    write_bytes(
        sidecar(path), (json.dumps(meta, indent=1, sort_keys=True, default=str) + "\n").encode()
    )


def write_table(path: Path, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write a table as CSV or Parquet, by the ending of its path; floats keep every digit."""
    path = Path(path)
    buffer = io.BytesIO()
    if path.suffix == ".parquet":
        frame.to_parquet(buffer, index=False)
    else:
        frame.to_csv(buffer, index=False, lineterminator="\n")
    write_result(path, buffer.getvalue(), provenance)


def write_json(path: Path, content: Any, provenance: Mapping[str, Any]) -> None:
    """Write a JSON document."""
    write_result(path, (json.dumps(content, indent=1) + "\n").encode(), provenance)


def read_table(path: Path) -> pd.DataFrame:
    """Return the table in a CSV or Parquet file, its checksum compared."""
    import pandas as pd

    buffer = io.BytesIO(_read(Path(path)))
    if Path(path).suffix == ".parquet":
        return pd.read_parquet(buffer)
    return pd.read_csv(buffer, engine="python")  # the other parser rounds the last digit


def read_json(path: Path) -> Any:
    """Return the document in a JSON file, its checksum compared."""
    return json.loads(_read(Path(path)))


def damaged_files(folder: Path) -> list[Path]:
    """Return the result files below a folder whose content is not what was written."""
    marks = sorted(Path(folder).rglob(f"*{SIDECAR}"))
    return [path for path in map(_owner, marks) if path.exists() and not _is_whole(path)]


def sidecar(path: Path) -> Path:
    """Return where the checksum and provenance of a result file lie."""
    return path.with_name(path.name + SIDECAR)


def remove(paths: Iterable[Path]) -> None:
    """Delete result files together with their sidecars."""
    for path in paths:
        path.unlink(missing_ok=True)
        sidecar(path).unlink(missing_ok=True)


def _owner(mark: Path) -> Path:
    return mark.with_name(mark.name.removesuffix(SIDECAR))


def _is_whole(path: Path) -> bool:
    try:
        expected = json.loads(sidecar(path).read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == expected


def _read(path: Path) -> bytes:
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if sidecar(path).exists() and not _is_whole(path):
        raise UserError(f"{path}: is damaged (its checksum differs); delete it and run again")
    return payload
