"""Layers' products on a tape: forward, and the gradients it registers for the way back.

Each function records y = W x + b with W of some structure, `y` a buffer with its activation.
A layer declares its parameters and calls one of these, or writes its own like them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .tape import Tape
from .views import Buffer, Parameter, Table, View


def _bias_gradient(tape: Tape, bias: Parameter | None, gradient: View) -> None:
    if bias is not None:
        tape.row_sums(bias.gradient, gradient)


def linear(
    tape: Tape, y: Buffer, weight: Parameter, x: Buffer, bias: Parameter | None = None
) -> None:
    """Record y = W x + b; weight (out, in), best padded where x are samples."""
    tape.gemm(y.product, weight, x, bias=bias, finish=y)

    def backward() -> None:
        gradient = tape.gradient_of(y)
        # samples have zeros where a padded weight has its padding
        out = weight.padded_gradient if x.is_samples else weight.gradient
        tape.weight_gradient(out, gradient, x)
        _bias_gradient(tape, bias, gradient)
        if x.needs_gradient:
            tape.gemm(tape.gradient_of(x), weight.transposed, gradient, through=x)

    tape.on_backward(backward)


def kronecker(
    tape: Tape, y: Buffer, factors: Sequence[Parameter], x: Buffer, bias: Parameter | None = None
) -> None:
    """Record y = (A1 x ... x Am) x + b for factors (out_k, in_k), one factor after the other.

    Before factor k the values are (out_1 ... out_k-1, in_k, rest): groups, rows, columns.
    """
    groups, rest = 1, x.features
    values, inputs, splits = x.values, [], []
    for k, factor in enumerate(factors):
        out, into = factor.shape
        rest //= into
        last = k + 1 == len(factors)
        source = values.split(groups, rest * tape.columns)
        width = groups * out * rest
        values = y.product if last else tape.matrix(width, tape.columns)
        target = values.split(groups, rest * tape.columns)
        tape.gemm(target, factor, source, bias=bias if last else None, finish=y if last else None)
        inputs.append(source)
        splits.append((groups, rest * tape.columns))
        groups *= out

    def backward() -> None:
        gradient = tape.gradient_of(y)
        _bias_gradient(tape, bias, gradient)
        for k in reversed(range(len(factors))):
            part = gradient.split(*splits[k])
            tape.dot(factors[k].gradient, part, inputs[k])
            if k == 0 and not x.needs_gradient:
                return
            whole = (
                tape.gradient_of(x)
                if k == 0
                else tape.matrix(inputs[k].size // tape.columns, tape.columns)
            )
            through = x if k == 0 else None
            tape.gemm(whole.split(*splits[k]), factors[k].transposed, part, through=through)
            gradient = whole

    tape.on_backward(backward)


def low_rank(
    tape: Tape,
    y: Buffer,
    u: Parameter,
    v: Parameter,
    x: Buffer,
    bias: Parameter | None = None,
    diagonal: Parameter | None = None,
) -> None:
    """Record y = U V^T x (+ d x) + b; u (out, rank), v (in, rank), d (min(out, in),)."""
    rank = u.shape[1]
    inner = tape.matrix(rank, tape.columns)
    tape.gemm(inner, v.transposed, x)
    shared = 0 if diagonal is None else diagonal.shape[0]

    def parts(rows: int) -> list[tuple[int, int, bool]]:
        """Return the ranges of rows with and without the diagonal."""
        cuts = [(0, shared, True), (shared, rows, False)]
        return [cut for cut in cuts if cut[0] < cut[1]]

    def added(whole: View, left: View, right: View, other: View, **ends) -> None:
        for start, stop, has_diagonal in parts(whole.rows):
            out = whole.rows_from(start, stop)
            options = dict(ends)
            if options.get("bias") is not None:
                options["bias"] = options["bias"].values.rows_from(start, stop)
            if has_diagonal and diagonal is not None:
                options |= {"source": other.rows_from(0, shared), "scale": diagonal.values}
            tape.gemm(out, left.rows_from(start, stop), right, **options)

    added(y.product, u.values, inner, x.values, bias=bias, finish=y)

    def backward() -> None:
        gradient = tape.gradient_of(y)
        tape.dot(u.gradient, gradient, inner)
        _bias_gradient(tape, bias, gradient)
        back = tape.matrix(rank, tape.columns)
        tape.gemm(back, u.transposed, gradient)
        tape.weight_gradient(v.gradient.transposed, back, x)
        if diagonal is not None:
            shared_rows = gradient.rows_from(0, shared)
            tape.row_products(diagonal.gradient, shared_rows, x.values.rows_from(0, shared))
        if x.needs_gradient:
            added(tape.gradient_of(x), v.values, back, gradient, through=x)

    tape.on_backward(backward)


def masked(
    tape: Tape,
    y: Buffer,
    values: Parameter,
    tables: dict[str, Table],
    x: Buffer,
    bias: Parameter | None = None,
) -> None:
    """Record y = W x + b, W sparse with `values` (nnz,) in row-major order.

    tables: row_offsets, columns, column_offsets, transposed_rows, transposed_positions.
    """
    columns, row_offsets = tables["columns"], tables["row_offsets"]
    tape.sparse_product(y.product, values, columns, row_offsets, x, bias=bias, finish=y)

    def backward() -> None:
        gradient = tape.gradient_of(y)
        tape.sampled_product(values.gradient, gradient, x, columns, row_offsets)
        _bias_gradient(tape, bias, gradient)
        if x.needs_gradient:
            by_column = tape.matrix(values.shape[0], 1)
            tape.permute(by_column, values, tables["transposed_positions"])
            rows, offsets = tables["transposed_rows"], tables["column_offsets"]
            out = tape.gradient_of(x)
            tape.sparse_product(out, by_column, rows, offsets, gradient, through=x)

    tape.on_backward(backward)


def pattern_tables(
    tape: Tape, name: str, out_features: int, in_features: int, entries: int
) -> dict[str, Table]:
    """Return the five tables of a sparse pattern, to be set in each replica's state."""

    def table(part: str, length: int, upper: int, *, rising: bool = False) -> Table:
        return tape.table(f"{name}.{part}", length, upper=upper, rising=rising)

    return {
        "row_offsets": table("row_offsets", out_features + 1, entries + 1, rising=True),
        "columns": table("columns", entries, in_features),
        "column_offsets": table("column_offsets", in_features + 1, entries + 1, rising=True),
        "transposed_rows": table("transposed_rows", entries, out_features),
        "transposed_positions": table("transposed_positions", entries, entries),
    }


def nonlinear_factorisation(
    tape: Tape,
    y: Buffer,
    u: Parameter,
    v: Parameter,
    phi: Parameter,
    x: Buffer,
    bias: Parameter | None = None,
    *,
    activation: str = "silu",
    residual: bool = False,
) -> None:
    """Record y = W x + b with W = phi(U V^T), or U V^T + phi(U V^T).

    u (out, rank); v (in, rank), declared transposed and padded; phi (3 units + 1,).
    """
    out, width = y.features, v.padded_columns
    product, weight = tape.matrix(out, width), tape.matrix(out, width)
    slope, weight_gradient = tape.matrix(out, width), tape.matrix(out, width)
    tape.gemm(product, u, v.padded)
    kept = tape.phi(weight, product, phi, activation)
    if residual:
        tape.combine(weight, weight, 1.0, product, 1.0)
    used = View(weight.segment, weight.offset, 1, out, x.features, 0, width)
    tape.gemm(y.product, used, x, bias=bias, finish=y)

    def backward() -> None:
        gradient = tape.gradient_of(y)
        place = View(weight_gradient.segment, weight_gradient.offset, 1, out, x.features, 0, width)
        tape.weight_gradient(place, gradient, x)
        _bias_gradient(tape, bias, gradient)
        tape.phi_backward(slope, product, weight_gradient, phi, kept, activation)
        if residual:
            tape.combine(slope, slope, 1.0, weight_gradient, 1.0)
        tape.dot(u.gradient, slope, v.padded)
        tape.gemm(v.padded_gradient, u.transposed, slope)
        if x.needs_gradient:
            tape.gemm(tape.gradient_of(x), used.transposed, gradient, through=x)

    tape.on_backward(backward)
