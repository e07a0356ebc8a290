"""How many numbers each kind holds, the published 40-100-10 network among them."""

import pytest
import torch

from lowdim.layers import LAYERS, KroneckerLinear, build_layer, fewest_parameter_shapes


def network_size(kind, first, second):
    layers = build_layer(kind, 40, 100, options=first), build_layer(kind, 100, 10, options=second)
    return sum(p.numel() for layer in layers for p in layer.parameters())


@pytest.mark.parametrize(
    ("kind", "first", "second", "size"),
    [
        ("dense", {}, {}, 5110),
        ("kronecker", {"factors": [(10, 5), (10, 8)]}, {"factors": [(2, 10), (5, 10)]}, 310),
        ("kronecker", {"factors": [(10, 4), (10, 10)]}, {"factors": [(2, 10), (5, 10)]}, 320),
        ("lowrank_diag", {"rank": 1}, {"rank": 1}, 410),
        ("lowrank", {"rank": 8}, {"rank": 8}, 2110),
        ("masked", {"density": 0.1}, {"density": 0.1}, 610),
        ("nlmf", {"rank": 4, "units": 16}, {"rank": 4, "units": 16}, 1208),
    ],
)
def test_the_published_networks_have_their_sizes(kind, first, second, size):
    assert network_size(kind, first, second) == size


@pytest.mark.parametrize(("inputs", "outputs", "density"), [(40, 100, 0.1), (7, 5, 0.3), (3, 3, 1)])
def test_a_mask_keeps_exactly_the_rounded_share(inputs, outputs, density):
    layer = build_layer("masked", inputs, outputs, options={"density": density})
    assert layer.values.numel() == round(density * inputs * outputs)
    assert torch.count_nonzero(layer.materialize()) == layer.values.numel()


def test_shapes_are_chosen_with_the_fewest_parameters():
    assert fewest_parameter_shapes(100, 40, 2) == ((10, 5), (10, 8))
    assert fewest_parameter_shapes(64, 64, 3) == ((4, 4), (4, 4), (4, 4))
    chosen = KroneckerLinear(100, 10, bias=False)
    assert chosen.effective_parameters <= 70


@pytest.mark.parametrize("size", [(12, 18), (30, 8), (7, 11)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_chosen_shapes_multiply_to_the_layer(size, count):
    shapes = fewest_parameter_shapes(*size, count)
    assert len(shapes) == count
    assert KroneckerLinear(size[1], size[0], factors=shapes).materialize().shape == size


def test_every_kind_counts_what_it_stores():
    for kind in LAYERS.keys() - {"dense"}:
        layer = build_layer(kind, 40, 100)
        assert layer.effective_parameters == sum(p.numel() for p in layer.parameters())
