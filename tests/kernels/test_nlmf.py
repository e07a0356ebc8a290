"""nlmf_weight keeps the contract, and what is its own."""

import pytest
import torch
from hypothesis import strategies as st

from kernels.contract_cases import DTYPES
from kernels.contract_drawn import DrawnContract
from kernels.derivatives import value_and_gradients
from kernels.nlmf_cases import NLMF_CASES, NLMF_EDGES, nlmf_case
from kernels.tolerances import assert_agrees
from lowdim_kernels.nlmf import ElementwiseNetwork, nlmf_weight, nlmf_weight_reference

SIZES = st.integers(0, 40)


class TestNlmfWeight(DrawnContract):
    cases = NLMF_CASES
    edges = NLMF_EDGES
    drawn = st.builds(nlmf_case, SIZES, SIZES, st.integers(1, 6), st.integers(1, 9))


@pytest.mark.parametrize("activation", ["silu", "relu", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_agree_with_torch_far_from_zero_too(activation, dtype):
    p = torch.cat([torch.linspace(-30, 30, 2001), torch.tensor([-1e4, -120.0, 0.0, 120.0, 1e4])])
    u, v = p.to(dtype).unsqueeze(1), torch.ones(1, 1, dtype=dtype)
    phi = [torch.ones(1), torch.zeros(1), torch.ones(1), torch.zeros(())]
    phi = ElementwiseNetwork(*[t.to(dtype) for t in phi])
    actual = value_and_gradients(lambda a: nlmf_weight(a, v, phi, activation=activation), [u])
    expected = value_and_gradients(
        lambda a: getattr(torch.nn.functional, activation)(a), [u.double()]
    )
    for got, wanted in zip(actual, expected):
        for inside in (p.abs() < 31, p.abs() > 31):
            assert_agrees(got[inside], wanted[inside])


def test_the_reference_is_a_small_network_at_every_entry():
    u, v = torch.randn(5, 2).double(), torch.randn(7, 2).double()
    network = torch.nn.Sequential(torch.nn.Linear(1, 6), torch.nn.SiLU(), torch.nn.Linear(6, 1))
    network.double()
    phi = ElementwiseNetwork(
        network[0].weight[:, 0], network[0].bias, network[2].weight[0], network[2].bias[0]
    )
    expected = network((u @ v.T).unsqueeze(-1)).squeeze(-1)
    assert_agrees(nlmf_weight_reference(u, v, phi), expected)


def test_replicas_may_share_any_operand():
    shapes = ((5, 2), (7, 2), (3,), (3,), (3,), ())
    for shared in range(len(shapes)):
        inputs = [torch.randn(s if k == shared else (4, *s)).double() for k, s in enumerate(shapes)]
        results = [
            value_and_gradients(lambda u, v, *phi: f(u, v, ElementwiseNetwork(*phi)), inputs)  # noqa: B023
            for f in (nlmf_weight, nlmf_weight_reference)
        ]
        for got, wanted in zip(*results):
            assert_agrees(got, wanted)


def test_hidden_activations_take_no_memory():
    u, v = torch.randn(300, 4, requires_grad=True), torch.randn(200, 4, requires_grad=True)
    phi = ElementwiseNetwork(torch.randn(64), torch.randn(64), torch.randn(64), torch.zeros(()))
    nlmf_weight(u, v, phi).sum().backward()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        nlmf_weight(u, v, phi).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 3 * 4 * 300 * 200


def test_what_does_not_fit_is_named():
    u, v = torch.randn(5, 2), torch.randn(7, 2)
    phi = ElementwiseNetwork(torch.randn(3), torch.randn(3), torch.randn(3), torch.zeros(()))
    with pytest.raises(ValueError, match=r"activation must be one of .*'gelu'"):
        nlmf_weight(u, v, phi, activation="gelu")
    with pytest.raises(ValueError, match=r"end in one rank.*'v': \(7, 3\)"):
        nlmf_weight(u, torch.randn(7, 3), phi)
    with pytest.raises(ValueError, match=r"in one h.*'b1': \(4,\)"):
        nlmf_weight(u, v, phi._replace(b1=torch.randn(4)))
    with pytest.raises(ValueError, match="a2 must have 1 axes, or one more of the replicas"):
        nlmf_weight(u.expand(4, -1, -1), v, phi._replace(a2=torch.randn(5, 3)))
    with pytest.raises(TypeError, match=r"c is torch.float64 on cpu, unlike u"):
        nlmf_weight(u, v, phi._replace(c=torch.zeros(()).double()))
