"""Result files: written whole or not at all, each with a sidecar that says what made it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowdim.config.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SIDECAR = ".meta.json"
_FIGURES = "figures"


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that at every moment it is the old one or the new one, whole."""
    _write_all({Path(path): payload})


def write_result(path: Path, payload: bytes, provenance: Mapping[str, Any]) -> None:
    """Write a result file and beside it its checksum and provenance.

    Nothing changes unless there is room for both. The checksum is put in place first: killed in
    between, a file is missing or counts as damaged.
    """
    meta = {"sha256": checksum(payload), **provenance}
    text = json.dumps(meta, indent=1, sort_keys=True, default=str) + "\n"
    _write_all({Path(path): payload, sidecar(Path(path)): text.encode()})


def _write_all(payloads: Mapping[Path, bytes]) -> None:
    """Write files beside their places, then rename them, the last one first."""
    parts: dict[Path, Path] = {}
    try:
        for path, payload in payloads.items():
            parts[path] = _part(path)
            with parts[path].open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        for path in reversed(list(parts)):
            parts[path].replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free some space") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """Return a new empty file beside a path; raises UserError if the folder refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        Path(name).chmod(0o644)
        os.close(handle)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}); free some space or choose "
            f"another folder with the key `results` in config/config.yaml"
        ) from None
    return Path(name)


def checksum(payload: bytes) -> str:
    """Return the SHA-256 of a file's content as hex digits."""
    return hashlib.sha256(payload).hexdigest()


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
    """Return the result files below a folder whose content is not what was written.

    A sidecar may name further `files` beside it, by their checksums, which must be there too.
    """
    damaged = []
    for mark in sorted(Path(folder).rglob(f"*{SIDECAR}")):
        path, meta = _owner(mark), _meta(mark)
        if path.exists() and not _is_whole(path):
            damaged.append(path)
        for name, expected in meta.get("files", {}).items():
            if path.exists() and _checksum_of(mark.with_name(name)) != expected:
                damaged.append(mark.with_name(name))
    return damaged


def remove_damaged(folder: Path) -> list[Path]:
    """Delete the damaged result files below a folder and return them; figures go all together."""
    damaged = damaged_files(folder)
    for path in damaged:
        if path.parent.name == _FIGURES:
            shutil.rmtree(path.parent, ignore_errors=True)
    remove(damaged)
    return damaged


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
    return _checksum_of(path) == _meta(sidecar(path)).get("sha256", "")


def _meta(mark: Path) -> dict[str, Any]:
    try:
        meta = json.loads(mark.read_text())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _checksum_of(path: Path) -> str | None:
    try:
        return checksum(path.read_bytes())
    except OSError:
        return None


def _read(path: Path) -> bytes:
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if sidecar(path).exists() and not _is_whole(path):
        raise UserError(f"{path}: is damaged (its checksum differs); delete it and run again")
    return payload
