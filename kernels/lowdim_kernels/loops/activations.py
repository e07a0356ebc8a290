"""Activations of whole vectors, with their derivatives."""

from math import log

import numpy as np
from numba import types
from numba.extending import overload

from lowdim_kernels.loops.compilation import kernel
from lowdim_kernels.loops.lane_functions import fma, power_of_two, where_less
from lowdim_kernels.loops.lanes import Vector, splat

SILU, RELU, TANH = range(3)
_LOG2_E = 1 / log(2)
# ln 2 in two parts, the first with zeros at its end, so that n times it is exact.
_LN2 = {
    np.float32: (0.693359375, -2.12194440e-4),
    np.float64: (0.693145751953125, 1.42860682030941723212e-6),
}
_RANGE = {np.float32: (-87.0, 88.0), np.float64: (-708.0, 709.0)}
_SHIFT = {np.float32: 1.5 * 2**23, np.float64: 1.5 * 2**52}


def _constants_of(vector, table):
    return table[np.float32 if vector.element == types.float32 else np.float64]


def exponential(x):
    """Return e^x, cut off where it would overflow; NaN stays."""
    raise NotImplementedError("for use inside compiled loops")


@overload(exponential)
def _exponential(x):
    if not isinstance(x, Vector):
        return None
    high, low = _constants_of(x, _LN2)
    least, most = _constants_of(x, _RANGE)
    shift = _constants_of(x, _SHIFT)
    terms = 6 if x.element == types.float32 else 13
    coefficients = tuple(1 / float(np.prod(np.arange(1.0, k + 1))) for k in range(terms, -1, -1))
    first, rest = coefficients[0], coefficients[1:]

    def compiled(x):
        x = where_less(x, splat(x, least), splat(x, least), x)
        x = where_less(splat(x, most), x, splat(x, most), x)
        shifted = fma(x, splat(x, _LOG2_E), splat(x, shift))
        n = shifted - splat(x, shift)
        r = fma(n, splat(x, -low), fma(n, splat(x, -high), x))
        total = splat(x, first)
        for c in rest:
            total = fma(total, r, splat(x, c))
        return total * power_of_two(shifted)

    return compiled


@kernel
def activation(z, kind):
    """Return the activation of z and its derivative there."""
    zero, one = splat(z, 0.0), splat(z, 1.0)
    if kind == RELU:
        step = where_less(zero, z, one, zero)
        return where_less(z, zero, zero, z), step
    if kind == TANH:
        two = one + one
        t = one - two / (exponential(z * two) + one)
        return t, one - t * t
    s = one / (one + exponential(zero - z))
    value = z * s
    return value, fma(value, one - s, s)
