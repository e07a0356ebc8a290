"""Records of small symmetric problems: what a truncated SVD needs beside products."""

from __future__ import annotations

from types import SimpleNamespace

from .library_target import Target
from .records import Operation, Span, whole_vectors
from .records_training import HYPERPARAMETERS, schedule_column


def _square(kind: str, offset: int, f: SimpleNamespace, target: Target) -> Span:
    """A matrix of vectors * lanes rows, each of `vectors` vectors."""
    return whole_vectors(kind, offset, f.vectors * f.vectors * target.lanes, target)


def _cubed(f: SimpleNamespace, target: Target) -> int:
    return (f.vectors * target.lanes) ** 3


CHOLESKY = Operation(
    name="cholesky",
    fields=("vectors", "matrix", "scales", "unscaled"),
    offsets=("matrix", "scales"),
    counts=("vectors",),
    spans=lambda f, target: [
        _square("write", f.matrix, f, target),
        whole_vectors("write", f.scales, f.vectors, target),
    ],
    flops=lambda f, target: _cubed(f, target),
)

TRIANGULAR_INVERSE = Operation(
    name="triangular_inverse",
    fields=("vectors", "factor", "scales", "out"),
    offsets=("factor", "scales", "out"),
    counts=("vectors",),
    spans=lambda f, target: [
        _square("read", f.factor, f, target),
        whole_vectors("read", f.scales, f.vectors, target),
        _square("write", f.out, f, target),
    ],
    flops=lambda f, target: _cubed(f, target),
)

LEADING_ROWS = Operation(
    name="leading_rows",
    fields=("vectors", "rows", "norms", "out", "sweeps", "group"),
    offsets=("rows", "norms", "out"),
    counts=("vectors", "sweeps"),
    requires=lambda f, target: f.group >= 0,
    spans=lambda f, target: [
        _square("write", f.rows, f, target),
        whole_vectors("write", f.norms, f.vectors, target),
        _square("write", f.out, f, target),
        Span(
            "schedule",
            schedule_column(f.group, "step") * target.element_bytes,
            (),
            len(HYPERPARAMETERS) * target.element_bytes,
        ),
    ],
    # about half of the sweeps find something to rotate
    flops=lambda f, target: 2 * f.sweeps * _cubed(f, target),
)
