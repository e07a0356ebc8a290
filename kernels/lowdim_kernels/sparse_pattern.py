"""Where the stored values of a fixed sparse matrix lie, by rows and by columns."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAMES = (
    "row_offsets",
    "columns",
    "column_offsets",
    "transposed_rows",
    "transposed_positions",
)


@dataclass
class SparsePattern:
    """The places of an (out, in) matrix that are stored, in row-major order of the mask.

    int32 tensors, each with an optional leading replica axis (equal nnz in every replica):
    entry e of row o, `row_offsets[o] <= e < row_offsets[o + 1]`, is in column `columns[e]`; the
    t-th entry by columns, `column_offsets[i] <= t < column_offsets[i + 1]`, is in row
    `transposed_rows[t]` and holds value number `transposed_positions[t]`.
    The kernels trust these numbers: take them from `from_mask` or `random`.
    """

    out_features: int
    in_features: int
    row_offsets: Tensor
    columns: Tensor
    column_offsets: Tensor
    transposed_rows: Tensor
    transposed_positions: Tensor

    @classmethod
    def from_mask(cls, mask: Tensor) -> "SparsePattern":
        """Return the pattern of a bool mask, (out, in) or (replicas, out, in) of equal counts."""
        if mask.dtype != torch.bool or mask.dim() not in (2, 3):
            raise ValueError(
                f"mask must be bool (out, in) or (replicas, out, in), got {mask.dtype} "
                f"{tuple(mask.shape)}"
            )
        if mask.dim() == 2:
            return cls(*mask.shape, **_index(mask))
        counts = mask.sum((1, 2)).tolist()
        if len(set(counts)) > 1:
            raise ValueError(f"mask must have as many entries in every replica, got {counts}")
        indices = [_index(m) for m in mask]
        stacked: dict[str, Any] = {
            name: torch.stack([index[name] for index in indices]) for name in NAMES
        }
        return cls(*mask.shape[1:], **stacked)

    @classmethod
    def random(
        cls,
        out_features: int,
        in_features: int,
        density: float,
        generator: torch.Generator | None = None,
    ) -> "SparsePattern":
        """Return a uniformly random pattern of exactly round(density out in) entries."""
        if not 0 <= density <= 1:
            raise ValueError(f"density must be in [0, 1], got {density}")
        size = out_features * in_features
        device = None if generator is None else generator.device
        order = torch.randperm(size, generator=generator, device=device)
        mask = torch.zeros(size, dtype=torch.bool, device=device)
        mask[order[: round(density * out_features * in_features)]] = True
        return cls.from_mask(mask.unflatten(0, (out_features, in_features)))

    @property
    def nnz(self) -> int:
        """The number of stored values, of one replica."""
        return self.columns.shape[-1]

    def tensors(self) -> dict[str, Tensor]:
        """Return the index tensors by name, as the constructor takes them."""
        return {name: getattr(self, name) for name in NAMES}

    def rows(self) -> Tensor:
        """Return the row of every stored value, int64."""
        rows = torch.zeros_like(self.columns, dtype=torch.int64)
        return rows.scatter(-1, self.transposed_positions.long(), self.transposed_rows.long())

    def dense(self, values: Tensor) -> Tensor:
        """Return the (..., out, in) matrix of the values, zero elsewhere; differentiable."""
        places = self.rows() * self.in_features + self.columns
        leading = torch.broadcast_shapes(values.shape[:-1], places.shape[:-1])
        places = places.expand(*leading, -1)
        flat = values.new_zeros(*leading, self.out_features * self.in_features)
        flat = flat.scatter(-1, places, values.expand(*leading, -1))
        return flat.unflatten(-1, (self.out_features, self.in_features))


def _index(mask: Tensor) -> dict[str, Any]:
    rows, columns = mask.nonzero(as_tuple=True)
    if rows.numel() >= 2**31:
        raise ValueError(f"mask must have fewer than 2^31 entries, got {rows.numel()}")
    by_column = columns.argsort(stable=True)
    index = {
        "row_offsets": _offsets(mask.sum(1)),
        "columns": columns,
        "column_offsets": _offsets(mask.sum(0)),
        "transposed_rows": rows[by_column],
        "transposed_positions": by_column,
    }
    return {name: tensor.to(torch.int32) for name, tensor in index.items()}


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
