"""Rules that operations share: batching where all tensors lead with one axis, tangents."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lowdim_kernels.ops import Operation


def folding(operation: Callable[[], Operation]) -> Callable[..., tuple[Any, Any]]:
    """Return the rule that takes a vmapped axis of any tensor into the first axis of all."""

    def rule(size: int, in_dims: Sequence[int | None], *flat: Any) -> tuple[Any, Any]:
        folded = [
            _folded(value, dim, size) if isinstance(value, Tensor) else value
            for value, dim in zip(flat, in_dims)
        ]
        outputs = operation()(*folded)
        if isinstance(outputs, Tensor):
            return outputs.unflatten(0, (size, -1)), 0
        return tuple(o.unflatten(0, (size, len(o) // size)) for o in outputs), (0,) * len(outputs)

    return rule


def _folded(value: Tensor, dim: int | None, size: int) -> Tensor:
    value = value.unsqueeze(0) if dim is None else value.movedim(dim, 0)
    return value.expand(size, *value.shape[1:]).flatten(0, 1)


def pushed_forward(
    function: Callable[..., Any], leaves: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> Any:
    """Return the tangent of the function's value, by transposing its reverse derivative.

    torch's own forward mode does not nest in the dual numbers that ask for this rule.
    """
    given = [torch.zeros_like(t) if d is None else d for t, d in zip(leaves, tangents)]
    value, pull_back = torch.func.vjp(function, *leaves)[:2]
    single = isinstance(value, Tensor)
    zeros = torch.zeros_like(value) if single else tuple(map(torch.zeros_like, value))
    return torch.func.vjp(pull_back, zeros)[1](tuple(given))[0]
