"""Losses: each writes the step's loss and, in place, the gradient of what it was given."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_context import load_schedule, store_output
from .library_control import index
from .library_emitter import Emitter
from .library_functions import exponential, logarithm


def cross_entropy(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> ir.Value:
    """Emit softmax and cross-entropy over the rows of logits; label -1 marks no sample.

    Outputs: loss (times the schedule's scale) and how many labels are the first largest logit.
    """
    b = e.builder
    scale = load_schedule(e, run, 0)
    scales = e.splat(scale)
    zero, one = e.constant(0.0), e.constant(1.0)

    def columns(v, carried):
        distance = b.mul(v, index(e.vector_bytes))
        labels = e.load(b.add(f.labels, distance), e.integer_vector)
        first = b.add(f.logits, distance)

        def greatest(c, carried):
            largest, best, chosen = carried
            number = e.splat(b.trunc(c, e.integer) if e.is_single else c, e.integer_vector)
            z = e.load(e.step_by(first, c, f.logits_row))
            is_label = b.icmp_signed("==", labels, number)
            best = b.select(b.fcmp_ordered(">", z, largest), number, best)
            return [e.at_least(z, largest), best, b.select(is_label, z, chosen)]

        start = [e.constant(float("-inf")), e.integers(0), zero]
        largest, best, chosen = e.loop(f.classes, start, greatest)

        def exponentials(c, carried):
            place = e.step_by(first, c, f.logits_row)
            value = exponential(e, b.fsub(e.load(place), largest))
            e.store(value, place)
            return [b.fadd(carried[0], value)]

        sums = e.loop(f.classes, [zero], exponentials)[0]
        present = b.icmp_signed(">=", labels, e.integers(0))
        factor = b.select(present, scales, zero)
        inverse = b.fdiv(factor, sums)

        def gradients(c, _):
            place = e.step_by(first, c, f.logits_row)
            number = e.splat(b.trunc(c, e.integer) if e.is_single else c, e.integer_vector)
            target = b.select(b.icmp_signed("==", labels, number), factor, zero)
            value = b.fsub(b.fmul(e.load(place), inverse), target)
            e.store(b.select(present, value, zero), place)

        e.loop(f.classes, [], gradients)
        loss = b.fadd(logarithm(e, sums), b.fsub(largest, chosen))
        right = b.select(b.icmp_signed("==", labels, best), one, zero)
        return [
            b.fadd(carried[0], b.select(present, loss, zero)),
            b.fadd(carried[1], right),
        ]

    loss, right = e.loop(f.vectors, [zero, zero], columns)
    store_output(e, run, "correct", e.total(right))
    return _finished(e, run, b.fmul(e.total(loss), scale))


def squared_error(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> ir.Value:
    """Emit factor * scale * sum of valid (prediction - target)^2, and its gradient in place."""
    b = e.builder
    scale = b.fmul(load_schedule(e, run, 0), e.narrowed(f.factor))
    twice = e.splat(b.fadd(scale, scale))
    zero = e.constant(0.0)

    def row(i, carried):
        def columns(v, carried):
            distance = b.mul(v, index(e.vector_bytes))
            place = b.add(e.step_by(f.predictions, i, f.predictions_row), distance)
            target = e.load(b.add(e.step_by(f.targets, i, f.targets_row), distance))
            absent = b.fcmp_ordered("==", e.load(b.add(f.valid, distance)), zero)
            error = b.select(absent, zero, b.fsub(e.load(place), target))
            e.store(b.fmul(error, twice), place)
            return [e.multiply_add(error, error, carried[0])]

        return e.loop(f.vectors, carried, columns)

    sums = e.loop(f.rows, [zero], row)
    return _finished(e, run, b.fmul(e.total(sums[0]), scale))


def inner_loss(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> ir.Value:
    """Emit factor * scale * sum of left right."""
    b = e.builder
    scale = b.fmul(load_schedule(e, run, 0), e.narrowed(f.factor))

    def along(i, carried):
        left = e.load(e.step_by(f.left, i, e.vector_bytes))
        right = e.load(e.step_by(f.right, i, e.vector_bytes))
        return [e.multiply_add(left, right, carried[0])]

    sums = e.loop(f.vectors, [e.constant(0.0)], along)
    return _finished(e, run, b.fmul(e.total(sums[0]), scale))


def _finished(e: Emitter, run: SimpleNamespace, loss: ir.Value) -> ir.Value:
    """Store the loss; return 1, which stops the call, where it is not finite."""
    store_output(e, run, "loss", loss)
    difference = e.builder.fsub(loss, loss)
    finite = e.builder.fcmp_ordered("==", difference, ir.Constant(e.element, 0.0))
    return e.builder.select(finite, index(0), index(1))
