"""Kronecker products as programs: one factor after another, over as many rows as stay in cache.

Stage k of a row holds it with factors k, k + 1, ... applied: an array of in_1 .. in_(k-1), out_k ..
out_m. Stage m is x and stage 0 is y. Between the two the last axis is padded to whole vectors, so
each factor but the last is a product whose columns are contiguous and whole: (out_k, in_k) by
(in_k, what follows). For the last one x gives the numbers and the transposed factor the vectors.

Flops: forward, and the gradient of x, rows * sum over k of (size of stage k * in_k) * 2; gradients
of the factors the same again, and the stages between are computed anew.
"""

from __future__ import annotations

from collections.abc import Callable

from lowdim_kernels.kronecker_geometry import Kronecker
from lowdim_kernels.products.program import Matrix, Place, Program, Space, product, record
from lowdim_kernels.products.records import Kind

TURNED_BYTES = 16 * 1024

Records = list[list[int]]


def product_program(k: Kronecker) -> tuple[Program, int]:
    """Return y = x (A1 ⊗ ... ⊗ Am)^T over addresses x, y, space, factors; and the space's bytes."""
    writer = _Writer(k, space=2, factors=3)
    x, y = writer.data(0, k.x_width, shared=k.x_step == 0), writer.data(1, k.y_width)
    packed = writer.space.place(k.factors[-1].inner * k.padded * k.size)
    stages = writer.stages()

    def group(rows: int) -> Records:
        if k.last == 0:
            return [writer.numbers(x, packed, Matrix(y, k.y_width), rows, k.factors[0].out)]
        records = writer.forward(x, packed, stages, rows)
        out = k.factors[-1].out
        return records + writer.apply(0, stages[1], k.padded, y, out, rows)

    return writer.finished([writer.pack(packed, transposed=True)], group), writer.space.bytes


def gradients_program(k: Kronecker, *, x_needed: bool) -> tuple[Program, int]:
    """Return the gradients over addresses g, x, space, [dx], factors' gradients, factors."""
    first = 3 + x_needed
    writer = _Writer(k, space=2, factors=first + len(k.factors))
    g, x = writer.data(0, k.y_width), writer.data(1, k.x_width, shared=k.x_step == 0)
    size, tail = k.size, k.factors[-1]
    turned = writer.space.place(writer.turned_size() * size)
    packed = writer.space.place(tail.inner * k.padded * size)
    inner_padded = k.whole(tail.inner)
    plain = writer.space.place(tail.out * inner_padded * size)
    stages, backs = writer.stages(), writer.stages()
    da = [
        Place(first + j, 0, f.out * f.inner * size if k.replicas > 1 else 0)
        for j, f in enumerate(k.factors)
    ]

    def group(rows: int) -> Records:
        back, chunk = g, tail.out
        records = writer.forward(x, packed, stages, rows)
        for j in range(k.last):
            records += writer.inner_factor(j, back, chunk, stages[j + 1], turned, da[j], rows)
            records += writer.apply(j, back, chunk, backs[j + 1], k.padded, rows, backwards=True)
            back, chunk = backs[j + 1], k.padded
        count = rows * k.lefts[-1]
        sides = Matrix(back, 1, chunk), Matrix(x, tail.inner), Matrix(da[-1], tail.inner)
        records.append(product(size, *sides, (tail.out, tail.inner, count), add=True))
        if x_needed:
            dx = Matrix(writer.data(3, k.x_width), tail.inner)
            shape = (count, tail.inner, tail.out)
            records.append(
                product(size, Matrix(back, chunk), Matrix(plain, inner_padded), dx, shape)
            )
        return records

    start = [writer.pack(plain, transposed=False)]
    if k.last:
        start.append(writer.pack(packed, transposed=True))
    start += [
        record(Kind.ZERO, size, c=Matrix(to, 0), columns=f.out * f.inner)
        for f, to in zip(k.factors, da)
    ]
    return writer.finished(start, group), writer.space.bytes


class _Writer:
    """Writes the records of a group of rows."""

    def __init__(self, k: Kronecker, *, space: int, factors: int) -> None:
        self.k = k
        self.space = Space(space)
        self.factors = [
            Matrix(Place(factors + j, 0, f.per_replica * k.size), f.row, f.column)
            for j, f in enumerate(k.factors)
        ]

    def data(self, base: int, width: int, *, shared: bool = False) -> Place:
        """Return contiguous rows of this width."""
        width *= self.k.size
        return Place(base, 0, 0 if shared else self.k.span * width, self.k.group * width)

    def stages(self) -> list[Place]:
        """Return room for stages 1 .. m - 1 of a group, by number."""
        k = self.k
        sizes = [k.group * k.stage_size(j) * k.size for j in range(1, len(k.factors))]
        return [Place(0), *(self.space.place(size) for size in sizes)]

    def turned_size(self) -> int:
        """Return the elements for transposed pieces of a stage."""
        k = self.k
        largest = 0
        for j in range(k.last):
            width = k.whole(k.factors[j].inner)
            piece = k.chunks[j] * k.factors[-1].out * width
            largest = max(largest, max(piece, TURNED_BYTES // k.size) + k.lanes * width)
        return largest

    def finished(self, first: Records, group: Callable[[int], Records]) -> Program:
        """Return the program of all groups."""
        k = self.k
        whole, rest = divmod(k.rows, k.group)
        body, tail = group(k.group), group(rest) if rest else []
        return Program(
            k.element, replicas=k.replicas, first=first, body=body, whole=whole, tail=tail
        )

    def pack(self, place: Place, *, transposed: bool) -> list[int]:
        """Return what writes the last factor or its transpose in rows padded to whole vectors."""
        f, a = self.k.factors[-1], self.factors[-1]
        rows, columns = f.out, f.inner
        if transposed:
            rows, columns, a = columns, rows, Matrix(a.place, a.column, a.row)
        padded = self.k.whole(columns)
        return record(
            Kind.PACK, self.k.size, a=a, c=Matrix(place, padded), rows=rows, columns=columns,
            depth=padded,
        )  # fmt: skip

    def numbers(
        self, x: Place, packed: Place, target: Matrix, rows: int, columns: int
    ) -> list[int]:
        """Return what writes rows of x times the packed last factor."""
        inner = self.k.factors[-1].inner
        sides = Matrix(x, inner), Matrix(packed, self.k.padded), target
        return product(self.k.size, *sides, (rows, columns, inner))

    def forward(self, x: Place, packed: Place, stages: list[Place], rows: int) -> Records:
        """Return what writes stages m - 1 .. 1 of some rows of x."""
        k = self.k
        if k.last == 0:
            return []
        target = Matrix(stages[k.last], k.padded)
        records = [self.numbers(x, packed, target, rows * k.lefts[-1], k.padded)]
        for j in range(k.last - 1, 0, -1):
            records += self.apply(j, stages[j + 1], k.padded, stages[j], k.padded, rows)
        return records

    def apply(
        self,
        j: int,
        source: Place,
        source_chunk: int,
        target: Place,
        target_chunk: int,
        rows: int,
        *,
        backwards: bool = False,
    ) -> Records:
        """Return what writes factor j, or its transpose, times axis j of a stage.

        What follows the axis are `chunks` rows of numbers, padded to the given chunks' sizes.
        """
        k, f, a = self.k, self.k.factors[j], self.factors[j]
        out, inner = f.out, f.inner
        if backwards:
            out, inner, a = inner, out, Matrix(a.place, a.column, a.row)
        pieces, columns = k.chunks[j], min(source_chunk, target_chunk)
        source_row, target_row = pieces * source_chunk, pieces * target_chunk
        if source_chunk == target_chunk:
            pieces, columns = 1, source_row
        return [
            product(
                k.size,
                a,
                Matrix(
                    source.further(c * source_chunk * k.size), source_row, 1, inner * source_row
                ),
                Matrix(target.further(c * target_chunk * k.size), target_row, 1, out * target_row),
                (out, columns, inner),
                count=rows * k.lefts[j],
            )
            for c in range(pieces)
        ]

    def inner_factor(
        self,
        j: int,
        back: Place,
        back_chunk: int,
        stage: Place,
        turned: Place,
        da: Place,
        rows: int,
    ) -> Records:
        """Return what adds the gradient of factor j: pieces of g times turned pieces of a stage.

        Both run along the summed axis; the stage is turned so that its other axis is contiguous.
        """
        k, f, chunks = self.k, self.k.factors[j], self.k.chunks[j]
        out, size, lefts = k.factors[-1].out, k.size, rows * k.lefts[j]
        width = k.whole(f.inner)
        stage_step, back_step = f.inner * chunks * k.padded, f.out * chunks * back_chunk
        # Matrices of a record: pieces of several lefts, or all chunks of one.
        together, source_step = 1, k.padded
        pieces, left_step, depth = chunks, back_chunk, out
        if back_chunk == out:
            pieces, depth = 1, chunks * out
        if chunks == 1:
            together = max(1, min(lefts, TURNED_BYTES // (out * width * size)))
            source_step, left_step = stage_step, back_step
        records = []
        for first in range(0, lefts, together):
            count = min(together, lefts - first)
            b = stage.further(first * stage_step * size)
            a = back.further(first * back_step * size)
            # A transposed piece spills over into the next, which is written after it.
            source = Matrix(b, chunks * k.padded, 1, source_step)
            target = Matrix(turned, width, 1, out * width)
            left = Matrix(a, chunks * back_chunk, 1, left_step)
            shape = (f.out, f.inner, depth)
            records += [
                record(
                    Kind.TRANSPOSE, size, a=source, c=target, rows=f.inner, columns=out,
                    count=count * chunks,
                ),
                product(
                    size, left, target, Matrix(da, f.inner), shape, add=True, count=count * pieces
                ),
            ]  # fmt: skip
        return records
