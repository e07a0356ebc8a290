"""Kronecker products against what one would write, or install, instead."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from cases import BOTH, FORWARD, OURS, Bar, Case, Method, Problem, bytes_of, drawing, on_gpu
from lowdim_kernels import kron_matmul, kron_matmul_reference

Shapes = tuple[tuple[int, int], ...]
GEMM, MATMULS, EINSUM, DENSE = "torch.kron + GEMM", "matmuls", "einsum", "dense GEMM"
FASTKRON, LINEAR_OPERATOR = "pyfastkron", "linear_operator"
PROBLEMS: tuple[tuple[Shapes, int, dict[str, tuple[Bar, ...]]], ...] = (
    (((10, 5), (10, 8)), 64, {BOTH: (Bar(2.0, (GEMM, MATMULS)),)}),
    (((32, 32), (32, 32)), 256, {FORWARD: (Bar(1.2, (FASTKRON, MATMULS)),)}),
    (
        ((64, 64), (64, 64)),
        1024,
        {FORWARD: (Bar(1.4, (FASTKRON, MATMULS)),), BOTH: (Bar(1.3, (FASTKRON, MATMULS)),)},
    ),
    (((16, 16), (16, 16), (16, 16)), 256, {FORWARD: (Bar(1.5, (FASTKRON,)),)}),
)

# At 64x64 the floor is to be within 2.5 times ours as well: its share in the table is 40 % then.
BARS_ON_GPU = {((64, 64), (64, 64)): {FORWARD: (Bar(1.5, (MATMULS,)),)}}


def cases() -> Iterator[Case]:
    """Yield every case, one problem in memory at a time."""
    for shapes, rows, bars in PROBLEMS:
        bars = BARS_ON_GPU.get(shapes, {}) if on_gpu() else bars
        yield from problem(shapes, rows, bars).cases()


def problem(shapes: Shapes, rows: int, bars: dict[str, tuple[Bar, ...]]) -> Problem:
    """Return the product of `rows` samples with factors of these shapes, and its peers."""
    generator = drawing()
    inner, out = prod(i for _, i in shapes), prod(o for o, _ in shapes)
    x = torch.randn(rows, inner, generator=generator)
    a = [torch.randn(shape, generator=generator) for shape in shapes]
    x_and_a = (x, *a)
    methods = {
        OURS: Method(lambda x, *a: kron_matmul(x, a), x_and_a),
        MATMULS: Method(by_matmuls, x_and_a),
        EINSUM: Method(by_einsum, x_and_a),
        GEMM: Method(by_kron, x_and_a),
        DENSE: Method(lambda x, w: x @ w.mT, (x, torch.randn(out, inner)), None),
    }
    if importlib.util.find_spec("pyfastkron"):
        turned = [t.mT.contiguous() for t in a]
        methods[FASTKRON] = Method(by_fastkron, (x, *turned), _turn_back)
    if importlib.util.find_spec("linear_operator"):
        methods[LINEAR_OPERATOR] = Method(by_linear_operator, x_and_a)
    forward = kron_flops(shapes, rows)
    moved = bytes_of(*x_and_a) + 4 * rows * out
    return Problem(
        operation="kronecker",
        shape=" ⊗ ".join(f"{o}x{i}" for o, i in shapes) + f", batch {rows}",
        methods=_with_values_of(methods, a),
        reference=lambda x, *a: kron_matmul_reference(x, a),
        flops=(forward, 3 * forward),
        moved=(moved, 3 * moved),
        bars=bars,
    )


def _with_values_of(methods: dict[str, Method], a: Sequence[Tensor]) -> dict[str, Method]:
    """Return the methods, the dense weight being the factors' product so that values agree."""
    weight = methods[DENSE].inputs[1]
    dense = a[0]
    for factor in a[1:]:
        dense = torch.kron(dense, factor)
    weight.copy_(dense)
    return methods


def kron_flops(shapes: Shapes, rows: int) -> float:
    """Return the flops of the cheapest order of the factors."""
    last_first, first_first = 0, 0
    width = prod(i for _, i in shapes)
    for o, i in reversed(shapes):
        width = width // i * o
        last_first += 2 * rows * width * i
    width = prod(i for _, i in shapes)
    for o, i in shapes:
        width = width // i * o
        first_first += 2 * rows * width * i
    return min(last_first, first_first)


def by_matmuls(x: Tensor, *a: Tensor) -> Tensor:
    """Return the product by one matmul a factor, over views."""
    rows = x.shape[0]
    y = (x.reshape(-1, a[-1].shape[1]) @ a[-1].mT).reshape(rows, -1)
    after = a[-1].shape[0]
    for factor in reversed(a[:-1]):
        y = factor @ y.reshape(-1, factor.shape[1], after)
        after *= factor.shape[0]
    return y.reshape(rows, -1)


def by_einsum(x: Tensor, *a: Tensor) -> Tensor:
    """Return the product by one einsum."""
    ins, outs = "abc"[: len(a)], "xyz"[: len(a)]
    terms = ",".join(o + i for o, i in zip(outs, ins))
    cube = x.reshape(-1, *(factor.shape[1] for factor in a))
    return torch.einsum(f"r{ins},{terms}->r{outs}", cube, *a).reshape(x.shape[0], -1)


def by_kron(x: Tensor, *a: Tensor) -> Tensor:
    """Return the product with the dense matrix that torch.kron builds."""
    dense = a[0]
    for factor in a[1:]:
        dense = torch.kron(dense, factor)
    return x @ dense.mT


def by_fastkron(x: Tensor, *turned: Tensor) -> Tensor:
    """Return the product by FastKron, which multiplies by factors (in_k, out_k)."""
    from pyfastkron import fastkrontorch

    return fastkrontorch.gemkm(x, list(turned))


def _turn_back(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    return [gradients[0], *(t.mT for t in gradients[1:])]


def by_linear_operator(x: Tensor, *a: Tensor) -> Tensor:
    """Return the product by linear_operator, which multiplies columns."""
    from linear_operator import to_linear_operator
    from linear_operator.operators import KroneckerProductLinearOperator

    operator = KroneckerProductLinearOperator(*(to_linear_operator(factor) for factor in a))
    return operator.matmul(x.mT).mT
