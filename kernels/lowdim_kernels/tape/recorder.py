"""Lay a workspace out and collect records whose places are known only at the end."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from .layout import Layout, laid_out
from .library_target import Target, host_target
from .program import Program
from .records import RECORD_FIELDS, Operation
from .records_all import NUMBERS
from .records_training import GATHER, LABELS
from .views import ACTIVATIONS, Buffer, Parameter, Table, View

BLOCK = 16


def bits_of(value: float) -> int:
    """Return the float64's bits as a record holds them."""
    return struct.unpack("<q", struct.pack("<d", value))[0]


class Recorder:
    """The part of a Tape that allocates: parameters, buffers, tables, samples.

    batch: samples a step; activations have `columns` columns, the batch rounded up to whole
    vectors, whose surplus never reaches a gradient.
    """

    def __init__(self, batch: int, *, dtype: str = "float32", target: Target | None = None) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.target = target or host_target(dtype)
        self.batch = batch
        self.lanes = self.target.lanes
        self.columns = -(-batch // self.lanes) * self.lanes
        self.parameters: dict[str, Parameter] = {}
        self.tables: dict[str, Table] = {}
        self.kept: dict[str, View] = {}
        self.sample_columns: dict[int, int] = {}
        self._sizes: dict[str, int] = {}
        self._records: list[tuple[Operation, dict[str, int | View]]] = []
        self._groups = 1
        self._backward: list[Callable[[], None]] = []
        self.zeros = self.allocate("constants", 1, BLOCK)
        self.ones = self.allocate("constants", 1, max(self.columns, BLOCK))

    # places

    def allocate(self, segment: str, rows: int, columns: int) -> View:
        """Return a contiguous matrix at the end of a segment."""
        if rows < 1 or columns < 1:
            raise ValueError(f"a matrix must have rows and columns, got {rows} x {columns}")
        start = self._sizes.get(segment, 0)
        block = max(BLOCK, self.lanes)
        self._sizes[segment] = start + -(-rows * columns // block) * block
        return View(segment, start, 1, rows, columns, 0, columns)

    def padded_to_lanes(self, count: int) -> int:
        return -(-count // self.lanes) * self.lanes

    def parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        transposed: bool = False,
        padded: bool = False,
    ) -> Parameter:
        """Return a parameter of shape (rows, columns) or (rows,), with room for its gradient.

        transposed: stored column by column, so that lanes can run along the rows; padded: each
        stored line rounded up to whole vectors with zeros, for sums over its lanes.
        """
        if name in self.parameters:
            raise ValueError(f"parameter {name!r} is already on the tape")
        if not 1 <= len(shape) <= 2 or min(shape) < 1:
            raise ValueError(f"parameter {name!r}: shape must be (rows[, columns]), got {shape}")
        rows, columns = shape if len(shape) == 2 else (shape[0], 1)
        lines, length = (columns, rows) if transposed else (rows, columns)
        stored = self.padded_to_lanes(length) if padded else length
        place = self.allocate("parameters", lines, stored)
        self.allocate("gradients", lines, stored)
        view = View("parameters", place.offset, 1, lines, length, 0, stored)
        view = view.transposed if transposed else view
        gradient = View("gradients", *list(vars(view).values())[1:])
        parameter = Parameter(name, tuple(shape), view, gradient, stored)
        self.parameters[name] = parameter
        return parameter

    def matrix(self, rows: int, columns: int) -> View:
        """Return scratch, zero until written, columns as they are."""
        return self.allocate("scratch", rows, columns)

    def keep(self, name: str, rows: int, columns: int) -> View:
        """Return a matrix that is part of a replica's state: set by the caller, kept over calls."""
        if name in self.kept:
            raise ValueError(f"{name!r} is already kept on the tape")
        self.kept[name] = self.allocate("kept", rows, columns)
        return self.kept[name]

    def table(self, name: str, length: int, *, upper: int, rising: bool = False) -> Table:
        """Return a table of integers of [0, upper) for each replica, set with its state."""
        if name in self.tables:
            raise ValueError(f"table {name!r} is already on the tape")
        self.tables[name] = Table(name, self.allocate("tables", 1, length), upper, rising)
        return self.tables[name]

    def buffer(self, features: int, activation: str | None = None) -> Buffer:
        """Return room for a layer's output, with its activation and its gradient."""
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
        values = self.matrix(features, self.columns)
        product = self.matrix(features, self.columns) if activation == "silu" else values
        gradient = self.matrix(features, self.columns)
        return Buffer(values, product, activation, gradient)

    # samples

    def samples(self, features: int) -> Buffer:
        """Return the batch's samples, (features, batch), gathered anew in each step."""
        values, rows = self._gathered(0, features)
        return Buffer(values, values, None, None, needs_gradient=False, rows=rows, is_samples=True)

    def real_targets(self, outputs: int) -> View:
        """Return the batch's real targets, (outputs, batch)."""
        return self._gathered(1, outputs)[0]

    def labels(self, *, as_weights: bool = False) -> View:
        """Return one label a column, or 1.0 where there is a sample and 0.0 where not."""
        out = self.matrix(1, self.columns)
        self.add(
            LABELS, batch=self.batch, columns=self.columns, out=out, as_weights=int(as_weights)
        )
        return out

    def _gathered(self, array: int, features: int) -> tuple[View, View]:
        if array in self.sample_columns:
            raise ValueError("samples, or targets, are already on the tape")
        padded = self.padded_to_lanes(features)
        self.sample_columns[array] = features
        out = self.matrix(padded, self.columns)
        rows = self.matrix(self.columns, padded)
        self.add(
            GATHER,
            array=array,
            feature_blocks=padded // self.lanes,
            batch=self.batch,
            columns=self.columns,
            sample_row=padded * self.target.element_bytes,
            out=out,
            out_row=self.bytes(out.row_stride),
            rows_out=rows if array == 0 else -1,
            rows_out_row=self.bytes(padded) if array == 0 else 0,
        )
        return out.rows_from(0, features), rows

    # records

    def bytes(self, elements: int) -> int:
        return elements * self.target.element_bytes

    def add(self, operation: Operation, **fields: int | View) -> None:
        """Append a record; views become offsets when the tape is finished."""
        missing = set(operation.fields) ^ set(fields)
        if missing:
            raise ValueError(f"{operation.name}: fields {sorted(missing)} are missing or unknown")
        self._records.append((operation, fields))

    def on_backward(self, function: Callable[[], None]) -> None:
        """Have `function` record a layer's gradients when `backward` is called."""
        self._backward.append(function)

    def backward(self) -> None:
        """Record all gradients, in the reverse order of the forward pass."""
        while self._backward:
            self._backward.pop()()

    def finish(self) -> Program:
        """Return the program, checked: no record reaches outside its workspace."""
        # a transposition reads up to whole blocks past the rows of its source
        self.allocate("scratch", self.lanes, self.columns)
        layout = laid_out(self._sizes)
        records = np.zeros((len(self._records), RECORD_FIELDS), np.int64)
        for row, (operation, fields) in zip(records, self._records, strict=True):
            values = [self._encoded(fields[name], layout) for name in operation.fields]
            row[: 1 + len(values)] = [NUMBERS[operation.name], *values]
        program = Program(
            target=self.target,
            records=records,
            layout=layout,
            batch=self.batch,
            parameters=dict(self.parameters),
            tables=dict(self.tables),
            kept=dict(self.kept),
            sample_columns=dict(self.sample_columns),
            schedule_groups=self._groups,
        )
        program.check()
        return program

    def _encoded(self, value: int | View, layout: Layout) -> int:
        if isinstance(value, View):
            return self.bytes(layout.starts[value.segment] + value.offset)
        return value
