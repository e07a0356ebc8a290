"""Long Kronecker products in parts, for several threads: replicas, or rows of each replica.

Rows of a product do not depend on each other. Gradients of the factors are sums over rows: they are
cut in parts that the shapes alone decide, each summed in memory of its own, and added in order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from lowdim_kernels.kronecker_geometry import Kronecker
from lowdim_kernels.kronecker_program import gradients_program, product_program
from lowdim_kernels.loops.workspace import space
from lowdim_kernels.products.program import Program
from lowdim_kernels.threads import cuts, run_together

Part = tuple[Kronecker, int, int]


def product_in_parts(k: Kronecker, addresses: Sequence[int], count: int) -> None:
    """Run the product over addresses of x, y and factors in as many parts."""
    x, y, *factors = addresses
    parts = []
    for part, replica, row in _of_replicas(k, count) if k.replicas >= count else _of_rows(k, count):
        own = (
            x + (replica * k.x_step + row * k.x_width) * k.size,
            y + (replica * k.span + row) * k.y_width * k.size,
        )
        parts.append(partial(_run_product, part, *own, _factors(k, factors, replica)))
    run_together(parts)


def gradients_in_parts(
    k: Kronecker,
    addresses: Sequence[int],
    results: Sequence[Tensor],
    x_needed: bool,
    parts: int,
    count: int,
) -> None:
    """Write the results, over addresses of g, x and factors, their sums in as many parts.

    Where there is one part, its replicas are shared among `count` threads.
    """
    g, x, *factors = addresses
    dx, da = (results[0].data_ptr() if x_needed else 0), results[x_needed:]
    sums = [[t, *torch.empty((parts - 1, *t.shape), dtype=t.dtype)] for t in da]
    tasks = []
    for number, (part, replica, row) in enumerate(
        _of_replicas(k, count) if parts == 1 else _of_rows(k, parts)
    ):
        at_rows = (replica * k.span + row) * k.size
        read = g + at_rows * k.y_width, x + (replica * k.x_step + row * k.x_width) * k.size
        written = [dx + at_rows * k.x_width] * x_needed
        for s, f in zip(sums, k.factors):
            written.append(
                s[0 if parts == 1 else number].data_ptr() + replica * f.out * f.inner * k.size
            )
        tasks.append(
            partial(_run_gradients, part, x_needed, read, written, _factors(k, factors, replica))
        )
    for first in range(0, len(tasks), count):
        run_together(tasks[first : first + count])
    for whole, *others in sums:
        for other in others[: len(tasks) - 1]:
            whole += other


def _of_replicas(k: Kronecker, count: int) -> Iterator[Part]:
    for first, last in cuts(k.replicas, count):
        yield replace(k, replicas=last - first), first, 0


def _of_rows(k: Kronecker, count: int) -> Iterator[Part]:
    for first, last in cuts(k.rows, count, k.group):
        yield replace(k, rows=last - first), 0, first


def _factors(k: Kronecker, factors: Sequence[int], replica: int) -> list[int]:
    return [a + replica * f.per_replica * k.size for a, f in zip(factors, k.factors)]


def _run_product(k: Kronecker, x: int, y: int, factors: Sequence[int]) -> None:
    program, needed = _product(k)
    program.run(x, y, space(needed), *factors)


def _run_gradients(
    k: Kronecker,
    x_needed: bool,
    read: tuple[int, int],
    written: Sequence[int],
    factors: Sequence[int],
) -> None:
    program, needed = _gradients(k, x_needed)
    program.run(*read, space(needed), *written, *factors)


@lru_cache(maxsize=1024)
def _product(k: Kronecker) -> tuple[Program, int]:
    return product_program(k)


@lru_cache(maxsize=1024)
def _gradients(k: Kronecker, x_needed: bool) -> tuple[Program, int]:
    return gradients_program(k, x_needed=x_needed)
