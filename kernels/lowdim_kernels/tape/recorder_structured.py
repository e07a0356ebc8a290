"""Sparse patterns and element-wise networks on a tape."""

from __future__ import annotations

from . import records_structured as s
from .recorder_matrix import MatrixRecorder, Operand
from .tile_choice import balanced
from .views import Buffer, Parameter, Table, View, view_of

# most vectors of a row of a sparse product
SPARSE_VECTORS = 8


class StructuredRecorder(MatrixRecorder):
    """The part of a Tape that knows fixed sparse patterns and element-wise networks."""

    # sparse patterns

    def permute(self, out: View, values: Operand, positions: Table) -> None:
        """Record out[i] = values[positions[i]]."""
        values = view_of(values)
        if positions.upper > values.size or positions.view.columns != out.size:
            raise ValueError(f"permute: {positions} does not fit {values} and {out}")
        self.add(
            s.PERMUTE,
            count=out.size,
            out=out,
            values=values,
            positions=positions.view,
            limit=positions.upper,
        )

    def sparse_product(
        self,
        out: View,
        values: Operand,
        columns: Table,
        row_offsets: Table,
        x: Operand,
        *,
        bias: Operand | None = None,
        finish: Buffer | None = None,
        through: Buffer | None = None,
    ) -> None:
        """Record out[i, :] = bias[i] + sum of the row's values times the rows of x they name.

        finish and through: as for `gemm`.
        """
        values, x = view_of(values), view_of(x)
        self._check_pattern(values, columns, row_offsets, out.rows, x.rows)
        if out.columns != x.columns or out.columns % self.lanes:
            raise ValueError(f"sparse_product: {x} and {out} differ in columns")
        mask = None
        if through is not None and through.activation == "relu":
            mask = self._matching(out, through.gradient, through.values)
        vectors = out.columns // self.lanes
        bias_view = self.zeros if bias is None else view_of(bias)
        self.add(
            s.SPARSE_PRODUCT,
            rows=out.rows,
            vectors=vectors,
            out=out,
            out_row=self.bytes(out.row_stride),
            x=x,
            x_row=self.bytes(x.row_stride),
            values=values,
            columns=columns.view,
            row_offsets=row_offsets.view,
            bias=bias_view,
            bias_row=0 if bias is None else self.bytes(bias_view.row_stride),
            mask=-1 if mask is None else mask,
            rectified=int(finish is not None and finish.activation == "relu"),
            tile_vectors=balanced(vectors, SPARSE_VECTORS),
            entries=values.size,
            limit=columns.upper,
        )
        self._activated(out, finish)
        self._differentiated(out, through)

    def sampled_product(
        self, out: Operand, left: Operand, right: Operand, columns: Table, row_offsets: Table
    ) -> None:
        """Record out[entry] = left[row, :] right[column, :], on the pattern's entries only."""
        out, left, right = view_of(out), view_of(left), view_of(right)
        self._check_pattern(out, columns, row_offsets, left.rows, right.rows)
        self.add(
            s.SAMPLED_PRODUCT,
            rows=left.rows,
            vectors=left.columns // self.lanes,
            out=out,
            left=left,
            left_row=self.bytes(left.row_stride),
            right=right,
            right_row=self.bytes(right.row_stride),
            columns=columns.view,
            row_offsets=row_offsets.view,
            entries=out.size,
            limit=columns.upper,
        )

    def _check_pattern(
        self, values: View, columns: Table, row_offsets: Table, rows: int, limit: int
    ) -> None:
        if (
            columns.view.columns != values.size
            or columns.upper > limit
            or row_offsets.view.columns != rows + 1
            or row_offsets.upper > values.size + 1
            or not row_offsets.rising
        ):
            raise ValueError(
                f"a pattern of {rows} rows and {values.size} entries below {limit} does not fit "
                f"{columns} and {row_offsets}"
            )

    # the element-wise network of a non-linear factorisation

    def phi(self, out: View, x: View, weights: Operand, activation: str = "silu") -> View:
        """Record out = phi(x), weights a1, b1, a2 of each unit and then c; return what is kept."""
        weights = view_of(weights)
        units, vectors = self._phi_sizes(x, weights, activation)
        stored = self.matrix(units, vectors * self.lanes)
        self.add(
            s.PHI[activation],
            vectors=vectors,
            units=units,
            x=x,
            weights=weights,
            stored=stored,
            out=out,
        )
        return stored

    def phi_backward(
        self,
        slope: View,
        x: View,
        gradient: View,
        weights: Parameter,
        stored: View,
        activation: str = "silu",
    ) -> None:
        """Record slope = gradient phi'(x) and the gradient of the weights."""
        units, vectors = self._phi_sizes(x, weights.values, activation)
        self.add(
            s.PHI_BACKWARD[activation],
            vectors=vectors,
            units=units,
            x=x,
            gradient=gradient,
            weights=weights.values,
            stored=stored,
            slope=slope,
            weight_gradient=weights.gradient,
        )

    def _phi_sizes(self, x: View, weights: View, activation: str) -> tuple[int, int]:
        if activation not in s.PHI_ACTIVATIONS or weights.size % 3 != 1 or weights.size < 4:
            raise ValueError(
                f"phi: activation must be one of {s.PHI_ACTIVATIONS} and its weights 3 units + 1, "
                f"got {activation!r} and {weights.size}"
            )
        return weights.size // 3, self._whole_vectors(x)
