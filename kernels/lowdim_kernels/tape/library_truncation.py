"""Cholesky factor, its inverse, and one-sided Jacobi rotations, on matrices of a few vectors."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_context import load_schedule
from .library_control import index
from .library_emitter import Emitter
from .library_square import Square, inverse_where, scalar
from .records_training import HYPERPARAMETERS

# a column whose square falls below this share of it, once the others are taken out, is dropped
_DROPPED = {"float32": 1e-6, "float64": 1e-13}
# rows whose cosine is below this need no rotation
_ORTHOGONAL = {"float32": 1e-5, "float64": 1e-12}


def cholesky(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit matrix := R, upper triangular, where D matrix D = R^T R with D = diag(scales).

    D makes the diagonal one. A column that depends on those before it becomes zero. `unscaled`:
    R D^-1 instead, divided by its largest column norm.
    """
    b = e.builder
    square = Square(e, f)
    size = square.size
    smallest = 1e-36 if e.is_single else 1e-290

    def scale(i, carried):
        value = e.load_element(square.entry(f.matrix, i, i))
        e.store(inverse_where(e, value, smallest, root=True), e.step_by(f.scales, i, e.size))
        larger = b.fcmp_ordered(">", value, carried[0])
        return [b.select(larger, value, carried[0])]

    largest = e.loop(size, [scalar(e, 0.0)], scale)[0]

    def scaled(i, _):
        factor = e.load_splat(e.step_by(f.scales, i, e.size))
        row = square.row(f.matrix, i)
        square.each_vector(lambda v, x, s: b.fmul(b.fmul(x, factor), s), row, f.scales)

    e.loop(size, [], scaled)

    def pivot(j, _):
        row = square.row(f.matrix, j)
        value = e.load_element(e.step_by(row, j, e.size))
        factor = e.splat(inverse_where(e, value, _DROPPED[e.target.element], root=True))
        first = square.number(j)

        def upper(v, x):
            inside = b.icmp_signed(">=", square.columns(v), first)
            return b.select(inside, b.fmul(x, factor), e.constant(0.0))

        square.each_vector(upper, row)

        def below(i, _):
            share = b.fneg(e.load_splat(e.step_by(row, i, e.size)))
            other = square.row(f.matrix, i)
            square.each_vector(lambda v, x, r: e.multiply_add(share, r, x), other, row)

        e.loop_or_none(size, [], below, start=b.add(j, index(1)))

    e.loop(size, [], pivot)

    def unscale():
        whole = e.splat(inverse_where(e, largest, smallest, root=True))

        def row(i, _):
            def change(v, x, s):
                absent = b.fcmp_ordered("==", s, e.constant(0.0))
                safe = b.select(absent, e.constant(1.0), s)
                return b.fdiv(b.fmul(x, whole), safe)

            square.each_vector(change, square.row(f.matrix, i), f.scales)

        e.loop(size, [], row)

    e.instead(b.icmp_signed("!=", f.unscaled, index(0)), [], unscale)


def triangular_inverse(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out = D R^-1, columns zero where R has them zero, by substitution from below."""
    b = e.builder
    square = Square(e, f)
    size = square.size

    def row_from_below(t, _):
        i = b.sub(b.sub(size, index(1)), t)
        row, mine = square.row(f.out, i), square.number(i)

        def unit(v, _):
            here = b.icmp_signed("==", square.columns(v), mine)
            return b.select(here, e.constant(1.0), e.constant(0.0))

        square.each_vector(unit, row)

        def substitute(j, _):
            share = b.fneg(e.load_splat(square.entry(f.factor, i, j)))
            square.each_vector(
                lambda v, x, y: e.multiply_add(share, y, x), row, square.row(f.out, j)
            )

        e.loop_or_none(size, [], substitute, start=b.add(i, index(1)))
        pivot = e.load_element(square.entry(f.factor, i, i))
        factor = e.splat(inverse_where(e, pivot, 0.0, root=False))
        square.each_vector(lambda v, x: b.fmul(x, factor), row)

    e.loop(size, [], row_from_below)

    def scaled(i, _):
        factor = e.load_splat(e.step_by(f.scales, i, e.size))
        square.each_vector(lambda v, x: b.fmul(x, factor), square.row(f.out, i))

    e.loop(size, [], scaled)


def leading_rows(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit Jacobi rotations until rows are orthogonal; out = those of the schedule's rank.

    A leading row is divided by its squared norm, the others become zero: rows^T out is then the
    projector on the leading right singular directions.
    """
    b = e.builder
    square = Square(e, f)
    size = square.size
    tolerance = _ORTHOGONAL[e.target.element] ** 2

    def norms():
        def row(i, _):
            place = square.row(f.rows, i)
            e.store(square.dot(place, place), e.step_by(f.norms, i, e.size))

        e.loop(size, [], row)

    def sweep(_, carried):
        def rotations():
            norms()
            last = b.sub(size, index(1))
            return e.loop_or_none(last, [index(0)], first)

        again = b.icmp_signed(">", carried[0], index(0))
        return e.instead(again, [index(0)], rotations)

    def first(p, carried):
        return e.loop(
            size,
            carried,
            lambda r, done: _rotated(e, f, square, tolerance, p, r, done),
            start=b.add(p, index(1)),
        )

    e.loop(f.sweeps, [index(1)], sweep)
    norms()
    column = e.at(b.mul(f.group, index(len(HYPERPARAMETERS))), 1 + HYPERPARAMETERS.index("rank"))
    rank = load_schedule(e, run, column)

    def select(i, _):
        norm = e.load_element(e.step_by(f.norms, i, e.size))
        wide, mine = e.splat(norm), square.number(i)

        def larger(v, carried):
            others = e.load(e.step_by(f.norms, v, e.vector_bytes))
            tie = b.and_(
                b.fcmp_ordered("==", others, wide),
                b.icmp_signed("<", square.columns(v), mine),
            )
            before = b.or_(b.fcmp_ordered(">", others, wide), tie)
            one = b.select(before, e.constant(1.0), e.constant(0.0))
            return [b.fadd(carried[0], one)]

        count = e.total(e.loop(f.vectors, [e.constant(0.0)], larger)[0])
        leads = b.fcmp_ordered("<", count, rank)
        weight = inverse_where(e, norm, 0.0, root=False)
        weight = e.splat(b.select(leads, weight, scalar(e, 0.0)))
        square.each_vector(
            lambda v, x: b.fmul(x, weight), square.row(f.rows, i), out=square.row(f.out, i)
        )

    e.loop(size, [], select)


def _rotated(
    e: Emitter,
    f: SimpleNamespace,
    square: Square,
    tolerance: float,
    p: ir.Value,
    r: ir.Value,
    carried: list[ir.Value],
) -> list[ir.Value]:
    """Emit one rotation of rows p and r, if they are not orthogonal; count it."""
    b = e.builder
    one, two = scalar(e, 1.0), scalar(e, 2.0)
    left, right = square.row(f.rows, p), square.row(f.rows, r)
    at_left, at_right = (e.step_by(f.norms, i, e.size) for i in (p, r))
    a, c = e.load_element(at_left), e.load_element(at_right)
    product = square.dot(left, right)
    bound = b.fmul(b.fmul(scalar(e, tolerance), a), c)
    needed = b.fcmp_ordered(">", b.fmul(product, product), bound)

    def rotate():
        ratio = b.fdiv(b.fsub(c, a), b.fmul(two, product))
        negative = b.fcmp_ordered("<", ratio, scalar(e, 0.0))
        size = b.select(negative, b.fneg(ratio), ratio)
        root = e.square_root(e.multiply_add(size, size, one))
        tangent = b.fdiv(one, b.fadd(size, root))
        tangent = b.select(negative, b.fneg(tangent), tangent)
        cosine = b.fdiv(one, e.square_root(e.multiply_add(tangent, tangent, one)))
        sine = b.fmul(cosine, tangent)
        cosines, sines = e.splat(cosine), e.splat(sine)

        def at_vector(v, _):
            places = [e.step_by(row, v, e.vector_bytes) for row in (left, right)]
            x, y = (e.load(place) for place in places)
            e.store(b.fsub(b.fmul(cosines, x), b.fmul(sines, y)), places[0])
            e.store(e.multiply_add(sines, x, b.fmul(cosines, y)), places[1])

        e.loop(square.vectors, [], at_vector)
        moved = b.fmul(tangent, product)
        e.store(b.fsub(a, moved), at_left)
        e.store(b.fadd(c, moved), at_right)
        return [b.add(carried[0], index(1))]

    return e.instead(needed, carried, rotate)
