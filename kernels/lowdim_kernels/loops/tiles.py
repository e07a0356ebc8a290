"""Dense products of small matrices in register tiles of explicit vectors.

A tile of C, some rows by some vectors of columns, stays in registers while the depth runs: each
step loads a vector of B for each column block and one number of A for each row. Strides of A are
free, so transposes cost nothing; rows of B and C have unit stride. Every element of C sums over
the depth in order, whatever the tile, so results do not depend on the blocking.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from lowdim_kernels.loops.compilation import Callee, kernel
from lowdim_kernels.loops.vectors import BYTES, INDEX, VectorWriter, item_size, transpose_square


def _tile(rows: int, vectors: int, *, masked: bool = False) -> Any:
    """Return the intrinsic for C (+)= A B of one tile; of masked ones, only some lanes exist."""

    def tile(typing_context, tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes):
        def generate(context, builder, signature, arguments):
            writer = VectorWriter(builder, context.get_value_type(tag))
            mask = writer.first_lanes(arguments[-1]) if masked else None
            _Tile(writer, rows, vectors, mask).emit(*arguments[1:-1])
            return context.get_dummy_value()

        return types.void(tag, *[types.intp] * 8, types.boolean, types.intp), generate

    return intrinsic(tile)


class _Tile:
    """Writes the instructions of one tile."""

    def __init__(self, writer: VectorWriter, rows: int, vectors: int, mask: Any) -> None:
        self.writer = writer
        self.rows = rows
        self.vectors = vectors
        self.mask = mask

    def emit(self, a, a_row, a_column, b, b_row, c, c_row, depth, add) -> None:
        """Write the loop over the depth, then the sums to C."""
        writer, builder = self.writer, self.writer.builder
        a_row, a_column, b_row, c_row = (
            builder.mul(t, INDEX(writer.size)) for t in (a_row, a_column, b_row, c_row)
        )
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


_T6X4, _T4X4, _T3X4, _T2X4, _T1X4 = (_tile(r, 4) for r in (6, 4, 3, 2, 1))
_T12X2, _T8X2, _T6X2, _T4X2, _T2X2, _T1X2 = (_tile(r, 2) for r in (12, 8, 6, 4, 2, 1))
_T16, _T12, _T10, _T8, _T5, _T4, _T3, _T2, _T1 = (
    _tile(r, 1) for r in (16, 12, 10, 8, 5, 4, 3, 2, 1)
)
_P16, _P12, _P10, _P8, _P5, _P4, _P3, _P2, _P1 = (
    _tile(r, 1, masked=True) for r in (16, 12, 10, 8, 5, 4, 3, 2, 1)
)


def _multiply(tag, a, a_row, a_column, b, b_row, c, c_row, rows, columns, depth, add):
    """Write or add the product of A (rows, depth) and B (depth, columns) to C.

    a, b, c are addresses; strides are in elements; rows of B and C are contiguous.
    Nothing outside the matrices is read or written.
    """
    size = item_size(tag)
    lanes = BYTES // size
    while columns >= 4 * lanes:
        _four(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add)
        b, c, columns = b + 4 * BYTES, c + 4 * BYTES, columns - 4 * lanes
    if columns >= 2 * lanes:
        _two(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add)
        b, c, columns = b + 2 * BYTES, c + 2 * BYTES, columns - 2 * lanes
    if columns >= lanes:
        _one(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add)
        b, c, columns = b + BYTES, c + BYTES, columns - lanes
    if columns > 0:
        _part(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add, columns)


@kernel
def _four(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add):
    size = item_size(tag)
    while rows > 0:
        if rows >= 6:
            done = 6
            _T6X4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 4:
            done = 4
            _T4X4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows == 3:
            done = 3
            _T3X4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows == 2:
            done = 2
            _T2X4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        else:
            done = 1
            _T1X4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        a, c, rows = a + done * a_row * size, c + done * c_row * size, rows - done


@kernel
def _two(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add):
    size = item_size(tag)
    while rows > 0:
        if rows >= 12:
            done = 12
            _T12X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 8:
            done = 8
            _T8X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 6:
            done = 6
            _T6X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 4:
            done = 4
            _T4X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 2:
            done = 2
            _T2X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        else:
            done = 1
            _T1X2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        a, c, rows = a + done * a_row * size, c + done * c_row * size, rows - done


@kernel
def _one(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add):
    size = item_size(tag)
    while rows > 0:
        if rows >= 16:
            done = 16
            _T16(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 12:
            done = 12
            _T12(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 10:
            done = 10
            _T10(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 8:
            done = 8
            _T8(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows >= 5:
            done = 5
            _T5(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows == 4:
            done = 4
            _T4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows == 3:
            done = 3
            _T3(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        elif rows == 2:
            done = 2
            _T2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        else:
            done = 1
            _T1(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, 0)
        a, c, rows = a + done * a_row * size, c + done * c_row * size, rows - done


@kernel
def _part(tag, a, a_row, a_column, b, b_row, c, c_row, rows, depth, add, lanes):
    size = item_size(tag)
    while rows > 0:
        if rows >= 16:
            done = 16
            _P16(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows >= 12:
            done = 12
            _P12(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows >= 10:
            done = 10
            _P10(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows >= 8:
            done = 8
            _P8(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows >= 5:
            done = 5
            _P5(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows == 4:
            done = 4
            _P4(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows == 3:
            done = 3
            _P3(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        elif rows == 2:
            done = 2
            _P2(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        else:
            done = 1
            _P1(tag, a, a_row, a_column, b, b_row, c, c_row, depth, add, lanes)
        a, c, rows = a + done * a_row * size, c + done * c_row * size, rows - done


def _transpose(tag, source, source_row, rows, columns, target, target_row):
    """Write the transpose of a (rows, columns) matrix; target has whole vectors both ways."""
    size = item_size(tag)
    lanes = BYTES // size
    for r in range(0, rows, lanes):
        for c in range(0, columns, lanes):
            transpose_square(
                tag,
                source + (r * source_row + c) * size,
                source_row,
                min(lanes, rows - r),
                min(lanes, columns - c),
                target + (c * target_row + r) * size,
                target_row,
            )


MULTIPLY = Callee(_multiply, *[types.intp] * 10, types.boolean)
TRANSPOSE = Callee(_transpose, *[types.intp] * 6)
