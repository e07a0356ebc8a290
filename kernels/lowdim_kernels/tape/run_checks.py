"""Check the arrays that a run is given: what the records would overrun is refused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .views import Table


def expect(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise ValueError unless an array has this shape and type and is contiguous."""
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a contiguous {dtype} array of shape {shape}, "
            f"got {array.dtype} {array.shape}"
        )


def check_table(table: Table, values: np.ndarray) -> None:
    """Raise ValueError where a table leaves [0, upper), or falls where it must not."""
    if values.min() < 0 or values.max() >= table.upper:
        raise ValueError(f"table {table.name!r} must lie in 0..{table.upper - 1}")
    if table.rising and np.any(np.diff(values, axis=-1) < 0):
        raise ValueError(f"table {table.name!r} must not fall")


def check_samples(
    order: np.ndarray | None,
    arrays: Mapping[str, np.ndarray | None],
    *,
    shape: tuple[int, int],
    columns: Mapping[int, int],
    lanes: int,
    dtype: np.dtype,
    needs_labels: bool,
) -> None:
    """Raise ValueError unless samples, targets and order are there and fit each other."""
    if not columns and not needs_labels:
        return
    if order is None:
        raise ValueError("a program that gathers samples needs order")
    expect("order", order, shape, np.dtype(np.int64))
    counts = []
    for number, (name, array) in enumerate(arrays.items()):
        if array is None:
            if number in columns or (needs_labels and name == "targets"):
                raise ValueError(f"a program that gathers {name} needs them")
            continue
        if number in columns:
            width = -(-columns[number] // lanes) * lanes
            expect(name, array, (len(array), width), dtype)
        else:
            expect(name, array, (len(array),), np.dtype(np.int64))
        counts.append(len(array))
    if order.min() < -1 or order.max() >= min(counts):
        raise ValueError(f"order must lie in -1..{min(counts) - 1}")
