"""Matrix products on register tiles: gemm with its epilogue, dot, and products row by row."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_control import INDEX, INT32, index
from .library_emitter import Emitter


class GemmTiles:
    """out = weights x + bias (+ scale source), rectified or masked: tiles of rows by vectors.

    The lanes run along the columns, so the weights come as scalars with any strides and nothing
    is packed; the tile stays in registers over the whole inner loop.
    """

    def __init__(self, e: Emitter) -> None:
        self.e = e
        self.shapes = [
            (rows, vectors)
            for vectors, most in enumerate(e.target.gemm_rows, start=1)
            for rows in range(1, most + 1)
        ]
        self.tiles = {shape: self._tile(*shape) for shape in self.shapes}

    def _tile(self, rows: int, vectors: int) -> ir.Function:
        e = self.e

        def body(out, weights, x, bias, source, scale, mask, operands):
            def operand(number: int) -> ir.Value:
                return e.load(e.at(operands, 8 * number), INDEX)

            inner, weight_row, weight_inner, out_row, x_row, bias_row = map(operand, range(6))
            source_row, scale_row, rectified = map(operand, range(6, 9))
            sums = []
            for row in range(rows):
                start = e.load_splat(e.step_by(bias, index(row), bias_row))
                sums += [start] * vectors

            def with_source():
                added = []
                for row in range(rows):
                    factor = e.load_splat(e.step_by(scale, index(row), scale_row))
                    place = e.step_by(source, index(row), source_row)
                    for vector in range(vectors):
                        term = e.load(e.at(place, vector * e.vector_bytes))
                        added.append(e.multiply_add(factor, term, sums[row * vectors]))
                return added

            present = e.builder.icmp_signed("!=", source, index(0))
            sums = e.instead(present, sums, with_source)
            starts = [e.builder.mul(weight_row, index(row)) for row in range(rows)]

            def accumulate(_, carried):
                place, weight, *tile = carried
                columns = [e.load(e.at(place, v * e.vector_bytes)) for v in range(vectors)]
                for row in range(rows):
                    factor = e.load_splat(e.builder.add(weight, starts[row]))
                    for v in range(vectors):
                        n = row * vectors + v
                        tile[n] = e.multiply_add(factor, columns[v], tile[n])
                return [e.builder.add(place, x_row), e.builder.add(weight, weight_inner), *tile]

            sums = e.loop(inner, [x, weights, *sums], accumulate)[2:]
            zero, lowest = ir.Constant(e.element, 0.0), ir.Constant(e.element, float("-inf"))
            is_rectified = e.builder.icmp_signed("!=", rectified, index(0))
            floor = e.splat(e.builder.select(is_rectified, zero, lowest))
            sums = [e.at_least(value, floor) for value in sums]
            places = [
                e.at(e.step_by(index(0), index(row), out_row), v * e.vector_bytes)
                for row in range(rows)
                for v in range(vectors)
            ]

            def masked():
                kept = []
                for place, value in zip(places, sums, strict=True):
                    active = e.load(e.builder.add(mask, place))
                    above = e.builder.fcmp_ordered(">", active, e.constant(0.0))
                    kept.append(e.builder.select(above, value, e.constant(0.0)))
                return kept

            sums = e.instead(e.builder.icmp_signed("!=", mask, index(0)), sums, masked)
            for place, value in zip(places, sums, strict=True):
                e.store(value, e.builder.add(out, place))

        return e.function(f"gemm_{rows}_{vectors}", 8, body)

    def body(self, f: SimpleNamespace, run: SimpleNamespace) -> None:
        """Emit the operation: groups, panels of columns, blocks of rows."""
        e = self.e
        b = e.builder
        operands = b.alloca(INDEX, size=9)
        address = b.ptrtoint(operands, INDEX)
        shared = (f.inner, f.weight_row, f.weight_inner, f.out_row, f.x_row, f.bias_row)
        for number, value in enumerate((*shared, f.source_row, f.scale_row, f.rectified)):
            b.store(value, b.inttoptr(e.at(address, 8 * number), INDEX.as_pointer()))
        width = len(e.target.gemm_rows) + 1

        def optional(place: ir.Value, distance: ir.Value) -> ir.Value:
            present = b.icmp_signed("!=", place, index(0))
            return b.select(present, b.add(place, distance), index(0))

        def group(g, _):
            def panel(first_vector, _):
                vectors = e.lesser(f.tile_vectors, b.sub(f.vectors, first_vector))
                start = e.lesser(b.mul(first_vector, index(e.vector_bytes)), f.last_start)

                def block(first_row, _):
                    rows = e.lesser(f.tile_rows, b.sub(f.rows, first_row))

                    def place(group_stride, row_stride):
                        return b.add(b.mul(g, group_stride), b.mul(first_row, row_stride))

                    out = b.add(place(f.out_group, f.out_row), start)
                    source = b.add(place(f.source_group, f.source_row), start)
                    arguments = [
                        b.add(f.out, out),
                        b.add(f.weights, place(f.weight_group, f.weight_row)),
                        b.add(f.x, b.add(b.mul(g, f.x_group), start)),
                        b.add(f.bias, place(f.bias_group, f.bias_row)),
                        optional(f.source, source),
                        b.add(f.scale, place(f.scale_group, f.scale_row)),
                        optional(f.mask, out),
                        address,
                    ]
                    key = b.add(b.mul(rows, index(width)), vectors)
                    calls = {
                        r * width + v: lambda tile=tile: b.call(tile, arguments)
                        for (r, v), tile in self.tiles.items()
                    }
                    e.dispatch(key, calls)

                e.loop(f.rows, [], block, step=f.tile_rows)

            e.loop(f.vectors, [], panel, step=f.tile_vectors)

        e.loop(f.groups, [], group)


class DotTiles:
    """out[m, n] = sum over groups and lanes of left[m, :] right[n, :], added to what was there."""

    def __init__(self, e: Emitter) -> None:
        self.e = e
        self.tiles = {
            (rows, columns): self._tile(rows, columns)
            for rows in range(1, e.target.dot_rows + 1)
            for columns in range(1, e.target.dot_columns + 1)
        }

    def _tile(self, rows: int, columns: int) -> ir.Function:
        e = self.e

        def body(out, left, right, operands):
            def operand(number: int) -> ir.Value:
                return e.load(e.at(operands, 8 * number), INDEX)

            vectors, out_row, out_column, left_row, right_row = map(operand, range(5))
            groups, left_group, right_group, accumulate = map(operand, range(5, 9))
            left_rows = [e.builder.mul(left_row, index(m)) for m in range(rows)]
            right_rows = [e.builder.mul(right_row, index(n)) for n in range(columns)]

            def group(_, carried):
                first_left, first_right, *sums = carried

                def along(_, carried):
                    at_left, at_right, *tile = carried
                    lefts = [e.load(e.builder.add(at_left, distance)) for distance in left_rows]
                    for n in range(columns):
                        term = e.load(e.builder.add(at_right, right_rows[n]))
                        for m in range(rows):
                            place = m * columns + n
                            tile[place] = e.multiply_add(lefts[m], term, tile[place])
                    step = e.vector_bytes
                    return [e.at(at_left, step), e.at(at_right, step), *tile]

                sums = e.loop(vectors, [first_left, first_right, *sums], along)[2:]
                following = e.builder.add(first_left, left_group)
                return [following, e.builder.add(first_right, right_group), *sums]

            zeros = [e.constant(0.0)] * (rows * columns)
            sums = e.loop(groups, [left, right, *zeros], group)[2:]
            adds = e.builder.icmp_signed("!=", accumulate, index(0))
            for m in range(rows):
                totals = e.four_sums(sums[m * columns : (m + 1) * columns])
                for n in range(columns):
                    row = e.step_by(out, index(m), out_row)
                    place = e.step_by(row, index(n), out_column)
                    before = ir.Constant(e.element, 0.0)
                    before = e.builder.select(adds, e.load_element(place), before)
                    total = e.builder.extract_element(totals, ir.Constant(INT32, n))
                    e.store(e.builder.fadd(before, total), place)

        return e.function(f"dot_{rows}_{columns}", 4, body)

    def body(self, f: SimpleNamespace, run: SimpleNamespace) -> None:
        e = self.e
        b = e.builder
        address = b.ptrtoint(b.alloca(INDEX, size=9), INDEX)
        shared = (f.vectors, f.out_row, f.out_column, f.left_row, f.right_row)
        for number, value in enumerate(
            (*shared, f.groups, f.left_group, f.right_group, f.accumulate)
        ):
            b.store(value, b.inttoptr(e.at(address, 8 * number), INDEX.as_pointer()))
        width = e.target.dot_columns + 1

        def block(first_row, _):
            rows = e.lesser(f.tile_rows, b.sub(f.rows, first_row))

            def part(first_column, _):
                columns = e.lesser(f.tile_columns, b.sub(f.columns, first_column))
                out = e.step_by(e.step_by(f.out, first_row, f.out_row), first_column, f.out_column)
                arguments = [
                    out,
                    e.step_by(f.left, first_row, f.left_row),
                    e.step_by(f.right, first_column, f.right_row),
                    address,
                ]
                calls = {
                    r * width + c: lambda tile=tile: b.call(tile, arguments)
                    for (r, c), tile in self.tiles.items()
                }
                e.dispatch(b.add(b.mul(rows, index(width)), columns), calls)

            e.loop(f.columns, [], part, step=f.tile_columns)

        e.loop(f.rows, [], block, step=f.tile_rows)


def row_products(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out[i] = sum over lanes of left[i, :] right[i, :]."""

    def row(i, _):
        def along(v, carried):
            distance = e.builder.mul(v, index(e.vector_bytes))
            left = e.load(e.builder.add(e.step_by(f.left, i, f.left_row), distance))
            right = e.load(e.builder.add(e.step_by(f.right, i, f.right_row), distance))
            return [e.multiply_add(left, right, carried[0])]

        sums = e.loop(f.vectors, [e.constant(0.0)], along)
        e.store(e.total(sums[0]), e.step_by(f.out, i, f.out_row))

    e.loop(f.rows, [], row)
