"""Leading eigenvectors of interleaved tridiagonal matrices: eight matrices, one a lane.

Eigenvalues by bisection on Sturm counts, eigenvectors by twisted factorisation (Dhillon and
Parlett 2004). Number i of an interleaved array starts at 8 i.
"""

from lowdim_kernels.loops.compilation import part
from lowdim_kernels.loops.lane_functions import (
    fma,
    largest,
    magnitude,
    root,
    smallest,
    where_less,
    with_sign,
)
from lowdim_kernels.loops.lane_signs import no_bits, push_sign, sign_changes
from lowdim_kernels.loops.lanes import load, splat, store

W = 8
# Keeps Sturm sequences from ending at an exact zero.
LEAST_COUPLING = 1e-36
LEAST_PIVOT = 1e-150
# Of a spectrum in [0, 1]: below it an eigenvalue of a Gram matrix is rounding.
NEGLIGIBLE = 1e-14


@part
def normalise(d, e, squared, n, bound):
    """Divide a tridiagonal matrix by its Gershgorin bound, kept in `bound`; write -e^2."""
    zero = splat(load(d, 0), 0.0)
    before, top = zero, zero
    for i in range(n):
        after = magnitude(load(e, i * W)) if i + 1 < n else zero
        top = largest(top, magnitude(load(d, i * W)) + before + after)
        before = after
    one = splat(zero, 1.0)
    scale = where_less(zero, top, one / largest(top, splat(zero, LEAST_PIVOT)), one)
    store(bound, 0, one / scale)
    for i in range(n):
        store(d, i * W, load(d, i * W) * scale)
        if i + 1 < n:
            value = load(e, i * W) * scale
            store(e, i * W, value)
            store(squared, i * W, zero - largest(value * value, splat(zero, LEAST_COUPLING)))


@part
def eigenvalues(d, squared, n, count, rounds, values):
    """Write the `count` largest eigenvalues, descending, of a matrix with spectrum in [0, 1].

    Intervals are halved in the square roots: singular values are wanted equally well everywhere.
    """
    zero = splat(load(d, 0), 0.0)
    one = splat(zero, 1.0)
    half, two, three = splat(zero, 0.5), splat(zero, 2.0), splat(zero, 3.0)
    top = one
    for j in range(0, count, 4):
        low0, low1, low2, low3 = zero, zero, zero, zero
        high0, high1, high2, high3 = top, top, top, top
        wanted = splat(zero, n - j - 0.5)
        for _ in range(rounds):
            x0, x1 = (low0 + high0) * half, (low1 + high1) * half
            x2, x3 = (low2 + high2) * half, (low3 + high3) * half
            c0, c1, c2, c3 = _below(d, squared, n, x0 * x0, x1 * x1, x2 * x2, x3 * x3)
            c1, c2, c3 = c1 + one, c2 + two, c3 + three
            low0, high0 = where_less(c0, wanted, x0, low0), where_less(c0, wanted, high0, x0)
            low1, high1 = where_less(c1, wanted, x1, low1), where_less(c1, wanted, high1, x1)
            low2, high2 = where_less(c2, wanted, x2, low2), where_less(c2, wanted, high2, x2)
            low3, high3 = where_less(c3, wanted, x3, low3), where_less(c3, wanted, high3, x3)
        x0, x1 = (low0 + high0) * half, (low1 + high1) * half
        x2, x3 = (low2 + high2) * half, (low3 + high3) * half
        store(values, j * W, x0 * x0)
        store(values, j * W + W, x1 * x1)
        store(values, j * W + 2 * W, x2 * x2)
        store(values, j * W + 3 * W, x3 * x3)
        top = high3


@part
def _below(d, squared, n, x0, x1, x2, x3):
    """Return how many eigenvalues lie below each of four points, by sign changes."""
    zero = splat(x0, 0.0)
    c0, c1, c2, c3 = zero, zero, zero, zero
    one = splat(x0, 1.0)
    p0, p1, p2, p3 = one, one, one, one
    q0, q1, q2, q3 = zero, zero, zero, zero
    s0, s1, s2, s3 = no_bits(zero), no_bits(zero), no_bits(zero), no_bits(zero)
    coupling = zero
    for start in range(0, n, 8):
        stop = min(start + 8, n)
        for i in range(start, stop):
            di = load(d, i * W)
            r0, r1 = fma(di - x0, p0, coupling * q0), fma(di - x1, p1, coupling * q1)
            r2, r3 = fma(di - x2, p2, coupling * q2), fma(di - x3, p3, coupling * q3)
            s0, s1 = push_sign(s0, r0), push_sign(s1, r1)
            s2, s3 = push_sign(s2, r2), push_sign(s3, r3)
            q0, q1, q2, q3 = p0, p1, p2, p3
            p0, p1, p2, p3 = r0, r1, r2, r3
            coupling = load(squared, i * W)
        c0, c1 = (
            c0 + sign_changes(s0, zero, stop - start),
            c1 + sign_changes(s1, zero, stop - start),
        )
        c2, c3 = (
            c2 + sign_changes(s2, zero, stop - start),
            c3 + sign_changes(s3, zero, stop - start),
        )
        f0, f1, f2, f3 = _shrink(p0, q0), _shrink(p1, q1), _shrink(p2, q2), _shrink(p3, q3)
        p0, p1, p2, p3 = p0 * f0, p1 * f1, p2 * f2, p3 * f3
        q0, q1, q2, q3 = q0 * f0, q1 * f1, q2 * f2, q3 * f3
    return c0, c1, c2, c3


@part
def _shrink(p, q):
    """Return the factor that brings the larger of two numbers to size one."""
    return splat(p, 1.0) / largest(largest(magnitude(p), magnitude(q)), splat(p, LEAST_PIVOT))


@part
def eigenvector(d, e, n, value, z, down, up):
    """Write the vector of one eigenvalue, by a factorisation twisted where its pivot is least.

    Returns how far the vector's Rayleigh quotient lies above the value.
    """
    zero = splat(value, 0.0)
    one, tiny = splat(value, 1.0), splat(value, LEAST_PIVOT)
    pivot = _away_from_zero(load(d, 0) - value, tiny)
    store(z, 0, pivot)
    for i in range(n - 1):
        ratio = load(e, i * W) / pivot
        store(down, i * W, ratio)
        pivot = _away_from_zero(load(d, i * W + W) - value - load(e, i * W) * ratio, tiny)
        store(z, i * W + W, pivot)
    least, twist, signed = magnitude(pivot), splat(value, n - 1.0), pivot
    pivot = _away_from_zero(load(d, (n - 1) * W) - value, tiny)
    for i in range(n - 2, -1, -1):
        ratio = load(e, i * W) / pivot
        store(up, i * W, ratio)
        correction = load(e, i * W) * ratio
        gamma = load(z, i * W) - correction
        twist = where_less(magnitude(gamma), least, splat(value, i), twist)
        signed = where_less(magnitude(gamma), least, gamma, signed)
        least = magnitude(signed)
        pivot = _away_from_zero(load(d, i * W) - value - correction, tiny)
    current = zero
    for i in range(n - 1, -1, -1):
        here = splat(value, i)
        current = zero - load(down, i * W) * current if i + 1 < n else zero
        at_or_above = where_less(twist, here, zero, one)
        current = where_less(here, twist, current, at_or_above)
        store(z, i * W, where_less(magnitude(current), tiny, zero, current))
    square = load(z, 0) * load(z, 0)
    for i in range(1, n):
        here = splat(value, i)
        current = zero - load(up, i * W - W) * load(z, i * W - W)
        current = where_less(magnitude(current), tiny, zero, current)
        current = where_less(twist, here, current, load(z, i * W))
        square = fma(current, current, square)
        store(z, i * W, current)
    return signed / square


@part
def eigenvectors(d, e, n, count, rounds, passes, values, z, work):
    """Write the vectors of values that `rounds` halvings left, and correct the values by them."""
    width = splat(load(d, 0), 2.0**-rounds)
    floor = splat(width, NEGLIGIBLE)
    zero = splat(width, 0.0)
    for j in range(count):
        value = load(values, j * W)
        reach = where_less(value, floor, zero, width * (root(value) + width))
        for _ in range(passes):
            vector = z[j * n * W : (j + 1) * n * W]
            change = eigenvector(d, e, n, value, vector, work, work[n * W :])
            value = value + largest(zero - reach, smallest(reach, change))
        store(values, j * W, where_less(value, floor, zero, value))


@part
def _away_from_zero(pivot, tiny):
    return where_less(magnitude(pivot), tiny, with_sign(tiny, pivot), pivot)
