"""Update rules over all parameters at once, and the scalars that a step reports of its gradient."""

from __future__ import annotations

from types import SimpleNamespace

from .library_context import load_schedule, store_output
from .library_control import index
from .library_emitter import Emitter
from .library_functions import reciprocal, square_root
from .records_training import HYPERPARAMETERS


def _hyperparameters(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> SimpleNamespace:
    """Return splats of one group's columns of the step's schedule."""
    b = e.builder
    start = b.add(b.mul(f.group, index(len(HYPERPARAMETERS))), index(1))
    columns = enumerate(HYPERPARAMETERS)
    return SimpleNamespace(
        **{name: e.splat(load_schedule(e, run, e.at(start, number))) for number, name in columns}
    )


def adam(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit Adam, with weight decay in the gradient (L2) or as a shrinking factor (AdamW).

    step = rate / (1 - beta1^t), inverse_root = 1 / sqrt(1 - beta2^t): as torch computes it.
    """
    b = e.builder
    h = _hyperparameters(e, f, run)

    def at_vector(i, _):
        distance = b.mul(i, index(e.vector_bytes))
        parameter = e.load(b.add(f.parameters, distance))
        gradient = e.load(b.add(f.gradient, distance))
        gradient = e.multiply_add(h.weight_decay, parameter, gradient)
        first = e.load(b.add(f.first, distance))
        first = e.multiply_add(first, h.beta1, b.fmul(h.rest1, gradient))
        second = e.load(b.add(f.second, distance))
        square = b.fmul(b.fmul(h.rest2, gradient), gradient)
        second = e.multiply_add(second, h.beta2, square)
        e.store(first, b.add(f.first, distance))
        e.store(second, b.add(f.second, distance))
        scale = e.multiply_add(square_root(e, second), h.inverse_root, h.epsilon)
        change = b.fmul(b.fmul(h.step, first), reciprocal(e, scale))
        value = b.fsub(b.fmul(parameter, h.shrink), change)
        e.store(value, b.add(f.parameters, distance))

    e.loop(f.vectors, [], at_vector)


def sgd(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit SGD with momentum and weight decay; the schedule says how much of each is taken."""
    b = e.builder
    h = _hyperparameters(e, f, run)

    def at_vector(i, _):
        distance = b.mul(i, index(e.vector_bytes))
        parameter = e.load(b.add(f.parameters, distance))
        gradient = e.load(b.add(f.gradient, distance))
        gradient = e.multiply_add(h.weight_decay, parameter, gradient)
        momentum = e.load(b.add(f.momentum, distance))
        momentum = e.multiply_add(momentum, h.momentum, gradient)
        e.store(momentum, b.add(f.momentum, distance))
        change = e.multiply_add(momentum, h.from_momentum, b.fmul(gradient, h.from_gradient))
        shrunk = b.fmul(parameter, h.shrink)
        change = b.fmul(h.step, change)
        e.store(b.fsub(shrunk, change), b.add(f.parameters, distance))

    e.loop(f.vectors, [], at_vector)


def gradient_statistics(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit the gradient's square and its product with the previous one, which it then becomes."""
    b = e.builder
    zero = e.constant(0.0)

    def both(i, carried):
        distance = b.mul(i, index(e.vector_bytes))
        gradient = e.load(b.add(f.gradient, distance))
        previous = e.load(b.add(f.previous, distance))
        e.store(gradient, b.add(f.previous, distance))
        square = e.multiply_add(gradient, gradient, carried[0])
        return [square, e.multiply_add(gradient, previous, carried[1])]

    square, product = e.loop(f.vectors, [zero, zero], both)
    store_output(e, run, "gradient_square", e.total(square))
    store_output(e, run, "gradient_product", e.total(product))
