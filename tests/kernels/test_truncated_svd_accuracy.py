"""How close truncated SVDs come, on matrices of every kind."""

import pytest
import torch
from torch.nn.functional import pad

from kernels.contract_cases import DTYPES
from kernels.tolerances import assert_agrees
from lowdim_kernels.truncated_svd import (
    excess_error,
    excess_error_reference,
    low_rank,
    low_rank_reference,
    truncated_svd,
)

ORTHONORMAL = {torch.float32: 1e-5, torch.float64: 1e-12}
EXACT_METHODS = ["auto", "exact", "gram"]
METHODS = [*EXACT_METHODS, "iterate"]


def rotations(size, seed=0):
    return torch.linalg.qr(torch.randn(3, size, size, generator=torch.manual_seed(seed)).double())[
        0
    ]


def with_spectrum(values, seed=0):
    return rotations(len(values), seed) * values.double() @ rotations(len(values), seed + 1)


# Three matrices of each kind; every one has defeated some method on the way.
HARD = {
    "flat": torch.randn(3, 40, 40, generator=torch.manual_seed(0)).double(),
    "tall": torch.randn(3, 50, 23, generator=torch.manual_seed(1)).double(),
    "wide": torch.randn(3, 21, 33, generator=torch.manual_seed(2)).double(),
    "zero": torch.zeros(3, 24, 24).double(),
    "identity": torch.eye(24).double().expand(3, 24, 24),
    "orthogonal": rotations(30),
    "two equal": with_spectrum(torch.tensor([9.0, 9.0, 8.0, 8.0, 8.0] + [1.0] * 20)),
    "graded": with_spectrum(torch.logspace(0, -5, 30)),
    "steep": with_spectrum(torch.logspace(0, -12, 30)),
    "rank 3": with_spectrum(torch.tensor([3.0, 2.0, 1.0] + [0.0] * 21)),
    "one entry": pad(torch.ones(3, 1, 1), (4, 11, 7, 8)).double(),
    "padded": pad(torch.randn(3, 12, 20, generator=torch.manual_seed(3)), (0, 12, 0, 20)).double(),
    "huge": torch.randn(3, 20, 20, generator=torch.manual_seed(4)).double() * 1e37,
    "tiny": torch.randn(3, 20, 20, generator=torch.manual_seed(5)).double() * 1e-36,
    "diagonal": torch.diag(torch.arange(24.0)).double().expand(3, 24, 24),
    "row": torch.randn(3, 1, 30, generator=torch.manual_seed(6)).double(),
    "column": torch.randn(3, 30, 1, generator=torch.manual_seed(7)).double(),
}


def deviation(u):
    """Return how far columns are from orthonormal."""
    u = u.double()
    return (u.mT @ u - torch.eye(u.shape[-1], dtype=torch.float64)).abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", HARD)
def test_vectors_are_orthonormal_and_values_descend_whatever_the_matrix(kind, method, dtype):
    g = HARD[kind].to(dtype)
    u, s, v = truncated_svd(g, min(20, *g.shape[-2:]), method=method)
    assert deviation(u) <= ORTHONORMAL[dtype]
    assert deviation(v) <= ORTHONORMAL[dtype]
    assert (s[:, 1:] <= s[:, :-1]).all()
    assert (s >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", EXACT_METHODS)
@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_excess_is_at_most_a_thousandth_whatever_the_matrix(kind, method, rank, dtype):
    g = HARD[kind].to(dtype)
    if method == "gram" and dtype == torch.float64 and kind == "steep":
        pytest.skip("a tail below 1e-8 is out of a Gram matrix's sight")
    rank = min(rank, *g.shape[-2:])
    x = low_rank(g, rank, method=method)
    tail = (g.double() - low_rank_reference(g.double(), rank)).flatten(1).norm(dim=1)
    error = (g.double() - x.double()).flatten(1).norm(dim=1)
    rounding = 8 * torch.finfo(dtype).eps * g.double().flatten(1).norm(dim=1)
    assert (error <= 1.001 * tail + rounding).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", EXACT_METHODS)
@pytest.mark.parametrize("kind", HARD)
def test_singular_values_agree_with_the_reference(kind, method, dtype):
    g = HARD[kind].to(dtype)
    k = min(20, *g.shape[-2:])
    s = truncated_svd(g, k, method=method)[1].double()
    expected = torch.linalg.svdvals(g.double())[:, :k]
    least = 2e-7 if method == "gram" else 0.0
    bound = (least + 20 * torch.finfo(dtype).eps) * expected[:, :1]
    assert ((s - expected).abs() <= bound).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_too_large_for_lanes_is_decomposed_too(method):
    g = with_spectrum(0.9 ** torch.arange(300)).float()[:1]
    u, s, v = truncated_svd(g, 10, method=method)
    assert excess_error(g, (u * s.unsqueeze(-2)) @ v.mT, 10).max() <= (
        0.01 if method == "iterate" else 0.001
    )
    assert max(deviation(u), deviation(v)) <= ORTHONORMAL[torch.float32]


def test_iterating_more_or_from_earlier_factors_comes_closer():
    g = with_spectrum(0.95 ** torch.arange(60)).float()
    near = g + 0.02 * torch.randn(3, 60, 60, generator=torch.manual_seed(0))
    start = truncated_svd(near, 8)
    once = {"method": "iterate", "iterations": 1, "oversample": 2}
    cold = excess_error(g, low_rank(g, 8, **once), 8)
    warm = excess_error(g, low_rank(g, 8, start=start, **once), 8)
    more = excess_error(g, low_rank(g, 8, **{**once, "iterations": 6}), 8)
    assert (warm < 0.5 * cold).all()
    assert (more < 0.5 * cold).all()
    from_v = low_rank(g, 8, start=start[2], **once)
    assert torch.equal(from_v, low_rank(g, 8, start=start, **once))


def test_a_large_warm_matrix_is_cut_closer_than_by_its_last_block_alone():
    """Subspace iteration with the same products leaves 4.5e-4."""
    g = with_spectrum(1 / torch.arange(1, 301)).float()[:1]
    near = g + 1e-3 * torch.randn(1, 300, 300, generator=torch.manual_seed(0))
    start = truncated_svd(near, 16)[2]
    x = low_rank(g, 16, method="iterate", iterations=1, oversample=4, start=start)
    assert excess_error(g, x, 16).max() <= 3e-4


LARGE = {
    "flat": torch.randn(2, 270, 300, generator=torch.manual_seed(8)).double(),
    "steep": with_spectrum(torch.logspace(0, -12, 280))[:2],
    "rank 3": with_spectrum(torch.tensor([3.0, 2.0, 1.0] + [0.0] * 270))[:2],
    "zero": torch.zeros(2, 280, 270).double(),
    "identity": torch.eye(280).double()[None],
    "huge": torch.randn(2, 280, 270, generator=torch.manual_seed(9)).double() * 1e37,
    "tiny": torch.randn(2, 280, 270, generator=torch.manual_seed(10)).double() * 1e-36,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LARGE)
def test_iterating_on_a_large_matrix_gives_orthonormal_vectors_and_the_bits_of_it_alone(
    kind, dtype
):
    g = LARGE[kind].to(dtype)
    cold = truncated_svd(g, 8, method="iterate", iterations=1)
    for factors in (cold, truncated_svd(g, 8, method="iterate", start=cold, oversample=0)):
        u, s, v = factors
        assert max(deviation(u), deviation(v)) <= ORTHONORMAL[dtype]
        assert (s[:, 1:] <= s[:, :-1]).all()
        assert excess_error(g, (u * s.unsqueeze(-2)) @ v.mT, 8).max() <= (
            0.03 if kind in ("flat", "huge", "tiny") else 8.0
        )
    alone = truncated_svd(g[-1], 8, method="iterate", iterations=1)
    assert all(torch.equal(a, t[-1]) for a, t in zip(alone, cold))


@pytest.mark.parametrize("rank", [2, torch.tensor([1, 0, 3])])
def test_excess_agrees_with_its_reference(rank):
    g = torch.randn(3, 6, 5)
    x = low_rank(g, 2) + 0.1 * torch.randn(3, 6, 5)
    assert_agrees(excess_error(g, x, rank), excess_error_reference(g, x, rank), steps=10)


def test_excess_of_an_exact_matrix_of_low_rank_is_near_zero():
    g = HARD["rank 3"].float()
    assert excess_error(g, g, 3).abs().max() <= 1.0
    assert (excess_error(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), 2) == 0).all()
