"""Rows of a sparse matrix times a tile of data, and products of two tiles at stored places.

A tile is (features, lanes): a few vectors of the batch side by side for each feature, its line, so
that one stored value meets whole vectors. Sums keep an order that depends on the pattern alone.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lowdim_kernels.loops.compilation import Callee
from lowdim_kernels.loops.vectors import (
    BYTES,
    INDEX,
    INT32,
    VectorWriter,
    item_size,
    transpose_exactly,
    transpose_to_square,
)

# Rows of the matrix whose sums wait side by side: long runs of each row of y are written at once.
PANEL = 1024


class _Writer(VectorWriter):
    def load_index(self, address: Any, offset: int = 0) -> Any:
        """Return the int32 at an address, some bytes further on, as an index."""
        return self.builder.sext(self.builder.load(self.place(address, INT32, offset)), INDEX)

    def line(self, tile: Any, feature: Any, vectors: int) -> Any:
        """Return the address of a feature's line."""
        return self.builder.add(tile, self.builder.mul(feature, INDEX(vectors * BYTES)))


def _rows(vectors: int) -> Any:
    """Return the intrinsic that writes lines of the product, `vectors` wide.

    Row k has entries offsets[k] .. offsets[k + 1] and starts from the bias, `bias_step` bytes
    from row to row.
    """

    def rows(
        typing_context, tag, lines, tile, values, columns, offsets, count, bias, bias_step
    ):  # fmt: skip
        def generate(context, builder, signature, arguments):
            _, lines, tile, values, columns, offsets, count, bias, bias_step = arguments
            writer = _Writer(builder, context.get_value_type(tag))
            with cgutils.for_range(builder, count) as turn:
                start = writer.splat(builder.add(bias, builder.mul(turn.index, bias_step)))
                sums = [cgutils.alloca_once_value(builder, start) for _ in range(vectors)]
                at = builder.add(offsets, builder.mul(turn.index, INDEX(4)))
                first, last = writer.load_index(at), writer.load_index(at, 4)
                with cgutils.for_range(builder, builder.sub(last, first)) as step:
                    entry = builder.add(first, step.index)
                    at = builder.add(columns, builder.mul(entry, INDEX(4)))
                    line = writer.line(tile, writer.load_index(at), vectors)
                    at = builder.add(values, builder.mul(entry, INDEX(writer.size)))
                    value = writer.splat(at)
                    for v, place in enumerate(sums):
                        own = writer.load(line, v * BYTES)
                        builder.store(writer.fma(value, own, builder.load(place)), place)
                line = writer.line(lines, turn.index, vectors)
                for v, place in enumerate(sums):
                    writer.store(builder.load(place), line, v * BYTES)
            return context.get_dummy_value()

        return types.void(tag, *[types.intp] * 8), generate

    return intrinsic(rows)


def _add_products(vectors: int) -> Any:
    """Return the intrinsic that adds to results the products of lines of two tiles.

    Each group has one vector of results; `rows` and `columns` say which lines.
    """

    def add(typing_context, tag, result, g_tile, x_tile, rows, columns, groups):
        def generate(context, builder, signature, arguments):
            _, result, *tiles, rows, columns, groups = arguments
            writer = _Writer(builder, context.get_value_type(tag))
            with cgutils.for_range(builder, groups) as turn:
                at = builder.mul(turn.index, INDEX(4 * writer.count))
                indices = [builder.add(rows, at), builder.add(columns, at)]

                def product(entry: int) -> Any:
                    sides = [
                        writer.line(tile, writer.load_index(index, 4 * entry), vectors)
                        for tile, index in zip(tiles, indices)
                    ]
                    total = writer.zeros
                    for v in range(vectors):
                        left, right = (writer.load(side, v * BYTES) for side in sides)
                        total = writer.fma(left, right, total)
                    return total

                place = builder.add(result, builder.mul(turn.index, INDEX(BYTES)))
                total = _totals(writer, product, 0, 1)
                writer.store(builder.fadd(writer.load(place), total), place)
            return context.get_dummy_value()

        return types.void(tag, *[types.intp] * 6), generate

    return intrinsic(add)


def _totals(writer: _Writer, vector: Any, first: int, distance: int) -> Any:
    """Return the sums of the lanes of vector(first), vector(first + distance), ...

    Halves are added to halves, for all of them in the same order.
    """
    if distance == writer.count:
        return vector(first)
    a = _totals(writer, vector, first, 2 * distance)
    b = _totals(writer, vector, first + distance, 2 * distance)
    lanes = range(writer.count)
    kept = [k + writer.count if k & distance else k for k in lanes]
    crossed = [(k ^ distance) + (writer.count if k & distance else 0) for k in lanes]
    return writer.builder.fadd(writer.shuffle(a, b, kept), writer.shuffle(a, b, crossed))


_rows1, _rows2, _rows4 = (_rows(v) for v in (1, 2, 4))
_products1, _products2, _products4 = (_add_products(v) for v in (1, 2, 4))


def _to_tile(tag, source, width, rows, target, vectors):
    """Write rows of data as a tile of whole vectors of features and of lanes, the rest zero."""
    size = item_size(tag)
    lanes = BYTES // size
    for v in range(vectors):
        first = min(v * lanes, max(rows - 1, 0))
        height = max(0, min(lanes, rows - v * lanes))
        for c in range(0, width, lanes):
            transpose_to_square(
                tag,
                source + (first * width + c) * size,
                width,
                height,
                min(lanes, width - c),
                target + (c * vectors + v) * BYTES,
                vectors * lanes,
            )


def _product_tile(
    tag, tile, vectors, height, lines, y, width, values, columns, offsets, bias, bias_step
):
    """Write `height` rows of y, `width` long, from a tile of x.

    Rows of the matrix are summed PANEL at a time in `lines`, which is scratch.
    """
    size = item_size(tag)
    lanes = BYTES // size
    for start in range(0, width, PANEL):
        count = min(PANEL, width - start)
        own = bias + start * bias_step
        at = offsets + start * 4
        if vectors == 4:
            _rows4(tag, lines, tile, values, columns, at, count, own, bias_step)
        elif vectors == 2:
            _rows2(tag, lines, tile, values, columns, at, count, own, bias_step)
        else:
            _rows1(tag, lines, tile, values, columns, at, count, own, bias_step)
        for v in range((height + lanes - 1) // lanes):
            for k in range(0, count, lanes):
                transpose_exactly(
                    tag,
                    lines + (k * vectors + v) * BYTES,
                    vectors * lanes,
                    min(lanes, count - k),
                    min(lanes, height - v * lanes),
                    y + (v * lanes * width + start + k) * size,
                    width,
                )


def _gradient_tile(tag, g_tile, x_tile, vectors, result, rows, columns, groups):
    """Add to the results the products of lines of g and x, whole vectors of results."""
    if vectors == 4:
        _products4(tag, result, g_tile, x_tile, rows, columns, groups)
    elif vectors == 2:
        _products2(tag, result, g_tile, x_tile, rows, columns, groups)
    else:
        _products1(tag, result, g_tile, x_tile, rows, columns, groups)


TO_TILE = Callee(_to_tile, *[types.intp] * 5)
PRODUCT_TILE = Callee(_product_tile, *[types.intp] * 11)
GRADIENT_TILE = Callee(_gradient_tile, *[types.intp] * 7)
