"""Products with a matrix that is zero outside a fixed mask, whose stored values are trained.

The product is linear in the data and in the values. Its derivatives are the product with the
transposed matrix, by the index in column order, and the products of rows of the two data at the
stored places alone; those two operations are each other's derivatives.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from lowdim_kernels.masked_cpu import gradient_on_cpu, product_on_cpu
from lowdim_kernels.masked_cuda import gradient_on_cuda, product_on_cuda
from lowdim_kernels.masked_geometry import allocate_gradient, allocate_product, count_replicas
from lowdim_kernels.ops import Operation, Saved, autocast_together
from lowdim_kernels.replicas import (
    add,
    check_replicas,
    fold_data,
    fold_matrix,
    inner_replicas,
    replica_count,
    sum_to,
    unfold,
    with_replicas,
)
from lowdim_kernels.sparse_pattern import SparsePattern

_INDEX = (
    "Tensor row_offsets, Tensor columns, Tensor column_offsets, "
    "Tensor transposed_rows, Tensor transposed_positions"
)


def masked_matmul(
    x: Tensor, values: Tensor, pattern: SparsePattern, bias: Tensor | None = None
) -> Tensor:
    """Return x W^T + bias for an (out, in) matrix W of which only the pattern's values are stored.

    Shapes: x (..., in), values (nnz,), bias (out,) -> (..., out). Values, bias and the pattern's
    index may have a leading replica axis R: x is (R, ..., in), or leads with 1 where replicas
    share it. Cost: rows * nnz multiply-adds, in the gradients of x and of the values as well; no
    dense matrix is formed. Differentiable to any order in x, values and bias.
    A dense x @ W.T is faster from about 0.4 of the entries on (1024 x 1024, 512 rows), and at any
    density where both take microseconds (100 x 40, 64 rows).
    Raises ValueError if shapes do not fit, TypeError if dtypes or devices differ.
    """
    x, values, bias = autocast_together(x, values, bias)
    index = tuple(pattern.tensors().values())
    _check(x, values, pattern, bias)
    return _product(False, x, values, bias, *index)


def masked_matmul_reference(
    x: Tensor, values: Tensor, pattern: SparsePattern, bias: Tensor | None = None
) -> Tensor:
    """Return x W^T + bias with the dense W, in plain torch."""
    return _dense_product(x, pattern.dense(values).mT, bias)


def _dense_product(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    if matrix.dim() == 2 and (bias is None or bias.dim() == 1):
        y = x @ matrix
        return y if bias is None else y + bias
    count = replica_count([(matrix, 2), (bias, 1)])
    assert count is not None
    rows = x.expand(count, *x.shape[1:]).reshape(count, prod(x.shape[1:-1]), x.shape[-1])
    y = rows @ matrix
    if bias is not None:
        y = y + (bias if bias.dim() == 1 else bias.unsqueeze(-2))
    return y.reshape(count, *x.shape[1:-1], matrix.shape[-1])


def _check(x: Tensor, values: Tensor, pattern: SparsePattern, bias: Tensor | None) -> None:
    places = pattern.columns
    shapes = (values.shape, places.shape, pattern.row_offsets.dim(), x.shape[-1:])
    if bias is None and shapes == ((pattern.nnz,), (pattern.nnz,), 1, (pattern.in_features,)):
        kinds = (x.dtype, x.device, places.dtype, places.device)
        if kinds == (values.dtype, values.device, torch.int32, x.device):
            return  # a list of what could be wrong would take longer than a small product
    operands = {"values": values, "bias": bias}
    for name, t in operands.items():
        if t is not None and (t.dtype != x.dtype or t.device != x.device):
            raise TypeError(
                f"masked_matmul: {name} is {t.dtype} on {t.device}, x {x.dtype} on {x.device}"
            )
    if pattern.columns.device != x.device or pattern.columns.dtype != torch.int32:
        raise TypeError(
            f"masked_matmul: pattern must be int32 on {x.device}, "
            f"got {pattern.columns.dtype} on {pattern.columns.device}"
        )
    operands |= pattern.tensors()
    check_replicas("masked_matmul", x, {name: (t, 1) for name, t in operands.items()})
    if x.dim() == 0 or x.shape[-1] != pattern.in_features:
        raise ValueError(
            f"masked_matmul: x must end in {pattern.in_features} to match the pattern "
            f"({pattern.out_features}, {pattern.in_features}), got {tuple(x.shape)}"
        )
    if values.shape[-1:] != pattern.columns.shape[-1:]:
        raise ValueError(
            f"masked_matmul: values must end in {pattern.nnz}, one for each entry of the pattern, "
            f"got {tuple(values.shape)}"
        )
    if bias is not None and bias.shape[-1:] != (pattern.out_features,):
        raise ValueError(
            f"masked_matmul: bias must end in {pattern.out_features}, got {tuple(bias.shape)}"
        )


# Backends


def _pattern(index: Sequence[Tensor]) -> SparsePattern:
    return SparsePattern(index[0].shape[-1] - 1, index[2].shape[-1] - 1, *index)


def _product_reference(
    transposed: bool, x: Tensor, values: Tensor, bias: Tensor | None, *index: Tensor
) -> Tensor:
    dense = _pattern(index).dense(values)
    return _dense_product(x, dense if transposed else dense.mT, bias)


def _gradient_reference(g: Tensor, x: Tensor, *index: Tensor) -> Tensor:
    pattern, count = _pattern(index), count_replicas(*index)
    rows = prod(g.shape[:-1]) if count is None else prod(g.shape[1:-1])
    g, x = (
        t.reshape(rows, t.shape[-1])
        if count is None
        else t.expand(count, *t.shape[1:]).reshape(count, rows, t.shape[-1])
        for t in (g, x)
    )
    places = pattern.rows() * pattern.in_features + pattern.columns
    full = (g.mT @ x).flatten(-2)
    return full.gather(-1, places.expand(*full.shape[:-1], -1))


# Derivatives


def _product_vjp(saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]) -> Any:
    transposed, x, values, bias, *index = saved.inputs
    g: Any = gradients[0]
    dx = dv = db = None
    if needed[1]:
        dx = sum_to(_product(not transposed, g, values, None, *_full(values, bias, index)), x)
    if needed[2]:
        sides = (x, g) if transposed else (g, x)
        dv = sum_to(_gradient(*sides, *_full(values, bias, index)), values)
    if needed[3]:
        own = bias.dim() - 1
        rows = list(range(own, g.dim() - 1))
        db = g.sum(rows) if rows else g
        db = sum_to(db, bias) if own else db
    return None, dx, dv, db, *(None for _ in index)


def _full(values: Tensor, bias: Tensor | None, index: Sequence[Tensor]) -> list[Tensor]:
    """Return the index with the replica axis that values or bias have, if any has it."""
    count = count_replicas(values, bias, *index)
    if count is None or count_replicas(*index) == count:
        return list(index)
    return [with_replicas(index[0], 1, count), *index[1:]]


def _product_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor | None:
    transposed, x, values, bias, *index = saved.inputs
    _, tx, tv, tb, *_ = tangents
    index = _full(values, bias, index)
    total = None if tx is None else _product(transposed, tx, values, None, *index)
    if tv is not None:
        total = add(total, _product(transposed, x, tv, None, *index))
    if tb is not None:
        y = allocate_product(transposed, x, values, bias, *index)
        tb = tb if tb.dim() == 1 else tb.reshape(tb.shape[0], *[1] * (y.dim() - 2), tb.shape[1])
        total = add(total, tb.expand(y.shape))
    return total


def _product_batch(
    size: int,
    in_dims: Sequence[int | None],
    transposed: bool,
    x: Tensor,
    *operands: Tensor | None,
) -> Any:
    _, x_dim, *dims = in_dims
    inner = inner_replicas([(t, d, 1) for t, d in zip(operands, dims)])
    if all(d is None for d in dims):
        front = 0 if inner is None else 1
        return _product(transposed, x.movedim(x_dim or 0, front), *operands), front
    folded = [fold_matrix(t, d, 1, size, inner) for t, d in zip(operands, dims)]
    y = _product(transposed, fold_data(x, x_dim, size, inner), *folded)
    return unfold(y, size, inner), 0


def _gradient_vjp(saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]) -> Any:
    g, x, *index = saved.inputs
    (c,) = gradients
    dg = sum_to(_product(False, x, c, None, *index), g) if needed[0] else None
    dx = sum_to(_product(True, g, c, None, *index), x) if needed[1] else None
    return dg, dx, *(None for _ in index)


def _gradient_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor | None:
    g, x, *index = saved.inputs
    tg, tx, *_ = tangents
    left = None if tg is None else _gradient(tg, x, *index)
    return left if tx is None else add(left, _gradient(g, tx, *index))


def _gradient_batch(
    size: int, in_dims: Sequence[int | None], g: Tensor, x: Tensor, *index: Tensor
) -> Any:
    g_dim, x_dim, *dims = in_dims
    inner = inner_replicas([(t, d, 1) for t, d in zip(index, dims)])
    folded = [fold_matrix(t, d, 1, size, inner) for t, d in zip(index, dims)]
    folded[0] = with_replicas(folded[0], 1, size * (1 if inner is None else inner))
    data = [fold_data(t, d, size, inner) for t, d in ((g, g_dim), (x, x_dim))]
    return unfold(_gradient(*data, *folded), size, inner), 0


_product = Operation(
    "masked_matmul",
    f"(bool transposed, Tensor x, Tensor values, Tensor? bias, {_INDEX}) -> Tensor",
    allocate=allocate_product,
    kernels={"reference": _product_reference, "numba": product_on_cpu, "cuda": product_on_cuda},
    vjp=_product_vjp,
    jvp=_product_jvp,
    batch=_product_batch,
)
_gradient = Operation(
    "masked_gradient",
    f"(Tensor g, Tensor x, {_INDEX}) -> Tensor",
    allocate=allocate_gradient,
    kernels={"reference": _gradient_reference, "numba": gradient_on_cpu, "cuda": gradient_on_cuda},
    vjp=_gradient_vjp,
    jvp=_gradient_jvp,
    batch=_gradient_batch,
)
