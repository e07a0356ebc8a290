"""Elementary functions on vectors: Cody and Waite's reduction, then a Taylor polynomial."""

from __future__ import annotations

import math

from llvmlite import ir

from .library_emitter import Emitter

_ESTIMATED_LANES = 16
# the smallest x whose estimate is finite and normal
_SMALLEST = 1e-37


def exponential_parts(e: Emitter, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return (2^n, q) with exp(x) = 2^n (1 + q); x is clamped to where exp is normal."""
    builder = e.builder
    limit, high, low, degree = (
        (87.0, 0.693359375, -2.12194440e-4, 7)
        if e.is_single
        else (708.0, 6.93147180369123816490e-01, 1.90821492927058770002e-10, 13)
    )
    mantissa, bias = (23, 127) if e.is_single else (52, 1023)
    x = e.at_least(e.at_most(x, e.constant(limit)), e.constant(-limit))
    magic = e.constant(1.5 * 2.0**mantissa)
    shifted = e.multiply_add(x, e.constant(1 / math.log(2.0)), magic)
    rounded = builder.fsub(shifted, magic)
    remainder = e.multiply_add(rounded, e.constant(-high), x)
    remainder = e.multiply_add(rounded, e.constant(-low), remainder)
    polynomial = e.constant(1 / math.factorial(degree))
    for power in range(degree - 1, 0, -1):
        factor = e.constant(1 / math.factorial(power))
        polynomial = e.multiply_add(polynomial, remainder, factor)
    bits = builder.bitcast(shifted, e.integer_vector)
    exponent = builder.shl(builder.add(bits, e.integers(bias)), e.integers(mantissa))
    return builder.bitcast(exponent, e.vector), builder.fmul(polynomial, remainder)


def exponential(e: Emitter, x: ir.Value) -> ir.Value:
    scale, part = exponential_parts(e, x)
    return e.multiply_add(scale, part, scale)


def logarithm(e: Emitter, x: ir.Value) -> ir.Value:
    """Return log(x) for normal positive x, through 2 artanh((m - 1) / (m + 1))."""
    builder = e.builder
    mantissa, terms = (23, 5) if e.is_single else (52, 11)
    half = 0x3F3504F3 if e.is_single else 0x3FE6A09E667F3BCD
    bits = builder.bitcast(x, e.integer_vector)
    exponent = builder.ashr(builder.sub(bits, e.integers(half)), e.integers(mantissa))
    scaled = builder.sub(bits, builder.shl(exponent, e.integers(mantissa)))
    m = builder.bitcast(scaled, e.vector)
    one = e.constant(1.0)
    ratio = builder.fdiv(builder.fsub(m, one), builder.fadd(m, one))
    square = builder.fmul(ratio, ratio)
    series = e.constant(2 / (2 * terms - 1))
    for term in range(terms - 2, -1, -1):
        series = e.multiply_add(series, square, e.constant(2 / (2 * term + 1)))
    # x * 0 carries a NaN of x, which the integer arithmetic above would hide
    seen = e.multiply_add(x, e.constant(0.0), builder.fmul(series, ratio))
    exponent = builder.sitofp(exponent, e.vector)
    return e.multiply_add(exponent, e.constant(math.log(2.0)), seen)


def reciprocal(e: Emitter, x: ir.Value) -> ir.Value:
    """Return 1 / x for normal x; from an estimate and one step of Newton where that is faster.

    Its error is then 1.5 units in the last place, and an infinite x gives NaN.
    """
    if not _has_estimates(e):
        return e.builder.fdiv(e.constant(1.0), x)
    guess = _estimate(e, "rcp14", x)
    error = e.multiply_add(e.builder.fneg(x), guess, e.constant(1.0))
    return e.multiply_add(guess, error, guess)


def square_root(e: Emitter, x: ir.Value) -> ir.Value:
    """Return sqrt(x) for x >= 0, by an estimate of 1 / sqrt(x) where that is faster."""
    if not _has_estimates(e):
        return e.square_root(x)
    b = e.builder
    guess = _estimate(e, "rsqrt14", e.at_least(x, e.constant(_SMALLEST)))
    root, half = b.fmul(x, guess), b.fmul(guess, e.constant(0.5))
    error = e.multiply_add(b.fneg(root), half, e.constant(0.5))
    return e.multiply_add(root, error, root)


def _has_estimates(e: Emitter) -> bool:
    return e.is_single and e.lanes == _ESTIMATED_LANES and e.target.has("avx512f")


def _estimate(e: Emitter, name: str, x: ir.Value) -> ir.Value:
    """Return AVX-512's estimate with 14 bits."""
    mask = ir.IntType(_ESTIMATED_LANES)
    kinds = [e.vector, e.vector, mask]
    function = e.intrinsic(f"llvm.x86.avx512.{name}.ps.512", e.vector, kinds)
    return e.builder.call(function, [x, e.constant(0.0), ir.Constant(mask, -1)])


def sigmoid(e: Emitter, x: ir.Value) -> ir.Value:
    one = e.constant(1.0)
    negative = e.builder.fsub(e.constant(-0.0), x)
    return reciprocal(e, e.builder.fadd(one, exponential(e, negative)))


def tanh(e: Emitter, x: ir.Value) -> ir.Value:
    """Return tanh(x) as e / (e + 2), e = exp(2x) - 1 without cancellation near zero."""
    builder = e.builder
    bound = e.constant(10.0 if e.is_single else 20.0)
    x = e.at_least(e.at_most(x, bound), builder.fsub(e.constant(-0.0), bound))
    scale, part = exponential_parts(e, builder.fadd(x, x))
    less_one = builder.fsub(scale, e.constant(1.0))
    excess = e.multiply_add(scale, part, less_one)
    return builder.fmul(excess, reciprocal(e, builder.fadd(excess, e.constant(2.0))))
