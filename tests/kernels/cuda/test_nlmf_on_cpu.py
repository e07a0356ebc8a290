"""The element-wise networks' source, run on the CPU and compiled for GPUs."""

import pytest
import torch

from kernels.cuda.compilation import ARCHITECTURES, resources
from kernels.cuda.on_cpu import (
    ORDERS,
    cuda_kernels_chosen,
    needs_compiler,
    running_on_cpu,
    unnoticed,
)
from kernels.derivatives import assert_all_agree, value_and_gradients
from kernels.nlmf_cases import NLMF_CASES, NLMF_EDGES, nlmf_case
from kernels.tolerances import assert_agrees
from lowdim_kernels import nlmf_cuda
from lowdim_kernels.nlmf import (
    ACTIVATIONS,
    ElementwiseNetwork,
    nlmf_weight,
    nlmf_weight_reference,
)

pytestmark = needs_compiler
# More than a tile along each axis, more ranks and units than are in shared memory at a time.
FEW_RANKS, FEW_UNITS = 4, 8
SHAPES = ((70, 6), (35, 6), (9,), (9,), (9,), ())


@pytest.fixture(autouse=True)
def cuda_kernels_on_cpu(monkeypatch):
    """Let the CUDA kernels serve tensors of the CPU; blocks take several replicas."""
    monkeypatch.setattr(nlmf_cuda, "most_replicas", lambda replicas: min(replicas, 2))
    with cuda_kernels_chosen():
        yield


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(nlmf_cuda, "RANKS", FEW_RANKS)
    monkeypatch.setattr(nlmf_cuda, "UNITS", FEW_UNITS)
    monkeypatch.setattr(nlmf_cuda, "ROWS_OF_GRADIENTS", (8,))


def replicas_of_many(dtype: torch.dtype = torch.float32, *, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *s, generator=generator).to(dtype) for s in SHAPES]


def check(inputs: list[torch.Tensor], steps: int = 1) -> None:
    def by(function):
        return lambda u, v, *phi: function(u, v, ElementwiseNetwork(*phi))

    expected = value_and_gradients(by(nlmf_weight_reference), [t.double() for t in inputs])
    actual = value_and_gradients(by(nlmf_weight), inputs)
    assert all(t.dtype == inputs[0].dtype for t in actual)
    assert_all_agree(actual, expected, steps)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", [*NLMF_CASES, *NLMF_EDGES], ids=lambda case: case.name)
def test_value_and_gradients_agree_in_every_order_of_threads(case, order):
    inputs = case.inputs(torch.float32)
    expected = value_and_gradients(case.reference, case.inputs())
    with running_on_cpu(order):
        assert_all_agree(value_and_gradients(case.function, inputs), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", nlmf_cuda.ROWS_OF_GRADIENTS)
def test_replicas_agree_over_several_tiles(order, rows, small_tiles, monkeypatch):
    monkeypatch.setattr(nlmf_cuda, "ROWS_OF_GRADIENTS", (rows,))
    with running_on_cpu(order):
        check(replicas_of_many())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_element_types_agree(dtype, small_tiles):
    with running_on_cpu(1):
        check(replicas_of_many(dtype))


def test_every_barrier_and_bound_check_is_needed(small_tiles):
    def everything() -> None:
        check(replicas_of_many())

    with running_on_cpu():
        everything()
    assert unnoticed("nlmf", everything) == []


def test_memory_is_fully_written(small_tiles):
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.use_deterministic_algorithms(True)
        with running_on_cpu(2):
            check(replicas_of_many(count=1))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def test_operands_may_be_shared_by_replicas(small_tiles):
    inputs = replicas_of_many()
    with running_on_cpu():
        for shared in range(len(inputs)):
            check([t[0] if k == shared else t for k, t in enumerate(inputs)])


def test_bits_are_equal_for_any_number_of_replicas(small_tiles):
    def results(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return value_and_gradients(
            lambda u, v, *phi: nlmf_weight(u, v, ElementwiseNetwork(*phi)), inputs
        )

    inputs = replicas_of_many(count=5)
    with running_on_cpu(3):
        together, again = results(inputs), results(inputs)
        alone = nlmf_weight(
            *(t[3] for t in inputs[:2]), ElementwiseNetwork(*(t[3] for t in inputs[2:]))
        )
        g = torch.randn(5, 70, 35)
        all_gradients = nlmf_cuda.gradients_on_cuda("silu", g, *inputs)
        own_gradients = nlmf_cuda.gradients_on_cuda("silu", g[3:4], *(t[3:4] for t in inputs))
    assert all(torch.equal(a, b) for a, b in zip(together, again))
    assert torch.equal(together[0][3], alone)
    assert all(torch.equal(a[3:4], b) for a, b in zip(all_gradients, own_gradients))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_agree_with_torch_far_from_zero_too(activation, dtype):
    p = torch.cat([torch.linspace(-30, 30, 601), torch.tensor([-1e4, -120.0, 0.0, 120.0, 1e4])])
    u, v = p.to(dtype).unsqueeze(1), torch.ones(1, 1, dtype=dtype)
    phi = ElementwiseNetwork(
        *(
            torch.full(s, n, dtype=dtype)
            for s, n in [((1,), 1.0), ((1,), 0.0), ((1,), 1.0), ((), 0.0)]
        )
    )
    with running_on_cpu():
        actual = value_and_gradients(lambda a: nlmf_weight(a, v, phi, activation=activation), [u])
    expected = value_and_gradients(getattr(torch.nn.functional, activation), [u.double()])
    for got, wanted in zip(actual, expected):
        for inside in (p.abs() < 31, p.abs() > 31):
            assert_agrees(got[inside], wanted[inside])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_nan_reaches_what_depends_on_it_alone(activation):
    u, v, *phi = nlmf_case(40, 37, 3, 5).inputs(torch.float32)
    u[6, 1] = torch.nan
    with running_on_cpu():
        w, du, dv, *others = value_and_gradients(
            lambda u, v, *phi: nlmf_weight(u, v, ElementwiseNetwork(*phi), activation=activation),
            [u, v, *phi],
        )
    met = torch.arange(40) == 6
    assert torch.equal(w.isnan(), met.unsqueeze(1).expand(40, 37))
    assert dv.isnan().any()
    assert others[0].isnan().all()
    assert du[~met].isfinite().all()
    assert du[met].isnan().any() or activation == "relu"


# The gradients leave a multiprocessor 512 threads (doubles 256), the product 768.
MOST_REGISTERS = {"product": 80, "gradients": 64, "gradient_parts": 128}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("dtype", "activation"),
    [
        (torch.float32, "silu"),
        (torch.float32, "tanh"),
        (torch.float64, "silu"),
        (torch.bfloat16, "silu"),
    ],
)
def test_kernels_compile_without_spills(architecture, dtype, activation):
    for rows in nlmf_cuda.ROWS_OF_GRADIENTS:
        found = resources(nlmf_cuda._program(activation, dtype, rows), architecture)
        assert set(found) == set(MOST_REGISTERS)
        for kernel, use in found.items():
            assert use.spilled_bytes == 0, (kernel, rows)
            most = 255 if dtype == torch.float64 else MOST_REGISTERS[kernel]
            assert use.registers <= most, (kernel, rows, use)
