"""Instructions on vectors of one full register, written for Numba's intrinsics.

Addresses are integers and count bytes; a vector holds as many elements as fit 64 bytes.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BYTES = 64
INDEX = ir.IntType(64)
INT32 = ir.IntType(32)


class VectorWriter:
    """Writes vector instructions for one element type at the builder's place."""

    def __init__(self, builder: ir.IRBuilder, element: Any) -> None:
        self.builder = builder
        self.element = element
        self.size = 4 if isinstance(element, ir.FloatType) else 8
        self.count = BYTES // self.size
        self.vector = ir.VectorType(element, self.count)
        self.zeros = ir.Constant(self.vector, [0.0] * self.count)

    def place(self, address: Any, kind: Any, offset: int = 0) -> Any:
        """Return the address as a pointer to the kind, some bytes further on."""
        if offset:
            address = self.builder.add(address, INDEX(offset))
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any, offset: int = 0) -> Any:
        return self.builder.load(self.place(address, self.vector, offset), align=self.size)

    def store(self, value: Any, address: Any, offset: int = 0) -> None:
        self.builder.store(value, self.place(address, self.vector, offset), align=self.size)

    def masked_load(self, address: Any, mask: Any, offset: int = 0) -> Any:
        """Return a vector of which only the lanes of the mask are read, the others zero."""
        place = self.place(address, self.vector, offset)
        kinds = [place.type, INT32, mask.type, self.vector]
        arguments = [place, INT32(self.size), mask, self.zeros]
        return self.call("masked.load", self.vector, kinds, arguments, suffix=".p0")

    def masked_store(self, value: Any, address: Any, mask: Any, offset: int = 0) -> None:
        """Write the lanes of the mask alone."""
        place = self.place(address, self.vector, offset)
        kinds = [self.vector, place.type, INT32, mask.type]
        arguments = [value, place, INT32(self.size), mask]
        self.call("masked.store", ir.VoidType(), kinds, arguments, suffix=".p0")

    def first_lanes(self, lanes: Any) -> Any:
        """Return the mask of the first few lanes."""
        kind = ir.VectorType(INDEX, self.count)
        places = ir.Constant(kind, list(range(self.count)))
        return self.builder.icmp_signed("<", places, self.spread(lanes, kind))

    def splat(self, address: Any) -> Any:
        """Return the element at an address in every lane."""
        place = self.place(address, self.element)
        return self.spread(self.builder.load(place, align=self.size), self.vector)

    def spread(self, scalar: Any, kind: Any) -> Any:
        """Return a scalar in every lane of a vector of the kind."""
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT32(0))
        return self.shuffle(first, first, [0] * self.count)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        kind = ir.VectorType(INT32, len(lanes))
        return self.builder.shuffle_vector(a, b, ir.Constant(kind, lanes))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.call("fma", self.vector, [self.vector] * 3, [a, b, c])

    def call(
        self, name: str, result: Any, kinds: list[Any], arguments: list[Any], *, suffix: str = ""
    ) -> Any:
        """Return the value of LLVM's own function for this vector."""
        full = f"llvm.{name}.v{self.count}f{self.size * 8}{suffix}"
        kind = ir.FunctionType(result, kinds)
        function = cgutils.get_or_insert_function(self.builder.module, kind, full)
        return self.builder.call(function, arguments)

    def total(self, vector: Any) -> Any:
        """Return the sum of the lanes, halves first."""
        count = self.count
        while count > 1:
            count //= 2
            upper = [k + count for k in range(count)] + [0] * (self.count - count)
            vector = self.builder.fadd(vector, self.shuffle(vector, vector, upper))
        return self.builder.extract_element(vector, INT32(0))

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Return the columns of a square of vectors."""
        rows = list(rows)
        distance = self.count // 2
        while distance:
            low = [j if not j & distance else j - distance + self.count for j in range(self.count)]
            high = [j + distance if not j & distance else j + self.count for j in range(self.count)]
            for i in range(self.count):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i] = self.shuffle(a, b, low)
                    rows[i + distance] = self.shuffle(a, b, high)
            distance //= 2
        return rows


def _item_size(typing_context, tag):
    """Return the bytes of one element of the tag's type."""

    def generate(context, builder, signature, arguments):
        return INDEX(tag.bitwidth // 8)

    return types.intp(tag), generate


def _transpose_square(exact: bool) -> Any:
    """Return the intrinsic that transposes at most one vector of rows by as many columns.

    Rows beyond `rows` count as zeros and nothing beyond `columns` is read. An exact one writes
    nothing outside the transposed block either, another the whole square.
    """

    def transpose(typing_context, tag, source, source_row, rows, columns, target, target_row):
        def generate(context, builder, signature, arguments):
            _, source, source_row, rows, columns, target, target_row = arguments
            writer = VectorWriter(builder, context.get_value_type(tag))
            mask = writer.first_lanes(columns)
            source_row = builder.mul(source_row, INDEX(writer.size))
            target_row = builder.mul(target_row, INDEX(writer.size))
            lines = []
            for r in range(writer.count):
                within = builder.icmp_signed("<", INDEX(r), rows)
                place = builder.add(source, builder.mul(INDEX(r), source_row))
                place = builder.select(within, place, source)
                line = writer.masked_load(place, mask)
                lines.append(builder.select(within, line, writer.zeros))
            own = writer.first_lanes(rows)
            for c, line in enumerate(writer.transposed(lines)):
                if exact:
                    within = builder.icmp_signed("<", INDEX(c), columns)
                    none = ir.Constant(own.type, [0] * writer.count)
                    writer.masked_store(line, target, builder.select(within, own, none))
                else:
                    writer.store(line, target)
                target = builder.add(target, target_row)
            return context.get_dummy_value()

        return types.void(tag, *[types.intp] * 6), generate

    return intrinsic(transpose)


item_size: Any = intrinsic(_item_size)
transpose_to_square: Any = _transpose_square(False)
transpose_exactly: Any = _transpose_square(True)
