"""Records of products with sparse patterns, and of element-wise networks."""

from __future__ import annotations

from types import SimpleNamespace

from .library_target import Target
from .records import Operation, Span, whole_vectors

PHI_ACTIVATIONS = ("silu", "tanh", "relu")

PERMUTE = Operation(
    name="permute",
    fields=("count", "out", "values", "positions", "limit"),
    offsets=("out", "values", "positions"),
    counts=("count", "limit"),
    spans=lambda f, target: [
        Span("write", f.out, (), f.count * target.element_bytes),
        Span("read", f.values, (), f.limit * target.element_bytes),
        Span("table", f.positions, (), f.count * target.element_bytes, f.limit),
    ],
    flops=lambda f, target: 0,
)


def _sparse_tables(f: SimpleNamespace, target: Target) -> list[Span]:
    size = target.element_bytes
    return [
        Span("rising", f.row_offsets, (), (f.rows + 1) * size, f.entries + 1),
        Span("table", f.columns, (), f.entries * size, f.limit),
    ]


SPARSE_PRODUCT = Operation(
    name="sparse_product",
    fields=(
        *("rows", "vectors", "out", "out_row", "x", "x_row", "values", "columns", "row_offsets"),
        *("bias", "bias_row", "mask", "rectified", "tile_vectors", "entries", "limit"),
    ),
    offsets=("out", "x", "values", "columns", "row_offsets", "bias"),
    optional_offsets=("mask",),
    counts=("rows", "vectors", "entries", "limit"),
    requires=lambda f, target: 0 < f.tile_vectors <= 8 and f.mask >= -1,
    spans=lambda f, target: [
        Span("write", f.out, ((f.rows, f.out_row),), f.vectors * target.vector_bytes),
        Span("read", f.x, ((f.limit, f.x_row),), f.vectors * target.vector_bytes),
        Span("read", f.values, (), f.entries * target.element_bytes),
        Span("read", f.bias, ((f.rows, f.bias_row),), target.element_bytes),
        *_sparse_tables(f, target),
        *(
            [Span("read", f.mask, ((f.rows, f.out_row),), f.vectors * target.vector_bytes)]
            if f.mask >= 0
            else []
        ),
    ],
    flops=lambda f, target: 2 * f.entries * f.vectors * target.lanes,
)

SAMPLED_PRODUCT = Operation(
    name="sampled_product",
    fields=(
        *("rows", "vectors", "out", "left", "left_row", "right", "right_row", "columns"),
        *("row_offsets", "entries", "limit"),
    ),
    offsets=("out", "left", "right", "columns", "row_offsets"),
    counts=("rows", "vectors", "entries", "limit"),
    spans=lambda f, target: [
        Span("write", f.out, (), f.entries * target.element_bytes),
        Span("read", f.left, ((f.rows, f.left_row),), f.vectors * target.vector_bytes),
        Span("read", f.right, ((f.limit, f.right_row),), f.vectors * target.vector_bytes),
        *_sparse_tables(f, target),
    ],
    flops=lambda f, target: 2 * f.entries * f.vectors * target.lanes,
)


def _phi(name: str, backward: bool, flops: int) -> Operation:
    """phi(t) = c + sum over units of a2 f(a1 t + b1); weights are a1, b1, a2 of each unit, then c.

    `stored` keeps one vector a unit and block, from which the backward pass has f and f'.
    """
    outputs = ("slope", "weight_gradient") if backward else ("out",)
    inputs = ("x", "gradient", "weights") if backward else ("x", "weights")

    def spans(f: SimpleNamespace, target: Target) -> list[Span]:
        parameters = (3 * f.units + 1) * target.element_bytes
        kept = whole_vectors("read" if backward else "write", f.stored, f.vectors * f.units, target)
        found = [
            whole_vectors("read", f.x, f.vectors, target),
            Span("read", f.weights, (), parameters),
            kept,
        ]
        if backward:
            found += [
                whole_vectors("read", f.gradient, f.vectors, target),
                whole_vectors("write", f.slope, f.vectors, target),
                Span("write", f.weight_gradient, (), parameters),
            ]
        else:
            found.append(whole_vectors("write", f.out, f.vectors, target))
        return found

    return Operation(
        name=name,
        fields=("vectors", "units", *inputs, "stored", *outputs),
        offsets=(*inputs, "stored", *outputs),
        counts=("vectors", "units"),
        spans=spans,
        flops=lambda f, target: flops * f.vectors * f.units * target.lanes,
    )


PHI = {kind: _phi(f"phi_{kind}", False, 20) for kind in PHI_ACTIVATIONS}
PHI_BACKWARD = {kind: _phi(f"phi_{kind}_backward", True, 16) for kind in PHI_ACTIVATIONS}
