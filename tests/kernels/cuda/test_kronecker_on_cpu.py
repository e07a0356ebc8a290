"""The Kronecker kernels' sources, run on the CPU and compiled for GPUs."""

from collections.abc import Callable
from math import prod

import pytest
import torch

from kernels.cases import KRON_CASES, KRON_EDGES, Case, kron_case
from kernels.contract import value_and_gradients
from kernels.cuda.compilation import ARCHITECTURES, resources
from kernels.cuda.on_cpu import (
    ORDERS,
    cuda_kernels_chosen,
    needs_compiler,
    running_on_cpu,
    unnoticed,
)
from kernels.tolerances import assert_agrees
from lowdim_kernels import kron_matmul, kron_matmul_reference
from lowdim_kernels.cuda import parts
from lowdim_kernels.cuda.launcher import program

pytestmark = needs_compiler
# What of each row is too much for a sum in TF32: 2^-11 a product.
IN_TF32 = 300
PAIR = kron_case((37,), [(10, 5), (9, 8)])
WIDE_PAIR = kron_case((3,), [(33, 17), (20, 40)])
GROUPED = kron_case((301,), [(9, 8), (8, 10)])
LARGE = kron_case((2,), [(130, 20), (3, 70)])
SINGLE = kron_case((530,), [(19, 17)])
SMALL_SINGLE = kron_case((300,), [(7, 9)])
THREE = kron_case((5,), [(18, 2), (4, 5), (2, 6)])
CASES = [PAIR, WIDE_PAIR, GROUPED, LARGE, SINGLE, SMALL_SINGLE, THREE]


@pytest.fixture(autouse=True)
def cuda_kernels_on_cpu():
    """Let the CUDA kernels serve tensors of the CPU."""
    with cuda_kernels_chosen():
        yield


def with_tf32(run: Callable[[], None]) -> None:
    precision = torch.backends.cuda.matmul
    before, precision.fp32_precision = precision.fp32_precision, "tf32"
    try:
        run()
    finally:
        precision.fp32_precision = before


def check(case: Case, dtype: torch.dtype = torch.float32, steps: int = 1) -> None:
    inputs = case.inputs(dtype)
    expected = value_and_gradients(case.reference, [t.double() for t in inputs])
    actual = value_and_gradients(case.function, inputs)
    for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.dtype == dtype
        assert_agrees(a, e, f"{case.name}, {number}", steps=steps)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", [*CASES, *KRON_CASES[:5], *KRON_EDGES], ids=lambda c: c.name)
def test_value_and_gradients_agree_in_every_order_of_threads(case, order):
    with running_on_cpu(order):
        check(case)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", [WIDE_PAIR, LARGE], ids=lambda c: c.name)
def test_other_element_types_agree(case, dtype):
    with running_on_cpu():
        check(case, dtype)


@pytest.mark.parametrize("case", [WIDE_PAIR, GROUPED, SINGLE], ids=lambda c: c.name)
def test_products_in_tf32_are_as_exact_as_that_type(case):
    with running_on_cpu():
        with_tf32(lambda: check(case, steps=IN_TF32))
        with pytest.raises(AssertionError):
            with_tf32(lambda: check(case, steps=5))


def everything() -> None:
    for case in (PAIR, GROUPED, SINGLE, SMALL_SINGLE, THREE, LARGE):
        check(case)
    with_tf32(lambda: check(WIDE_PAIR, steps=IN_TF32))
    with_replicas()


def with_replicas() -> None:
    draw = torch.Generator().manual_seed(0)
    for shapes in ([(5, 3), (3, 4)], [(6, 5)], [(5, 3), (3, 4), (2, 2)], [(33, 17), (20, 40)]):
        factors = [torch.randn(3, *shape, generator=draw) for shape in shapes]
        x = torch.randn(3, 21, prod(i for _, i in shapes), generator=draw)
        actual = value_and_gradients(lambda x, *f: kron_matmul(x, f), [x, *factors])
        leaves = [t.double() for t in (x, *factors)]
        expected = value_and_gradients(lambda x, *f: kron_matmul_reference(x, f), leaves)
        for a, e in zip(actual, expected, strict=True):
            assert_agrees(a, e)


@pytest.mark.parametrize("name", ["kronecker", "kronecker_pair", "cuda/sum_of_parts"])
def test_every_barrier_and_bound_check_is_needed(name, monkeypatch):
    # Each block then works on several replicas, as it would from 65,536 on.
    monkeypatch.setattr(parts, "MOST_BLOCKS_ALONG_Y", 2)
    with running_on_cpu():
        everything()
    assert not unnoticed(name, everything)


def test_bits_are_equal_for_any_number_of_replicas():
    x, a, b = torch.randn(5, 21, 12), torch.randn(5, 5, 3), torch.randn(5, 3, 4)
    with running_on_cpu():
        together = value_and_gradients(lambda x, *f: kron_matmul(x, f).sin(), [x, a, b])
        alone = value_and_gradients(lambda x, *f: kron_matmul(x, f).sin(), [x[3:4], a[3:4], b[3:4]])
    assert all(t.isfinite().all() for t in together)
    assert torch.equal(together[0][3], alone[0][0])


def test_shared_data_and_turned_factors_are_read_in_place():
    x, a, b = torch.randn(1, 6, 10), torch.randn(4, 2, 3).mT, torch.randn(4, 5)
    with running_on_cpu():
        actual = kron_matmul(x, [a, b])
    assert_agrees(actual, kron_matmul_reference(x.double(), [a.double(), b.double()]))


def test_second_derivatives_agree_with_finite_differences():
    leaves = [t.requires_grad_() for t in KRON_CASES[0].inputs()]
    with running_on_cpu():
        assert torch.autograd.gradgradcheck(KRON_CASES[0].function, leaves)


def test_a_nan_reaches_its_own_row_alone():
    x, *factors = PAIR.inputs(torch.float32)
    x[4, 7] = torch.nan
    with running_on_cpu():
        y = kron_matmul(x, factors)
    assert y[4].isnan().all()
    assert y[:4].isfinite().all()
    assert y[5:].isfinite().all()


PAIRS = [
    {"O1": 64, "I1": 64, "O2": 64, "I2": 64, "GROUP": 1},
    {"O1": 10, "I1": 5, "O2": 10, "I2": 8, "GROUP": 16},
    {"O1": 17, "I1": 33, "O2": 40, "I2": 20, "GROUP": 1},
]
TILES = [
    {"ROWS": rows, "COLUMNS": 4096 // rows, "RIGHT_IS_ONE": one}
    for rows in (16, 64)
    for one in (0, 1)
]
# Of 65,536 in a multiprocessor: two blocks of 256 threads for the product of a pair, one for
# those that hold sums from sample to sample.
MOST_REGISTERS = {"pair_product": 128, "factor_product": 160, "factor_gradient": 160}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("scalar", "tf32"), [("float", 0), ("float", 1), ("Bfloat16", 1)])
def test_kernels_compile_without_spills(architecture, scalar, tf32):
    for name, settings in [("kronecker_pair", PAIRS), ("kronecker", TILES)]:
        for constants in settings:
            needed = {"X_NEEDED": 1} if name == "kronecker_pair" else {}
            chosen = program(name, SCALAR=scalar, TF32=tf32, **constants, **needed)
            found = resources(chosen, architecture)
            assert len(found) == 2
            for kernel, use in found.items():
                assert use.spilled_bytes == 0, (kernel, constants)
                assert use.registers <= MOST_REGISTERS.get(kernel, 255), (kernel, constants)


def test_doubles_compile_without_spills():
    for constants in PAIRS[1:]:
        chosen = program("kronecker_pair", SCALAR="double", TF32=0, X_NEEDED=1, **constants)
        assert all(use.spilled_bytes == 0 for use in resources(chosen, "sm_90").values())
