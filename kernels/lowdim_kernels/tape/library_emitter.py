"""Emit LLVM IR: loops, vectors of a fixed number of lanes, and the control around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from llvmlite import ir

from .library_control import INDEX, INT32, Control, index
from .library_target import Target
from .records import Operation


class Emitter(Control):
    """Hold the module and the position in it, and emit what every operation is made of.

    Addresses are 64-bit integers. Vectors are written out, so neither LLVM's loop vectoriser
    nor its unroller has to run. No instruction carries `nnan` or `ninf`: a NaN must be seen.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lanes = target.lanes
        self.size = target.element_bytes
        self.vector_bytes = target.vector_bytes
        self.is_single = target.element == "float32"
        self.element = ir.FloatType() if self.is_single else ir.DoubleType()
        self.integer = ir.IntType(8 * self.size)
        self.vector = ir.VectorType(self.element, self.lanes)
        self.integer_vector = ir.VectorType(self.integer, self.lanes)
        self.module = ir.Module("tape")
        self.module.triple = target.triple
        self.builder = ir.IRBuilder()

    # functions and records

    def function(
        self, name: str, arguments: int, body: Callable, *, returns: bool = False
    ) -> ir.Function:
        """Emit `body(*arguments)` as an internal function of 64-bit integers."""
        kind = ir.FunctionType(INDEX if returns else ir.VoidType(), [INDEX] * arguments)
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        for attribute in ("noinline", "nounwind"):
            function.attributes.add(attribute)
        outer, self.builder = self.builder, ir.IRBuilder(function.append_basic_block("entry"))
        result = body(*function.args)
        if returns:
            self.builder.ret(index(0) if result is None else result)
        else:
            self.builder.ret_void()
        self.builder = outer
        return function

    def operation(self, operation: Operation, body: Callable) -> ir.Function:
        """Emit an interpreter entry: body(fields, run) returns a status or None for 0.

        `fields` holds every field of the record, offsets turned into addresses; `run` holds
        `context` (the address of the table of the caller's arrays) and `step`.
        """

        def entry(base, record, context, step):
            values = {}
            for position, name in enumerate(operation.fields, start=1):
                value = self.load(self.at(record, 8 * position), INDEX)
                if name in operation.offsets:
                    value = self.builder.add(base, value)
                elif name in operation.optional_offsets:
                    absent = self.builder.icmp_signed("<", value, index(0))
                    address = self.builder.add(base, value)
                    value = self.builder.select(absent, index(0), address)
                values[name] = value
            run = SimpleNamespace(base=base, record=record, context=context, step=step)
            return body(SimpleNamespace(**values), run)

        return self.function(f"tape_{operation.name}", 4, entry, returns=True)

    def intrinsic(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    # memory

    def load(self, address: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        kind = kind or self.vector
        align = 8 if kind == INDEX else self.size
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(pointer, align=align)

    def load_element(self, address: ir.Value) -> ir.Value:
        return self.load(address, self.element)

    def load_splat(self, address: ir.Value) -> ir.Value:
        return self.splat(self.load(address, self.element))

    def load_integer(self, address: ir.Value) -> ir.Value:
        """Load a table entry (as wide as an element) as a 64-bit integer."""
        value = self.load(address, self.integer)
        return self.builder.sext(value, INDEX) if self.is_single else value

    def store(self, value: ir.Value, address: ir.Value) -> None:
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, pointer, align=self.size)

    def at(self, address: ir.Value, distance: int) -> ir.Value:
        return self.builder.add(address, index(distance)) if distance else address

    def step_by(self, address: ir.Value, count: ir.Value, stride: ir.Value | int) -> ir.Value:
        """Return address + count * stride."""
        stride = index(stride) if isinstance(stride, int) else stride
        return self.builder.add(address, self.builder.mul(count, stride))

    # values

    def constant(self, value: float) -> ir.Constant:
        if value == 0 and math.copysign(1.0, value) > 0:
            return ir.Constant(self.vector, None)
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def integers(self, value: int) -> ir.Constant:
        return ir.Constant(self.integer_vector, [value] * self.lanes)

    def lane_numbers(self) -> ir.Constant:
        return ir.Constant(self.integer_vector, list(range(self.lanes)))

    def splat(self, value: ir.Value, kind: ir.VectorType | None = None) -> ir.Value:
        kind = kind or self.vector
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(INT32, 0))
        zeros = ir.Constant(ir.VectorType(INT32, kind.count), None)
        return self.builder.shuffle_vector(first, empty, zeros)

    def shuffle(self, left: ir.Value, right: ir.Value, order: Sequence[int]) -> ir.Value:
        mask = ir.Constant(ir.VectorType(INT32, len(order)), list(order))
        return self.builder.shuffle_vector(left, right, mask)

    def narrowed(self, bits: ir.Value) -> ir.Value:
        """Return the element nearest to the float64 whose bits a record field holds."""
        value = self.builder.bitcast(bits, ir.DoubleType())
        return self.builder.fptrunc(value, self.element) if self.is_single else value

    def multiply_add(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        kind = left.type
        name = f"llvm.fmuladd.{self._suffix(kind)}"
        return self.builder.call(self.intrinsic(name, kind, [kind] * 3), [left, right, addend])

    def square_root(self, value: ir.Value) -> ir.Value:
        name = f"llvm.sqrt.{self._suffix(value.type)}"
        return self.builder.call(self.intrinsic(name, value.type, [value.type]), [value])

    def at_least(self, value: ir.Value, floor: ir.Value) -> ir.Value:
        """Return max(value, floor), a NaN value unchanged."""
        return self.builder.select(self.builder.fcmp_ordered(">", floor, value), floor, value)

    def at_most(self, value: ir.Value, ceiling: ir.Value) -> ir.Value:
        """Return min(value, ceiling), a NaN value unchanged."""
        return self.builder.select(self.builder.fcmp_ordered("<", ceiling, value), ceiling, value)

    def lesser(self, left: ir.Value, right: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", left, right), left, right)

    def four_sums(self, vectors: Sequence[ir.Value]) -> ir.Value:
        """Return <4 x element>, the sums over the lanes of up to four vectors."""
        padded = [*vectors, *[self.constant(0.0)] * (4 - len(vectors))]
        first = self._added_pair(padded[0], padded[1], 1)
        second = self._added_pair(padded[2], padded[3], 1)
        sums = self._added_pair(first, second, 2)
        width = self.lanes
        while width > 4:
            width //= 2
            empty = ir.Constant(sums.type, ir.Undefined)
            low = self.shuffle(sums, empty, range(width))
            high = self.shuffle(sums, empty, range(width, 2 * width))
            sums = self.builder.fadd(low, high)
        return sums

    def total(self, vector: ir.Value) -> ir.Value:
        """Return the sum over the lanes of one vector."""
        return self.builder.extract_element(self.four_sums([vector]), ir.Constant(INT32, 0))

    def _added_pair(self, left: ir.Value, right: ir.Value, width: int) -> ir.Value:
        lanes = self.lanes
        even = [
            lane + half * lanes
            for start in range(0, lanes, 2 * width)
            for half in (0, 1)
            for lane in range(start, start + width)
        ]
        odd = [lane + width for lane in even]
        return self.builder.fadd(self.shuffle(left, right, even), self.shuffle(left, right, odd))

    def _suffix(self, kind: ir.Type) -> str:
        bits = f"f{8 * self.size}"
        return f"v{kind.count}{bits}" if isinstance(kind, ir.VectorType) else bits
