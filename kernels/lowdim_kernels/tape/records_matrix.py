"""Records of matrix products and of operations on elements."""

from __future__ import annotations

from types import SimpleNamespace

from .library_target import Target
from .records import Operation, Span, whole_vectors


def gemm_panels(f: SimpleNamespace, target: Target) -> tuple[int, int]:
    """Return the first byte past the columns that a gemm touches, and vectors of its last panel.

    Panels of tile_vectors vectors start at multiples of their width, but none after last_start,
    so the last one may overlap the one before it.
    """
    width = target.vector_bytes
    last = f.vectors - (f.vectors - 1) // f.tile_vectors * f.tile_vectors
    before = f.vectors - last - f.tile_vectors
    end = min((f.vectors - last) * width, f.last_start) + last * width
    if before >= 0:
        end = max(end, min(before * width, f.last_start) + f.tile_vectors * width)
    return end, last


def _gemm_spans(f: SimpleNamespace, target: Target) -> list[Span]:
    width, _ = gemm_panels(f, target)
    size = target.element_bytes
    groups, rows = f.groups, f.rows
    out = ((groups, f.out_group), (rows, f.out_row))
    spans = [
        Span("write", f.out, out, width),
        Span(
            "read",
            f.weights,
            ((groups, f.weight_group), (rows, f.weight_row), (f.inner, f.weight_inner)),
            size,
        ),
        Span("read", f.x, ((groups, f.x_group), (f.inner, f.x_row)), width),
        Span("read", f.bias, ((groups, f.bias_group), (rows, f.bias_row)), size),
    ]
    if f.source >= 0:
        source = ((groups, f.source_group), (rows, f.source_row))
        scale = ((groups, f.scale_group), (rows, f.scale_row))
        spans += [Span("read", f.source, source, width), Span("read", f.scale, scale, size)]
    if f.mask >= 0:
        spans.append(Span("read", f.mask, out, width))
    return spans


def _gemm_tiles_exist(f: SimpleNamespace, target: Target) -> bool:
    widest = len(target.gemm_rows)
    return (
        0 < f.tile_vectors <= widest
        and 0 < f.tile_rows <= target.gemm_rows[f.tile_vectors - 1]
        and f.last_start >= 0
        and f.source >= -1
        and f.mask >= -1
        and (f.source < 0 or f.scale >= 0)
    )


GEMM = Operation(
    name="gemm",
    fields=(
        *("rows", "vectors", "inner", "out", "weights", "x", "weight_row", "weight_inner"),
        *("out_row", "x_row", "bias", "bias_row", "source", "source_row", "scale", "scale_row"),
        *("mask", "rectified", "groups", "out_group", "weight_group", "x_group", "bias_group"),
        *("source_group", "scale_group", "tile_rows", "tile_vectors", "last_start"),
    ),
    offsets=("out", "weights", "x", "bias"),
    optional_offsets=("source", "scale", "mask"),
    counts=("rows", "vectors", "inner", "groups"),
    requires=_gemm_tiles_exist,
    spans=_gemm_spans,
    flops=lambda f, target: 2 * f.groups * f.rows * f.inner * f.vectors * target.lanes,
)


def _dot_spans(f: SimpleNamespace, target: Target) -> list[Span]:
    width = f.vectors * target.vector_bytes
    out = ((f.rows, f.out_row), (f.columns, f.out_column))
    return [
        Span("write", f.out, out, target.element_bytes),
        Span("read", f.left, ((f.groups, f.left_group), (f.rows, f.left_row)), width),
        Span("read", f.right, ((f.groups, f.right_group), (f.columns, f.right_row)), width),
    ]


DOT = Operation(
    name="dot",
    fields=(
        *("rows", "columns", "vectors", "out", "left", "right", "out_row", "out_column"),
        *("left_row", "right_row", "groups", "left_group", "right_group", "accumulate"),
        *("tile_rows", "tile_columns"),
    ),
    offsets=("out", "left", "right"),
    counts=("rows", "columns", "vectors", "groups"),
    requires=lambda f, target: (
        0 < f.tile_rows <= target.dot_rows and 0 < f.tile_columns <= target.dot_columns
    ),
    spans=_dot_spans,
    flops=lambda f, target: 2 * f.groups * f.rows * f.columns * f.vectors * target.lanes,
)

ROW_PRODUCTS = Operation(
    name="row_products",
    fields=("rows", "vectors", "out", "out_row", "left", "left_row", "right", "right_row"),
    offsets=("out", "left", "right"),
    counts=("rows", "vectors"),
    spans=lambda f, target: [
        Span("write", f.out, ((f.rows, f.out_row),), target.element_bytes),
        Span("read", f.left, ((f.rows, f.left_row),), f.vectors * target.vector_bytes),
        Span("read", f.right, ((f.rows, f.right_row),), f.vectors * target.vector_bytes),
    ],
    flops=lambda f, target: 2 * f.rows * f.vectors * target.lanes,
)

TRANSPOSE = Operation(
    name="transpose",
    fields=("row_blocks", "column_blocks", "source", "source_row", "out", "out_row"),
    offsets=("source", "out"),
    counts=("row_blocks", "column_blocks"),
    spans=lambda f, target: [
        Span(
            "read",
            f.source,
            ((f.row_blocks * target.lanes, f.source_row),),
            f.column_blocks * target.vector_bytes,
        ),
        Span(
            "write",
            f.out,
            ((f.column_blocks * target.lanes, f.out_row),),
            f.row_blocks * target.vector_bytes,
        ),
    ],
    flops=lambda f, target: 0,
)


def _elementwise(name: str, operands: int, flops: int) -> Operation:
    """An operation out = f(operands) on whole vectors, contiguous."""
    inputs = ("left", "right")[:operands]
    return Operation(
        name=name,
        fields=("vectors", "out", *inputs),
        offsets=("out", *inputs),
        counts=("vectors",),
        spans=lambda f, target: [
            whole_vectors("write", f.out, f.vectors, target),
            *(whole_vectors("read", getattr(f, operand), f.vectors, target) for operand in inputs),
        ],
        flops=lambda f, target: flops * f.vectors * target.lanes,
    )


RELU, TANH, SILU = (
    _elementwise(*row) for row in (("relu", 1, 1), ("tanh", 1, 14), ("silu", 1, 16))
)
RELU_BACKWARD = _elementwise("relu_backward", 2, 1)
TANH_BACKWARD = _elementwise("tanh_backward", 2, 3)
SILU_BACKWARD = _elementwise("silu_backward", 2, 20)
MULTIPLY = _elementwise("multiply", 2, 1)

COMBINE = Operation(
    name="combine",
    fields=("vectors", "out", "left", "right", "left_factor", "right_factor"),
    offsets=("out", "left", "right"),
    counts=("vectors",),
    spans=lambda f, target: [
        whole_vectors("write", f.out, f.vectors, target),
        whole_vectors("read", f.left, f.vectors, target),
        whole_vectors("read", f.right, f.vectors, target),
    ],
    flops=lambda f, target: 3 * f.vectors * target.lanes,
)

FILL = Operation(
    name="fill",
    fields=("vectors", "out", "value"),
    offsets=("out",),
    counts=("vectors",),
    spans=lambda f, target: [whole_vectors("write", f.out, f.vectors, target)],
    flops=lambda f, target: 0,
)

COPY = Operation(
    name="copy",
    fields=(
        *("rows", "columns", "source", "source_row", "source_column"),
        *("out", "out_row", "out_column"),
    ),
    offsets=("source", "out"),
    counts=("rows", "columns"),
    spans=lambda f, target: [
        Span(
            "read",
            f.source,
            ((f.rows, f.source_row), (f.columns, f.source_column)),
            target.element_bytes,
        ),
        Span(
            "write", f.out, ((f.rows, f.out_row), (f.columns, f.out_column)), target.element_bytes
        ),
    ],
    flops=lambda f, target: 0,
)
