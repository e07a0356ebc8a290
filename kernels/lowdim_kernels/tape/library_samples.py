"""Samples of a batch, gathered from the caller's arrays and transposed."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_context import load_context
from .library_control import INDEX, index
from .library_emitter import Emitter
from .library_transpose import transposed_block


def _sample(e: Emitter, f: SimpleNamespace, order: ir.Value, column: ir.Value) -> ir.Value:
    """Return the number of the sample in a column; past the batch the last one is repeated."""
    inside = e.lesser(column, e.builder.sub(f.batch, index(1)))
    return e.load(e.step_by(order, inside, 8), INDEX)


def _order(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> ir.Value:
    row = e.builder.mul(f.batch, index(8))
    return e.step_by(load_context(e, run.context, "order"), run.step, row)


def gather(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out = the batch's rows of an array, transposed, and the rows themselves if wanted.

    A sample numbered -1 reads row 0: whatever depends on it is dropped by its label.
    """
    b = e.builder
    samples = load_context(e, run.context, "samples")
    targets = load_context(e, run.context, "targets")
    array = b.select(b.icmp_signed("==", f.array, index(0)), samples, targets)
    order = _order(e, f, run)
    has_rows = b.icmp_signed("!=", f.rows_out, index(0))

    def block(j, _):
        sources = []
        for k in range(e.lanes):
            number = _sample(e, f, order, e.at(j, k))
            number = b.select(b.icmp_signed("<", number, index(0)), index(0), number)
            sources.append(e.step_by(array, number, f.sample_row))
        out = e.step_by(f.out, j, e.size)
        rows_out = e.step_by(f.rows_out, j, f.rows_out_row)

        def features(i, _):
            distance = b.mul(i, index(e.vector_bytes))
            rows = [e.load(b.add(source, distance)) for source in sources]
            with b.if_then(has_rows):
                for k, row in enumerate(rows):
                    place = e.step_by(rows_out, index(k), f.rows_out_row)
                    e.store(row, b.add(place, distance))
            place = e.step_by(out, i, b.mul(f.out_row, index(e.lanes)))
            for k, column in enumerate(transposed_block(e, rows)):
                e.store(column, e.step_by(place, index(k), f.out_row))

        e.loop(f.feature_blocks, [], features)

    e.loop(f.columns, [], block, step=e.lanes)


def labels(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit the label of each column, -1 where there is no sample; or weights 1.0 and 0.0."""
    b = e.builder
    order = _order(e, f, run)
    array = load_context(e, run.context, "targets")
    is_weight = b.icmp_signed("!=", f.as_weights, index(0))
    ones = b.bitcast(ir.Constant(e.element, 1.0), e.integer)

    def each_column(value_of):
        def column(j, _):
            number = _sample(e, f, order, j)
            inside = b.icmp_signed("<", j, f.batch)
            present = b.and_(inside, b.icmp_signed(">=", number, index(0)))
            e.store(value_of(number, present), e.step_by(f.out, j, e.size))

        e.loop(f.columns, [], column)

    def weight(number, present):
        return b.select(present, ones, ir.Constant(e.integer, 0))

    def label(number, present):
        safe = b.select(present, number, index(0))
        value = e.load(e.step_by(array, safe, 8), INDEX)
        value = b.select(present, value, index(-1))
        return b.trunc(value, e.integer) if e.is_single else value

    with b.if_else(is_weight) as (weights, otherwise):
        with weights:
            each_column(weight)
        with otherwise:
            each_column(label)
