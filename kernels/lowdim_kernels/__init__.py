"""Structured products and factorisations for PyTorch: Kronecker, masked sparse, truncated SVD."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOME = {
    "kron_matmul": "kronecker",
    "kron_matmul_reference": "kronecker",
    "masked_matmul": "masked",
    "masked_matmul_reference": "masked",
    "SparsePattern": "sparse_pattern",
    "truncated_svd": "truncated_svd",
    "truncated_svd_reference": "truncated_svd",
    "low_rank": "truncated_svd",
    "low_rank_reference": "truncated_svd",
    "excess_error": "truncated_svd",
    "excess_error_reference": "truncated_svd",
    "ElementwiseNetwork": "nlmf",
    "nlmf_weight": "nlmf",
    "nlmf_weight_reference": "nlmf",
    "using_backend": "backends",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


class _Package(ModuleType):
    """A package whose function `truncated_svd` is not hidden by the module of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
