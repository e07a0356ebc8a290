"""What a record of a tape is: its operation, its fields, and the bytes it touches.

A record is RECORD_FIELDS int64: the operation's number, then its fields in the order given
of its operation (records_*.py). Offsets and strides are bytes; offsets count from the
workspace, and -1 stands for an optional operand that is absent. There is no other description
of a record: the library reads its fields by these, the builder writes by them, and the bounds
are computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

from .library_target import Target

RECORD_FIELDS = 40


class Span(NamedTuple):
    """Bytes that a record touches: `width` bytes at offset + sum of i_k stride_k, i_k < count_k.

    kind: "read" and "write" for elements; "table" for integers below `upper` that steer other
    accesses ("rising" where they must not fall); "schedule" for bytes of a row of the schedule;
    "samples" for rows of `width` bytes of array number `upper`; "order" for `width` samples.
    """

    kind: str
    offset: int
    extents: tuple[tuple[int, int], ...]
    width: int
    upper: int = 0

    def bounds(self) -> tuple[int, int]:
        """Return the first byte and one past the last."""
        low = high = self.offset
        for count, stride in self.extents:
            distance = (count - 1) * stride
            if distance < 0:
                low += distance
            else:
                high += distance
        return low, high + self.width


@dataclass(frozen=True)
class Operation:
    """One kind of record.

    offsets: the fields that are places in the workspace; optional_offsets: those that may be
    absent. counts: fields of at least 1. flops and spans take the record's fields.
    """

    name: str
    fields: tuple[str, ...]
    offsets: tuple[str, ...]
    spans: Callable[[SimpleNamespace, Target], Iterable[Span]]
    flops: Callable[[SimpleNamespace, Target], int]
    counts: tuple[str, ...] = ()
    optional_offsets: tuple[str, ...] = ()
    requires: Callable[[SimpleNamespace, Target], bool] = lambda f, target: True


def whole_vectors(kind: str, offset: int, count: int, target: Target) -> Span:
    """Return the span of contiguous whole vectors."""
    return Span(kind, offset, (), count * target.vector_bytes)
