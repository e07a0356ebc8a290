"""The optional leading replica axis: different matrices for every replica, one kernel call.

A matrix operand has its own number of axes (2 for a factor, 1 for stored values) or one more in
front, the replica axis. If any operand has it, the data x lead with that axis too; a leading size
of one means shared by all replicas. vmap folds its axis into this one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Operand = tuple[Tensor | None, int]
BatchedOperand = tuple[Tensor | None, int | None, int]


def replica_count(operands: Sequence[Operand]) -> int | None:
    """Return the number of replicas that (operand, own axes) hold, None without that axis."""
    count: int | None = None
    for operand, axes in operands:
        if operand is not None and operand.dim() > axes and count in (None, 1):
            count = operand.shape[0]
    return count


def check_replicas(name: str, x: Tensor, operands: Mapping[str, Operand]) -> int | None:
    """Return the number of replicas, or raise where operands and x disagree about it."""
    count = replica_count(list(operands.values()))
    for key, (operand, axes) in operands.items():
        if operand is None:
            continue
        extra = operand.dim() - axes
        if extra not in (0, 1) or (extra and operand.shape[0] not in (1, count)):
            axis = "" if count is None else f", or one more for {count} replicas"
            raise ValueError(
                f"{name}: {key} must have {axes} axes{axis}, got {tuple(operand.shape)}"
            )
    if count is not None and (x.dim() < 2 or x.shape[0] not in (1, count)):
        raise ValueError(
            f"{name}: x must lead with the replica axis, {count} or 1, got {tuple(x.shape)}"
        )
    return count


def sum_to(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a gradient summed over the replicas that share the operand `like`."""
    if tensor.dim() > like.dim():
        return tensor.sum(0)
    if tensor.shape[0] != like.shape[0]:
        return tensor.sum(0, keepdim=True)
    return tensor


def with_replicas(operand: Tensor, axes: int, count: int) -> Tensor:
    """Return a view of the operand whose replica axis has full size."""
    if operand.dim() == axes:
        operand = operand.unsqueeze(0)
    return operand.expand(count, *operand.shape[1:])


def add(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    """Return the sum where None is zero."""
    if left is None or right is None:
        return right if left is None else left
    return left + right


def inner_replicas(operands: Sequence[BatchedOperand]) -> int | None:
    """Return the replicas inside a vmapped axis, of (operand, its batched axis, own axes)."""
    count: int | None = None
    for operand, dim, axes in operands:
        if operand is not None and operand.dim() - (dim is not None) > axes:
            leading = 1 if dim == 0 else 0
            if count in (None, 1):
                count = operand.shape[leading]
    return count


def fold_matrix(
    operand: Tensor | None, dim: int | None, axes: int, size: int, inner: int | None
) -> Any:
    """Return a matrix operand whose replica axis holds the vmapped axis of `size` as well."""
    if operand is None:
        return None
    if dim is None and (inner is None or operand.dim() == axes):
        return operand
    operand = operand.unsqueeze(0) if dim is None else operand.movedim(dim, 0)
    if inner is None:
        return operand
    if operand.dim() == axes + 1:
        operand = operand.unsqueeze(1)
    return operand.expand(size, inner, *operand.shape[2:]).flatten(0, 1)


def fold_data(x: Tensor, dim: int | None, size: int, inner: int | None) -> Tensor:
    """Return data whose replica axis holds the vmapped axis of `size` as well."""
    if inner is None:
        return x.unsqueeze(0) if dim is None else x.movedim(dim, 0)
    if dim is None:
        if x.shape[0] == 1:
            return x
        x = x.unsqueeze(0)
    else:
        x = x.movedim(dim, 0)
    return x.expand(size, inner, *x.shape[2:]).flatten(0, 1)


def unfold(output: Tensor, size: int, inner: int | None) -> Tensor:
    """Return an output with the vmapped axis first, apart from the replicas inside it."""
    return output if inner is None else output.unflatten(0, (size, inner))
