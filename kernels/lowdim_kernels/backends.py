"""Which implementation of a kernel runs: by device, or the one that was asked for by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

Backend = Literal["reference", "numba", "cuda"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
DEVICE_OF_BACKEND = {"reference": None, "numba": "cpu", "cuda": "cuda"}
BACKEND_OF_DEVICE: dict[str, Backend] = {"cpu": "numba", "cuda": "cuda"}

_chosen: ContextVar[Backend | None] = ContextVar("lowdim_kernels_backend", default=None)


@contextmanager
def using_backend(name: Backend | None) -> Iterator[None]:
    """Run every kernel of this thread by one backend; None goes back to choosing by device.

    "reference" is dense and plain torch on any device, "numba" compiled code on the CPU (by Numba,
    or by llvmlite where it serves better), "cuda" the GPU. A kernel that the backend lacks, or a
    tensor on a device that it does not serve, raises.
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS} or None, got {name!r}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_backend() -> Backend | None:
    """Return the backend asked for by `using_backend`, or None."""
    return _chosen.get()


def backend_for(operation: str, device: str, available: tuple[str, ...]) -> Backend:
    """Return the backend that runs an operation on a device, or raise saying why none does."""
    chosen = _chosen.get()
    if chosen is None and BACKEND_OF_DEVICE.get(device) in available:
        return BACKEND_OF_DEVICE[device]
    backend = chosen or BACKEND_OF_DEVICE.get(device, "reference")
    served = DEVICE_OF_BACKEND[backend]
    if served not in (None, device):
        raise RuntimeError(
            f"{operation}: backend {backend!r} works on {served} tensors, got one on {device}"
        )
    if backend not in available:
        raise NotImplementedError(
            f"{operation} has no {backend!r} kernel, only {available}; "
            'using_backend("reference") runs the dense definition'
        )
    return backend
