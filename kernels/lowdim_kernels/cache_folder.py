"""Where compiled code is kept on disk."""

import os
from pathlib import Path

CACHE_VARIABLE = "LOWDIM_CACHE"


def cache_folder(kind: str) -> Path:
    """Return $LOWDIM_CACHE/<kind>, or the place in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser() / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lowdim" / kind
