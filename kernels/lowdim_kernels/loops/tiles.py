"""Dense products of small matrices in register tiles of explicit vectors.

A tile of C, some rows by some vectors of columns, stays in registers while the depth runs: each
step loads a vector of B for each column block and one number of A for each row. Strides of A are
free, so transposes cost nothing; rows of B and C have unit stride. Every element of C sums over
the depth in order, whatever the tile, so results do not depend on the blocking.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lowdim_kernels.loops.compilation import Callee
from lowdim_kernels.loops.vectors import BYTES, INDEX, VectorWriter, item_size, transpose_to_square

GROUP_BYTES = 8192


def _tiles(vectors: int, heights: tuple[int, ...], *, masked: bool = False) -> Any:
    """Return the intrinsic for the columns of some vectors: all rows, by tiles of these heights.

    The same tile of every group of matrices comes before the next tile. Of masked columns only the
    first `lanes` exist.
    """

    def columns(typing_context, tag, a, b, c, rows, depth, add, groups, lanes):
        triple = types.UniTuple(types.intp, 4)
        signature = types.void(
            tag, triple, triple, triple, types.intp, types.intp, types.boolean, types.intp,
            types.intp,
        )  # fmt: skip

        def generate(context, builder, _, arguments):
            _, *matrices, rows, depth, add, groups, lanes = arguments
            writer = VectorWriter(builder, context.get_value_type(tag))
            mask = writer.first_lanes(lanes) if masked else None
            a, b, c = (_Matrix(writer, t) for t in matrices)
            for height in heights:
                tile = _Tile(writer, height, vectors, mask)
                with cgutils.for_range(builder, builder.sdiv(rows, INDEX(height))):
                    with cgutils.for_range(builder, groups) as group:
                        sides = [t.group(group.index) for t in (a, b, c)]
                        tile.emit(sides, depth, add)
                    a.advance(height)
                    c.advance(height)
                rows = builder.srem(rows, INDEX(height))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(columns)


class _Matrix:
    """The addresses of one of a product's matrices: where its rows begin, in every group."""

    def __init__(self, writer: VectorWriter, packed: Any) -> None:
        self.builder = builder = writer.builder
        address, *steps = (builder.extract_value(packed, k) for k in range(4))
        self.row, self.column, self.step = (builder.mul(t, INDEX(writer.size)) for t in steps)
        self.place = cgutils.alloca_once_value(builder, address)

    def group(self, index: Any) -> tuple[Any, Any, Any]:
        """Return the address in one group, and the strides by row and column, in bytes."""
        offset = self.builder.mul(index, self.step)
        return self.builder.add(self.builder.load(self.place), offset), self.row, self.column

    def advance(self, rows: int) -> None:
        """Go some rows on."""
        further = self.builder.mul(self.row, INDEX(rows))
        self.builder.store(self.builder.add(self.builder.load(self.place), further), self.place)


class _Tile:
    """Writes the instructions of one tile."""

    def __init__(self, writer: VectorWriter, rows: int, vectors: int, mask: Any) -> None:
        self.writer = writer
        self.rows = rows
        self.vectors = vectors
        self.mask = mask

    def emit(self, sides: list[Any], depth: Any, add: Any) -> None:
        """Write the loop over the depth, then the sums to C."""
        writer, builder = self.writer, self.writer.builder
        (a, a_row, a_column), (b, b_row, _), (c, c_row, _) = sides
        groups = [a]
        for _ in range(4, self.rows, 4):
            groups.append(builder.add(groups[-1], builder.mul(a_row, INDEX(4))))
        start = builder.block
        body = builder.append_basic_block("depth")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", depth, INDEX(0)), body, done)

        builder.position_at_end(body)
        step = builder.phi(INDEX)
        right = builder.phi(INDEX)
        left = [builder.phi(INDEX) for _ in groups]
        sums = [builder.phi(writer.vector) for _ in range(self.rows * self.vectors)]
        results = self._products(left, a_row, right, sums)
        following = builder.add(step, INDEX(1))
        later = [following, builder.add(right, b_row), *(builder.add(t, a_column) for t in left)]
        first = [INDEX(0), b, *groups]
        for phi, before, after in zip([step, right, *left], first, later):
            phi.add_incoming(before, start)
            phi.add_incoming(after, body)
        for phi, value in zip(sums, results):
            phi.add_incoming(writer.zeros, start)
            phi.add_incoming(value, body)
        builder.cbranch(builder.icmp_signed("<", following, depth), body, done)

        builder.position_at_end(done)
        finals = []
        for value in results:
            finals.append(builder.phi(writer.vector))
            finals[-1].add_incoming(writer.zeros, start)
            finals[-1].add_incoming(value, body)
        with builder.if_else(add) as (adds, writes):
            with adds:
                self._write(c, c_row, finals, add=True)
            with writes:
                self._write(c, c_row, finals, add=False)

    def _products(self, left: list[Any], a_row: Any, right: Any, sums: list[Any]) -> list[Any]:
        """Return the sums with one more step of the depth."""
        builder = self.writer.builder
        # Four rows share one moving address: sixteen would not fit the registers.
        steps = [INDEX(0), a_row, builder.mul(a_row, INDEX(2)), builder.mul(a_row, INDEX(3))]
        vectors = [self._load(right, v) for v in range(self.vectors)]
        results = []
        for r in range(self.rows):
            number = self.writer.splat(builder.add(left[r // 4], steps[r % 4]))
            for v in range(self.vectors):
                total = sums[r * self.vectors + v]
                results.append(self.writer.fma(number, vectors[v], total))
        return results

    def _write(self, c: Any, c_row: Any, finals: list[Any], *, add: bool) -> None:
        for r in range(self.rows):
            for v in range(self.vectors):
                value = finals[r * self.vectors + v]
                if add:
                    value = self.writer.builder.fadd(self._load(c, v), value)
                if self.mask is None:
                    self.writer.store(value, c, v * BYTES)
                else:
                    self.writer.masked_store(value, c, self.mask, v * BYTES)
            c = self.writer.builder.add(c, c_row)

    def _load(self, address: Any, v: int) -> Any:
        if self.mask is None:
            return self.writer.load(address, v * BYTES)
        return self.writer.masked_load(address, self.mask, v * BYTES)


_four = _tiles(4, (6, 4, 3, 2, 1))
_two = _tiles(2, (12, 8, 6, 4, 2, 1))
_one = _tiles(1, (16, 10, 8, 5, 3, 2, 1))
_part = _tiles(1, (16, 10, 8, 5, 3, 2, 1), masked=True)


def _multiply(tag, a, b, c, rows, columns, depth, add, groups):
    """Write or add the products of matrices A (rows, depth) and B (depth, columns) to C.

    a, b and c hold an address and strides by row, column and group of matrices, in elements; B and
    C have columns side by side. Nothing outside the matrices is read or written.
    """
    size = item_size(tag)
    lanes = BYTES // size
    # Small matrices go through a tile group by group, large ones whole, to find B in cache.
    together = groups if (rows + depth) * columns * size <= GROUP_BYTES else 1
    for first in range(0, groups, together):
        a_now = (a[0] + first * a[3] * size, a[1], a[2], a[3])
        b_now, c_now = b[0] + first * b[3] * size, c[0] + first * c[3] * size
        done = 0
        while done < columns:
            left = columns - done
            b_part = (b_now + done * size, b[1], 1, b[3])
            c_part = (c_now + done * size, c[1], 1, c[3])
            if left >= 4 * lanes:
                _four(tag, a_now, b_part, c_part, rows, depth, add, together, 0)
                done += 4 * lanes
            elif left >= 2 * lanes:
                _two(tag, a_now, b_part, c_part, rows, depth, add, together, 0)
                done += 2 * lanes
            elif left >= lanes:
                _one(tag, a_now, b_part, c_part, rows, depth, add, together, 0)
                done += lanes
            else:
                _part(tag, a_now, b_part, c_part, rows, depth, add, together, left)
                done = columns


def _transpose(tag, source, target, rows, columns, groups):
    """Write the transposes of (rows, columns) matrices; a target has whole vectors both ways.

    source and target hold an address and strides by row and group.
    """
    size = item_size(tag)
    lanes = BYTES // size
    for g in range(groups):
        for r in range(0, rows, lanes):
            for c in range(0, columns, lanes):
                transpose_to_square(
                    tag,
                    source[0] + (g * source[2] + r * source[1] + c) * size,
                    source[1],
                    min(lanes, rows - r),
                    min(lanes, columns - c),
                    target[0] + (g * target[2] + c * target[1] + r) * size,
                    target[1],
                )


_MATRIX = types.UniTuple(types.intp, 4)
_PIECES = types.UniTuple(types.intp, 3)
MULTIPLY = Callee(
    _multiply, _MATRIX, _MATRIX, _MATRIX, types.intp, types.intp, types.intp, types.boolean,
    types.intp,
)  # fmt: skip
TRANSPOSE = Callee(_transpose, _PIECES, _PIECES, types.intp, types.intp, types.intp)
