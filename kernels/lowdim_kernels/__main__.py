"""Says which backends can run here, and how exact and how quick each operation is on them.

python -m lowdim_kernels
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import lowdim_kernels as kernels
from lowdim_kernels.backends import BACKENDS, DEVICE_OF_BACKEND, Backend
from lowdim_kernels.cuda.launcher import why_not as no_launch

# The largest relative error of a value or a gradient in float32 that passes.
LARGEST_ERROR = 1e-5
ROUNDS, LEAST_ROUND_S = 5, 0.01


@dataclass(frozen=True)
class Check:
    """One call of an operation on drawn inputs, and its definition: the same arguments."""

    operation: str
    sizes: str
    inputs: Sequence[Tensor]
    function: Callable[..., Tensor]
    reference: Callable[..., Tensor]


def checks() -> list[Check]:
    """Return one call of each operation, at a size of use."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    pattern = kernels.SparsePattern.random(1024, 1024, 0.1, draw)
    matrices = normal(32, 72, 72) * torch.logspace(0, -2, 72)
    phi = [normal(16), normal(16), normal(16), normal()]

    def of_network(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
        from lowdim_kernels.nlmf import ElementwiseNetwork

        return lambda u, v, *units: operation(u, v, ElementwiseNetwork(*units))

    return [
        Check(
            "kron_matmul",
            "64x40 by 10x5 ⊗ 10x8",
            [normal(64, 40), normal(10, 5), normal(10, 8)],
            lambda x, *factors: kernels.kron_matmul(x, factors),
            lambda x, *factors: kernels.kron_matmul_reference(x, factors),
        ),
        Check(
            "masked_matmul",
            "64x1024 by 1024x1024 at 10 %",
            [normal(64, 1024), normal(len(pattern.columns))],
            lambda x, values: kernels.masked_matmul(x, values, pattern),
            lambda x, values: kernels.masked_matmul_reference(x, values, pattern),
        ),
        Check(
            "low_rank",
            "32 of 72x72, rank 20",
            [matrices],
            lambda g: kernels.low_rank(g, 20),
            lambda g: kernels.low_rank_reference(g, 20),
        ),
        Check(
            "nlmf_weight",
            "100x40 of rank 4, 16 units",
            [normal(100, 4), normal(40, 4), *phi],
            of_network(kernels.nlmf_weight),
            of_network(kernels.nlmf_weight_reference),
        ),
    ]


def why_not(backend: Backend) -> str | None:
    """Return why a backend can't run here, None where it can."""
    if backend == "numba" and find_spec("numba") is None:
        return "numba is not installed"
    return no_launch() if backend == "cuda" else None


def error_of(check: Check, backend: Backend) -> float:
    """Return the largest relative error of the value and the gradients, against float64."""
    expected = _value_and_gradients(check.reference, [t.double() for t in check.inputs])
    inputs = _on_device(check, backend)
    with kernels.using_backend(backend):
        actual = _value_and_gradients(check.function, inputs)
    pairs = zip(actual, expected, strict=True)
    return max(float((a.cpu() - e).norm() / e.norm()) for a, e in pairs)


def milliseconds_of(check: Check, backend: Backend) -> float:
    """Return the median time of one call without gradients."""
    inputs = _on_device(check, backend)

    def call() -> None:
        check.function(*inputs)
        if DEVICE_OF_BACKEND[backend] == "cuda":
            torch.cuda.synchronize()

    with kernels.using_backend(backend), torch.no_grad():
        call()
        return 1e3 * statistics.median(_seconds(call) for _ in range(ROUNDS))


def _seconds(call: Callable[[], None]) -> float:
    """Return the time of one call, of as many as fill a round."""
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < LEAST_ROUND_S:
        call()
        calls += 1
    return (time.perf_counter() - began) / calls


def _on_device(check: Check, backend: Backend) -> list[Tensor]:
    return [t.to(DEVICE_OF_BACKEND[backend] or "cpu") for t in check.inputs]


def _value_and_gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Any:
    leaves = [t.clone().requires_grad_() for t in inputs]
    value = function(*leaves)
    return [value.detach(), *torch.autograd.grad(value.square().sum(), leaves)]


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} absent"


def main() -> int:
    """Print the tables and return 0, or 1 where an operation is further off than it may be."""
    names = ", ".join(map(_version, ("lowdim", "torch", "numba", "numpy")))
    print(f"{names}; {torch.get_num_threads()} threads")
    able: list[Backend] = []
    for backend in BACKENDS:
        reason = why_not(backend)
        print(f"{backend:<10} {'available' if reason is None else f'not available: {reason}'}")
        able += [] if reason else [backend]
    print(f"{'operation':<14} {'backend':<10} {'error':>7} {'ms':>9}  float32, sizes")
    passed = True
    for check in checks():
        for backend in able:
            passed &= _print_row(check, backend)
    return 0 if passed else 1


def _print_row(check: Check, backend: Backend) -> bool:
    """Print the row of an operation on a backend; return whether its error passes."""
    start = f"{check.operation:<14} {backend:<10}"
    try:
        error, elapsed = error_of(check, backend), milliseconds_of(check, backend)
    except NotImplementedError as lack:
        print(f"{start} {lack}")
        return True
    verdict = "" if error <= LARGEST_ERROR else f"  WRONG: more than {LARGEST_ERROR:.0e}"
    print(f"{start} {error:7.0e} {elapsed:9.4f}  {check.sizes}{verdict}", flush=True)
    return not verdict


if __name__ == "__main__":
    sys.exit(main())
