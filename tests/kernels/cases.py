"""One `Case` an operation and shape: what the contract and the benchmarks run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lowdim_kernels import (
    SparsePattern,
    kron_matmul,
    kron_matmul_reference,
    masked_matmul,
    masked_matmul_reference,
)
from lowdim_kernels.sparse_pattern import NAMES


@dataclass(frozen=True)
class Case:
    """An operation over float tensors of given shapes, and its dense definition.

    function(*inputs, *constants) -> Tensor; `constants` are index tensors, replica axis absent,
    drawn by `draw_constants(generator)`. `by_rows`: row b of the result depends on row b of the
    first input alone. `operators()` gives the torch operators and their arguments for opcheck.
    `separate(inputs)` may make drawn inputs fit for differentiation. All lie on `device`.
    """

    name: str
    function: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    draw_constants: Callable[[torch.Generator], tuple[Tensor, ...]] = lambda generator: ()
    by_rows: bool = False
    operators: Callable[..., Sequence[tuple[Any, tuple]]] = lambda inputs, constants: ()
    separate: Callable[[list[Tensor]], list[Tensor]] = field(default=lambda inputs: inputs)
    device: str = "cpu"

    def inputs(self, dtype: torch.dtype = torch.float64, *, seed: int = 0) -> list[Tensor]:
        """Return drawn inputs; the same numbers in every dtype, up to rounding to float32."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            torch.randn(shape, generator=generator, dtype=torch.float32) for shape in self.shapes
        ]
        return [t.to(self.device, dtype) for t in self.separate(drawn)]

    def constants(self, *, seed: int = 0) -> tuple[Tensor, ...]:
        """Return drawn constants."""
        drawn = self.draw_constants(torch.Generator().manual_seed(seed))
        return tuple(t.to(self.device) for t in drawn)


def kron_case(leading: tuple[int, ...], factors: Sequence[tuple[int, int]]) -> Case:
    """Return the case of kron_matmul for x of these leading axes and factor shapes."""
    width = 1
    for _, inner in factors:
        width *= inner
    label = " ⊗ ".join(f"{o}x{i}" for o, i in factors)

    def operators(inputs: list[Tensor], constants: tuple[Tensor, ...]) -> list[tuple[Any, tuple]]:
        from lowdim_kernels.kronecker import _gradients, _product

        x, *a = inputs
        g = kron_matmul_reference(x, a).detach()
        return [(_product.graph_op, (x, a)), (_gradients.graph_op, (True, g, x, a))]

    return Case(
        name=f"kron {leading} by {label}",
        function=lambda x, *a: kron_matmul(x, a),
        reference=lambda x, *a: kron_matmul_reference(x, a),
        shapes=((*leading, width), *factors),
        by_rows=True,
        operators=operators,
    )


def masked_case(
    leading: tuple[int, ...], out: int, inner: int, density: float, *, bias: bool = True
) -> Case:
    """Return the case of masked_matmul for x of these leading axes and a random pattern."""
    nnz = round(density * out * inner)

    def pattern(index: Sequence[Tensor]) -> SparsePattern:
        return SparsePattern(out, inner, **dict(zip(NAMES, index)))

    def split(arguments: Sequence[Tensor]) -> tuple[Tensor | None, SparsePattern]:
        return (arguments[0], pattern(arguments[1:])) if bias else (None, pattern(arguments))

    def function(x: Tensor, values: Tensor, *rest: Tensor) -> Tensor:
        b, places = split(rest)
        return masked_matmul(x, values, places, b)

    def reference(x: Tensor, values: Tensor, *rest: Tensor) -> Tensor:
        b, places = split(rest)
        return masked_matmul_reference(x, values, places, b)

    def operators(inputs: list[Tensor], constants: tuple[Tensor, ...]) -> list[tuple[Any, tuple]]:
        from lowdim_kernels.masked import _gradient, _product

        x, values, *b = inputs
        g = reference(*inputs, *constants).detach()
        b = b[0] if b else None
        return [
            (_product.graph_op, (False, x, values, b, *constants)),
            (_product.graph_op, (True, g, values, None, *constants)),
            (_gradient.graph_op, (g, x, *constants)),
        ]

    return Case(
        name=f"masked {leading} by {out}x{inner} at {density}",
        function=function,
        reference=reference,
        shapes=((*leading, inner), (nnz,), *(((out,),) if bias else ())),
        draw_constants=lambda generator: tuple(
            SparsePattern.random(out, inner, density, generator).tensors().values()
        ),
        by_rows=True,
        operators=operators,
    )


KRON_CASES = [
    kron_case((5,), [(3, 2), (2, 4)]),
    kron_case((64,), [(10, 5), (10, 8)]),
    kron_case((2, 3), [(3, 2), (2, 4), (2, 3)]),
    kron_case((4,), [(6, 7)]),
    kron_case((9,), [(32, 32), (32, 32)]),
    kron_case((17,), [(8, 8), (8, 8), (8, 8)]),
]
KRON_EDGES = [
    kron_case((), [(3, 2), (2, 4)]),
    kron_case((0,), [(3, 2), (2, 4)]),
    kron_case((1,), [(1, 1), (1, 1)]),
    kron_case((3, 1, 2), [(1, 5), (4, 1), (1, 1)]),
    kron_case((3,), [(0, 2), (2, 3)]),
    kron_case((3,), [(2, 0), (2, 3)]),
]
MASKED_CASES = [
    masked_case((5,), 7, 6, 0.4),
    masked_case((64,), 100, 40, 0.1),
    masked_case((2, 3), 9, 5, 1.0, bias=False),
    masked_case((70,), 33, 130, 0.05),
]
MASKED_EDGES = [
    masked_case((), 3, 4, 0.5),
    masked_case((0,), 3, 4, 0.5),
    masked_case((1,), 1, 1, 1.0),
    masked_case((3,), 4, 5, 0.0),
    masked_case((3,), 4, 0, 0.5),
    masked_case((3,), 0, 4, 0.5),
]
