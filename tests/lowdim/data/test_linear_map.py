"""Regression on a linear map: rank, spectrum, exact targets, one set for each generator."""

import pytest
import torch

from lowdim.data import linear_map_task


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def small(*seeds, **arguments):
    sizes = {"samples": 200, "inputs": 12, "outputs": 9, "monitor": 30, "dtype": torch.float64}
    return linear_map_task(**{**sizes, **arguments}, generators=generators(*seeds))


def test_targets_are_the_map_of_the_inputs(agree):
    drawn = small(0, 1)
    for split in (drawn.train, drawn.held_out["monitor"]):
        for x, y, a in zip(split.inputs, split.targets, drawn.facts["target_map"]):
            agree(y, x @ a.T)
    assert drawn.train.inputs.shape == (2, 200, 12)
    assert drawn.train.targets.shape == (2, 200, 9)
    assert drawn.held_out["monitor"].samples == 30
    assert drawn.loss == "mse"


def test_the_map_has_the_singular_values_asked_for(agree):
    values = torch.linalg.svdvals(small(0).facts["target_map"][0])
    agree(values[:5], torch.tensor([5.0, 4, 3, 2, 1], dtype=torch.float64))
    assert values[5:].norm() < 1e-12


def test_inputs_have_unit_length_on_average():
    lengths = small(0, samples=4000).train.inputs[0].square().sum(1)
    error = lengths.std() / len(lengths) ** 0.5
    assert abs(lengths.mean() - 1) < 4 * error


def test_sets_differ_and_each_belongs_to_its_generator():
    both, second = small(0, 1), small(1)
    assert not torch.equal(both.facts["target_map"][0], both.facts["target_map"][1])
    assert torch.equal(both.facts["target_map"][1], second.facts["target_map"][0])
    assert torch.equal(both.train.inputs[1], second.train.inputs[0])


def test_draws_come_in_the_published_order():
    """Inputs, then U, then V, as `torch.manual_seed(0)` and plain `randn` give them."""
    drawn = small(0, dtype=torch.float32)
    torch.manual_seed(0)
    x = torch.randn(200, 12) / 12**0.5
    u = torch.linalg.qr(torch.randn(9, 5)).Q
    v = torch.linalg.qr(torch.randn(12, 5)).Q
    a = u @ torch.diag(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) @ v.T
    assert torch.equal(drawn.train.inputs[0], x)
    torch.testing.assert_close(drawn.facts["target_map"][0], a)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"singular_values": [1.0] * 10}, "1 to 9 numbers, got 10"),
        ({"singular_values": []}, "1 to 9 numbers, got 0"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(0, **arguments)


def test_no_generator_is_refused():
    with pytest.raises(ValueError, match="one generator at least"):
        linear_map_task(generators=[])
