"""Truncated SVDs by the CUDA kernels, their source run on the CPU."""

from itertools import product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.cuda.on_cpu import (
    ORDERS,
    cuda_kernels_chosen,
    needs_compiler,
    running_on_cpu,
)
from kernels.derivatives import assert_all_agree, value_and_gradients
from kernels.svd_cases import low_rank_case, triplets_case
from kernels.test_truncated_svd_accuracy import HARD, ORTHONORMAL, deviation, with_spectrum
from kernels.tolerances import assert_agrees
from lowdim_kernels import svd_blocks
from lowdim_kernels.truncated_svd import (
    excess_error,
    low_rank,
    low_rank_reference,
    truncated_svd,
)
from lowdim_kernels.truncated_svd_cuda import low_rank_on_cuda, triplets_on_cuda

pytestmark = needs_compiler
METHODS = ["auto", "exact", "gram", "iterate"]
DTYPES = [torch.float32, torch.float64]
KINDS = {kind: g[:1] for kind, g in HARD.items()} | {
    "graded to 1e-8": with_spectrum(torch.logspace(0, -8, 30))[:1],
    "flat but rotated": with_spectrum(1 + 1e-9 * torch.arange(20))[:1],
    "tall, several chunks": torch.randn(1, 211, 13, generator=torch.manual_seed(8)).double(),
    "tall of rank 2": torch.ones(1, 150, 11).double() + torch.eye(150, 11),
}


@pytest.fixture(autouse=True)
def cuda_kernels_on_cpu():
    """Let the CUDA kernels serve tensors of the CPU."""
    with cuda_kernels_chosen():
        yield


@pytest.fixture
def small_blocks(monkeypatch):
    """Let sides up to 16 alone fit a block."""
    monkeypatch.setattr(svd_blocks, "LARGEST_SIDE", 16)
    svd_blocks._chunk.cache_clear()
    yield
    svd_blocks._chunk.cache_clear()


def matrix(m, n, *, seed=0, batch=1):
    return torch.randn(batch, m, n, generator=torch.Generator().manual_seed(seed))


def order_for(kind):
    """Return an order of threads: all of them serve over the kinds."""
    return ORDERS[list(KINDS).index(kind) % len(ORDERS)]


def assert_best(g, x, rank):
    """Raise unless the squared error is within 0.1 % of the least, or within rounding of g."""
    tail = (g.double() - low_rank_reference(g.double(), rank)).flatten(1).norm(dim=1)
    error = (g.double() - x.double()).flatten(1).norm(dim=1)
    rounding = 8 * torch.finfo(g.dtype).eps * g.double().flatten(1).norm(dim=1)
    assert (error <= 1.001 * tail + rounding).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_orthonormal_and_values_right_whatever_the_matrix(kind, dtype):
    g = KINDS[kind].to(dtype)
    for method in ("auto", "gram", "iterate"):
        k = min(20, *g.shape[1:])
        with running_on_cpu(order_for(kind)):
            u, s, v = truncated_svd(g, k, method=method)
        assert deviation(u) <= ORTHONORMAL[dtype]
        assert deviation(v) <= ORTHONORMAL[dtype]
        assert (s[:, 1:] <= s[:, :-1]).all()
        assert (s >= 0).all()
        expected = torch.linalg.svdvals(g.double())[:, :k]
        least = {"auto": 0.0, "gram": 2e-7, "iterate": 5e-3}[method]
        bound = (least + 20 * torch.finfo(dtype).eps) * expected[:, :1]
        assert ((s.double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_excess_is_at_most_a_thousandth_whatever_the_matrix(kind, dtype):
    g = KINDS[kind].to(dtype)
    for rank in {min(rank, *g.shape[1:]) for rank in (1, 4, 16)}:
        with running_on_cpu(3 - order_for(kind)):
            assert_best(g, low_rank(g, rank), rank)


def test_sides_of_120_are_decomposed_in_the_shared_memory_of_a_gpu(monkeypatch):
    monkeypatch.setattr(svd_blocks, "shared_limit", lambda device: 163 * 1024)
    g = matrix(130, 120) * torch.logspace(0, -2, 120)
    with running_on_cpu(3):
        x, near = low_rank(g, 30), low_rank(g, 30, method="iterate")
    assert_best(g, x, 30)
    assert excess_error(g, near, 30).max() < 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_depend_neither_on_the_matrices_beside_nor_on_the_order_of_threads(method, dtype):
    g = matrix(24, 17, batch=5).to(dtype)
    g[1], g[3] = 0, torch.eye(24, 17)
    with running_on_cpu():
        together = low_rank(g, 5, method=method)
    for i, order in product((0, 1, 3, 4), ORDERS):
        with running_on_cpu(order):
            assert torch.equal(together[i], low_rank(g[i], 5, method=method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
@pytest.mark.parametrize("shape", [(6, 8), (15, 20)])
def test_a_matrix_that_is_not_finite_raises_or_is_nan_alone(method, value, shape, request):
    if shape == (15, 20):
        request.getfixturevalue("small_blocks")
        svd_blocks.LARGEST_SIDE = 14
    g = matrix(*shape, batch=4)
    others = torch.arange(4) != 2
    with running_on_cpu():
        clean = truncated_svd(g, 3, method=method)
        g[2, 5, 7] = value
        with pytest.raises(ValueError, match=r"finite, matrix 2 of 4.*check=False"):
            truncated_svd(g, 3, method=method)
        for t, c in zip(truncated_svd(g, 3, method=method, check=False), clean):
            assert t[2].isnan().all()
            assert_agrees(t[others], c[others])
        assert low_rank(g, 3, method=method, check=False)[2].isnan().all()


def test_each_matrix_may_have_a_rank_of_its_own():
    g, ranks = matrix(9, 7, batch=6).double(), torch.tensor([0, 1, 2, 3, 5, 7])
    with running_on_cpu(1):
        u, s, v = truncated_svd(g, ranks)
        for method in METHODS:
            x = low_rank(g, ranks, method=method)
            for i, rank in enumerate(ranks.tolist()):
                assert torch.equal(x[i], low_rank(g[i], rank, method=method))
        with pytest.raises(ValueError, match=r"rank must be 0 to 7 .*, got -1 to 8"):
            low_rank(g[:3], torch.tensor([-1, 8, 2]))
        unchecked = low_rank(g[:3], torch.tensor([-1, 8, 2]), check=False)
    assert_agrees((u * s.unsqueeze(-2)) @ v.mT, low_rank_reference(g, ranks), steps=2)
    assert unchecked[:2].isnan().all()
    assert unchecked[2].isfinite().all()


@pytest.mark.parametrize("shape", [(48, 30), (30, 48)])
@pytest.mark.parametrize("largest", [16, 128])
def test_more_iterations_or_earlier_factors_come_closer(shape, largest, small_blocks):
    svd_blocks.LARGEST_SIDE = largest
    m, n = shape
    g = torch.nn.functional.pad(
        with_spectrum(0.95 ** torch.arange(30)).float(), (0, n - 30, 0, m - 30)
    )
    near = g + 0.02 * matrix(m, n, batch=3)
    once = {"method": "iterate", "iterations": 1, "oversample": 2}
    with running_on_cpu():
        start = truncated_svd(near, 6)
        cold = excess_error(g, low_rank(g, 6, **once), 6)
        warm = excess_error(g, low_rank(g, 6, start=start, **once), 6)
        more = excess_error(g, low_rank(g, 6, **{**once, "iterations": 6}), 6)
        spoiled = [t.clone().index_fill_(0, torch.tensor(1), torch.nan) for t in start]
        recovered = excess_error(g, low_rank(g, 6, start=spoiled, **once), 6)
    assert (warm < 0.5 * cold).all()
    assert (more < 0.5 * cold).all()
    assert (recovered <= 2 * cold).all()


@pytest.mark.parametrize("kind", ["graded", "rank 3", "zero", "wide", "tiny"])
def test_large_matrices_are_iterated_from_kernels_too(kind, small_blocks):
    g = KINDS[kind].float()
    with running_on_cpu():
        u, s, v = truncated_svd(g, 5, method="iterate", iterations=4)
    assert max(deviation(u), deviation(v)) <= ORTHONORMAL[torch.float32]
    assert (s[:, 1:] <= s[:, :-1]).all()
    assert excess_error(g, (u * s.unsqueeze(-2)) @ v.mT, 5).max() <= (0.05 if kind == "wide" else 1)


def test_a_large_warm_matrix_is_cut_closer_than_by_its_last_block_alone():
    """Subspace iteration with the same products leaves 4.5e-4."""
    g = with_spectrum(1 / torch.arange(1, 301)).float()[:1]
    with running_on_cpu():
        start = truncated_svd(g + 1e-3 * matrix(300, 300), 16, method="iterate", iterations=6)
        once = {"method": "iterate", "iterations": 1, "oversample": 4}
        x = low_rank(g, 16, start=start, **once)
    assert excess_error(g, x, 16).max() <= 3e-4


class Syncs(TorchDispatchMode):
    """Raises at operations for which a GPU's work would be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.__name__ not in ("_local_scalar_dense.default", "nonzero.default"), func
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_gpu_unless_the_matrices_are_checked(small_blocks):
    g, large, ranks = matrix(14, 9, batch=2), matrix(40, 50), torch.tensor([3, 4])
    with running_on_cpu(), Syncs():
        for method in METHODS:
            triplets_on_cuda(3, method, -1, 2, False, g, None)
            low_rank_on_cuda(method, -1, 2, False, g, ranks, None)
        triplets_on_cuda(5, "iterate", -1, 2, False, large, None)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            triplets_on_cuda(3, "auto", -1, 2, True, g, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    g = matrix(20, 12, batch=2).to(dtype)
    with running_on_cpu():
        assert torch.equal(low_rank(g, 4), low_rank(g.float(), 4).to(dtype))
        for half, single in zip(truncated_svd(g, 4), truncated_svd(g.float(), 4)):
            assert torch.equal(half, single.to(dtype))


@pytest.mark.parametrize(
    "case",
    [low_rank_case((9, 17, 6), 3), low_rank_case((2, 2, 9, 11), 4), triplets_case((1, 7, 8), 5)],
    ids=lambda case: case.name,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradients_agree(case, dtype):
    inputs = case.inputs(dtype)
    expected = value_and_gradients(case.reference, [t.double() for t in inputs])
    with running_on_cpu(2):
        assert_all_agree(value_and_gradients(case.function, inputs), expected, steps=10)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 3, 0)])
def test_what_is_empty_gives_what_is_empty(shape):
    with running_on_cpu():
        assert low_rank(torch.empty(shape), 0).shape == shape
        assert truncated_svd(torch.empty(shape), 0)[2].shape == (shape[0], shape[2], 0)
