"""Products by a fixed sparse mask against the CSR products of torch and scipy, and dense ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cases import BOTH, FORWARD, OURS, Bar, Case, Method, Problem, bytes_of, drawing, on_gpu
from lowdim_kernels import SparsePattern, masked_matmul, masked_matmul_reference

CSR, SCIPY = "torch CSR + sampled_addmm", "scipy CSR"
DENSE, MASKED = "dense GEMM", "dense masked"
Bars = Mapping[str, tuple[Bar, ...]]


def _bars(forward: float, both: float | None) -> Bars:
    least = {FORWARD: forward} | ({} if both is None else {BOTH: both})
    return {passes: (Bar(value, (CSR,)),) for passes, value in least.items()}


# (out, in), density, batch; at least this many times faster than CSR
PROBLEMS: tuple[tuple[tuple[int, int], float, int, Bars], ...] = (
    ((100, 40), 0.1, 64, {}),
    ((1024, 1024), 0.01, 512, _bars(1.3, 1.5)),
    ((1024, 1024), 0.1, 512, _bars(2.5, 2.0)),
    ((1024, 1024), 0.3, 512, {}),
    ((1024, 1024), 0.5, 512, {}),
    ((4096, 4096), 0.1, 512, _bars(2.5, None)),
)

BARS_ON_GPU = {((1024, 1024), 0.01): {passes: (Bar(1.5, (CSR,)),) for passes in (FORWARD, BOTH)}}


def cases() -> Iterator[Case]:
    """Yield every case, one problem in memory at a time."""
    for size, density, rows, bars in PROBLEMS:
        bars = BARS_ON_GPU.get((size, density), {}) if on_gpu() else bars
        forward, both = problem(size, density, rows, bars).cases()
        # scipy has no derivatives
        yield forward
        yield _without(both, SCIPY)


def _without(case: Case, name: str) -> Case:
    return replace(case, runs={key: run for key, run in case.runs.items() if key != name})


def problem(size: tuple[int, int], density: float, rows: int, bars: Bars) -> Problem:
    """Return the product of `rows` samples with a random mask's matrix, and its peers."""
    generator = drawing()
    pattern = SparsePattern.random(*size, density, generator)
    x = torch.randn(rows, size[1], generator=generator)
    values = torch.randn(pattern.nnz, generator=generator)
    dense = pattern.dense(values)
    mask = dense != 0
    places = pattern.rows(), pattern.columns.long()

    def kept(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        return [gradients[0], gradients[1][places]]

    methods = {
        OURS: Method(lambda x, values: masked_matmul(x, values, pattern), (x, values)),
        CSR: Method(_csr(pattern), (x, values)),
        DENSE: Method(lambda x, w: x @ w.mT, (x, dense), kept),
        MASKED: Method(lambda x, w: x @ (w * mask).mT, (x, dense), kept),
    }
    if importlib.util.find_spec("scipy") and not on_gpu():
        methods[SCIPY] = Method(_scipy(pattern), (x, values))
    forward = 2.0 * rows * pattern.nnz
    moved = bytes_of(x, values, pattern.columns) + 4 * rows * size[0]
    return Problem(
        operation="masked",
        shape=f"{size[0]}x{size[1]}, {density:.0%}, batch {rows}",
        methods=methods,
        reference=lambda x, values: masked_matmul_reference(x, values, pattern),
        flops=(forward, 3 * forward),
        moved=(moved, 3 * moved),
        bars=bars,
    )


def _csr(pattern: SparsePattern) -> Any:
    """Return the product by torch's CSR matrices, with gradients at the stored places alone."""
    shape = (pattern.out_features, pattern.in_features)
    rows = pattern.row_offsets, pattern.columns
    columns = pattern.column_offsets, pattern.transposed_rows
    order = pattern.transposed_positions.long()
    sample = torch.sparse_csr_tensor(*rows, torch.zeros(pattern.nnz), shape)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, values: Tensor) -> Tensor:
            ctx.save_for_backward(x, values)
            return (torch.sparse_csr_tensor(*rows, values, shape) @ x.mT).mT

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            x, values = ctx.saved_tensors
            (g,) = gradients
            turned = torch.sparse_csr_tensor(*columns, values[order], shape[::-1])
            dv = torch.sparse.sampled_addmm(sample, g.mT, x, beta=0.0).values()
            return (turned @ g.mT).mT, dv

    return Product.apply


def _scipy(pattern: SparsePattern) -> Any:
    from scipy.sparse import csr_array

    index = pattern.columns.numpy(), pattern.row_offsets.numpy()
    shape = (pattern.out_features, pattern.in_features)

    def product(x: Tensor, values: Tensor) -> Tensor:
        return torch.from_numpy((csr_array((values.numpy(), *index), shape) @ x.numpy().T).T)

    return product
