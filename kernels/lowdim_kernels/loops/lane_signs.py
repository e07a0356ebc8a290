"""Signs pushed one after another into the bits of each lane, to count how often they change."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from lowdim_kernels.loops.lanes import Vector, intrinsic


class Bits(types.Type):
    """The type of 64 or 32 bits in each lane: signs pushed one after another."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        super().__init__(f"Bits({vector.name})")


@register_model(Bits)
class _BitsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Bits) -> None:
        super().__init__(manager, kind, _bits(kind.vector))


def _bits(kind: Vector) -> Any:
    return ir.VectorType(ir.IntType(kind.element.bitwidth), kind.count)


@intrinsic
def no_bits(typing_context, like):
    """Return bits that are all zero, for the lanes of a vector like the first argument."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_bits(like), [0] * like.count)

    return Bits(like)(like), generate


@intrinsic
def push_sign(typing_context, bits, value):
    """Return the bits moved up by one, the sign of the value the lowest."""

    def generate(context, builder, signature, arguments):
        kind = _bits(value)
        name = f"llvm.fshl.v{value.count}i{value.element.bitwidth}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), name
        )
        signs = builder.bitcast(arguments[1], kind)
        return builder.call(function, [arguments[0], signs, ir.Constant(kind, [1] * value.count)])

    return bits(bits, value), generate


@intrinsic
def sign_changes(typing_context, bits, like, pushes):
    """Return, as floats, how often the sign changed in the last few pushes."""

    def generate(context, builder, signature, arguments):
        kind = _bits(like)
        width = like.element.bitwidth
        name = f"llvm.ctpop.v{like.count}i{width}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), name
        )
        ones = ir.Constant(kind, [1] * like.count)
        changed = builder.xor(arguments[0], builder.lshr(arguments[0], ones))
        one = ir.Constant(ir.IntType(width), 1)
        count = context.cast(builder, arguments[2], pushes, types.int64)
        count = builder.trunc(count, one.type) if width < 64 else count
        mask = builder.sub(builder.shl(one, count), one)
        mask = builder.insert_element(
            ir.Constant(kind, ir.Undefined), mask, ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), like.count), [0] * like.count)
        changed = builder.and_(changed, builder.shuffle_vector(mask, mask, zeros))
        return builder.sitofp(builder.call(function, [changed]), context.get_value_type(like))

    return like(bits, like, pushes), generate
