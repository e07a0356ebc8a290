"""How nlmf_weight runs on the GPU: a launch forwards, two backwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lowdim_kernels.cuda.launcher import Program, launch, program, storage_name
from lowdim_kernels.cuda.parts import most_replicas

# As in the source.
THREADS, WIDTH = 256, 32
TEAMS = THREADS // 32
# Columns of U and V and units of the network that are in shared memory at a time.
RANKS, UNITS = 16, 64
# Entries of a thread, one below the other; many in a gradient share the sums over lanes.
ROWS_OF_PRODUCT = 4
ROWS_OF_GRADIENTS = (8, 4)
LEAST_TILES = 64


def product_on_cuda(activation: str, *operands: Tensor) -> Tensor:
    """Return phi(U V^T) by one launch on the current stream."""
    u, v = operands[:2]
    weight = u.new_empty((u.shape[0], u.shape[1], v.shape[1]))
    if weight.numel():
        sizes = _sizes(operands)
        down, across = _tiles(ROWS_OF_PRODUCT, *sizes[:2])
        launch(
            _program(activation, u.dtype, ROWS_OF_PRODUCT),
            "product",
            (down * across, most_replicas(u.shape[0])),
            THREADS,
            [*(t.contiguous() for t in operands), weight, *sizes, u.shape[0]],
            shared_bytes=_factor_bytes(ROWS_OF_PRODUCT, _wide_size(u.dtype)),
        )
    return weight


def gradients_on_cuda(activation: str, g: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    """Return all gradients by two launches: by tile, then summed over the tiles."""
    results = tuple(t.new_empty(t.shape) for t in operands)
    if not g.numel():
        return tuple(t.zero_() for t in results)
    sizes = out, inner, rank, hidden = _sizes(operands)
    rows = _rows_of_gradients(out, inner)
    down, across = _tiles(rows, out, inner)
    wide = torch.promote_types(g.dtype, torch.float32)
    network = 3 * hidden + 1
    numbers = across * out * rank + down * inner * rank + down * across * network
    scratch = g.new_empty(g.shape[0] * numbers, dtype=wide)
    chosen, size, replicas = _program(activation, g.dtype, rows), wide.itemsize, g.shape[0]
    launch(
        chosen,
        "gradient_parts",
        (down * across, most_replicas(replicas)),
        THREADS,
        [*(t.contiguous() for t in (g, *operands[:-1])), scratch, *sizes, replicas],
        shared_bytes=_factor_bytes(rows, size)
        + (TEAMS * (3 * UNITS + 1) + TEAMS * rows * (WIDTH + 1)) * size,
    )
    blocks = sum(-(-count // WIDTH) for count in (out * rank, inner * rank, network))
    launch(
        chosen,
        "gradients",
        (blocks, most_replicas(replicas)),
        THREADS,
        [scratch, *results, *sizes, across, down, replicas],
        shared_bytes=THREADS * size,
    )
    return results


def _program(activation: str, dtype: torch.dtype, rows: int) -> Program:
    name = activation.capitalize()
    sizes = {"ROWS": rows, "RANKS": RANKS, "UNITS": UNITS}
    return program("nlmf", SCALAR=storage_name(dtype), ACTIVATION=name, **sizes)


def _sizes(operands: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """Return out, in, rank and hidden units."""
    u, v, a1 = operands[:3]
    return u.shape[1], v.shape[1], u.shape[2], a1.shape[1]


def _wide_size(dtype: torch.dtype) -> int:
    return max(4, dtype.itemsize)


def _tiles(rows: int, out: int, inner: int) -> tuple[int, int]:
    """Return the tiles down and across for threads of so many rows."""
    return -(-out // (TEAMS * rows)), -(-inner // WIDTH)


def _rows_of_gradients(out: int, inner: int) -> int:
    """Return the rows of a thread: as many as leave enough tiles, by one replica alone."""
    for rows in ROWS_OF_GRADIENTS:
        down, across = _tiles(rows, out, inner)
        if down * across >= LEAST_TILES:
            return rows
    return ROWS_OF_GRADIENTS[-1]


def _factor_bytes(rows: int, size: int) -> int:
    """Return the bytes of the units and of the tiles of U and V."""
    return (4 * UNITS + RANKS * (TEAMS * rows + 4 + WIDTH + 1)) * size
