"""The library that runs programs, compiled once on a machine: no Numba, no torch."""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llvmlite import ir

from lowdim_kernels.products.records import FIELDS, HEADER, OPERANDS, Kind
from lowdim_kernels.products.tiles import ProductTiles, first_lanes, masked_load
from lowdim_kernels.tape.library import compile_object, load_object
from lowdim_kernels.tape.library_cache import cache_key
from lowdim_kernels.tape.library_control import INDEX, index
from lowdim_kernels.tape.library_emitter import Emitter
from lowdim_kernels.tape.library_target import Target, host_target
from lowdim_kernels.tape.library_transpose import transposed_block

ENTRY = "run_program"


@cache
def load_library(element: str) -> Any:
    """Return run(program address, bases array), from the cache or freshly compiled."""
    target = host_target(element)
    engine, _ = load_object(target, _key(target), lambda: compile_object(target, module_text))
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    run: Any = kind(engine.get_function_address(ENTRY))
    run.engine = engine
    return run


def _key(target: Target) -> str:
    digest = hashlib.sha256(cache_key(target).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:40]


def module_text(target: Target) -> str:
    """Return the IR of the library as text."""
    e = Emitter(target)
    tiles = ProductTiles(e)
    bodies = {
        Kind.MULTIPLY: lambda f, record: tiles.emit(f, record),
        Kind.TRANSPOSE: lambda f, record: _transpose(e, f),
        Kind.PACK: lambda f, record: _pack(e, f),
        Kind.ZERO: lambda f, record: _zero(e, f),
    }
    functions = {kind: _operation(e, kind, body) for kind, body in bodies.items()}
    driver = e.function(ENTRY, 2, lambda program, bases: _run(e, functions, program, bases))
    driver.linkage = "external"
    return str(e.module)


def _operation(e: Emitter, kind: Kind, body: Any) -> ir.Function:
    """Emit an operation: its fields loaded, its operands turned into addresses."""

    def entry(record, bases, replica, group):
        values = {}
        for position, name in enumerate(FIELDS):
            values[name] = e.load(e.at(record, 8 * position), INDEX)
        for operand in OPERANDS:
            place = e.load(e.step_by(bases, values[f"{operand}_base"], 8), INDEX)
            place = e.builder.add(place, values[f"{operand}_offset"])
            place = e.step_by(place, replica, values[f"{operand}_per_replica"])
            values[operand] = e.step_by(place, group, values[f"{operand}_per_group"])
        body(SimpleNamespace(**values), record)

    return e.function(kind.name.lower(), 4, entry)


def _run(e: Emitter, functions: dict, program: Any, bases: Any) -> None:
    """Emit the walk over replicas and groups of rows."""
    b = e.builder
    replicas, first, body, whole, tail = (
        e.load(e.at(program, 8 * k), INDEX) for k in range(len(HEADER))
    )
    size = 8 * len(FIELDS)
    start = e.at(program, 8 * len(HEADER))
    start_of_body = e.step_by(start, first, size)
    start_of_tail = e.step_by(start_of_body, body, size)

    def records(place: Any, count: Any, replica: Any, group: Any) -> None:
        def one(_, carried):
            (record,) = carried
            calls = {
                int(kind): lambda f=f: b.call(f, [record, bases, replica, group])
                for kind, f in functions.items()
            }
            e.dispatch(e.load(record, INDEX), calls)
            return [e.at(record, size)]

        e.loop_or_none(count, [place], one)

    def replica(r, _):
        records(start, first, r, index(0))

        def group(g, _):
            records(start_of_body, body, r, g)

        e.loop_or_none(whole, [], group)
        records(start_of_tail, tail, r, whole)

    e.loop(replicas, [], replica)


def _transpose(e: Emitter, f: SimpleNamespace) -> None:
    """Emit C = A^T for `count` (rows, columns) matrices; C has whole vectors both ways.

    Nothing outside A is read; rows that A lacks count as zeros.
    """
    b = e.builder

    def one(g, _):
        def down(r, _):
            def across(c, _):
                source = e.step_by(e.step_by(f.a, g, f.a_step), r, f.a_row)
                source = e.step_by(source, c, e.size)
                mask = first_lanes(e, b.sub(f.columns, c))
                lines = []
                for k in range(e.lanes):
                    inside = b.icmp_signed("<", b.add(r, index(k)), f.rows)
                    place = b.select(inside, e.step_by(source, index(k), f.a_row), source)
                    line = masked_load(e, place, mask)
                    lines.append(b.select(inside, line, e.constant(0.0)))
                out = e.step_by(e.step_by(f.c, g, f.c_step), c, f.c_row)
                out = e.step_by(out, r, e.size)
                for k, line in enumerate(transposed_block(e, lines)):
                    e.store(line, e.step_by(out, index(k), f.c_row))

            e.loop(f.columns, [], across, step=e.lanes)

        e.loop(f.rows, [], down, step=e.lanes)

    e.loop(f.count, [], one)


def _pack(e: Emitter, f: SimpleNamespace) -> None:
    """Emit C = A in rows filled up to `depth` columns by zeros."""

    def row(i, _):
        source, out = e.step_by(f.a, i, f.a_row), e.step_by(f.c, i, f.c_row)

        def element(j, _):
            e.store(e.load_element(e.step_by(source, j, f.a_column)), e.step_by(out, j, e.size))

        def zero(j, _):
            e.store(ir.Constant(e.element, 0.0), e.step_by(out, j, e.size))

        e.loop(f.columns, [], element)
        e.loop_or_none(f.depth, [], zero, start=f.columns)

    e.loop(f.rows, [], row)


def _zero(e: Emitter, f: SimpleNamespace) -> None:
    """Emit zeros in all `columns` elements of C."""

    def element(j, _):
        e.store(ir.Constant(e.element, 0.0), e.step_by(f.c, j, e.size))

    e.loop(f.columns, [], element)
