"""One compiled object file per library source, tiles, compiler and CPU, kept on disk.

An entry is the sha256 of its payload followed by the payload, written under a temporary name
and renamed: processes that start together may both compile, and leave one whole file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from lowdim_kernels.cache_folder import CACHE_VARIABLE
from lowdim_kernels.cache_folder import cache_folder as lowdim_folder

from .library_target import Target

_LOG = logging.getLogger(__name__)
_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """Return where compiled libraries are kept: `tape` in $LOWDIM_CACHE or the user's caches."""
    return lowdim_folder("tape")


def cache_key(target: Target) -> str:
    """Return a digest of everything that decides the machine code."""
    import llvmlite
    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name.startswith(("library", "records")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    versions = (llvmlite.__version__, llvm.llvm_version_info)
    digest.update(repr((target, versions)).encode())
    return digest.hexdigest()[:40]


def read_entry(folder: Path, key: str) -> bytes | None:
    """Return the object file of a key, or None where there is none that is whole."""
    path = folder / f"{key}.bin"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _LOG.info("cannot read %s (%s): compiling", path, error)
        return None
    payload = raw[_DIGEST_BYTES:]
    if payload and hashlib.sha256(payload).digest() == raw[:_DIGEST_BYTES]:
        return payload
    _LOG.warning("%s is damaged: compiling it again", path)
    return None


def write_entry(folder: Path, key: str, payload: bytes) -> bool:
    """Write an entry atomically and return whether that worked; say so in a line if not."""
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{key}.", suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(payload).digest() + payload)
        Path(temporary).replace(folder / f"{key}.bin")
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        _LOG.warning(
            "cannot write the cache folder %s (%s): the tape library stays in memory; "
            "set %s to a folder that can be written",
            folder,
            error.strerror or error,
            CACHE_VARIABLE,
        )
        return False
    return True
