"""Cases of low_rank and truncated_svd, with singular values far enough apart for derivatives."""

import torch

from kernels.cases import Case
from lowdim_kernels.svd_operations import change_operation, low_rank_operation, triplets_operation
from lowdim_kernels.truncated_svd import (
    low_rank,
    low_rank_reference,
    truncated_svd,
    truncated_svd_reference,
)


def separated(inputs):
    """Return matrices with the singular vectors drawn, and singular values far from each other."""
    (g,) = inputs
    u, s, vh = torch.linalg.svd(g.double(), full_matrices=False)
    values = torch.arange(s.shape[-1], 0, -1, dtype=torch.float64)
    return [((u * values) @ vh).float()]


def low_rank_case(shape, rank):
    """Return the case of low_rank for matrices of this shape."""

    def operators(inputs, constants):
        (g,) = inputs
        ranks = torch.full((len(g),), rank, device=g.device)
        return [
            (low_rank_operation.graph_op, ("auto", -1, 2, True, g, ranks, None)),
            (change_operation.graph_op, (False, g, ranks, g.detach() + 1)),
        ]

    return Case(
        name=f"rank {rank} of {shape}",
        function=lambda g: low_rank(g, rank, check=False),
        reference=lambda g: low_rank_reference(g, rank, check=False),
        shapes=(shape,),
        operators=operators,
        separate=separated,
    )


def triplets_case(shape, rank):
    """Return the case of truncated_svd, of what does not depend on the signs of its vectors."""

    def of(triplets):
        u, s, v = triplets
        weights = torch.arange(1, rank + 1, device=s.device) + s.square()
        parts = u.unsqueeze(-2) * v.unsqueeze(-3) * weights.unsqueeze(-2).unsqueeze(-2)
        return parts.sum(-1)

    return Case(
        name=f"{rank} triplets of {shape}",
        function=lambda g: of(truncated_svd(g, rank, check=False)),
        reference=lambda g: of(truncated_svd_reference(g, rank, check=False)),
        shapes=(shape,),
        operators=lambda inputs, constants: [
            (triplets_operation.graph_op, (rank, "auto", -1, 2, True, *inputs, None))
        ],
        separate=separated,
    )


LOW_RANK_CASES = [
    low_rank_case((2, 4, 3), 2),
    low_rank_case((3, 5), 1),
    low_rank_case((2, 2, 9, 11), 4),
    low_rank_case((9, 17, 6), 3),
]
LOW_RANK_EDGES = [
    low_rank_case((0, 4, 3), 2),
    low_rank_case((2, 0, 3), 0),
    low_rank_case((2, 3, 0), 0),
    low_rank_case((1, 1), 1),
    low_rank_case((3, 1, 6), 1),
    low_rank_case((3, 6, 1), 1),
    low_rank_case((3, 4, 4), 0),
    low_rank_case((3, 4, 5), 4),
]

TRIPLETS_CASES = [triplets_case((2, 4, 3), 2), triplets_case((1, 7, 8), 5)]
TRIPLETS_EDGES = [
    triplets_case((0, 4, 3), 2),
    triplets_case((2, 0, 3), 0),
    triplets_case((1, 1), 1),
    triplets_case((3, 1, 6), 1),
    triplets_case((3, 6, 1), 1),
]
