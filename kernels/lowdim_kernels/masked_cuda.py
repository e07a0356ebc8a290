"""How masked_matmul runs on the GPU: which part of a product a block takes, worked out once."""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Size, Tensor

from lowdim_kernels.cuda.launcher import (
    Program,
    launch,
    multiprocessors,
    program,
    shared_limit,
    storage_name,
)
from lowdim_kernels.cuda.parts import most_replicas, sum_of_parts
from lowdim_kernels.masked_geometry import (
    Shape,
    data_steps,
    leading_axis,
    operand_step,
    shapes_of,
    unit_strides,
)

# Rows of data in a tile, one for each lane of a warp; a tile's columns lie PITCH numbers apart.
ROWS, PITCH = 32, 33


class _Way(NamedTuple):
    """How large blocks of a product are at most, and how many share a multiprocessor.

    `features` are as many as still leave a block for most multiprocessors.
    """

    columns: int
    features: tuple[int, ...]
    warps: int
    at_once: int


ALONE = _Way(columns=1024, features=(128, 64, 32), warps=32, at_once=1)
# From so many blocks of one replica on, two at a time: one turns its rows while the other sums.
MANY_BLOCKS = 256
PAIRED = _Way(columns=512, features=(256, 128, 64), warps=16, at_once=2)
LEAST_COLUMNS = 256
RESERVED_BYTES = 1024
# Features of a warp, warps of a block and of a multiprocessor.
FEATURES_A_WARP, LEAST_WARPS, MOST_WARPS = 4, 4, 32
# A feature with more entries in a tile is shared by the block, in PARTS.
LONG, PARTS = 256, 8
GRADIENT_COLUMNS, GRADIENT_FEATURES, GRADIENT_THREADS = 512, 128, 512
# Entries of a thread, tiles of rows and blocks that a sum over rows is divided into.
ENTRIES, LEAST_TILES, MOST_BLOCKS = 4, 2, 256


def product_on_cuda(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    """Return the product by one launch on the current stream."""
    matrix = index[2:] if transposed else (*index[:2], None)
    x, operands = x.contiguous(), unit_strides((values, bias, *matrix))
    shapes = shapes_of(operands)
    plan = _product_plan(transposed, x.dtype, x.device, x.shape, *shapes)
    y = x.new_empty(plan.shape)
    if y.numel():
        given = [values if t is None else t for t in operands]
        launch(
            plan.program,
            plan.kernel,
            plan.grid,
            plan.threads,
            [x, *given, y, *plan.sizes],
            shared_bytes=plan.shared_bytes,
        )
    return y


def gradient_on_cuda(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    """Return the gradient of the values by a launch, or two where rows are many."""
    g, x, matrix = g.contiguous(), x.contiguous(), unit_strides(index[:2])
    plan = _gradient_plan(x.dtype, x.device, g.shape, x.shape, *shapes_of(matrix))
    result = x.new_empty(plan.shape)
    if not result.numel() or not plan.splits:
        return result.zero_()
    target = result
    if plan.splits > 1:
        wide = torch.promote_types(x.dtype, torch.float32)
        target = x.new_empty((plan.replicas, plan.splits, result.shape[-1]), dtype=wide)
    launch(
        plan.program,
        plan.kernel,
        plan.grid,
        plan.threads,
        [g, x, *matrix, target, *plan.sizes],
        shared_bytes=plan.shared_bytes,
    )
    if plan.splits > 1:
        sum_of_parts(target, result, plan.replicas, plan.splits)
    return result


class _Plan(NamedTuple):
    """What the shapes of a call decide; `sizes` as the kernels take them, 0 splits if empty."""

    program: Program
    kernel: str
    shape: tuple[int, ...]
    grid: tuple[int, int]
    threads: int
    sizes: tuple[int, ...]
    shared_bytes: int
    replicas: int
    splits: int = 1


def _program(dtype: torch.dtype) -> Program:
    constants = {"LONG": LONG, "PARTS": PARTS, "ENTRIES": ENTRIES}
    return program("masked", SCALAR=storage_name(dtype), **constants)


@lru_cache(maxsize=1024)
def _product_plan(
    transposed: bool, dtype: torch.dtype, device: torch.device, x: Size, *shapes: Shape
) -> _Plan:
    count, replicas = leading_axis(shapes)
    own, offsets = x[1:-1] if count else x[:-1], shapes[2]
    assert offsets is not None
    out, rows = offsets[0][-1] - 1, prod(own)
    shape = (*count, *own, out)
    steps = [step for step, _ in (*data_steps(rows, x), *map(operand_step, shapes))]
    tiles, size = -(-rows // ROWS), _wide_size(dtype)
    way = PAIRED if tiles * -(-out // ALONE.features[0]) >= MANY_BLOCKS else ALONE
    columns, features = _tile(way, x[-1], size, device)
    features = _features(way, features, out, tiles * replicas, device)
    blocks = max(1, tiles * -(-out // features))
    warps = _warps(way, columns, features, size, blocks * replicas, device)
    flags = (int(shapes[1] is not None), int(transposed))
    return _Plan(
        _program(dtype),
        "product",
        shape,
        (blocks, most_replicas(replicas)),
        32 * warps,
        (rows, x[-1], out, replicas, columns, features, *flags, *steps),
        _product_bytes(warps, columns, features, size),
        replicas,
    )


@lru_cache(maxsize=1024)
def _gradient_plan(
    dtype: torch.dtype, device: torch.device, g: Size, x: Size, *shapes: Shape
) -> _Plan:
    count, replicas = leading_axis(shapes)
    rows = prod(g[1:-1] if count else g[:-1])
    places = shapes[1]
    assert places is not None
    nnz, out, inner = places[0][-1], g[-1], x[-1]
    steps = [step for step, _ in (*data_steps(rows, g, x), *map(operand_step, shapes))]
    size = _wide_size(dtype)
    features = min(out, GRADIENT_FEATURES)
    fixed = features * PITCH * size + (3 * features + 1) * 4
    columns = _columns(inner, GRADIENT_COLUMNS * 4 // size, shared_limit(device) - fixed, size)
    blocks = -(-out // max(1, features)) * -(-inner // columns)
    share, splits = _splits(-(-rows // ROWS), blocks)
    return _Plan(
        _program(dtype),
        "gradient" if splits == 1 else "gradient_parts",
        (*count, nnz),
        (max(1, blocks * splits), most_replicas(replicas)),
        GRADIENT_THREADS,
        (rows, inner, out, nnz, replicas, columns, features, share, splits, *steps),
        fixed + columns * PITCH * size,
        replicas,
        splits if rows else 0,
    )


def _wide_size(dtype: torch.dtype) -> int:
    return max(4, dtype.itemsize)


def _list_bytes(size: int) -> int:
    """Return the bytes of a warp's list of entries."""
    return ROWS // 2 * (16 if size == 4 else 32)


def _product_bytes(warps: int, columns: int, features: int, size: int) -> int:
    """Return the shared memory of a product's block."""
    numbers = (columns + 1 + features + 2 * PARTS) * PITCH
    return warps * _list_bytes(size) + numbers * size + 2 * features * 4


def _tile(way: _Way, inner: int, size: int, device: torch.device) -> tuple[int, int]:
    """Return a tile's columns, by one replica's shape alone, and the most features."""
    budget = shared_limit(device) // way.at_once - (way.at_once - 1) * RESERVED_BYTES
    columns = ROWS
    for features in way.features:
        fixed = _product_bytes(way.warps, 0, features, size)
        columns = _columns(inner, way.columns, budget - fixed, size)
        if columns >= min(inner, LEAST_COLUMNS):
            return columns, features
    return columns, way.features[-1]


def _features(way: _Way, most: int, out: int, tiles: int, device: torch.device) -> int:
    """Return the features that a block takes; no sum depends on it."""
    allowed = [features for features in way.features if features <= most]
    for features in allowed:
        if 4 * tiles * -(-out // features) >= 3 * multiprocessors(device):
            return max(1, min(features, out))
    return max(1, min(allowed[-1], out))


def _warps(
    way: _Way, columns: int, features: int, size: int, blocks: int, device: torch.device
) -> int:
    """Return the warps of a block: fewer where blocks that run at once have enough together."""
    most = way.warps
    if blocks > 2 * multiprocessors(device):
        needed = _product_bytes(way.warps, columns, features, size) + RESERVED_BYTES
        most = min(most, MOST_WARPS // max(1, shared_limit(device) // needed))
    return max(LEAST_WARPS, min(most, features // FEATURES_A_WARP))


def _columns(inner: int, most: int, budget: int, size: int) -> int:
    """Return the columns of a tile: as near to equal as they come, within so many bytes."""
    most = max(ROWS, min(most, budget // (PITCH * size) // ROWS * ROWS))
    tiles = max(1, -(-inner // most))
    return max(ROWS, -(-inner // tiles // ROWS) * ROWS)


def _splits(tiles: int, blocks: int) -> tuple[int, int]:
    """Return tiles of rows that a block sums over, and how many blocks share the sum."""
    wanted = max(1, min(tiles // LEAST_TILES, MOST_BLOCKS // max(1, blocks)))
    share = max(1, -(-tiles // wanted))
    return share, -(-tiles // share)
