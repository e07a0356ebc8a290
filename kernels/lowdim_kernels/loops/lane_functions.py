"""Functions of whole vectors, lane by lane."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from lowdim_kernels.loops.lanes import Vector, intrinsic


def _function(name: str, arity: int) -> Any:
    """Return LLVM's element-wise function of that name."""
    if arity == 1:

        @intrinsic
        def call(typing_context, a):
            return a(a), _calling(name, a, arity)
    elif arity == 2:

        @intrinsic
        def call(typing_context, a, b):
            return a(a, a), _calling(name, a, arity)
    else:

        @intrinsic
        def call(typing_context, a, b, c):
            return a(a, a, a), _calling(name, a, arity)

    return call


def _calling(name: str, kind: Vector, arity: int) -> Callable[..., Any]:
    def generate(context, builder, signature, arguments):
        vector = context.get_value_type(kind)
        suffix = f"v{kind.count}f{kind.element.bitwidth}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * arity), f"llvm.{name}.{suffix}"
        )
        return builder.call(function, arguments)

    return generate


fma = _function("fma", 3)
root = _function("sqrt", 1)
magnitude = _function("fabs", 1)
largest = _function("maxnum", 2)
smallest = _function("minnum", 2)
with_sign = _function("copysign", 2)


@intrinsic
def where_less(typing_context, a, b, yes, no):
    """Return `yes` in the lanes where a < b, else `no`; NaN is not less."""

    def generate(context, builder, signature, arguments):
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered("<", a, b), yes, no)

    return a(a, a, a, a), generate


@intrinsic
def power_of_two(typing_context, shifted):
    """Return 2^n of integers n that were rounded by adding 1.5 * 2^(bits of the fraction)."""
    fraction = 23 if shifted.element == types.float32 else 52

    def generate(context, builder, signature, arguments):
        kind = ir.VectorType(ir.IntType(shifted.element.bitwidth), shifted.count)
        bits = builder.bitcast(arguments[0], kind)
        moved = builder.shl(bits, ir.Constant(kind, [fraction] * shifted.count))
        one = builder.bitcast(
            ir.Constant(context.get_value_type(shifted), [1.0] * shifted.count), kind
        )
        return builder.bitcast(builder.add(moved, one), context.get_value_type(shifted))

    return shifted(shifted), generate
