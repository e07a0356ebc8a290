"""lowdim.structure: dense layers of a network replaced in place, and what it says of it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import lowdim
from lowdim.layers import KroneckerLinear, LowRankLinear, MaskedLinear


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.norm = nn.LayerNorm(8)
        self.fc2 = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.fc2(self.norm(self.body(self.fc1(x))))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network()


def test_layers_are_replaced_by_name_and_the_others_stay(network):
    fc2 = network.fc2
    report = lowdim.structure(
        network, {"fc1": "kronecker", "body.2": {"kind": "lowrank", "rank": 3}}
    )
    assert isinstance(network.fc1, KroneckerLinear)
    assert isinstance(network.body[2], LowRankLinear)
    assert network.body[2].rank == 3
    assert network.fc2 is fc2
    assert network(torch.randn(5, 12)).shape == (5, 4)
    assert [layer.name for layer in report.layers] == ["fc1", "body.2"]


def test_the_report_counts_and_measures(network):
    before = sum(p.numel() for p in network.parameters())
    weight = network.fc1.weight.detach().clone()
    report = lowdim.structure(network, {"fc1": {"kind": "masked", "density": 0.5}})
    after = sum(p.numel() for p in network.parameters())
    (row,) = report.layers
    assert (row.parameters_before, row.parameters_after) == (104, 56)
    assert report.parameters_before - report.parameters_after == before - after
    difference = (weight - network.fc1.materialize()).norm() / weight.norm()
    assert row.error == pytest.approx(difference.item(), rel=1e-5)
    assert str(report).splitlines()[1].split() == ["fc1", "masked", "104", "56", f"{row.error:.3f}"]


def test_patterns_match_many_and_exact_names_overrule_them(network):
    report = lowdim.structure(network, {"body.*": "lowrank", "body.0": "masked"})
    assert isinstance(network.body[0], MaskedLinear)
    assert isinstance(network.body[2], LowRankLinear)
    assert len(report.layers) == 2


def test_a_fresh_start_is_drawn_from_the_generator(network):
    twin = Network()
    for net in (network, twin):
        generator = torch.Generator().manual_seed(3)
        options = {"fc1": {"kind": "kronecker", "gain": 1.0}}
        report = lowdim.structure(net, options, keep_weights=False, generator=generator)
        assert report.layers[0].error is None
        assert not net.fc1.bias.any()
    assert torch.equal(network.fc1.materialize(), twin.fc1.materialize())


def test_a_module_used_twice_is_replaced_in_both_places():
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    lowdim.structure(network, {"0": "lowrank"})
    assert network[0] is network[2]
    assert isinstance(network[2], LowRankLinear)


def test_device_dtype_and_mode_are_kept(network):
    network.double().eval()
    lowdim.structure(network, {"fc1": "lowrank_diag"})
    assert network.fc1.u.dtype == torch.float64
    assert not network.fc1.training


def test_a_transformer_keeps_working_in_both_modes():
    encoder = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    lowdim.structure(encoder, {"linear*": "kronecker"})
    x = torch.randn(2, 3, 16)
    trained = encoder.train()(x)
    with torch.no_grad():
        judged = encoder.eval()(x)
    torch.testing.assert_close(trained, judged)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"fc3": "kronecker"}, r"'fc3' must match one of .*'fc1'"),
        ({"norm": "kronecker"}, "'norm' must match .* it is LayerNorm"),
        ({"fc1": "butterfly"}, "'fc1': kind must be one of .*got 'butterfly'"),
        ({"fc1": {"rank": 2}}, "kind must be one of .*got None"),
        ({"fc1": {"kind": "lowrank", "density": 0.1}}, r"may be \['rank', 'gain'\], got 'density'"),
        ({"fc1": {"kind": "lowrank", "gain": 0.1}}, "'gain' is of a fresh start"),
        ({"fc1": {"kind": "masked", "density": 2}}, r"'fc1': density must be in \(0, 1\], got 2"),
        ({"body.*": "lowrank", "*.2": "masked"}, "matched by both"),
    ],
)
def test_a_mistake_is_named_and_the_network_stays_as_it_was(network, layers, message):
    with pytest.raises(ValueError, match=message):
        lowdim.structure(network, {"body.0": "lowrank", **layers})
    assert all(type(m) is nn.Linear for m in (network.fc1, network.body[0], network.fc2))


def test_shared_weights_are_refused(network):
    network.body[0].weight = network.body[2].weight
    with pytest.raises(ValueError, match=r"'body.0' shares its weight"):
        lowdim.structure(network, {"body.0": "lowrank"})


def test_layers_with_hooks_are_refused(network):
    network.fc1.register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(ValueError, match="hooks"):
        lowdim.structure(network, {"fc1": "lowrank"})


def test_a_bare_linear_layer_has_no_place_to_change():
    with pytest.raises(ValueError, match="must contain linear layers"):
        lowdim.structure(nn.Linear(3, 3), {"": "lowrank"})


def test_importing_the_package_imports_no_torch():
    program = (
        "import sys, lowdim; assert 'structure' in dir(lowdim); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
