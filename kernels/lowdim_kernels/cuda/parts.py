"""Sums over the blocks of a kernel, in an order that does not depend on which ended first."""

from torch import Tensor

from lowdim_kernels.cuda.launcher import launch, program, storage_name

LANES, TEAMS = 32, 8
MOST_BLOCKS_ALONG_Y = 65535


def most_replicas(replicas: int) -> int:
    """Return the blocks along y, which stride over the replicas where these are more."""
    return min(replicas, MOST_BLOCKS_ALONG_Y)


def sum_of_parts(parts: Tensor, target: Tensor, replicas: int, number: int) -> None:
    """Launch target[r] = sum over p of parts[r, p]; parts (replicas, number, ...), contiguous."""
    count = target.numel() // replicas
    launch(
        program("cuda/sum_of_parts", SCALAR=storage_name(target.dtype)),
        "sum_of_parts",
        (-(-count // LANES), most_replicas(replicas)),
        LANES * TEAMS,
        [parts, target, count, number, replicas],
        shared_bytes=LANES * TEAMS * parts.element_size(),
    )
