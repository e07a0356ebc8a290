"""The sizes and strides that a masked product's call decides, on any device."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Size, Tensor

from lowdim_kernels.replicas import replica_count

# The shape and the strides of an operand, None where there is none.
Shape = tuple[Size, tuple[int, ...]] | None


def count_replicas(*operands: Tensor | None) -> int | None:
    """Return how many replicas values, bias and index hold, None without that axis."""
    return replica_count([(t, 1) for t in operands])


def allocate_product(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product, unwritten."""
    count = count_replicas(values, bias, *index)
    leading = x.shape[:-1] if count is None else (count, *x.shape[1:-1])
    return x.new_empty((*leading, index[2 if transposed else 0].shape[-1] - 1))


def allocate_gradient(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values, unwritten."""
    count = count_replicas(*index)
    nnz = index[1].shape[-1]
    return x.new_empty((nnz,) if count is None else (count, nnz))


def unit_strides(operands: Sequence[Tensor | None]) -> list[Any]:
    """Return the operands, copied where neighbours in the last axis lie apart."""
    return [t if t is None or t.stride(-1) == 1 else t.contiguous() for t in operands]


def shapes_of(operands: Sequence[Tensor | None]) -> list[Shape]:
    """Return the shape and the strides of each operand."""
    return [None if t is None else (t.shape, t.stride()) for t in operands]


def leading_axis(shapes: Sequence[Shape]) -> tuple[tuple[int, ...], int]:
    """Return the leading axis that operands with replicas give, if any, and how many there are."""
    counts = [entry[0][0] for entry in shapes if entry is not None and len(entry[0]) == 2]
    if not counts:
        return (), 1
    count = next((n for n in counts if n != 1), 1)
    return (count,), count


def data_steps(rows: int, *shapes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the step from a replica to the next, and the width, of contiguous data."""
    return [
        (rows * shape[-1] if prod(shape) > rows * shape[-1] else 0, shape[-1]) for shape in shapes
    ]


def operand_step(entry: Shape) -> tuple[int, int]:
    """Return the step from a replica to the next, and the width, of values or an index."""
    if entry is None:
        return 0, 0
    shape, strides = entry
    return strides[0] if len(shape) == 2 and shape[0] > 1 else 0, shape[-1]
