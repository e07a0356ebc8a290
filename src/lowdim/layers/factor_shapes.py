"""Shapes of the factors of a Kronecker product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

Shape = tuple[int, int]


def check_factor_shapes(
    factors: Sequence[Sequence[int]], out_features: int, in_features: int
) -> tuple[Shape, ...]:
    """Return the shapes as pairs; raise ValueError unless they multiply to (out, in)."""
    if isinstance(factors, str) or not factors or any(len(tuple(pair)) != 2 for pair in factors):
        raise ValueError(f"factors must be pairs (out, in), at least one, got {factors!r}")
    shapes = tuple((int(rows), int(columns)) for rows, columns in factors)
    product = (math.prod(s[0] for s in shapes), math.prod(s[1] for s in shapes))
    if product != (out_features, in_features) or min(min(s) for s in shapes) < 1:
        raise ValueError(
            f"factors must multiply to (out, in) = {(out_features, in_features)}, got "
            f"{list(shapes)}, which multiply to {product}"
        )
    return shapes


def fewest_parameter_shapes(out_features: int, in_features: int, count: int) -> tuple[Shape, ...]:
    """Return `count` shapes that multiply to (out, in) and hold the fewest numbers together.

    Among equals the product of largest possible rank wins, then the first in order. A prime size
    cannot be split: 7 by 11 in two becomes (1, 11) and (7, 1), a matrix of rank one.
    """
    if count < 1:
        raise ValueError(f"the number of factors must be at least 1, got {count}")
    return min(_splits(out_features, in_features, count), key=_cost)


def _cost(shapes: tuple[Shape, ...]) -> tuple[int, int, tuple[Shape, ...]]:
    stored = sum(rows * columns for rows, columns in shapes)
    return stored, -math.prod(min(shape) for shape in shapes), shapes


def _splits(rows: int, columns: int, count: int) -> Iterator[tuple[Shape, ...]]:
    if count == 1:
        yield ((rows, columns),)
        return
    for first_rows in _divisors(rows):
        for first_columns in _divisors(columns):
            rest = _splits(rows // first_rows, columns // first_columns, count - 1)
            yield from (((first_rows, first_columns), *others) for others in rest)


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
