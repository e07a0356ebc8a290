"""Loss and accuracy of R networks on whole splits, in pieces that fit in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from lowdim.data.task import Split
from lowdim.engine.network import StackedNetwork, replica_losses

_PIECE = 1 << 21


def gather(split: Split, data_set: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (R, batch, ...) of each replica's set at its rows (R, batch)."""
    # index_select copies whole rows and is several times faster than indexing by two tensors
    places = rows if split.sets == 1 else rows + data_set[:, None] * split.samples
    return _rows(split.inputs, places), _rows(split.targets, places)


def _rows(table: Tensor, places: Tensor) -> Tensor:
    chosen = table.flatten(0, 1).index_select(0, places.flatten())
    return chosen.view(*places.shape, *table.shape[2:])


@torch.no_grad()
def evaluate(
    network: StackedNetwork,
    loss: str,
    split: Split,
    data_set: Tensor,
    rows: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return `loss` (R,) and, for classes, `accuracy` (R,) in percent.

    `rows` (R, n) restricts each replica to rows of its set.
    """
    if loss == "map_mse":
        x, y = _part(split, data_set, None, slice(None))
        return {"loss": network.losses(network.theta, loss, x, y).double()}
    count = split.samples if rows is None else rows.shape[1]
    width = split.inputs[0, 0].numel()
    piece = max(1, min(count, piece_of(width, len(network))))
    total = torch.zeros(len(network), dtype=torch.float64, device=network.theta.device)
    right = torch.zeros_like(total)
    for start in range(0, count, piece):
        x, y = _part(split, data_set, rows, slice(start, start + piece))
        outputs = network.outputs(network.theta, x)
        total += replica_losses(loss, outputs, y).double() * x.shape[1]
        if loss == "cross_entropy":
            right += (outputs.argmax(-1) == y).sum(1)
    metrics = {"loss": total / count}
    if loss == "cross_entropy":
        metrics["accuracy"] = 100 * right / count
    return metrics


def piece_of(width: int, replicas: int = 1) -> int:
    """Return how many samples of a width are evaluated at once."""
    return max(1, _PIECE // (replicas * max(width, 100)))


def _part(
    split: Split, data_set: Tensor, rows: Tensor | None, part: slice
) -> tuple[Tensor, Tensor]:
    if rows is not None:
        return gather(split, data_set, rows[:, part])
    if split.sets == 1:
        count = len(data_set)
        x, y = split.inputs[0, part], split.targets[0, part]
        return x.expand(count, *x.shape), y.expand(count, *y.shape)
    return split.inputs[data_set, part], split.targets[data_set, part]
