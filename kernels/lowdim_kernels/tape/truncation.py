"""Low-rank gradients on a tape: subspace iteration from the last step's basis, then rank k.

With G (m, n) and a basis V (n, q): Y = orth(G V), V = orth(G^T Y), a few times; then
G_k = B P V^T, B = G V, P the projector on the k leading eigenvectors of B^T B. The basis is kept
from step to step, and a little noise lets directions return that were lost.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt, prod

from .records_truncation import CHOLESKY, LEADING_ROWS, TRIANGULAR_INVERSE
from .tape import Tape
from .views import View

NOISE_SHARE = 0.02
SWEEPS = 8


def basis_size(tape: Tape, rank_limit: int, oversample: float = 1.5) -> int:
    """Return the columns of the basis: oversampled, and whole vectors."""
    return tape.padded_to_lanes(int(-(-rank_limit * oversample // 1)))


def truncate(
    tape: Tape,
    name: str,
    out: View,
    gradient: View,
    rank_limit: int,
    *,
    oversample: float = 1.5,
    iterations: int = 3,
    group: int = 0,
) -> None:
    """Record out = the best approximation of rank k to gradient; out may be the gradient.

    k is the schedule's "rank", at most rank_limit. The states hold `name`.basis, zero at first,
    and `name`.noise, which the caller fills with independent normal numbers.
    """
    rows, columns = gradient.rows, gradient.columns
    if columns < tape.lanes or out.column_stride != 1:
        raise ValueError(
            f"truncate {name!r}: columns must be contiguous and at least {tape.lanes}, got {out}"
        )
    size = basis_size(tape, rank_limit, oversample)
    padded = tape.padded_to_lanes(columns)
    kept = tape.keep(f"{name}.basis", padded, size)
    noise = tape.keep(f"{name}.noise", padded, size)
    start = tape.matrix(padded, size)
    tape.combine(start, kept, 1.0, noise, NOISE_SHARE / columns**0.5)
    small = _Small(tape, size)
    left, y = tape.matrix(rows, size), tape.matrix(rows, size)
    basis, raw = start.rows_from(0, columns), tape.matrix(columns, size)
    for _ in range(iterations):
        tape.gemm(left, gradient, basis)
        small.orthonormal(y, left)
        tape.gemm(raw, gradient.transposed, y)
        small.orthonormal(basis, raw)
    # once more, since one Cholesky factor leaves errors of the condition squared
    kept_rows = kept.rows_from(0, columns)
    small.orthonormal(kept_rows, basis)
    tape.gemm(left, gradient, kept_rows)
    projected = small.projected(y, left, group)
    across = replace(tape.transpose(kept), columns=columns)
    tape.gemm(out, projected, across)


def truncate_flat(
    tape: Tape, rank_limit: int, *, oversample: float = 1.5, iterations: int = 3, group: int = 0
) -> int:
    """Record the truncation of all gradients as one zero-padded square; return its side.

    Parameters follow each other in the order in which the tape declared them, row by row.
    """
    sizes, side = _sizes(tape), flat_side(tape)
    flat, truncated = tape.matrix(side, side), tape.matrix(side, side)
    places, start = [], 0
    for parameter, size in zip(tape.parameters.values(), sizes, strict=True):
        gradient = parameter.gradient
        part = View("scratch", flat.offset + start, 1, gradient.rows, gradient.columns, 0, 0)
        places.append((gradient, replace(part, row_stride=gradient.columns)))
        start += size
    for gradient, part in places:
        tape.copy(part, gradient)
    truncate(
        tape,
        "flat",
        truncated,
        flat,
        min(rank_limit, side),
        oversample=oversample,
        iterations=iterations,
        group=group,
    )
    for gradient, part in places:
        tape.copy(gradient, replace(part, offset=part.offset - flat.offset + truncated.offset))
    return side


def flat_side(tape: Tape) -> int:
    """Return the side of the least square that holds all parameters."""
    return isqrt(sum(_sizes(tape)) - 1) + 1


def _sizes(tape: Tape) -> list[int]:
    return [prod(parameter.shape) for parameter in tape.parameters.values()]


class _Small:
    """Matrices as wide as the basis, shared by the steps of one truncation."""

    def __init__(self, tape: Tape, size: int) -> None:
        self.tape, self.vectors = tape, size // tape.lanes
        self.gram, self.other = tape.matrix(size, size), tape.matrix(size, size)
        self.projector = tape.matrix(size, size)
        self.scales, self.norms = tape.matrix(1, size), tape.matrix(1, size)

    def orthonormal(self, out: View, y: View) -> None:
        """Record out = y R^-1, its columns orthonormal or zero."""
        self._factored(y, unscaled=False)
        self.tape.add(
            TRIANGULAR_INVERSE,
            vectors=self.vectors,
            factor=self.gram,
            scales=self.scales,
            out=self.other,
        )
        self.tape.gemm(out, y, self.other)

    def projected(self, out: View, b: View, group: int) -> View:
        """Record and return out = b P, P the projector on the leading eigenvectors of b^T b."""
        self._factored(b, unscaled=True)
        self.tape.add(
            LEADING_ROWS,
            vectors=self.vectors,
            rows=self.gram,
            norms=self.norms,
            out=self.other,
            sweeps=SWEEPS,
            group=group,
        )
        self.tape.gemm(self.projector, self.gram.transposed, self.other)
        self.tape.gemm(out, b, self.projector)
        return out

    def _factored(self, y: View, *, unscaled: bool) -> None:
        """Record the triangular factor of y^T y in place of it."""
        self.tape.gemm(self.gram, y.transposed, y)
        self.tape.add(
            CHOLESKY,
            vectors=self.vectors,
            matrix=self.gram,
            scales=self.scales,
            unscaled=int(unscaled),
        )
