"""masked_matmul and SparsePattern keep the contract, and what is their own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.cases import MASKED_CASES, MASKED_EDGES, masked_case
from kernels.contract_drawn import DrawnContract
from lowdim_kernels import SparsePattern, masked_matmul

SIZES = st.integers(1, 40)


class TestMaskedMatmul(DrawnContract):
    cases = MASKED_CASES
    edges = MASKED_EDGES
    drawn = st.builds(
        masked_case,
        st.lists(st.integers(0, 40), max_size=2).map(tuple),
        SIZES,
        SIZES,
        st.floats(0, 1),
        bias=st.booleans(),
    )


@given(SIZES, SIZES, st.floats(0, 1))
def test_a_random_pattern_has_exactly_its_share(out, inner, density):
    pattern = SparsePattern.random(out, inner, density, torch.Generator().manual_seed(0))
    assert pattern.nnz == round(density * out * inner)
    assert pattern.dense(torch.ones(pattern.nnz)).sum() == pattern.nnz


def test_a_pattern_is_that_of_its_mask():
    mask = torch.rand(3, 7, 5).argsort(-1) < 2
    pattern = SparsePattern.from_mask(mask)
    assert torch.equal(pattern.dense(torch.ones(3, pattern.nnz)).bool(), mask)
    assert all(t.dtype == torch.int32 and t.shape[0] == 3 for t in pattern.tensors().values())


def test_values_are_in_row_major_order():
    mask = torch.tensor([[False, True], [True, True]])
    dense = SparsePattern.from_mask(mask).dense(torch.tensor([1.0, 2.0, 3.0]))
    assert dense.tolist() == [[0, 1], [2, 3]]


def test_a_pattern_is_built_back_from_its_tensors():
    pattern = SparsePattern.random(6, 5, 0.5)
    again = SparsePattern(6, 5, **pattern.tensors())
    assert torch.equal(again.dense(torch.arange(15.0)), pattern.dense(torch.arange(15.0)))


def test_the_same_generator_draws_the_same_pattern():
    drawn = [SparsePattern.random(9, 8, 0.3, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(drawn[0].columns, drawn[1].columns)


def test_the_gradient_has_one_entry_a_stored_value():
    pattern = SparsePattern.random(30, 20, 0.1)
    values = torch.randn(60, requires_grad=True)
    masked_matmul(torch.randn(8, 20), values, pattern).sum().backward()
    assert values.grad.shape == (60,)


def test_no_dense_matrix_is_formed():
    pattern = SparsePattern.random(600, 500, 0.01)
    x = torch.randn(8, 500, requires_grad=True)
    values = torch.randn(pattern.nnz, requires_grad=True)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        masked_matmul(x, values, pattern).sum().backward()
    assert 0 < max(event.cpu_memory_usage for event in profile.events()) < 4 * 600 * 500 / 5


def test_replicas_may_lie_more_than_two_to_the_31_elements_apart():
    # Of this memory only the two ends are ever touched.
    far = torch.empty(2**31 + 64).as_strided((2, 15), (2**31 + 16, 1))
    far.copy_(torch.randn(2, 15))
    pattern, x = SparsePattern.random(6, 5, 0.5), torch.randn(1, 4, 5)
    assert torch.equal(masked_matmul(x, far, pattern), masked_matmul(x, far.clone(), pattern))


def test_replicas_of_unequal_count_are_an_error():
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 0, 0] = True
    with pytest.raises(ValueError, match=r"as many entries in every replica, got \[1, 0\]"):
        SparsePattern.from_mask(mask)


def test_wrong_shapes_name_what_was_expected():
    pattern = SparsePattern.random(6, 5, 0.5)
    with pytest.raises(ValueError, match=r"x must end in 5 .* got \(4, 6\)"):
        masked_matmul(torch.randn(4, 6), torch.randn(15), pattern)
    with pytest.raises(ValueError, match=r"values must end in 15, .* got \(14,\)"):
        masked_matmul(torch.randn(4, 5), torch.randn(14), pattern)
    with pytest.raises(ValueError, match=r"bias must end in 6, got \(5,\)"):
        masked_matmul(torch.randn(4, 5), torch.randn(15), pattern, torch.randn(5))
    with pytest.raises(TypeError, match=r"values is torch.float64"):
        masked_matmul(torch.randn(4, 5), torch.randn(15).double(), pattern)
