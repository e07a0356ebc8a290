"""The sizes and strides that a Kronecker product's call decides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

from lowdim_kernels.tape.library_target import host_target

GROUP_BYTES = 16 * 1024


class Factor(NamedTuple):
    """The shape of a factor and its strides in elements, by replica 0 where they share it."""

    out: int
    inner: int
    per_replica: int
    row: int
    column: int


@dataclass(frozen=True)
class Kronecker:
    """The geometry of a call, or of a part of one.

    `x_step` is the stride of x by replica, 0 where they share it; `span` the rows from one replica
    to the next, of which a part takes `rows`.
    """

    element: str
    factors: tuple[Factor, ...]
    x_step: int
    replicas: int
    rows: int
    span: int

    @cached_property
    def size(self) -> int:
        return 4 if self.element == "float32" else 8

    @cached_property
    def lanes(self) -> int:
        return host_target(self.element).lanes

    @cached_property
    def last(self) -> int:
        return len(self.factors) - 1

    @cached_property
    def lefts(self) -> list[int]:
        """For each factor, the product of the earlier ones' inner sizes."""
        return [prod(f.inner for f in self.factors[:k]) for k in range(len(self.factors))]

    @cached_property
    def chunks(self) -> list[int]:
        """For each factor, the product of the later ones' outer sizes, the last one left out."""
        return [prod(f.out for f in self.factors[k + 1 : -1]) for k in range(len(self.factors))]

    @cached_property
    def x_width(self) -> int:
        return prod(f.inner for f in self.factors)

    @cached_property
    def y_width(self) -> int:
        return prod(f.out for f in self.factors)

    @cached_property
    def flops(self) -> float:
        """Flops of the product of one replica."""
        widths = [
            self.lefts[k] * prod(f.out for f in self.factors[k:]) for k in range(self.last + 1)
        ]
        return 2.0 * self.rows * sum(w * f.inner for w, f in zip(widths, self.factors))

    @cached_property
    def padded(self) -> int:
        return self.whole(self.factors[-1].out)

    @cached_property
    def group(self) -> int:
        """How many rows go through all stages together."""
        largest = max([1, *(self.stage_size(k) for k in range(1, len(self.factors)))])
        return max(1, min(self.rows, GROUP_BYTES // (largest * self.size)))

    def whole(self, count: int) -> int:
        """Return the count rounded up to whole vectors."""
        return -(-count // self.lanes) * self.lanes

    def stage_size(self, k: int) -> int:
        """Return the elements of a row in stage k, 0 < k < m."""
        own = 1 if k == self.last else self.factors[k].out
        return self.lefts[k] * own * self.chunks[k] * self.padded
