"""Products with a fixed sparse pattern: compressed rows, their columns in tables."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_control import INT32, index
from .library_emitter import Emitter

MOST_VECTORS = 8


def permute(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out[i] = values[positions[i]]."""

    def entry(i, _):
        position = e.load_integer(e.step_by(f.positions, i, e.size))
        value = e.load_element(e.step_by(f.values, position, e.size))
        e.store(value, e.step_by(f.out, i, e.size))

    e.loop(f.count, [], entry)


def _row_range(e: Emitter, f: SimpleNamespace, row: ir.Value) -> tuple[ir.Value, ir.Value]:
    place = e.step_by(f.row_offsets, row, e.size)
    return e.load_integer(place), e.load_integer(e.at(place, e.size))


def sparse_product(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out[i, :] = bias[i] + sum over the row's entries of value x[column, :]."""
    b = e.builder
    zero, lowest = ir.Constant(e.element, 0.0), ir.Constant(e.element, float("-inf"))
    floor = b.select(b.icmp_signed("!=", f.rectified, index(0)), zero, lowest)
    has_mask = b.icmp_signed("!=", f.mask, index(0))

    def tile(vectors: int) -> ir.Function:
        def body(out, x, mask, bias, first, last, values, columns, x_row, floor_bits):
            start = e.load_splat(bias)

            def entry(k, carried):
                column = e.load_integer(e.step_by(columns, k, e.size))
                factor = e.load_splat(e.step_by(values, k, e.size))
                place = e.step_by(x, column, x_row)
                return [
                    e.multiply_add(factor, e.load(e.at(place, v * e.vector_bytes)), total)
                    for v, total in enumerate(carried)
                ]

            sums = e.loop_or_none(last, [start] * vectors, entry, start=first)
            lowest = e.splat(e.narrowed(floor_bits))
            sums = [e.at_least(total, lowest) for total in sums]

            def masked():
                kept = []
                for v, total in enumerate(sums):
                    active = e.load(e.at(mask, v * e.vector_bytes))
                    above = e.builder.fcmp_ordered(">", active, e.constant(0.0))
                    kept.append(e.builder.select(above, total, e.constant(0.0)))
                return kept

            sums = e.instead(e.builder.icmp_signed("!=", mask, index(0)), sums, masked)
            for v, total in enumerate(sums):
                e.store(total, e.at(out, v * e.vector_bytes))

        return e.function(f"sparse_{vectors}", 10, body)

    tiles = {vectors: tile(vectors) for vectors in range(1, MOST_VECTORS + 1)}
    wide = b.fpext(floor, ir.DoubleType()) if e.is_single else floor
    floor_bits = b.bitcast(wide, ir.IntType(64))

    def panel(first_vector, _):
        vectors = e.lesser(f.tile_vectors, b.sub(f.vectors, first_vector))
        start = b.mul(first_vector, index(e.vector_bytes))

        def row(i, _):
            first, last = _row_range(e, f, i)
            place = b.add(b.mul(i, f.out_row), start)
            arguments = [
                b.add(f.out, place),
                b.add(f.x, start),
                b.select(has_mask, b.add(f.mask, place), index(0)),
                e.step_by(f.bias, i, f.bias_row),
                *(first, last, f.values, f.columns, f.x_row, floor_bits),
            ]
            calls = {v: lambda call=call: b.call(call, arguments) for v, call in tiles.items()}
            e.dispatch(vectors, calls)

        e.loop(f.rows, [], row)

    e.loop(f.vectors, [], panel, step=f.tile_vectors)


def sampled_product(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out[entry] = sum over lanes of left[row, :] right[column, :], four entries at a time."""
    b = e.builder

    def tile(entries: int) -> ir.Function:
        def body(left, right, right_row, columns, vectors, out):
            rights = [
                e.step_by(right, e.load_integer(e.at(columns, k * e.size)), right_row)
                for k in range(entries)
            ]

            def along(v, carried):
                distance = e.builder.mul(v, index(e.vector_bytes))
                term = e.load(e.builder.add(left, distance))
                return [
                    e.multiply_add(term, e.load(e.builder.add(place, distance)), total)
                    for place, total in zip(rights, carried, strict=True)
                ]

            sums = e.loop(vectors, [e.constant(0.0)] * entries, along)
            totals = e.four_sums(sums)
            for k in range(entries):
                value = e.builder.extract_element(totals, ir.Constant(INT32, k))
                e.store(value, e.at(out, k * e.size))

        return e.function(f"sampled_{entries}", 6, body)

    tiles = {entries: tile(entries) for entries in range(1, 5)}

    def row(i, _):
        first, last = _row_range(e, f, i)
        left = e.step_by(f.left, i, f.left_row)

        def block(k, _):
            arguments = [
                left,
                f.right,
                f.right_row,
                e.step_by(f.columns, k, e.size),
                f.vectors,
                e.step_by(f.out, k, e.size),
            ]
            calls = {n: lambda call=call: b.call(call, arguments) for n, call in tiles.items()}
            e.dispatch(e.lesser(index(4), b.sub(last, k)), calls)

        e.loop_or_none(last, [], block, start=first, step=4)

    e.loop(f.rows, [], row)
