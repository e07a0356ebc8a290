"""Records of samples, losses and updates."""

from __future__ import annotations

from .records import Operation, Span, whole_vectors

# hyperparameters that an update reads from its columns of the schedule
HYPERPARAMETERS = (
    *("step", "inverse_root", "beta1", "rest1", "beta2", "rest2", "epsilon"),
    *("weight_decay", "shrink", "momentum", "from_gradient", "from_momentum"),
    "rank",
)


def schedule_column(group: int, name: str) -> int:
    """Return the column of a group's hyperparameter; column 0 is the scale of the loss."""
    return 1 + group * len(HYPERPARAMETERS) + HYPERPARAMETERS.index(name)


GATHER = Operation(
    name="gather",
    fields=(
        "array",
        "feature_blocks",
        "batch",
        "columns",
        "sample_row",
        "out",
        "out_row",
        "rows_out",
        "rows_out_row",
    ),
    offsets=("out",),
    optional_offsets=("rows_out",),
    counts=("feature_blocks", "batch", "columns"),
    requires=lambda f, target: (
        f.array in (0, 1)
        and f.columns % target.lanes == 0
        and f.batch <= f.columns
        and f.rows_out >= -1
        and f.sample_row >= f.feature_blocks * target.vector_bytes
    ),
    spans=lambda f, target: [
        Span("samples", 0, (), f.sample_row, f.array),
        Span("order", 0, (), f.batch),
        Span(
            "write",
            f.out,
            ((f.feature_blocks * target.lanes, f.out_row),),
            f.columns * target.element_bytes,
        ),
        *(
            [
                Span(
                    "write",
                    f.rows_out,
                    ((f.columns, f.rows_out_row),),
                    f.feature_blocks * target.vector_bytes,
                )
            ]
            if f.rows_out >= 0
            else []
        ),
    ],
    flops=lambda f, target: 0,
)

LABELS = Operation(
    name="labels",
    fields=("batch", "columns", "out", "as_weights"),
    offsets=("out",),
    counts=("batch", "columns"),
    requires=lambda f, target: f.batch <= f.columns,
    spans=lambda f, target: [
        Span("order", 0, (), f.batch),
        Span("write", f.out, (), f.columns * target.element_bytes),
    ],
    flops=lambda f, target: 0,
)

CROSS_ENTROPY = Operation(
    name="cross_entropy",
    fields=("classes", "vectors", "logits", "logits_row", "labels"),
    offsets=("logits", "labels"),
    counts=("classes", "vectors"),
    spans=lambda f, target: [
        Span("write", f.logits, ((f.classes, f.logits_row),), f.vectors * target.vector_bytes),
        whole_vectors("read", f.labels, f.vectors, target),
    ],
    flops=lambda f, target: 20 * f.classes * f.vectors * target.lanes,
)

SQUARED_ERROR = Operation(
    name="squared_error",
    fields=(
        "rows",
        "vectors",
        "predictions",
        "predictions_row",
        "targets",
        "targets_row",
        "valid",
        "factor",
    ),
    offsets=("predictions", "targets", "valid"),
    counts=("rows", "vectors"),
    spans=lambda f, target: [
        Span(
            "write", f.predictions, ((f.rows, f.predictions_row),), f.vectors * target.vector_bytes
        ),
        Span("read", f.targets, ((f.rows, f.targets_row),), f.vectors * target.vector_bytes),
        whole_vectors("read", f.valid, f.vectors, target),
    ],
    flops=lambda f, target: 5 * f.rows * f.vectors * target.lanes,
)

INNER_LOSS = Operation(
    name="inner_loss",
    fields=("vectors", "left", "right", "factor"),
    offsets=("left", "right"),
    counts=("vectors",),
    spans=lambda f, target: [
        whole_vectors("read", f.left, f.vectors, target),
        whole_vectors("read", f.right, f.vectors, target),
    ],
    flops=lambda f, target: 2 * f.vectors * target.lanes,
)

GRADIENT_STATISTICS = Operation(
    name="gradient_statistics",
    fields=("vectors", "gradient", "previous"),
    offsets=("gradient", "previous"),
    counts=("vectors",),
    spans=lambda f, target: [
        whole_vectors("read", f.gradient, f.vectors, target),
        whole_vectors("write", f.previous, f.vectors, target),
    ],
    flops=lambda f, target: 4 * f.vectors * target.lanes,
)


def _update(name: str, moments: tuple[str, ...], flops: int) -> Operation:
    state = ("parameters", *moments)
    return Operation(
        name=name,
        fields=("vectors", *state, "gradient", "group"),
        offsets=(*state, "gradient"),
        counts=("vectors",),
        requires=lambda f, target: f.group >= 0,
        spans=lambda f, target: [
            *(whole_vectors("write", getattr(f, part), f.vectors, target) for part in state),
            whole_vectors("read", f.gradient, f.vectors, target),
            Span(
                "schedule",
                schedule_column(f.group, "step") * target.element_bytes,
                (),
                len(HYPERPARAMETERS) * target.element_bytes,
            ),
        ],
        flops=lambda f, target: flops * f.vectors * target.lanes,
    )


ADAM = _update("adam", ("first", "second"), 14)
SGD = _update("sgd", ("momentum",), 8)
