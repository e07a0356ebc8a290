"""Vectors of 64 bytes inside Numba loops: one lane a matrix, so scalar algorithms run batched.

A batch of small matrices is interleaved, element (i, j) of eight or sixteen matrices side by side.
Every loop then runs over whole vectors without remainders, square roots and divisions included,
and no lane sees its neighbours: a matrix gives the same bits whatever is beside it.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

intrinsic: Any = extending.intrinsic
BYTES = 64
LANES = {types.float32: 16, types.float64: 8}


class Vector(types.Type):
    """The type of one value in each lane."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        self.count = LANES[element]
        super().__init__(f"Vector({element}, {self.count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(_scalar(kind.element), kind.count))


def _scalar(element: types.Float) -> Any:
    return ir.FloatType() if element == types.float32 else ir.DoubleType()


def _address(context: Any, builder: Any, kind: Any, arguments: Any, target: Any) -> Any:
    array, index = arguments
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def load(typing_context, array, index):
    """Return the vector that starts at an index of a flat array."""
    kind = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        target = context.get_value_type(kind)
        address = _address(context, builder, array, arguments, target)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return kind(array, types.intp), generate


@njit(nogil=True)
def lanes_of(array):
    """Return how many elements of the array's dtype a vector holds."""
    return BYTES // array.itemsize


@intrinsic
def collect(typing_context, like, array, starts, offset):
    """Return elements that far from each start, in the dtype of the first array."""
    kind = Vector(like.dtype)

    def generate(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[1]).data
        first = context.make_array(starts)(context, builder, arguments[2]).data
        value = ir.Constant(ir.VectorType(_scalar(array.dtype), kind.count), ir.Undefined)
        for lane in range(kind.count):
            number = ir.Constant(ir.IntType(32), lane)
            start = builder.load(builder.gep(first, [number]))
            element = builder.load(builder.gep(data, [builder.add(start, arguments[3])]))
            value = builder.insert_element(value, element, number)
        return _widened(builder, value, context.get_value_type(kind))

    return kind(like, array, starts, types.intp), generate


@intrinsic
def load_widened(typing_context, like, array, index):
    """Return elements from an index of a flat array on, in the dtype of the first array."""
    kind = Vector(like.dtype)

    def generate(context, builder, signature, arguments):
        target = ir.VectorType(_scalar(array.dtype), kind.count)
        address = _address(context, builder, array, arguments[1:], target)
        value = builder.load(address, align=array.dtype.bitwidth // 8)
        return _widened(builder, value, context.get_value_type(kind))

    return kind(like, array, types.intp), generate


def _widened(builder: Any, value: Any, target: Any) -> Any:
    return value if value.type == target else builder.fpext(value, target)


@intrinsic
def store(typing_context, array, index, value):
    """Write a vector from an index of a flat array on."""

    def generate(context, builder, signature, arguments):
        target = context.get_value_type(value)
        address = _address(context, builder, array, arguments[:2], target)
        builder.store(arguments[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splat(typing_context, like, value):
    """Return a scalar in every lane of a vector like the first argument."""

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(like)
        scalar = context.cast(builder, arguments[1], value, like.element)
        first = builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), like.count), [0] * like.count)
        return builder.shuffle_vector(first, first, zeros)

    return like(like, value), generate


@intrinsic
def total(typing_context, value):
    """Return the sum of the lanes, pair by pair."""

    def generate(context, builder, signature, arguments):
        (parts,) = arguments
        count = value.count
        while count > 1:
            count //= 2
            halves = [
                builder.shuffle_vector(
                    parts,
                    parts,
                    ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(a, a + count))),
                )
                for a in (0, count)
            ]
            parts = builder.fadd(*halves)
        return builder.extract_element(parts, ir.Constant(ir.IntType(32), 0))

    return value.element(value), generate


def _register(symbol: Any, instruction: str) -> None:
    """Type and lower an operator of two like vectors as one instruction.

    An `overload` would compile a Numba function at each place where the operator stands.
    """

    @infer_global(symbol)
    class _Typed(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            if len(arguments) == 2 and isinstance(arguments[0], Vector):
                return arguments[0](*arguments) if arguments[0] == arguments[1] else None
            return None

    @lower_builtin(symbol, Vector, Vector)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register(_symbol, _instruction)


@njit(nogil=True)
def clear(array):
    """Fill with zeros; an assignment to a slice would take Numba ten times as long to compile."""
    for i in range(array.size):
        array[i] = 0


@njit(nogil=True)
def aligned(size, dtype):
    """Return an uninitialised flat array that starts on a cache line."""
    space = np.empty(size + BYTES // 4, dtype)
    skip = (-space.ctypes.data % BYTES) // space.itemsize
    return space[skip : skip + size]
