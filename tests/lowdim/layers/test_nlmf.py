"""What is NLMFLinear's own: its network phi, how it starts, how near it comes to a dense layer."""

import pytest
import torch
from torch import nn

from lowdim.layers import LowRankLinear, NLMFLinear, build_layer

STARTS = [
    {"start": start, "residual": residual}
    for start in ("published", "centred")
    for residual in (False, True)
]


def layers(count, **options):
    draw = torch.Generator().manual_seed(0)
    return [NLMFLinear(40, 100, **options, generator=draw) for _ in range(count)]


def share_of_the_first(weight):
    """The part of a matrix's energy that lies in its first singular value."""
    values = torch.linalg.svdvals(weight.detach())
    return (values[0].square() / values.square().sum()).item()


@pytest.mark.parametrize("residual", [False, True])
def test_phi_is_two_convolutions_of_width_one(residual, agree):
    """As published: the product is an image of one channel, 16 hidden channels, SiLU between."""
    (layer,) = layers(1, residual=residual, dtype=torch.float64)
    phi = nn.Sequential(nn.Conv2d(1, 16, 1), nn.SiLU(), nn.Conv2d(16, 1, 1)).double()
    a1, b1, a2, c = layer.network
    with torch.no_grad():
        phi[0].weight.copy_(a1.view(16, 1, 1, 1))
        phi[0].bias.copy_(b1)
        phi[2].weight.copy_(a2.view(1, 16, 1, 1))
        phi[2].bias.copy_(c)
    product = layer.u @ layer.v.mT
    expected = phi(product[None, None])[0, 0]
    agree(layer.materialize(), expected + product if residual else expected)


def test_phi_starts_as_convolutions_do():
    drawn = torch.stack([layer.phi.detach() for layer in layers(200)])
    reach = torch.ones(49)
    reach[2::3] = reach[-1] = 1 / 4
    assert (drawn.abs() <= reach).all()
    assert (drawn.abs().amax(0) > 0.95 * reach).all()
    assert (drawn.mean(0).abs() < 5 * reach / (3 * 200) ** 0.5).all()


@pytest.mark.parametrize("options", STARTS)
def test_the_product_starts_with_variance_two_over_fan_in(options):
    products = torch.stack([layer.u @ layer.v.mT for layer in layers(300, **options)]).detach()
    square = products.square().mean((1, 2))
    assert abs(square.mean() - 2 / 40) < 5 * square.std() / 300**0.5


def test_as_published_the_weight_is_nearly_constant_and_centred_it_is_not():
    published, centred = (
        torch.tensor([share_of_the_first(a.materialize()) for a in layers(60, start=start)])
        for start in ("published", "centred")
    )
    assert published.median() > 0.9
    assert centred.median() < 0.5


def test_a_centred_weight_has_mean_zero_and_variance_gain_over_fan_in():
    for layer in layers(20, start="centred", gain=0.5, dtype=torch.float64):
        weight = layer.materialize()
        assert weight.mean().item() == pytest.approx(0, abs=1e-12)
        assert weight.var(correction=0).item() == pytest.approx(0.5 / 40)


def test_a_centred_residual_layer_starts_at_its_product():
    (layer,) = layers(1, start="centred", residual=True)
    assert torch.equal(layer.materialize(), layer.u @ layer.v.mT)
    layer(torch.randn(5, 40)).square().sum().backward()
    assert layer.phi.grad.any()


def test_starts_draw_the_same_numbers():
    one, other = layers(1, start="published")[0], layers(1, start="centred")[0]
    assert torch.equal(one.u, other.u)
    assert torch.equal(one.v, other.v)
    assert torch.equal(one.network.a1, other.network.a1)


def test_a_weight_of_one_entry_can_be_centred():
    weight = NLMFLinear(1, 1, rank=1, start="centred").materialize()
    assert weight.item() == pytest.approx(0, abs=1e-6)


def dense(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(12, 8, dtype=torch.float64)


@pytest.mark.parametrize(
    ("activation", "residual", "units"),
    [("silu", False, 2), ("silu", True, 16), ("relu", True, 2), ("tanh", False, 3)],
)
def test_it_comes_nearer_to_a_dense_layer_than_its_rank_alone(activation, residual, units):
    options = {"units": units, "activation": activation, "residual": residual}
    _, error = NLMFLinear.from_dense(dense(), rank=2, **options)
    _, of_rank = LowRankLinear.from_dense(dense(), rank=2)
    assert error < of_rank


def test_it_comes_near_to_a_weight_of_its_own_kind():
    linear = dense()
    options = {"rank": 2, "units": 4, "start": "centred"}
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        linear.weight.copy_(build_layer("nlmf", 12, 8, options=options, generator=draw).weight)
    _, error = NLMFLinear.from_dense(linear, rank=2)
    assert error < 0.5 * LowRankLinear.from_dense(linear, rank=2)[1]


def test_a_fit_works_without_gradients_around_it():
    with torch.no_grad():
        layer, error = NLMFLinear.from_dense(dense(), rank=1, units=2)
    assert 0 < error < 1
    assert all(parameter.requires_grad for parameter in layer.parameters())
