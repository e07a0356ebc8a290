"""The masked kernels' source, run on the CPU and compiled for GPUs."""

import pytest
import torch

from kernels.cases import MASKED_CASES, MASKED_EDGES, masked_case
from kernels.cuda.compilation import ARCHITECTURES, resources
from kernels.cuda.on_cpu import (
    ORDERS,
    cuda_kernels_chosen,
    needs_compiler,
    running_on_cpu,
    unnoticed,
)
from kernels.derivatives import assert_all_agree, value_and_gradients
from kernels.tolerances import assert_agrees
from lowdim_kernels import SparsePattern, masked, masked_cuda, masked_matmul
from lowdim_kernels.cuda import launcher
from lowdim_kernels.masked import masked_matmul_reference
from lowdim_kernels.masked_geometry import shapes_of

pytestmark = needs_compiler
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# Tiles so small that a matrix of a hundred columns has several along every axis.
SMALL = {
    "ALONE": masked_cuda.ALONE._replace(columns=64, features=(32,)),
    "LONG": 20,
    "PARTS": 3,
    "GRADIENT_COLUMNS": 64,
    "GRADIENT_FEATURES": 32,
    "GRADIENT_THREADS": 64,
    "ENTRIES": 2,
    "LEAST_TILES": 1,
    "MOST_BLOCKS": 18,
}


@pytest.fixture(autouse=True)
def cuda_kernels_on_cpu():
    """Let the CUDA kernels serve tensors of the CPU."""
    with cuda_kernels_chosen():
        yield


@pytest.fixture
def small_tiles(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(masked_cuda, name, value)
    monkeypatch.setattr(masked_cuda, "most_replicas", lambda replicas: min(replicas, 2))
    _forget_plans()
    yield
    _forget_plans()


def _forget_plans() -> None:
    masked_cuda._product_plan.cache_clear()
    masked_cuda._gradient_plan.cache_clear()


def uneven_mask(out: int, inner: int, *, full: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return a mask with full rows and columns, empty ones, and a tenth of the rest."""
    mask = torch.rand(out, inner, generator=torch.Generator().manual_seed(seed)) < 0.1
    mask[:, 3::7], mask[5::6] = False, False
    mask[list(full)] = True
    mask[:, [0, inner - 2]] = True
    return mask


def uneven(rows: int, dtype: torch.dtype = torch.float32, *, replicas: int = 1):
    """Return x, values, pattern and bias of a matrix whose rows are of very unequal length."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.stack(
        [uneven_mask(77, 150, full=(r, 2, 3, 40), seed=0).roll(r, 1) for r in range(replicas)]
    )
    kept = masks[0].sum().item()
    for mask in masks:  # as many entries in each
        extra = int(mask.sum()) - kept
        places = (mask if extra > 0 else ~mask).flatten().nonzero()[: abs(extra), 0]
        mask.view(-1)[places] = extra < 0
    pattern = SparsePattern.from_mask(masks)
    shapes = ((replicas, rows, 150), (replicas, pattern.nnz), (replicas, 77))
    x, values, bias = (torch.randn(s, generator=generator).to(dtype) for s in shapes)
    return x, values, bias, pattern


def check(x, values, bias, pattern) -> None:
    given = [t for t in (x, values, bias) if t is not None]

    def by(function):
        return lambda x, values, bias=None: function(x, values, pattern, bias)

    expected = value_and_gradients(by(masked_matmul_reference), [t.double() for t in given])
    actual = value_and_gradients(by(masked_matmul), given)
    assert all(t.dtype == x.dtype for t in actual)
    assert_all_agree(actual, expected, steps=2)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", [*MASKED_CASES, *MASKED_EDGES], ids=lambda case: case.name)
def test_value_and_gradients_agree_in_every_order_of_threads(case, order):
    inputs, constants = case.inputs(torch.float32), case.constants()
    expected = value_and_gradients(case.reference, case.inputs(), constants)
    with running_on_cpu(order):
        assert_all_agree(value_and_gradients(case.function, inputs, constants), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_unequal_length_agree_over_several_tiles(order, small_tiles):
    with running_on_cpu(order):
        check(*uneven(rows=70, replicas=3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_unequal_length_agree_in_tiles_of_usual_size(dtype):
    mask = torch.cat([uneven_mask(140, 530, full=(1, 2, 130)), torch.ones(1, 530).bool()])
    pattern = SparsePattern.from_mask(mask)
    inputs = [torch.randn(s).to(dtype) for s in ((200, 530), (pattern.nnz,), (141,))]
    with running_on_cpu(1):
        check(*inputs, pattern)


def test_memory_is_fully_written(small_tiles):
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.use_deterministic_algorithms(True)
        with running_on_cpu(2):
            check(*uneven(rows=40, replicas=2))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def test_operands_may_be_shared_by_replicas(small_tiles):
    x, values, bias, pattern = uneven(rows=33, replicas=3)
    one = SparsePattern(77, 150, **{k: t[0] for k, t in pattern.tensors().items()})
    with running_on_cpu():
        check(x[:1], values, bias, pattern)
        check(x, values[0], bias, pattern)
        check(x, values, bias[0], one)
        check(x[:1], values, None, one)
        check(x, values[:1].expand(3, -1), None, one)


def test_every_barrier_and_bound_check_is_needed(small_tiles):
    wanted = uneven(rows=70, replicas=3)

    def everything() -> None:
        check(*wanted)

    with running_on_cpu():
        everything()
    assert unnoticed("masked", everything) == []


def test_bits_are_equal_for_any_number_of_replicas(small_tiles):
    x, values, bias, pattern = uneven(rows=70, replicas=5)
    index = pattern.tensors()

    def results(replicas: slice):
        own = SparsePattern(77, 150, **{name: t[replicas] for name, t in index.items()})
        given = [t[replicas] for t in (x, values, bias)]
        return value_and_gradients(lambda x, v, b: masked_matmul(x, v, own, b).sin(), given)

    with running_on_cpu(3):
        together, again = results(slice(None)), results(slice(None))
        alone = [t[0] for t in results(slice(3, 4))]
    assert all(torch.equal(a, b) for a, b in zip(together, again))
    assert torch.equal(together[0][3], alone[0])


@pytest.mark.parametrize("way", ["ALONE", "PAIRED"])
def test_bits_do_not_depend_on_how_features_are_divided(way, monkeypatch):
    x, values, bias, pattern = uneven(rows=33)
    whole, results = getattr(masked_cuda, way), []
    monkeypatch.setattr(masked_cuda, "LONG", 40)
    monkeypatch.setattr(masked_cuda, "MANY_BLOCKS", 0 if way == "PAIRED" else 10**6)
    for features, warps in ((16, 4), (32, 5), (64, 16)):
        chosen = whole._replace(features=(features,), warps=warps)
        monkeypatch.setattr(masked_cuda, way, chosen)
        _forget_plans()
        with running_on_cpu():
            results.append(masked_matmul(x, values, pattern, bias))
    _forget_plans()
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    exact = masked_matmul_reference(x.double(), values.double(), pattern, bias.double())
    assert_agrees(results[0], exact)


@pytest.mark.parametrize("inner", [40, 1024, 5000])
@pytest.mark.parametrize("rows", [64, 5000])
@pytest.mark.parametrize("limit", [99, 163, 227])
def test_a_block_fits_in_shared_memory(limit, rows, inner, monkeypatch):
    monkeypatch.setattr(masked_cuda, "shared_limit", lambda device: limit * 1024)
    pattern = SparsePattern.from_mask(torch.arange(1000 * inner).view(1000, inner) % 97 == 0)
    index = tuple(pattern.tensors().values())
    device, size = torch.device("cpu"), torch.Size((rows, inner))
    for dtype in (torch.float32, torch.float64):
        values = torch.empty(pattern.nnz, dtype=dtype)
        shapes = shapes_of((values, None, *index[:2], None))
        plan = masked_cuda._product_plan.__wrapped__(False, dtype, device, size, *shapes)
        assert plan.shared_bytes <= limit * 1024
        g = torch.Size((rows, 1000))
        plan = masked_cuda._gradient_plan.__wrapped__(dtype, device, g, size, *shapes[2:4])
        assert plan.shared_bytes <= limit * 1024


@pytest.mark.parametrize("spoiler", [torch.nan, torch.inf])
def test_what_is_not_finite_reaches_what_depends_on_it_alone(spoiler, small_tiles):
    x, values, bias, pattern = (t[0] if isinstance(t, torch.Tensor) else t for t in uneven(70))
    pattern = SparsePattern(77, 150, **{k: t[0] for k, t in pattern.tensors().items()})
    x[40, 7] = spoiler
    with running_on_cpu():
        y = masked_matmul(x, values, pattern, bias)
        change = masked._gradient(torch.ones(70, 77), x, *pattern.tensors().values())
    met = pattern.dense(torch.ones_like(values))[:, 7].bool()
    assert torch.equal(~y[40].isfinite(), met)
    assert y[:40].isfinite().all()
    assert y[41:].isfinite().all()
    assert torch.equal(~change.isfinite(), pattern.columns == 7)


def test_half_precision_is_summed_in_float32():
    case = masked_case((3,), 2, 4000, 1.0, bias=False)
    x, values = (t.abs() for t in case.inputs(torch.float16))
    exact = case.reference(x.double(), values.double(), *case.constants())
    with running_on_cpu():
        y = case.function(x, values, *case.constants())
    assert_agrees(y, exact)


# 64 leave a multiprocessor its 1024 threads of either kernel; doubles have half as many.
MOST_REGISTERS = {"float": 64, "Bfloat16": 64, "double": 128}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kernels_compile_without_spills(architecture, dtype):
    chosen = masked_cuda._program(dtype)
    found = resources(chosen, architecture)
    assert set(found) == {"product", "gradient", "gradient_parts"}
    for kernel, use in found.items():
        assert use.spilled_bytes == 0, kernel
        assert use.registers <= MOST_REGISTERS[launcher.storage_name(dtype)], (kernel, use)
