"""How layers start: the variance of the materialised weight, over many draws."""

import pytest
import torch

from lowdim.layers import build_layer

DRAWS = 3000


def draw_weights(kind, options, *, inputs=6, outputs=4):
    generator = torch.Generator().manual_seed(1)
    layers = (
        build_layer(kind, inputs, outputs, bias=False, options=options, generator=generator)
        for _ in range(DRAWS)
    )
    with torch.no_grad():
        return torch.stack([layer.materialize() for layer in layers]).double()


def assert_mean_is(samples, expected, *, deviations=4.5):
    """The mean over draws is what is expected, as far as so many draws can tell."""
    error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - expected).abs() <= deviations * error).all()


CASES = [
    ("kronecker", {"factors": [(2, 3), (2, 2)]}),
    ("kronecker", {"factors": [(2, 3), (2, 1), (1, 2)]}),
    ("kronecker", {"factors": 2, "gain": 0.5}),
    ("lowrank", {"rank": 1}),
    ("lowrank", {"rank": 5, "gain": 1.0}),
    ("lowrank_diag", {"rank": 3}),
    ("lowrank_diag", {"rank": 2, "diagonal": False}),
    ("masked", {"density": 0.25}),
    ("masked", {"density": 0.5, "gain": 1.0}),
    ("nlmf", {"rank": 2, "start": "centred", "gain": 1.0}),
    ("nlmf", {"rank": 3, "start": "centred", "residual": True}),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_each_entry_of_the_weight_has_variance_gain_over_fan_in(kind, options):
    weights = draw_weights(kind, options)
    assert_mean_is(weights, 0.0)
    assert_mean_is(weights.square(), options.get("gain", 2.0) / 6)


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 6)])
def test_a_diagonal_takes_its_share_of_the_variance(share, inputs, outputs):
    options = {"rank": 2, "diagonal_share": share}
    weights = draw_weights("lowrank_diag", options, inputs=inputs, outputs=outputs)
    assert_mean_is(weights.square().mean((1, 2)), 2 / inputs)
    outside = ~torch.eye(outputs, inputs, dtype=torch.bool)
    assert_mean_is(weights[:, outside].square(), (1 - share) * 2 / inputs)


def test_the_diagonal_starts_at_zero_by_default():
    assert not build_layer("lowrank_diag", 6, 4).d.any()


def test_a_dense_weight_times_a_mask_is_a_smaller_gain():
    layer = build_layer("masked", 400, 300, options={"density": 0.1, "gain": 0.2})
    expected = 2 / 400
    spread = expected * (2 / layer.values.numel()) ** 0.5
    assert abs(layer.values.detach().square().mean() - expected) < 5 * spread


@pytest.mark.parametrize("kind", ["kronecker", "lowrank", "masked"])
def test_activations_keep_their_scale_through_relu(kind):
    generator = torch.Generator().manual_seed(0)
    scales = []
    for _ in range(300):
        layer = build_layer(kind, 30, 20, bias=False, generator=generator)
        x = torch.relu(torch.randn(4, 30, generator=generator))
        scales.append(layer(x).detach().square().mean() / (2 * x.square().mean()))
    assert_mean_is(torch.stack(scales), 1.0)
