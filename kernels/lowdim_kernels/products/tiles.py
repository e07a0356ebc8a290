"""Dense products of small matrices in register tiles, as LLVM IR.

A tile of C, some rows by some vectors of columns, stays in registers while the depth runs: each
step loads a vector of B for each column block and one number of A for each row. Strides of A are
free, so transposes cost nothing; rows of B and C have unit stride. Every element of C sums over
the depth in order, whatever the tile, so results do not depend on the blocking.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from lowdim_kernels.products.records import FIELDS
from lowdim_kernels.tape.library_control import INDEX, INT32, index
from lowdim_kernels.tape.library_emitter import Emitter
from lowdim_kernels.tape.library_target import Target


def panels(target: Target) -> dict[int, tuple[int, ...]]:
    """Return the heights of tiles, tallest first, for each width in vectors, widest first."""
    if len(target.gemm_rows) > 3:  # 32 registers
        return {
            4: (6, 4, 3, 2, 1),
            2: (12, 8, 6, 4, 2, 1),
            1: (16, 10, 8, 5, 3, 2, 1),
        }
    return {2: (4, 2, 1), 1: (8, 5, 3, 2, 1)}


class ProductTiles:
    """Writes or adds products A B to C: columns by panels, rows by tiles."""

    def __init__(self, e: Emitter) -> None:
        self.e = e
        self.written, self.added = self._panels("write"), self._panels("add")

    def emit(self, f: Any, record: Any) -> None:
        """Emit the products of a record's matrices, `together` of them at a time in a tile."""
        b = self.e.builder
        with b.if_else(b.icmp_signed("!=", f.add, index(0))) as (adds, writes):
            with adds:
                self._emit(f, record, *self.added)
            with writes:
                self._emit(f, record, *self.written)

    def _emit(self, f: Any, record: Any, whole: dict[int, ir.Function], part: ir.Function) -> None:
        e, b = self.e, self.e.builder

        def some(first, _):
            count = e.lesser(f.together, b.sub(f.count, first))
            a = e.step_by(f.a, first, f.a_step)
            right, out = e.step_by(f.b, first, f.b_step), e.step_by(f.c, first, f.c_step)
            left = f.columns
            for width, panel in whole.items():
                lanes = width * e.lanes

                def along(_, places, panel=panel, width=width, count=count, a=a):
                    b.call(panel, [a, *places, record, count, index(0)])
                    return [e.at(place, width * e.vector_bytes) for place in places]

                times = b.sdiv(left, index(lanes))
                right, out = e.loop_or_none(times, [right, out], along)
                left = b.srem(left, index(lanes))
            with b.if_then(b.icmp_signed(">", left, index(0))):
                b.call(part, [a, right, out, record, count, left])

        e.loop(f.count, [], some, step=f.together)

    def _panels(self, verb: str) -> tuple[dict[int, ir.Function], ir.Function]:
        """Return the functions for whole vectors, by their number, and for what is left."""
        heights = panels(self.e.target)
        whole = {width: self._panel(verb, width, heights[width], masked=False) for width in heights}
        return whole, self._panel(verb, 1, heights[1], masked=True)

    def _panel(
        self, verb: str, width: int, heights: tuple[int, ...], *, masked: bool
    ) -> ir.Function:
        """Return the function for the columns of some vectors: all rows, by tiles.

        A tile that adds sums over all matrices before it meets C, which they share.
        """
        e = self.e

        def body(a, right, out, record, count, lanes):
            b = e.builder

            def field(name: str) -> Any:
                return e.load(e.at(record, 8 * FIELDS.index(name)), INDEX)

            a_row, a_column, a_step = field("a_row"), field("a_column"), field("a_step")
            b_row, b_step = field("b_row"), field("b_step")
            c_row, c_step = field("c_row"), field("c_step")
            rows, depth = field("rows"), field("depth")
            mask = first_lanes(e, lanes) if masked else None
            for height in heights:
                tile = _Tile(e, height, width, mask)

                def block(_, places, tile=tile, height=height):
                    now_a, now_c = places

                    def each(_, carried, tile=tile):
                        left, middle, target, *sums = carried
                        sums = tile.sums((left, a_row, a_column), (middle, b_row), depth, sums)
                        if verb == "write":
                            tile.write(target, c_row, sums)
                        following = [
                            b.add(left, a_step), b.add(middle, b_step), b.add(target, c_step)
                        ]  # fmt: skip
                        return [*following, *(sums if verb == "add" else [])]

                    sums = tile.zeros() if verb == "add" else []
                    sums = e.loop(count, [now_a, right, now_c, *sums], each)[3:]
                    if verb == "add":
                        tile.write(now_c, c_row, sums, add=True)
                    high = index(height)
                    return [e.step_by(now_a, high, a_row), e.step_by(now_c, high, c_row)]

                times = b.sdiv(rows, index(height))
                a, out = e.loop_or_none(times, [a, out], block)
                rows = b.srem(rows, index(height))

        return e.function(f"{verb}_{width}" + "_part" * masked, 6, body)


class _Tile:
    """Writes the instructions of one tile."""

    def __init__(self, e: Emitter, rows: int, vectors: int, mask: Any) -> None:
        self.e = e
        self.rows = rows
        self.vectors = vectors
        self.mask = mask

    def zeros(self) -> list[Any]:
        """Return the sums of nothing."""
        return [self.e.constant(0.0)] * (self.rows * self.vectors)

    def sums(self, a: tuple, right: tuple, depth: Any, start: list[Any]) -> list[Any]:
        """Write the loop over the depth and return its sums, on top of `start` if there are."""
        e, b = self.e, self.e.builder
        left, a_row, a_column = a
        # Four rows share one moving address: sixteen would not fit the registers.
        steps = [b.mul(a_row, index(k)) for k in range(4)]
        lefts = [left]
        for _ in range(4, self.rows, 4):
            lefts.append(e.step_by(lefts[-1], index(4), a_row))

        def along(_, carried):
            place, *rest = carried
            places, sums = rest[: len(lefts)], rest[len(lefts) :]
            vectors = [self._load(place, v) for v in range(self.vectors)]
            for r in range(self.rows):
                number = e.load_splat(b.add(places[r // 4], steps[r % 4]))
                for v in range(self.vectors):
                    k = r * self.vectors + v
                    sums[k] = e.multiply_add(number, vectors[v], sums[k])
            return [b.add(place, right[1]), *(b.add(t, a_column) for t in places), *sums]

        carried = [right[0], *lefts, *(start or self.zeros())]
        return e.loop(depth, carried, along)[1 + len(lefts) :]

    def write(self, place: Any, c_row: Any, sums: list[Any], *, add: bool = False) -> None:
        """Write the sums to C, or add them."""
        e = self.e
        for r in range(self.rows):
            for v in range(self.vectors):
                value = sums[r * self.vectors + v]
                if add:
                    value = e.builder.fadd(self._load(place, v), value)
                at = e.at(place, v * e.vector_bytes)
                if self.mask is None:
                    e.store(value, at)
                else:
                    masked_store(e, value, at, self.mask)
            place = e.builder.add(place, c_row)

    def _load(self, address: Any, v: int) -> Any:
        at = self.e.at(address, v * self.e.vector_bytes)
        return self.e.load(at) if self.mask is None else masked_load(self.e, at, self.mask)


def first_lanes(e: Emitter, lanes: Any) -> Any:
    """Return the mask of the first few lanes."""
    kind = ir.VectorType(INDEX, e.lanes)
    places = ir.Constant(kind, list(range(e.lanes)))
    return e.builder.icmp_signed("<", places, e.splat(lanes, kind))


def masked_load(e: Emitter, address: Any, mask: Any) -> Any:
    """Return a vector of which only the lanes of the mask are read, the others zero."""
    place = e.builder.inttoptr(address, e.vector.as_pointer())
    kinds = [place.type, INT32, mask.type, e.vector]
    name = f"llvm.masked.load.v{e.lanes}f{8 * e.size}.p0"
    function = e.intrinsic(name, e.vector, kinds)
    return e.builder.call(function, [place, INT32(e.size), mask, e.constant(0.0)])


def masked_store(e: Emitter, value: Any, address: Any, mask: Any) -> None:
    """Write the lanes of the mask alone."""
    place = e.builder.inttoptr(address, e.vector.as_pointer())
    kinds = [e.vector, place.type, INT32, mask.type]
    name = f"llvm.masked.store.v{e.lanes}f{8 * e.size}.p0"
    e.builder.call(e.intrinsic(name, ir.VoidType(), kinds), [value, place, INT32(e.size), mask])
