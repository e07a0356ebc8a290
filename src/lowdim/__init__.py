"""When does low-dimensional structure pay? Layers, optimisers, engines and studies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowdim.layers.structure import structure as structure
    from lowdim.sweeps import sweep as sweep

__version__ = "0.1.0"

# public functions by the module that holds them, imported when first asked for
_HOME = {"structure": "lowdim.layers.structure", "sweep": "lowdim.sweeps"}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
