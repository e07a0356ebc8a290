"""Structured layers fitted to dense ones: exact where the structure holds, best where it can be."""

import pytest
import torch
from torch import nn

from lowdim.layers import LAYERS, build_layer
from lowdim.layers.nearest import (
    largest_entries,
    nearest_kronecker,
    nearest_low_rank_diag,
    relative_error,
)

EXACT = {torch.float32: 1e-6, torch.float64: 1e-14}


def dense(inputs=12, outputs=8, dtype=torch.float64, seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias, dtype=dtype)


def of_structure(case, dtype=torch.float64):
    """A dense layer whose weight has the structure of the case."""
    kind, options = case
    linear = dense(dtype=dtype)
    with torch.no_grad():
        linear.weight.copy_(build_layer(kind, 12, 8, options=options, dtype=dtype).materialize())
    return linear


def fit(case, linear):
    kind, options = case
    of_a_start = ("diagonal_share", "start")
    options = {key: value for key, value in options.items() if key not in of_a_start}
    return LAYERS[kind].from_dense(linear, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_of_the_structure_is_met_exactly(case, dtype):
    if case[0] == "lowrank_diag" and case[1].get("diagonal", True):
        pytest.skip("alternation between low rank and diagonal finds a local optimum")
    if case[0] == "nlmf":
        pytest.skip("a nonlinear fit finds a local optimum")
    linear = of_structure(case, dtype)
    layer, error = fit(case, linear)
    assert error <= EXACT[dtype]
    assert layer.materialize().dtype == dtype


def test_the_error_returned_is_that_of_the_layer(case):
    linear = dense()
    layer, error = fit(case, linear)
    difference = linear.weight - layer.materialize()
    assert error == pytest.approx((difference.norm() / linear.weight.norm()).item())
    assert error < 1


def test_bias_mode_and_frozen_weights_are_kept(case):
    linear = dense().eval()
    linear.weight.requires_grad_(False)
    layer, _ = fit(case, linear)
    assert torch.equal(layer.bias, linear.bias)
    assert not layer.training
    weights = [p for name, p in layer.named_parameters() if name != "bias"]
    assert not any(p.requires_grad for p in weights)
    assert layer.bias.requires_grad
    assert fit(case, dense(bias=False))[0].bias is None


def test_the_dense_layer_and_the_global_generator_are_left_alone(case):
    linear = dense()
    weight, state = linear.weight.detach().clone(), torch.get_rng_state()
    layer, _ = fit(case, linear)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(linear.weight, weight)
    assert linear.bias.any()
    assert torch.equal(torch.get_rng_state(), state)


def test_no_pair_of_factors_is_nearer_than_the_nearest():
    """The error of two factors is that of the rearranged matrix's best rank one."""
    weight = dense().weight.detach()
    blocks = weight.reshape(2, 4, 3, 4).permute(0, 2, 1, 3).reshape(6, 16)
    singular = torch.linalg.svdvals(blocks)
    best = singular[1:].norm() / singular.norm()
    first, second = nearest_kronecker(weight, [(2, 3), (4, 4)])
    assert relative_error(weight, torch.kron(first, second)) == pytest.approx(best.item())
    assert first.norm() == pytest.approx(second.norm().item())


def test_three_factors_are_a_stationary_point():
    weight = dense().weight.detach()
    factors = [f.requires_grad_() for f in nearest_kronecker(weight, [(2, 3), (2, 2), (2, 2)])]
    product = torch.kron(torch.kron(factors[0], factors[1]), factors[2])
    slopes = torch.autograd.grad((weight - product).square().sum(), factors)
    assert all(slope.norm() < 1e-5 * weight.norm() for slope in slopes)


def test_more_sweeps_never_hurt_three_factors():
    shapes = [(2, 3), (2, 2), (2, 2)]
    for seed in range(5):
        weight = dense(seed=seed).weight.detach()
        errors = []
        for sweeps in (0, 1, 2, 50):
            a, b, c = nearest_kronecker(weight, shapes, sweeps=sweeps)
            errors.append(relative_error(weight, torch.kron(torch.kron(a, b), c)))
        assert errors == sorted(errors, reverse=True)


def test_low_rank_error_is_the_tail_of_the_spectrum():
    linear = dense()
    singular = torch.linalg.svdvals(linear.weight.detach())
    for rank in (1, 3, 8, 11):
        _, error = LAYERS["lowrank"].from_dense(linear, rank=rank)
        tail = singular[rank:].norm() / singular.norm()
        assert error == pytest.approx(tail.item(), abs=1e-12)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 8), (8, 12), (10, 10)])
def test_a_diagonal_never_hurts_and_more_sweeps_neither(inputs, outputs):
    linear = dense(inputs, outputs)
    weight = linear.weight.detach()
    _, plain = LAYERS["lowrank"].from_dense(linear, rank=2)
    errors = [plain]
    for sweeps in (0, 1, 5, 200):
        u, v, d = nearest_low_rank_diag(weight, 2, sweeps=sweeps)
        approximation = u @ v.mT
        torch.diagonal(approximation).add_(d)
        errors.append(relative_error(weight, approximation))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_low_rank_plus_diagonal_is_recovered_when_the_diagonal_is_small():
    torch.manual_seed(0)
    weight = torch.randn(20, 1, dtype=torch.float64) @ torch.randn(1, 20, dtype=torch.float64)
    torch.diagonal(weight).add_(0.3 * torch.randn(20, dtype=torch.float64))
    u, v, d = nearest_low_rank_diag(weight, 1)
    assert relative_error(weight, u @ v.mT + torch.diag(d)) < 1e-3


def test_a_mask_keeps_the_largest_weights():
    linear = dense()
    layer, error = LAYERS["masked"].from_dense(linear, density=0.25)
    kept = layer.materialize() != 0
    weight = linear.weight.detach().abs()
    assert kept.sum() == 24
    assert weight[kept].min() >= weight[~kept].max()
    assert error == pytest.approx((weight[~kept].norm() / weight.norm()).item())
    assert torch.equal(layer.materialize()[kept], linear.weight[kept])


def test_equal_magnitudes_are_kept_in_order():
    assert largest_entries(torch.ones(2, 3), 4).flatten().tolist() == [True] * 4 + [False] * 2


def test_a_zero_weight_is_met_exactly(case):
    linear = dense()
    nn.init.zeros_(linear.weight)
    layer, error = fit(case, linear)
    assert error == 0
    assert not layer.materialize().any()


def test_a_weight_that_is_not_finite_is_refused(case):
    linear = dense()
    with torch.no_grad():
        linear.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        fit(case, linear)


def test_other_modules_are_refused(case):
    with pytest.raises(TypeError, match=r"torch.nn.Linear, got Conv1d"):
        fit(case, nn.Conv1d(12, 8, 1))
