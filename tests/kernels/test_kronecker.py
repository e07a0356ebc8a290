"""kron_matmul keeps the contract, and what is its own."""

import pytest
import torch
from hypothesis import strategies as st

from kernels.cases import KRON_CASES, KRON_EDGES, kron_case
from kernels.contract_drawn import DrawnContract
from kernels.tolerances import assert_agrees
from lowdim_kernels import kron_matmul, kron_matmul_reference

SIZES = st.integers(1, 9)


class TestKronMatmul(DrawnContract):
    cases = KRON_CASES
    edges = KRON_EDGES
    drawn = st.builds(
        kron_case,
        st.lists(st.integers(0, 40), max_size=2).map(tuple),
        st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=4),
    )


def test_reference_is_the_product_of_torch():
    a, b = torch.randn(3, 2).double(), torch.randn(4, 5).double()
    x = torch.randn(6, 10).double()
    assert_agrees(kron_matmul_reference(x, [a, b]), x @ torch.kron(a, b).T)


def test_factors_may_differ_by_replica_without_vmap():
    x, a, b = torch.randn(4, 6, 10), torch.randn(4, 3, 2), torch.randn(4, 4, 5)
    together = kron_matmul(x, [a, b])
    assert all(torch.equal(together[r], kron_matmul(x[r], [a[r], b[r]])) for r in range(4))


def test_data_and_factors_may_be_shared_by_replicas():
    x, a, b = torch.randn(1, 6, 10), torch.randn(4, 3, 2), torch.randn(4, 5)
    leaves = [t.double().requires_grad_() for t in (x, a, b)]
    actual = torch.autograd.grad(kron_matmul(leaves[0], leaves[1:]).sin().sum(), leaves)
    expected = torch.autograd.grad(kron_matmul_reference(leaves[0], leaves[1:]).sin().sum(), leaves)
    for got, wanted in zip(actual, expected):
        assert_agrees(got, wanted)


def test_wrong_width_names_all_shapes():
    with pytest.raises(ValueError, match=r"end in 10 .*\(3, 2\), \(4, 5\).* got \(6, 11\)"):
        kron_matmul(torch.randn(6, 11), [torch.randn(3, 2), torch.randn(4, 5)])


def test_no_factor_is_an_error():
    with pytest.raises(ValueError, match="one matrix at least"):
        kron_matmul(torch.randn(6, 11), [])


def test_mixed_dtypes_are_an_error():
    with pytest.raises(TypeError, match="factor 1 is torch\\.float64"):
        kron_matmul(torch.randn(6, 10), [torch.randn(3, 2), torch.randn(4, 5).double()])


def test_replicas_that_disagree_are_an_error():
    with pytest.raises(ValueError, match="for 4 replicas"):
        kron_matmul(torch.randn(4, 6, 10), [torch.randn(4, 3, 2), torch.randn(3, 4, 5)])
    with pytest.raises(ValueError, match="lead with the replica axis, 4 or 1"):
        kron_matmul(torch.randn(6, 10), [torch.randn(4, 3, 2), torch.randn(4, 4, 5)])
