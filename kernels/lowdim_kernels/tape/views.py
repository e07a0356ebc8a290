"""Places on a tape: views of the workspace, buffers of activations, and parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

ACTIVATIONS = (None, "relu", "tanh", "silu")


@dataclass(frozen=True)
class View:
    """Matrices in one segment of the workspace, one a group; sizes and strides in elements."""

    segment: str
    offset: int
    groups: int
    rows: int
    columns: int
    group_stride: int
    row_stride: int
    column_stride: int = 1

    @property
    def transposed(self) -> View:
        """The same elements with rows and columns exchanged, for use as weights."""
        return replace(
            self,
            rows=self.columns,
            columns=self.rows,
            row_stride=self.column_stride,
            column_stride=self.row_stride,
        )

    @property
    def is_contiguous(self) -> bool:
        """Whether rows, and groups, follow each other without a gap."""
        return (
            self.column_stride == 1
            and (self.rows == 1 or self.row_stride == self.columns)
            and (self.groups == 1 or self.group_stride == self.rows * self.columns)
        )

    @property
    def size(self) -> int:
        return self.groups * self.rows * self.columns

    def folded(self, rows: int) -> View:
        """Return the elements as one matrix of `rows` rows: (a b, N) as (a, b N)."""
        if not self.is_contiguous or self.size % rows:
            raise ValueError(f"a view must be contiguous and divide into {rows} rows, got {self}")
        columns = self.size // rows
        return replace(
            self, groups=1, rows=rows, columns=columns, group_stride=0, row_stride=columns
        )

    def split(self, groups: int, columns: int | None = None) -> View:
        """Return `groups` matrices of consecutive rows, each row `columns` wide."""
        columns = columns or self.columns
        if not self.is_contiguous or self.size % (groups * columns):
            raise ValueError(
                f"a view must be contiguous and divide into {groups} groups of rows of {columns}, "
                f"got {self}"
            )
        rows = self.size // (groups * columns)
        return replace(
            self,
            groups=groups,
            rows=rows,
            columns=columns,
            group_stride=rows * columns,
            row_stride=columns,
        )

    def rows_from(self, start: int, stop: int) -> View:
        """Return the rows start..stop of a single matrix."""
        if self.groups != 1 or not 0 <= start < stop <= self.rows:
            raise ValueError(f"rows {start}..{stop} must lie within one matrix, got {self}")
        return replace(self, offset=self.offset + start * self.row_stride, rows=stop - start)

    def group(self, number: int) -> View:
        """Return the matrix of one group."""
        return replace(
            self, offset=self.offset + number * self.group_stride, groups=1, group_stride=0
        )


@dataclass
class Buffer:
    """Activations (features, batch): where a layer writes, what follows, and its gradient.

    product: where the layer's product goes, before the activation. values: after it. gradient:
    with respect to `product`, None where nobody needs it. rows: the values batch by batch.
    """

    values: View
    product: View
    activation: str | None = None
    gradient: View | None = None
    needs_gradient: bool = True
    rows: View | None = None
    is_samples: bool = False

    @property
    def features(self) -> int:
        return self.values.rows


@dataclass(frozen=True)
class Parameter:
    """A parameter as the layer sees it: shape (rows, columns) or (rows,), values and gradient.

    Columns past the shape, where the storage is padded, are and stay zero.
    """

    name: str
    shape: tuple[int, ...]
    values: View
    gradient: View
    padded_columns: int

    @property
    def transposed(self) -> View:
        return self.values.transposed

    @property
    def padded(self) -> View:
        """The values with their padding, in storage order."""
        return self._padded(self.values)

    @property
    def padded_gradient(self) -> View:
        return self._padded(self.gradient)

    def _padded(self, view: View) -> View:
        stored = view if view.column_stride == 1 else view.transposed
        return replace(stored, columns=self.padded_columns)


@dataclass(frozen=True)
class Table:
    """Integers of one replica that steer accesses: each in [0, upper), rising if said so."""

    name: str
    view: View
    upper: int
    rising: bool = False


def view_of(operand: View | Buffer | Parameter | Table) -> View:
    """Return the view of an operand's values."""
    if isinstance(operand, View):
        return operand
    return operand.view if isinstance(operand, Table) else operand.values
