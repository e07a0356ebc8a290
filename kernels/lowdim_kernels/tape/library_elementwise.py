"""Operations on whole vectors: activations, sums, copies, and the element-wise network phi."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from llvmlite import ir

from .library_control import INT32, index
from .library_emitter import Emitter
from .library_functions import sigmoid, tanh


def mapped(function: Callable, operands: int) -> Callable:
    """Return the body of out = function(e, left[, right])."""

    def body(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
        inputs = (f.left, f.right)[:operands] if operands == 2 else (f.left,)

        def at_vector(i, _):
            values = [e.load(e.step_by(place, i, e.vector_bytes)) for place in inputs]
            e.store(function(e, *values), e.step_by(f.out, i, e.vector_bytes))

        e.loop(f.vectors, [], at_vector)

    return body


def relu(e: Emitter, x: ir.Value) -> ir.Value:
    return e.at_least(x, e.constant(0.0))


def silu(e: Emitter, x: ir.Value) -> ir.Value:
    return e.builder.fmul(x, sigmoid(e, x))


def relu_backward(e: Emitter, gradient: ir.Value, activation: ir.Value) -> ir.Value:
    above = e.builder.fcmp_ordered(">", activation, e.constant(0.0))
    return e.builder.select(above, gradient, e.constant(0.0))


def tanh_backward(e: Emitter, gradient: ir.Value, activation: ir.Value) -> ir.Value:
    """Return gradient * (1 - activation^2)."""
    square = e.builder.fmul(activation, activation)
    return e.builder.fmul(gradient, e.builder.fsub(e.constant(1.0), square))


def silu_backward(e: Emitter, gradient: ir.Value, x: ir.Value) -> ir.Value:
    """Return gradient * s (1 + x (1 - s)) with s the sigmoid of x."""
    s = sigmoid(e, x)
    rest = e.builder.fsub(e.constant(1.0), s)
    slope = e.builder.fmul(s, e.multiply_add(x, rest, e.constant(1.0)))
    return e.builder.fmul(gradient, slope)


def multiply(e: Emitter, left: ir.Value, right: ir.Value) -> ir.Value:
    return e.builder.fmul(left, right)


def combine(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out = left_factor left + right_factor right."""
    factors = [e.splat(e.narrowed(bits)) for bits in (f.left_factor, f.right_factor)]

    def at_vector(i, _):
        left = e.load(e.step_by(f.left, i, e.vector_bytes))
        right = e.load(e.step_by(f.right, i, e.vector_bytes))
        value = e.multiply_add(left, factors[0], e.builder.fmul(right, factors[1]))
        e.store(value, e.step_by(f.out, i, e.vector_bytes))

    e.loop(f.vectors, [], at_vector)


def fill(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    value = e.splat(e.narrowed(f.value))
    e.loop(f.vectors, [], lambda i, _: e.store(value, e.step_by(f.out, i, e.vector_bytes)))


def copy(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out[i, j] = source[i, j], by vectors where both rows are contiguous."""
    b = e.builder
    size = index(e.size)
    contiguous = b.and_(
        b.icmp_signed("==", f.source_column, size), b.icmp_signed("==", f.out_column, size)
    )
    whole = b.and_(f.columns, index(-e.lanes))
    whole = b.select(contiguous, whole, index(0))

    def row(i, _):
        source = e.step_by(f.source, i, f.source_row)
        out = e.step_by(f.out, i, f.out_row)

        def vector(j, _):
            e.store(e.load(e.step_by(source, j, e.size)), e.step_by(out, j, e.size))

        e.loop_or_none(whole, [], vector, step=e.lanes)

        def single(j, _):
            value = e.load_element(e.step_by(source, j, f.source_column))
            e.store(value, e.step_by(out, j, f.out_column))

        e.loop_or_none(f.columns, [], single, start=whole)

    e.loop(f.rows, [], row)


class Phi:
    """phi(t) = c + sum over units of a2 f(a1 t + b1); what f' needs is stored, unit by unit."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def forward(self, e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
        """Emit out = phi(x)."""
        stored_unit = e.builder.mul(f.vectors, index(e.vector_bytes))

        def block(i, _):
            distance = e.builder.mul(i, index(e.vector_bytes))
            x = e.load(e.builder.add(f.x, distance))
            kept = e.builder.add(f.stored, distance)

            def unit(k, carried):
                a1, b1, a2 = self._weights(e, f.weights, k)
                value, keep = self._value(e, e.multiply_add(x, a1, b1))
                e.store(keep, e.step_by(kept, k, stored_unit))
                return [e.multiply_add(a2, value, carried[0])]

            constant = e.load_splat(e.step_by(f.weights, f.units, 3 * e.size))
            total = e.loop(f.units, [constant], unit)[0]
            e.store(total, e.builder.add(f.out, distance))

        e.loop(f.vectors, [], block)

    def backward(self, e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
        """Emit slope = gradient phi'(x), and the gradient of the weights."""
        b = e.builder
        stored_unit = b.mul(f.vectors, index(e.vector_bytes))
        zero = e.constant(0.0)

        def put(total, k, part):
            place = e.step_by(f.weight_gradient, k, 3 * e.size)
            e.store(b.extract_element(total, ir.Constant(INT32, part)), e.at(place, part * e.size))

        def unit(k, _):
            a1, b1, a2 = self._weights(e, f.weights, k)
            kept = e.step_by(f.stored, k, stored_unit)
            first = b.icmp_signed("==", k, index(0))

            def block(i, carried):
                distance = b.mul(i, index(e.vector_bytes))
                x = e.load(b.add(f.x, distance))
                gradient = e.load(b.add(f.gradient, distance))
                keep = e.load(b.add(kept, distance))
                value, slope = self._slope(e, e.multiply_add(x, a1, b1), keep)
                inner = b.fmul(b.fmul(gradient, a2), slope)
                before = b.select(first, zero, e.load(b.add(f.slope, distance)))
                e.store(e.multiply_add(inner, a1, before), b.add(f.slope, distance))
                return [
                    e.multiply_add(inner, x, carried[0]),
                    b.fadd(inner, carried[1]),
                    e.multiply_add(gradient, value, carried[2]),
                    b.fadd(gradient, carried[3]),
                ]

            sums = e.loop(f.vectors, [zero] * 4, block)
            totals = e.four_sums(sums)
            for part in range(3):
                put(totals, k, part)
            last = b.extract_element(totals, ir.Constant(INT32, 3))
            e.store(last, e.step_by(f.weight_gradient, f.units, 3 * e.size))

        e.loop(f.units, [], unit)

    def _weights(self, e: Emitter, weights: ir.Value, unit: ir.Value) -> list[ir.Value]:
        place = e.step_by(weights, unit, 3 * e.size)
        return [e.load_splat(e.at(place, part * e.size)) for part in range(3)]

    def _value(self, e: Emitter, z: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return f(z) and what is kept of it."""
        if self.activation == "silu":
            s = sigmoid(e, z)
            return e.builder.fmul(z, s), s
        value = tanh(e, z) if self.activation == "tanh" else relu(e, z)
        return value, value

    def _slope(self, e: Emitter, z: ir.Value, keep: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return f(z) and f'(z) from z and what was kept."""
        one = e.constant(1.0)
        if self.activation == "silu":
            value = e.builder.fmul(z, keep)
            rest = e.builder.fsub(one, value)
            return value, e.multiply_add(keep, rest, value)
        if self.activation == "tanh":
            return keep, e.builder.fsub(one, e.builder.fmul(keep, keep))
        return keep, relu_backward(e, one, keep)
