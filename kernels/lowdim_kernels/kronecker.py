"""Products with Kronecker-structured matrices, nothing materialised.

With X the sample as an (in_1, ..., in_m) array, y = (A1 ⊗ ... ⊗ Am) x multiplies each axis of X by
its factor. The product is linear in x and in every factor, so its derivatives are the same product
with one operand replaced, and one more operation: all factors' gradients in one pass.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from lowdim_kernels.kronecker_checks import check_fit, plainly_fits
from lowdim_kernels.kronecker_cpu import (
    allocate_gradients,
    allocate_product,
    gradients_on_cpu,
    product_on_cpu,
)
from lowdim_kernels.kronecker_cuda import gradients_on_cuda, product_on_cuda
from lowdim_kernels.ops import Operation, Saved, autocast_together
from lowdim_kernels.replicas import (
    add,
    fold_data,
    fold_matrix,
    inner_replicas,
    replica_count,
    sum_to,
    unfold,
    with_replicas,
)


def kron_matmul(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return x (A1 ⊗ ... ⊗ Am)^T without forming the product of the factors.

    Shapes: x (..., prod in_k), factors (out_k, in_k) -> (..., prod out_k). Factors (R, out_k, in_k)
    differ by replica: x is (R, ..., prod in_k), or leads with 1 where replicas share it, and so
    may factors. Cost: for each factor, from last to first, rows * size of the result * in_k
    multiply-adds. Differentiable to any order.
    Raises ValueError if shapes do not fit, TypeError if dtypes or devices differ.
    """
    if not factors:
        raise ValueError("kron_matmul: factors must hold one matrix at least")
    x, *factors = autocast_together(x, *factors)
    if not plainly_fits(x, factors):
        check_fit(x, factors)
    return _product(x, factors)


def kron_matmul_reference(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return x (A1 ⊗ ... ⊗ Am)^T by forming the product of the factors, in plain torch."""
    count = replica_count([(a, 2) for a in factors])
    if count is None:
        return x @ _dense(factors).mT
    dense = _dense([with_replicas(a, 2, count) for a in factors])
    return (_rows(x, count) @ dense.mT).reshape(count, *x.shape[1:-1], dense.shape[-2])


def _dense(factors: Sequence[Tensor]) -> Tensor:
    dense = factors[0]
    for a in factors[1:]:
        product = dense[..., :, None, :, None] * a[..., None, :, None, :]
        dense = product.flatten(-4, -3).flatten(-2, -1)
    return dense


def _rows(t: Tensor, count: int | None) -> Tensor:
    """Return data as (replicas, rows, width)."""
    if count is None:
        return t.reshape(1, prod(t.shape[:-1]), t.shape[-1])
    return t.expand(count, *t.shape[1:]).reshape(count, prod(t.shape[1:-1]), t.shape[-1])


def _gradients_reference(
    x_needed: bool, g: Tensor, x: Tensor, factors: Sequence[Tensor]
) -> list[Tensor]:
    count = replica_count([(a, 2) for a in factors])
    a = [with_replicas(a, 2, count or 1) for a in factors]
    g_rows, x_rows = _rows(g, count), _rows(x, count)
    rows = g_rows.shape[1]
    results = [] if not x_needed else [(g_rows @ _dense(a)).reshape(*g.shape[:-1], x.shape[-1])]
    for k, factor in enumerate(factors):
        before, after = a[:k], a[k + 1 :]
        one = torch.eye(factor.shape[-1], dtype=x.dtype, device=x.device)
        partial = kron_matmul_reference(x_rows, [*before, one.expand(count or 1, -1, -1), *after])
        left = prod([b.shape[-2] for b in before])
        right = prod([b.shape[-2] for b in after])
        g_side, x_side = (
            t.reshape(count or 1, rows, left, n, right).transpose(1, 3).flatten(2)
            for t, n in zip((g_rows, partial), factor.shape[-2:])
        )
        d = g_side @ x_side.mT
        results.append(d if count is not None else d[0])
    return results


# Derivatives


def _replaced(factors: Sequence[Tensor], k: int, a: Tensor) -> list[Tensor]:
    return [*factors[:k], a, *factors[k + 1 :]]


def _transposed(factors: Sequence[Tensor]) -> list[Tensor]:
    return [a.mT for a in factors]


def _product_tangent(
    x: Tensor, factors: Sequence[Tensor], dx: Tensor | None, da: Sequence[Tensor | None]
) -> Tensor | None:
    """Return the change of the product for a change of x and of each factor."""
    total = None if dx is None else _product(dx, factors)
    for k, a in enumerate(da):
        if a is not None:
            total = add(total, _product(x, _replaced(factors, k, a)))
    return total


def _product_vjp(saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]) -> Any:
    x, *factors = saved.inputs
    (g,) = gradients
    if True not in needed[1:]:
        return sum_to(_product(g, _transposed(factors)), x), *(None for _ in factors)
    results = _gradients(needed[0], g, x, factors)
    if not needed[0]:
        results = [None, *results]
    # Where no operand leads with replicas, none is summed over them.
    if max([a.dim() for a in factors]) == 2:
        return results
    return [None if d is None else sum_to(d, t) for d, t in zip(results, saved.inputs)]


def _product_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor | None:
    x, *factors = saved.inputs
    return _product_tangent(x, factors, tangents[0], tangents[1:])


def _product_batch(size: int, in_dims: Sequence[int | None], x: Tensor, *factors: Tensor) -> Any:
    x_dim, *dims = in_dims
    inner = inner_replicas([(a, d, 2) for a, d in zip(factors, dims)])
    if all(d is None for d in dims):
        front = 0 if inner is None else 1
        return _product(x.movedim(x_dim or 0, front), factors), front
    folded = [fold_matrix(a, d, 2, size, inner) for a, d in zip(factors, dims)]
    return unfold(_product(fold_data(x, x_dim, size, inner), folded), size, inner), 0


def _gradients_vjp(saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]) -> Any:
    x_needed, g, x, *factors = saved.inputs
    c = list(gradients)
    cx = c.pop(0) if x_needed else None
    dg = dx = None
    if needed[1]:
        total = _product_tangent(x, factors, cx, c)
        dg = None if total is None else sum_to(total, g)
    if needed[2] and any(t is not None for t in c):
        total = _product_tangent(
            g, _transposed(factors), None, [None if t is None else t.mT for t in c]
        )
        dx = None if total is None else sum_to(total, x)
    da = [None] * len(factors) if cx is None else list(_gradients(False, g, cx, factors))
    for k, t in enumerate(c):
        if t is not None and len(factors) > 1:
            others = list(_gradients(False, g, x, _replaced(factors, k, t)))
            others[k] = None
            da = [add(d, o) for d, o in zip(da, others)]
    return None, dg, dx, *(None if d is None else sum_to(d, a) for d, a in zip(da, factors))


def _gradients_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Any:
    x_needed, g, x, *factors = saved.inputs
    _, tg, tx, *ta = tangents
    m = len(factors)
    total: list[Tensor | None] = [None] * (m + x_needed)
    if tg is not None:
        total = list(_gradients(x_needed, tg, x, factors))
    if tx is not None:
        skipped = [None] * x_needed
        part = [*skipped, *_gradients(False, g, tx, factors)]
        total = [add(a, b) for a, b in zip(total, part)]
    for k, t in enumerate(ta):
        if t is not None:
            part = list(_gradients(x_needed, g, x, _replaced(factors, k, t)))
            part[k + x_needed] = None
            total = [add(a, b) for a, b in zip(total, part)]
    return tuple(total)


def _gradients_batch(
    size: int,
    in_dims: Sequence[int | None],
    x_needed: bool,
    g: Tensor,
    x: Tensor,
    *factors: Tensor,
) -> Any:
    _, g_dim, x_dim, *dims = in_dims
    inner = inner_replicas([(a, d, 2) for a, d in zip(factors, dims)])
    folded = [fold_matrix(a, d, 2, size, inner) for a, d in zip(factors, dims)]
    count = size * (1 if inner is None else inner)
    folded[0] = with_replicas(folded[0], 2, count)
    g = fold_data(g, g_dim, size, inner)
    g = g.expand(count, *g.shape[1:])
    results = _gradients(x_needed, g, fold_data(x, x_dim, size, inner), folded)
    return tuple(unfold(r, size, inner) for r in results), (0,) * len(results)


_product = Operation(
    "kron_matmul",
    "(Tensor x, Tensor[] factors) -> Tensor",
    allocate=allocate_product,
    kernels={
        "reference": kron_matmul_reference,
        "numba": product_on_cpu,
        "cuda": product_on_cuda,
    },
    vjp=_product_vjp,
    jvp=_product_jvp,
    batch=_product_batch,
)
_gradients = Operation(
    "kron_gradients",
    "(bool x_needed, Tensor g, Tensor x, Tensor[] factors) -> Tensor[]",
    allocate=allocate_gradients,
    kernels={
        "reference": _gradients_reference,
        "numba": gradients_on_cpu,
        "cuda": gradients_on_cuda,
    },
    vjp=_gradients_vjp,
    jvp=_gradients_jvp,
    batch=_gradients_batch,
)
