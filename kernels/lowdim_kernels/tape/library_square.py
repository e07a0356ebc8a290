"""Rows, entries and columns of square matrices of a few vectors, as operations address them."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_control import index
from .library_emitter import Emitter


class Square:
    """Addresses within a square matrix of `vectors` vectors a row."""

    def __init__(self, e: Emitter, f: SimpleNamespace) -> None:
        self.e = e
        self.size = e.builder.mul(f.vectors, index(e.lanes))
        self.row_bytes = e.builder.mul(f.vectors, index(e.vector_bytes))
        self.vectors = f.vectors

    def row(self, base: ir.Value, i: ir.Value) -> ir.Value:
        return self.e.step_by(base, i, self.row_bytes)

    def entry(self, base: ir.Value, i: ir.Value, j: ir.Value) -> ir.Value:
        return self.e.step_by(self.row(base, i), j, self.e.size)

    def each_vector(self, change, *rows: ir.Value, out: ir.Value | None = None) -> None:
        """Store change(v, *values of the rows) into `out`, by default the first row."""
        e = self.e
        target = rows[0] if out is None else out

        def at_vector(v, _):
            values = [e.load(e.step_by(row, v, e.vector_bytes)) for row in rows]
            e.store(change(v, *values), e.step_by(target, v, e.vector_bytes))

        e.loop(self.vectors, [], at_vector)

    def dot(self, left: ir.Value, right: ir.Value) -> ir.Value:
        e = self.e

        def along(v, carried):
            a, b = (e.load(e.step_by(row, v, e.vector_bytes)) for row in (left, right))
            return [e.multiply_add(a, b, carried[0])]

        return e.total(e.loop(self.vectors, [e.constant(0.0)], along)[0])

    def columns(self, v: ir.Value) -> ir.Value:
        """Return the numbers of the columns in vector v."""
        e = self.e
        first = e.builder.mul(v, index(e.lanes))
        first = e.builder.trunc(first, e.integer) if e.is_single else first
        return e.builder.add(e.splat(first, e.integer_vector), e.lane_numbers())

    def number(self, i: ir.Value) -> ir.Value:
        e = self.e
        return e.splat(e.builder.trunc(i, e.integer) if e.is_single else i, e.integer_vector)


def scalar(e: Emitter, value: float) -> ir.Constant:
    return ir.Constant(e.element, value)


def inverse_where(e: Emitter, value: ir.Value, floor: float, *, root: bool) -> ir.Value:
    """Return 1 / value, or 1 / sqrt(value), or 0 where the value is not above the floor."""
    above = e.builder.fcmp_ordered(">", value, scalar(e, floor))
    safe = e.builder.select(above, value, scalar(e, 1.0))
    safe = e.square_root(safe) if root else safe
    inverse = e.builder.fdiv(scalar(e, 1.0), safe)
    return e.builder.select(above, inverse, scalar(e, 0.0))
