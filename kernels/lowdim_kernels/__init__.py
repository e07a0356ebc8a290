"""Structured products and factorisations for PyTorch: Kronecker, masked sparse, truncated SVD."""

from importlib import import_module
from typing import Any

_HOME = {
    "kron_matmul": "kronecker",
    "kron_matmul_reference": "kronecker",
    "masked_matmul": "masked",
    "masked_matmul_reference": "masked",
    "SparsePattern": "sparse_pattern",
    "using_backend": "backends",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
