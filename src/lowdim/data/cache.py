"""Arrays that are dear to make, kept on disk: whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowdim.config.data_root import cache_folder

Arrays = dict[str, np.ndarray]

_CHECKSUM = "sha256"


def cached_arrays(
    name: str,
    arguments: Mapping[str, Any],
    build: Callable[[], Arrays],
    *,
    folder: str | os.PathLike[str] | None = None,
) -> Arrays:
    """Return the arrays that `build` makes, from the cache if they were made before.

    The file is named by `name` and a digest of the arguments, which must be all that decides the
    arrays. It is renamed into place when whole, so processes may build at once: the last one wins
    with the same content. A damaged file is rebuilt with a warning; where the folder cannot be
    written the arrays are returned all the same, with a warning.
    """
    text = json.dumps(dict(arguments), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache_folder(folder) / f"{name}-{digest}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = build()
        _write(path, arrays)
    return arrays


def _read(path: Path) -> Arrays | None:
    try:
        payload = path.read_bytes()
    except OSError:
        return None
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        if str(arrays.pop(_CHECKSUM)) == _checksum(arrays):
            return arrays
    except Exception:  # a broken archive fails in as many ways as it has bytes
        pass
    warnings.warn(f"{path} is damaged and is built anew", RuntimeWarning, stacklevel=4)
    return None


def _write(path: Path, arrays: Arrays) -> None:
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **{**arrays, _CHECKSUM: np.array(_checksum(arrays))})
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o644)
        Path(part).replace(path)
        part = None
    except OSError as error:
        warnings.warn(
            f"{path.parent} cannot keep data ({error.strerror}), so they are made at every start; "
            f"set LOWDIM_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=4,
        )
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()
