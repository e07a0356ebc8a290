"""Matrix products on a tape: which tiles they take, and what is done at their end."""

from __future__ import annotations

from dataclasses import replace

from . import records_matrix as r
from .recorder import Recorder
from .tile_choice import balanced, gemm_tile
from .views import Buffer, Parameter, View, view_of

Operand = View | Buffer | Parameter


class MatrixRecorder(Recorder):
    """The part of a Tape that multiplies. Sizes are checked when a record is appended."""

    # matrix products

    def gemm(
        self,
        out: View,
        weights: Operand,
        x: Operand,
        *,
        bias: Operand | None = None,
        source: View | None = None,
        scale: Operand | None = None,
        finish: Buffer | None = None,
        through: Buffer | None = None,
    ) -> None:
        """Record out = weights x + bias + scale * source, per group.

        Groups: `out` and `x` alike, weights and bias may be shared. scale: one factor a row, or
        none. finish: the buffer whose product this completes, so that its activation follows.
        through: the buffer whose gradient this is, so that its activation's derivative follows.
        """
        weights, x = view_of(weights), view_of(x)
        if (weights.rows, weights.columns, x.columns, x.groups) != (
            *(out.rows, x.rows, out.columns, out.groups),
        ):
            raise ValueError(f"gemm: weights {weights} times {x} do not make {out}")
        if weights.groups not in (1, out.groups) or out.column_stride != 1 or x.column_stride != 1:
            raise ValueError(f"gemm: groups or strides of {weights}, {x} and {out} do not fit")
        vectors = -(-out.columns // self.lanes)
        ragged = out.columns % self.lanes != 0
        tile_rows, tile_vectors = gemm_tile(
            self.target.gemm_rows, out.rows, vectors, weights.columns, ragged=ragged
        )
        if ragged and (out.columns < self.lanes or source is not None):
            raise ValueError(
                f"gemm: columns must be a multiple of {self.lanes}, or more than that and without "
                f"source, got {out.columns}"
            )
        last = vectors - (vectors - 1) // tile_vectors * tile_vectors
        bias_view = self.zeros if bias is None else view_of(bias)
        scale_view = self.ones if scale is None else view_of(scale)
        mask = None
        if through is not None and through.activation == "relu":
            mask = self._matching(out, through.gradient, through.values)
        if bias_view.rows not in (1, out.rows, out.groups * out.rows):
            raise ValueError(f"gemm: bias {bias_view} does not fit {out}")
        if (scale is not None and scale_view.rows != out.rows) or (
            source is not None
            and (source.groups, source.rows, source.columns) != (out.groups, out.rows, out.columns)
        ):
            raise ValueError(f"gemm: source {source} or scale {scale_view} do not fit {out}")
        grouped = bias is not None and bias_view.rows == out.groups * out.rows
        self.add(
            r.GEMM,
            rows=out.rows,
            vectors=vectors,
            inner=weights.columns,
            out=out,
            weights=weights,
            x=x,
            weight_row=self.bytes(weights.row_stride),
            weight_inner=self.bytes(weights.column_stride),
            out_row=self.bytes(out.row_stride),
            x_row=self.bytes(x.row_stride),
            bias=bias_view,
            bias_row=0 if bias is None else self.bytes(bias_view.row_stride),
            source=-1 if source is None else source,
            source_row=0 if source is None else self.bytes(source.row_stride),
            scale=scale_view,
            scale_row=0 if scale is None else self.bytes(scale_view.row_stride),
            mask=-1 if mask is None else mask,
            rectified=int(finish is not None and finish.activation == "relu"),
            groups=out.groups,
            out_group=self.bytes(out.group_stride),
            weight_group=self.bytes(weights.group_stride) if weights.groups > 1 else 0,
            x_group=self.bytes(x.group_stride),
            bias_group=self.bytes(out.rows * bias_view.row_stride) if grouped else 0,
            source_group=0 if source is None else self.bytes(source.group_stride),
            scale_group=0,
            tile_rows=tile_rows,
            tile_vectors=tile_vectors,
            last_start=self.bytes(out.columns - last * self.lanes),
        )
        self._activated(out, finish)
        self._differentiated(out, through)

    def dot(self, out: View, left: Operand, right: Operand, *, accumulate: bool = False) -> None:
        """Record out = sum over groups of left right^T, or add it to what is there."""
        left, right = view_of(left), view_of(right)
        if (left.rows, right.rows, left.groups, left.columns) != (
            *(out.rows, out.columns, right.groups, right.columns),
        ):
            raise ValueError(f"dot: {left} times the transpose of {right} do not make {out}")
        if left.columns % self.lanes or left.column_stride != 1 or right.column_stride != 1:
            raise ValueError(f"dot: columns must be whole vectors of {self.lanes}, got {left}")
        self.add(
            r.DOT,
            rows=out.rows,
            columns=out.columns,
            vectors=left.columns // self.lanes,
            out=out,
            left=left,
            right=right,
            out_row=self.bytes(out.row_stride),
            out_column=self.bytes(out.column_stride),
            left_row=self.bytes(left.row_stride),
            right_row=self.bytes(right.row_stride),
            groups=left.groups,
            left_group=self.bytes(left.group_stride),
            right_group=self.bytes(right.group_stride),
            accumulate=int(accumulate),
            tile_rows=balanced(out.rows, self.target.dot_rows),
            tile_columns=balanced(out.columns, self.target.dot_columns),
        )

    def weight_gradient(self, out: View, gradient: View, x: Buffer) -> None:
        """Record out = gradient x^T by the cheaper way: lanes over the batch, or over x."""
        along_inputs = (
            out.column_stride == 1
            and out.columns >= self.lanes
            and (x.is_samples or out.rows >= self.lanes)
        )
        if not along_inputs:
            self.dot(out, gradient, x)
            return
        if x.rows is None:
            x.rows = self.transpose(x.values)
        across = replace(gradient, columns=self.batch)
        rows = replace(x.rows.rows_from(0, self.batch), columns=out.columns)
        self.gemm(out, across, rows)

    def row_sums(self, out: Operand, x: Operand) -> None:
        """Record out[i] = sum over the columns of x[i, :]."""
        self.row_products(out, x, None)

    def row_products(self, out: Operand, left: Operand, right: Operand | None) -> None:
        """Record out[i] = sum over the columns of left[i, :] right[i, :]; right None for ones."""
        out, left = view_of(out), view_of(left)
        other = self.ones if right is None else view_of(right)
        if left.columns % self.lanes or out.rows != left.rows or out.columns != 1:
            raise ValueError(f"row_products: {left} does not reduce to {out}")
        if (right is None and left.columns > self.ones.columns) or (
            right is not None and (other.rows, other.columns) != (left.rows, left.columns)
        ):
            raise ValueError(f"row_products: {left} and {other} differ in shape")
        self.add(
            r.ROW_PRODUCTS,
            rows=left.rows,
            vectors=left.columns // self.lanes,
            out=out,
            out_row=self.bytes(out.row_stride),
            left=left,
            left_row=self.bytes(left.row_stride),
            right=other,
            right_row=0 if right is None else self.bytes(other.row_stride),
        )

    def transpose(self, x: View) -> View:
        """Record and return x^T, rows rounded up to whole vectors."""
        rows, columns = self.padded_to_lanes(x.rows), x.columns
        out = self.matrix(columns, rows)
        if columns % self.lanes or x.row_stride < columns:
            raise ValueError(f"transpose: columns must be whole vectors of {self.lanes}, got {x}")
        self.add(
            r.TRANSPOSE,
            row_blocks=rows // self.lanes,
            column_blocks=columns // self.lanes,
            source=x,
            source_row=self.bytes(x.row_stride),
            out=out,
            out_row=self.bytes(rows),
        )
        return out

    def _matching(self, part: View, whole: View | None, twin: View) -> View:
        """Return the part of `twin` that lies as `part` does in `whole`."""
        distance = -1 if whole is None else part.offset - whole.offset
        if (
            whole is None
            or part.segment != whole.segment
            or distance < 0
            or distance + part.size > twin.size
        ):
            raise ValueError(f"{part} is no part of {whole}")
        return replace(part, segment=twin.segment, offset=twin.offset + distance)

    def _activated(self, part: View, finish: Buffer | None) -> None:
        """Record the activation of a finished part of a buffer, unless the product did it."""
        if finish is None or finish.activation in (None, "relu"):
            return
        values = self._matching(part, finish.product, finish.values)
        operation = r.TANH if finish.activation == "tanh" else r.SILU
        self.add(operation, vectors=self._whole_vectors(part), out=values, left=part)

    def _differentiated(self, part: View, through: Buffer | None) -> None:
        """Record the derivative of a buffer's activation in a finished part of its gradient."""
        if through is None or through.activation in (None, "relu"):
            return
        if through.activation == "tanh":
            operation, twin = r.TANH_BACKWARD, through.values
        else:
            operation, twin = r.SILU_BACKWARD, through.product
        right = self._matching(part, through.gradient, twin)
        self.add(operation, vectors=self._whole_vectors(part), out=part, left=part, right=right)

    def _whole_vectors(self, view: View) -> int:
        if not view.is_contiguous or view.size % self.lanes:
            raise ValueError(f"a view must be contiguous and whole vectors, got {view}")
        return view.size // self.lanes
