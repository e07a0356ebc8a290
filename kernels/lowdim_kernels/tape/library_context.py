"""The table of the caller's arrays that a run is given, and how operations reach them."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_arrays import CONTEXT, OUTPUTS
from .library_control import INDEX, index
from .library_emitter import Emitter


def load_context(e: Emitter, context: ir.Value, name: str) -> ir.Value:
    return e.load(e.at(context, 8 * CONTEXT.index(name)), INDEX)


def load_schedule(e: Emitter, run: SimpleNamespace, column: ir.Value | int) -> ir.Value:
    """Return one scalar of this step's row of the schedule."""
    column = index(column) if isinstance(column, int) else column
    row_bytes = load_context(e, run.context, "schedule_row")
    row = e.step_by(load_context(e, run.context, "schedule"), run.step, row_bytes)
    return e.load_element(e.step_by(row, column, e.size))


def store_output(e: Emitter, run: SimpleNamespace, name: str, value: ir.Value) -> None:
    """Store one scalar of this step's row of the outputs."""
    outputs = load_context(e, run.context, "outputs")
    row = e.step_by(outputs, run.step, len(OUTPUTS) * e.size)
    e.store(value, e.at(row, OUTPUTS.index(name) * e.size))
