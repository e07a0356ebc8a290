"""A program as a table for a person: records, sizes, flops, bytes, predicted time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from .bounds import record_fields
from .records import Operation
from .tile_choice import dot_cycles, product_cycles

if TYPE_CHECKING:
    from .program import Program

# one core of a 2.6 GHz AVX-512 server, where benchmarks/tape.py measured: other machines scale
GIGAHERTZ = 2.6
GIGAFLOPS = 60.0
GIGABYTES = 90.0
RECORD_MICROSECONDS = 0.03
SIZES = ("groups", "rows", "columns", "inner", "vectors", "units", "classes", "entries")


def described(program: Program) -> str:
    """Return the table of a program."""
    lines = [
        f"{len(program.records)} records, batch {program.batch}, {program.target.element}, "
        f"{program.target.lanes} lanes",
        f"state {program.state_size * program.target.element_bytes} bytes a replica, "
        f"workspace {program.workspace_bytes} bytes a thread",
        "",
        f"{'':>3} {'operation':22} {'sizes':48} {'flops':>10} {'bytes':>10} {'us':>7}",
    ]
    totals = [0, 0, 0.0]
    for number, record in enumerate(program.records):
        operation, fields = record_fields(record)
        row = costs(program, operation, fields)
        totals = [total + part for total, part in zip(totals, row, strict=True)]
        lines.append(
            f"{number:3} {operation.name:22} {_sizes(operation, fields):48} "
            f"{row[0]:10} {row[1]:10} {row[2]:7.2f}"
        )
    lines.append(f"{'':3} {'a step':22} {'':48} {totals[0]:10} {totals[1]:10} {totals[2]:7.2f}")
    return "\n".join(lines)


def predicted_microseconds(program: Program) -> float:
    """Return the predicted time of one step."""
    fields = (record_fields(record) for record in program.records)
    return sum(costs(program, operation, values)[2] for operation, values in fields)


def costs(
    program: Program, operation: Operation, fields: SimpleNamespace
) -> tuple[int, int, float]:
    """Return flops, bytes read and written once, and predicted microseconds of a record."""
    flops = operation.flops(fields, program.target)
    touched = 0
    for span in operation.spans(fields, program.target):
        if span.kind in ("read", "write", "table", "rising"):
            distinct = [count for count, stride in span.extents if stride]
            size = span.width
            for count in distinct:
                size *= count
            touched += size
    if operation.name in ("gemm", "dot"):
        time = _product_cycles(operation, fields) / (GIGAHERTZ * 1e3)
    else:
        time = flops / (GIGAFLOPS * 1e3) + touched / (GIGABYTES * 1e3)
    return flops, touched, time + RECORD_MICROSECONDS


def _product_cycles(operation: Operation, fields: SimpleNamespace) -> float:
    """Return the cycles of a product's tiles."""
    if operation.name == "gemm":
        return fields.groups * product_cycles(
            fields.rows, fields.vectors, fields.inner, fields.tile_rows, fields.tile_vectors
        )
    inner = fields.vectors * fields.groups
    return dot_cycles(fields.rows, fields.columns, inner, fields.tile_rows, fields.tile_columns)


def _sizes(operation: Operation, fields: SimpleNamespace) -> str:
    named = [name for name in SIZES if name in operation.fields]
    return " ".join(f"{name}={getattr(fields, name)}" for name in named)
