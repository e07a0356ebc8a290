"""A program: records of products over addresses that each call gives anew."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowdim_kernels.products.library import load_library
from lowdim_kernels.products.records import FIELDS, HEADER, Kind

TOGETHER_BYTES = 8192
ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """An entry of a call's addresses and the bytes added: always, by replica, by group of rows."""

    base: int
    offset: int = 0
    per_replica: int = 0
    per_group: int = 0

    def further(self, count: int) -> Place:
        """Return the place some bytes on."""
        return replace(self, offset=self.offset + count)


@dataclass(frozen=True)
class Matrix:
    """Where matrices are: strides in elements by row, column, and from one matrix to the next."""

    place: Place
    row: int
    column: int = 1
    step: int = 0


NOWHERE = Matrix(Place(0), 0)


def record(
    kind: Kind,
    size: int,
    *,
    a: Matrix = NOWHERE,
    b: Matrix = NOWHERE,
    c: Matrix = NOWHERE,
    **numbers: int,
) -> list[int]:
    """Return a record for elements of `size` bytes; numbers are fields, 0 where not given."""
    values = dict.fromkeys(FIELDS, 0)
    values["operation"] = int(kind)
    for name, matrix in zip("abc", (a, b, c)):
        for part in ("base", "offset", "per_replica", "per_group"):
            values[f"{name}_{part}"] = getattr(matrix.place, part)
        for part in ("row", "column", "step"):
            if f"{name}_{part}" in values:
                values[f"{name}_{part}"] = getattr(matrix, part) * size
    values.update(numbers)
    return list(values.values())


def product(
    size: int,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    shape: tuple[int, int, int],
    *,
    add: bool = False,
    count: int = 1,
) -> list[int]:
    """Return the record that writes, or adds, `count` products; shape is rows, columns, depth.

    Products that are added share C: its matrices have no step.

    Small matrices go through a tile one after another, large ones whole, to find B in cache.
    """
    rows, columns, depth = shape
    small = (rows + depth) * columns * size <= TOGETHER_BYTES
    return record(
        Kind.MULTIPLY, size, a=a, b=b, c=c, rows=rows, columns=columns, depth=depth, add=int(add),
        count=count, together=count if small else 1,
    )  # fmt: skip


class Space:
    """Hands out pieces of the scratch memory."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.bytes = 0

    def place(self, count: int) -> Place:
        """Return the place of some bytes more."""
        place = Place(self.base, self.bytes)
        self.bytes += -(-count // ALIGNMENT) * ALIGNMENT
        return place


class Program:
    """Records to run once a replica, once a group of rows, and for a last group of fewer rows."""

    def __init__(
        self,
        element: str,
        *,
        replicas: int,
        first: list[list[int]],
        body: list[list[int]],
        whole: int,
        tail: list[list[int]],
    ) -> None:
        header = dict(zip(HEADER, (replicas, len(first), len(body), whole, len(tail)), strict=True))
        numbers = [*header.values(), *(n for r in (*first, *body, *tail) for n in r)]
        self.table = np.array(numbers, np.int64)
        self._address = self.table.ctypes.data
        self._run = load_library(element)

    def run(self, *addresses: int) -> None:
        """Run the program over these addresses; they are trusted. The GIL is let go meanwhile."""
        self._run(self._address, _array(len(addresses))(*addresses))


_ARRAYS: dict[int, Any] = {}


def _array(count: int) -> Any:
    kind = _ARRAYS.get(count)
    if kind is None:
        kind = _ARRAYS[count] = ctypes.c_int64 * count
    return kind
