"""truncated_svd and low_rank keep the contract, and what is their own."""

import pytest
import torch
from hypothesis import strategies as st

from kernels.contract_drawn import DrawnContract
from kernels.svd_cases import (
    LOW_RANK_CASES,
    LOW_RANK_EDGES,
    TRIPLETS_CASES,
    TRIPLETS_EDGES,
    low_rank_case,
    triplets_case,
)
from kernels.tolerances import assert_agrees
from lowdim_kernels.truncated_svd import excess_error, low_rank, truncated_svd

METHODS = ["auto", "exact", "gram", "iterate"]
SIZES = st.integers(1, 12)


class TestLowRank(DrawnContract):
    cases = LOW_RANK_CASES
    edges = LOW_RANK_EDGES
    drawn = st.builds(
        lambda b, m, n, k: low_rank_case((b, m, n), min(m, n, k)), SIZES, *[SIZES] * 3
    )


class TestTriplets(DrawnContract):
    cases = TRIPLETS_CASES
    edges = TRIPLETS_EDGES
    drawn = st.builds(
        lambda b, m, n, k: triplets_case((b, m, n), min(m, n, k)), SIZES, *[SIZES] * 3
    )


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


def test_ranks_may_lie_on_another_device():
    g, ranks = torch.empty(2, 4, 3, device="meta"), torch.tensor([1, 2])
    assert truncated_svd(g, ranks)[0].shape == (2, 4, 2)
    assert low_rank(g, ranks).shape == g.shape


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
