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
MOST_COLUMNS = 1024
# Features of a block of a product: as many as still leave a block for most multiprocessors.
FEATURES = (128, 64, 32)
FEATURES_A_WARP = 4
LEAST_WARPS, MOST_WARPS = 4, 32
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
    tiles = -(-rows // ROWS)
    features = _features(out, tiles * replicas, device)
    warps = min(MOST_WARPS, max(LEAST_WARPS, features // FEATURES_A_WARP))
    size = _wide_size(dtype)
    fixed = MOST_WARPS * _list_bytes(size) + (FEATURES[0] + 2 * PARTS + 1) * PITCH * size
    columns = _columns(x[-1], MOST_COLUMNS, fixed + 8 * FEATURES[0], size, device)
    return _Plan(
        _program(dtype),
        "product",
        shape,
        (max(1, tiles * -(-out // features)), most_replicas(replicas)),
        32 * warps,
        (
            rows,
            x[-1],
            out,
            replicas,
            columns,
            features,
            int(shapes[1] is not None),
            int(transposed),
            *steps,
        ),
        warps * _list_bytes(size)
        + (columns + 1 + features + 2 * PARTS) * PITCH * size
        + 2 * features * 4,
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
    columns = _columns(inner, GRADIENT_COLUMNS * 4 // size, fixed, size, device)
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


def _features(out: int, tiles: int, device: torch.device) -> int:
    """Return the features that a block takes; no sum depends on it."""
    for features in FEATURES:
        if 4 * tiles * -(-out // features) >= 3 * multiprocessors(device):
            return max(1, min(features, out))
    return max(1, min(FEATURES[-1], out))


def _columns(inner: int, most: int, fixed: int, size: int, device: torch.device) -> int:
    """Return the columns of a tile: as near to equal as they come, within shared memory."""
    space = (shared_limit(device) - fixed) // (PITCH * size)
    most = min(most, space // ROWS * ROWS)
    tiles = max(1, -(-inner // most))
    return max(ROWS, -(-inner // tiles // ROWS) * ROWS)


def _splits(tiles: int, blocks: int) -> tuple[int, int]:
    """Return tiles of rows that a block sums over, and how many blocks share the sum."""
    wanted = max(1, min(tiles // LEAST_TILES, MOST_BLOCKS // max(1, blocks)))
    share = max(1, -(-tiles // wanted))
    return share, -(-tiles // share)
