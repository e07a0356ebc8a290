"""truncated_svd, low_rank and excess_error keep the contract, and what is their own."""

from typing import ClassVar

import pytest
import torch
from hypothesis import strategies as st
from torch.nn.functional import pad

from kernels.cases import Case
from kernels.contract import DTYPES, OperationContract
from kernels.tolerances import assert_agrees
from lowdim_kernels.svd_operations import change_operation, low_rank_operation, triplets_operation
from lowdim_kernels.truncated_svd import (
    excess_error,
    excess_error_reference,
    low_rank,
    low_rank_reference,
    truncated_svd,
    truncated_svd_reference,
)

ORTHONORMAL = {torch.float32: 1e-5, torch.float64: 1e-12}
EXACT_METHODS = ["auto", "exact", "gram"]
METHODS = [*EXACT_METHODS, "iterate"]


def separated(inputs):
    """Return matrices with the singular vectors drawn, and singular values far from each other."""
    (g,) = inputs
    u, s, vh = torch.linalg.svd(g.double(), full_matrices=False)
    values = torch.arange(s.shape[-1], 0, -1, dtype=torch.float64)
    return [((u * values) @ vh).float()]


def low_rank_case(shape, rank):
    """Return the case of low_rank for matrices of this shape."""

    def operators(inputs, constants):
        (g,) = inputs
        ranks = torch.full((len(g),), rank)
        return [
            (low_rank_operation.graph_op, ("auto", -1, 2, True, g, ranks, None)),
            (change_operation.graph_op, (False, g, ranks, g.detach() + 1)),
        ]

    return Case(
        name=f"rank {rank} of {shape}",
        function=lambda g: low_rank(g, rank, check=False),
        reference=lambda g: low_rank_reference(g, rank, check=False),
        shapes=(shape,),
        operators=operators,
        separate=separated,
    )


def triplets_case(shape, rank):
    """Return the case of truncated_svd, of what does not depend on the signs of its vectors."""

    def of(triplets):
        u, s, v = triplets
        weights = torch.arange(1, rank + 1, device=s.device) + s.square()
        parts = u.unsqueeze(-2) * v.unsqueeze(-3) * weights.unsqueeze(-2).unsqueeze(-2)
        return parts.sum(-1)

    return Case(
        name=f"{rank} triplets of {shape}",
        function=lambda g: of(truncated_svd(g, rank, check=False)),
        reference=lambda g: of(truncated_svd_reference(g, rank, check=False)),
        shapes=(shape,),
        operators=lambda inputs, constants: [
            (triplets_operation.graph_op, (rank, "auto", -1, 2, True, *inputs, None))
        ],
        separate=separated,
    )


SIZES = st.integers(1, 12)


class TestLowRank(OperationContract):
    cases: ClassVar = [
        low_rank_case((2, 4, 3), 2),
        low_rank_case((3, 5), 1),
        low_rank_case((2, 2, 9, 11), 4),
        low_rank_case((9, 17, 6), 3),
    ]
    edges: ClassVar = [
        low_rank_case((0, 4, 3), 2),
        low_rank_case((2, 0, 3), 0),
        low_rank_case((2, 3, 0), 0),
        low_rank_case((1, 1), 1),
        low_rank_case((3, 1, 6), 1),
        low_rank_case((3, 6, 1), 1),
        low_rank_case((3, 4, 4), 0),
        low_rank_case((3, 4, 5), 4),
    ]
    drawn = st.builds(
        lambda b, m, n, k: low_rank_case((b, m, n), min(m, n, k)), SIZES, *[SIZES] * 3
    )


class TestTriplets(OperationContract):
    cases: ClassVar = [triplets_case((2, 4, 3), 2), triplets_case((1, 7, 8), 5)]
    edges: ClassVar = [
        triplets_case((0, 4, 3), 2),
        triplets_case((2, 0, 3), 0),
        triplets_case((1, 1), 1),
        triplets_case((3, 1, 6), 1),
        triplets_case((3, 6, 1), 1),
    ]
    drawn = st.builds(
        lambda b, m, n, k: triplets_case((b, m, n), min(m, n, k)), SIZES, *[SIZES] * 3
    )


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


@pytest.mark.parametrize("method", METHODS)
def test_bits_do_not_depend_on_the_matrices_beside(method):
    g = torch.randn(19, 24, 17)
    g[3] = 0
    g[7] = torch.eye(24, 17)
    together = low_rank(g, 5, method=method)
    for i in (0, 6, 7, 8, 18):
        assert torch.equal(together[i], low_rank(g[i], 5, method=method))


def test_ranks_may_differ_by_matrix():
    g, ranks = torch.randn(2, 3, 9, 7).double(), torch.tensor([[0, 1, 2], [3, 5, 7]])
    u, s, v = truncated_svd(g, ranks)
    x = low_rank(g, ranks)
    assert s.shape == (2, 3, 7)
    for i in range(2):
        for j in range(3):
            own = int(ranks[i, j])
            assert_agrees(x[i, j], low_rank(g[i, j], own), steps=10)
            assert not s[i, j, own:].any()
            assert not u[i, j, :, own:].any()
            assert not v[i, j, :, own:].any()
            assert_agrees((u[i, j] * s[i, j]) @ v[i, j].mT, x[i, j], steps=10)


def test_ranks_may_be_a_vmapped_axis():
    g, ranks = torch.randn(3, 9, 7).double(), torch.tensor([1, 4, 7])
    assert torch.equal(torch.func.vmap(low_rank)(g, ranks), low_rank(g, ranks))


def test_a_list_of_unequal_matrices_gives_a_list():
    matrices = [torch.randn(5, 9), torch.randn(2, 7, 7), torch.randn(30, 3)]
    for g, x, (u, s, v) in zip(matrices, low_rank(matrices, 2), truncated_svd(matrices, 2)):
        assert torch.equal(x, low_rank(g, 2))
        assert_agrees((u * s.unsqueeze(-2)) @ v.mT, x)
    again = truncated_svd(matrices, 2, method="iterate", start=truncated_svd(matrices, 2))
    assert all(
        excess_error(g, (u * s.unsqueeze(-2)) @ v.mT, 2).max() < 1e-3
        for g, (u, s, v) in zip(matrices, again)
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_matrix_that_is_not_finite_raises_or_is_nan_alone(value, method):
    g = torch.randn(10, 6, 8)
    clean = truncated_svd(g, 3, method=method)
    g[4, 2, 5] = value
    with pytest.raises(ValueError, match=r"finite, matrix 4 of 10.*check=False"):
        truncated_svd(g, 3, method=method)
    others = torch.arange(10) != 4
    for t, c in zip(truncated_svd(g, 3, method=method, check=False), clean):
        assert t[4].isnan().all()
        assert torch.equal(t[others], c[others])


@pytest.mark.parametrize("function", [truncated_svd, low_rank])
def test_a_derivative_at_equal_singular_values_is_a_clear_error(function):
    g = torch.stack(
        [torch.diag(torch.tensor([4.0, 3.0, 1.0])), torch.diag(torch.tensor([2.0, 1.0, 1.0]))]
    )
    g.requires_grad_()
    value = function(g, 2)
    loss = value.sum() if function is low_rank else sum(t.sum() for t in value)
    with pytest.raises(ValueError, match=r"singular values 2 and 3 of matrix 1 are both 1;.*rank"):
        loss.backward()


def test_low_rank_has_a_derivative_where_equal_values_are_all_kept():
    g = torch.diag(torch.tensor([2.0, 2.0, 1.0])).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: low_rank(a, 2), g)


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


@pytest.mark.parametrize("rank", [2, torch.tensor([1, 0, 3])])
def test_excess_agrees_with_its_reference(rank):
    g = torch.randn(3, 6, 5)
    x = low_rank(g, 2) + 0.1 * torch.randn(3, 6, 5)
    assert_agrees(excess_error(g, x, rank), excess_error_reference(g, x, rank), steps=10)


def test_excess_of_an_exact_matrix_of_low_rank_is_near_zero():
    g = HARD["rank 3"].float()
    assert excess_error(g, g, 3).abs().max() <= 1.0
    assert (excess_error(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), 2) == 0).all()


def test_what_does_not_fit_is_named():
    g = torch.randn(3, 6, 5)
    with pytest.raises(ValueError, match=r"method must be one of .* got 'fast'"):
        low_rank(g, 2, method="fast")
    with pytest.raises(ValueError, match=r"rank must be 0 to 5 for g \(3, 6, 5\), got 6"):
        truncated_svd(g, 6)
    with pytest.raises(ValueError, match=r"rank must be 0 to 5 .*, got 1 to 6"):
        low_rank(g, torch.tensor([1, 6, 2]))
    with pytest.raises(ValueError, match=r"integers for the leading axes .*float32"):
        low_rank(g, torch.tensor(2.0))
    with pytest.raises(
        ValueError, match=r"matrices \(..., m, n\) of floats, got torch.int64 \(5,\)"
    ):
        low_rank(torch.arange(5), 1)
    with pytest.raises(ValueError, match="iterations must not be negative, got -1"):
        low_rank(g, 2, method="iterate", iterations=-1)
    with pytest.raises(ValueError, match=r"start must be V .* \(3, 5\) before q, got \(3, 6, 2\)"):
        low_rank(g, 2, method="iterate", start=torch.randn(3, 6, 2))
    with pytest.raises(ValueError, match="start serves method 'iterate', got method 'exact'"):
        low_rank(g, 2, method="exact", start=torch.randn(3, 5, 2))
    with pytest.raises(ValueError, match=r"shape of g \(3, 6, 5\), got \(3, 5, 6\)"):
        excess_error(g, g.mT, 2)
