"""Check that no record of a program reaches outside its workspace, before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np

from .layout import READ_ONLY, Layout
from .library_target import Target
from .records import Operation, Span
from .records_all import OPERATIONS
from .views import Table


def record_fields(record: np.ndarray) -> tuple[Operation, SimpleNamespace]:
    """Return a record's operation and its fields; ValueError if there is no such operation."""
    values = record.tolist()
    if not 0 <= values[0] < len(OPERATIONS):
        raise ValueError(f"operation must be below {len(OPERATIONS)}, got {values[0]}")
    operation = OPERATIONS[values[0]]
    if any(values[1 + len(operation.fields) :]):
        raise ValueError(f"{operation.name}: fields after {operation.fields[-1]} must be zero")
    return operation, SimpleNamespace(**dict(zip(operation.fields, values[1:], strict=False)))


class Bounds:
    """What a program may touch: its segments, its tables, and the caller's arrays."""

    def __init__(
        self,
        target: Target,
        layout: Layout,
        tables: Iterable[Table],
        *,
        batch: int,
        sample_bytes: dict[int, int],
        schedule_bytes: int,
    ) -> None:
        self.target = target
        self.size = target.element_bytes
        self.total = layout.total * self.size
        self.closed = [layout.segment_bytes(name, self.size) for name in READ_ONLY]
        self.tables = {}
        for table in tables:
            start = (layout.starts[table.view.segment] + table.view.offset) * self.size
            self.tables[start] = table
        self.batch = batch
        self.sample_bytes = sample_bytes
        self.schedule_bytes = schedule_bytes

    def check(self, record: np.ndarray) -> None:
        """Raise ValueError if a record is malformed or touches what it may not."""
        operation, fields = record_fields(record)
        for name in operation.counts:
            if not 1 <= getattr(fields, name) <= self.total:
                raise ValueError(f"{operation.name}: {name} is {getattr(fields, name)}")
        for name in operation.optional_offsets:
            if getattr(fields, name) < -1:
                raise ValueError(f"{operation.name}: {name} is {getattr(fields, name)}")
        if not operation.requires(fields, self.target):
            raise ValueError(f"{operation.name}: sizes or tiles that the library has not: {fields}")
        for span in operation.spans(fields, self.target):
            problem = self._problem(span)
            if problem:
                raise ValueError(f"{operation.name}: {problem}")

    def _problem(self, span: Span) -> str | None:
        """Return what is wrong with a span, or None."""
        if span.kind == "samples":
            fits = self.sample_bytes.get(span.upper) == span.width
            return None if fits else f"samples of array {span.upper} are not {span.width} bytes"
        if span.kind == "order":
            return None if span.width == self.batch else f"{span.width} samples a step"
        low, high = span.bounds()
        if span.kind == "schedule":
            inside = low >= 0 and high <= self.schedule_bytes
            return None if inside else f"bytes {low}..{high} of a schedule row"
        if low < 0 or high > self.total:
            return f"{span.kind} of bytes {low}..{high} of a workspace of {self.total}"
        if span.offset % self.size or any(stride % self.size for _, stride in span.extents):
            return f"{span.kind} at {span.offset} cuts an element"
        if span.kind == "write":
            if any(low < end and start < high for start, end in self.closed):
                return f"write of bytes {low}..{high}, which are constant"
        elif span.kind != "read":
            return self._table_problem(span)
        return None

    def _table_problem(self, span: Span) -> str | None:
        table = self.tables.get(span.offset)
        if table is None:
            return f"no table at byte {span.offset}"
        fits = (
            span.width <= table.view.columns * self.size
            and table.upper <= span.upper
            and (span.kind == "table" or table.rising)
        )
        return None if fits else f"table {table.name!r} does not fit"
