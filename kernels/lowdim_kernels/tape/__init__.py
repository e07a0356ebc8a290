"""Training runs and small products as tables that one small compiled library interprets.

See README.md in this folder. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import products
    from .library import Library, load_library
    from .program import Program
    from .schedules import adam_schedule, evaluation_schedule, sgd_schedule
    from .tape import Tape
    from .views import Buffer, Parameter, Table, View

_HOMES = {
    "Tape": "tape",
    "Program": "program",
    "Library": "library",
    "load_library": "library",
    "adam_schedule": "schedules",
    "sgd_schedule": "schedules",
    "evaluation_schedule": "schedules",
    "Buffer": "views",
    "Parameter": "views",
    "Table": "views",
    "View": "views",
}

__all__ = [
    "Buffer",
    "Library",
    "Parameter",
    "Program",
    "Table",
    "Tape",
    "View",
    "adam_schedule",
    "evaluation_schedule",
    "load_library",
    "products",
    "sgd_schedule",
]


def __getattr__(name: str) -> Any:
    if name == "products":
        return importlib.import_module(".products", __name__)
    if name in _HOMES:
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = found  # the next look-up takes no time
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
