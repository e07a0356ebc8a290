"""Probes of weights: spectra of what layers stand for, norms of their parameters' gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from engine_problems import classification, program, regression, replicas
from torch import nn
from torch.nn.functional import cross_entropy

from lowdim.engine import Replica, train
from lowdim.models import Mlp
from lowdim.optim import Adam
from lowdim.probes import GradientNorms, WeightSpectra, build_probe, effective_rank
from lowdim.probes.weight_spectra import first_energy, singular_values

LAYERS = {
    "dense": ("dense", {}),
    "kronecker": ("kronecker", {"factors": [(4, 3), (4, 4)]}),
    "masked": ("masked", {"density": 0.3}),
    "nlmf": ("nlmf", {"rank": 2, "units": 5, "residual": True}),
}


@pytest.mark.parametrize("engine", ["torch", "fused"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_last_spectrum_is_that_of_the_final_weights(layer, engine):
    def build() -> nn.Module:
        return Mlp([12, 16, 4], [LAYERS[layer], ("dense", {})])

    job = program(build, epochs=3, probes=(WeightSpectra(every=2),))
    for result in train(job, classification(), replicas(2), engine=engine, dtype=torch.float64):
        module = build().double()
        module.load_state_dict(result.state)
        for name, own in (("fc1", module.fc1), ("fc2", module.fc2)):
            weight = own.weight if isinstance(own, nn.Linear) else own.materialize()
            expected = np.linalg.svd(weight.detach().numpy(), compute_uv=False)
            found = result.curves["weights", f"{name}_singular_values"]
            assert found[-1] == pytest.approx(expected, rel=1e-9, abs=1e-12)
            rank = effective_rank(torch.from_numpy(expected)).item()
            assert result.curves["weights", f"{name}_effective_rank"][-1] == pytest.approx(rank)
            energy = result.curves["weights", f"{name}_first_energy"][-1]
            assert energy == pytest.approx(expected[0] ** 2 / (expected**2).sum())
        assert result.times["weights", "fc1_effective_rank"][:, 0].tolist() == [0, 2, 3]


def test_the_effective_rank_counts_equal_singular_values():
    values = torch.tensor([[3.0, 3.0, 3.0, 0.0], [5.0, 0.0, 0.0, 0.0], [0.0] * 4, [1.0] * 4])
    assert effective_rank(values).tolist() == pytest.approx([3, 1, 0, 4])
    assert first_energy(values).tolist() == pytest.approx([1 / 3, 1, 0, 1 / 4])


def test_a_small_singular_value_adds_little_to_the_effective_rank():
    values = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    assert 1 < effective_rank(values) < 1.01


def test_a_weight_that_is_not_finite_has_no_spectrum_and_its_neighbour_has():
    weights = torch.randn(2, 5, 3)
    weights[0, 1, 1] = math.inf
    values = singular_values(weights)
    assert values[0].isnan().all()
    assert torch.allclose(values[1], torch.linalg.svdvals(weights[1].double()))


def test_a_map_without_a_name_and_nested_layers_are_named():
    def nested() -> nn.Module:
        return nn.Sequential(nn.Sequential(nn.Linear(12, 5)), nn.ReLU(), nn.Linear(5, 4))

    found = {}
    for build in (nested, lambda: nn.Linear(12, 4)):
        job = program(build, epochs=1, probes=(WeightSpectra(),))
        (result,) = train(job, classification(), replicas(1), engine="torch")
        found[build] = {m for split, m in result.curves if m.endswith("_effective_rank")}
    assert list(found.values()) == [
        {"0_0_effective_rank", "2_effective_rank"},
        {"map_effective_rank"},
    ]


def test_a_network_without_linear_layers_is_refused():
    job = program(lambda: nn.Sequential(nn.LayerNorm(12)), epochs=1, probes=(WeightSpectra(),))
    with pytest.raises(ValueError, match="weight_spectra needs linear layers"):
        train(job, classification(), replicas(1), engine="torch")


@pytest.mark.parametrize("engine", ["torch", "fused"])
def test_gradient_norms_are_those_of_the_mean_loss_over_the_first_samples(engine):
    task = classification()

    def build() -> nn.Module:
        return Mlp([12, 16, 4], [LAYERS["nlmf"], ("dense", {})])

    job = program(build, epochs=1, probes=(GradientNorms(task, samples=50),))
    for result in train(job, task, replicas(2), engine=engine, dtype=torch.float64):
        module = build().double()
        module.load_state_dict(result.state)
        loss = cross_entropy(module(task.train.inputs[0, :50].double()), task.train.targets[0, :50])
        loss.backward()
        expected = {
            f"fc1_{name}_gradient_norm": getattr(module.fc1, name).grad.norm().item()
            for name in ("u", "v", "phi")
        }
        expected["fc2_weight_gradient_norm"] = module.fc2.weight.grad.norm().item()
        found = {m: c[-1] for (split, m), c in result.curves.items() if split == "weights"}
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("engine", ["torch", "fused"])
def test_gradient_norms_are_those_of_a_replicas_own_set(engine):
    task = regression()
    chosen = [Replica(0, {"learning_rate": 0.01}, data_set=place) for place in (2, 0)]
    probes = (GradientNorms(task),)
    job = program(lambda: nn.Linear(5, 2), epochs=1, watch=(), probes=probes)
    for replica, result in zip(chosen, train(job, task, chosen, engine=engine), strict=True):
        module = nn.Linear(5, 2)
        module.load_state_dict(result.state)
        x, y = task.train.inputs[replica.data_set], task.train.targets[replica.data_set]
        nn.functional.mse_loss(module(x), y).backward()
        found = result.curves["weights", "weight_gradient_norm"][-1]
        assert found == pytest.approx(module.weight.grad.norm().item(), rel=1e-4)


@pytest.mark.parametrize("name", ["weight_spectra", "gradient_norms"])
def test_they_are_built_by_name(name):
    probe = build_probe(name, classification(), 7, rule=Adam(), batch_size=32)
    assert probe.every == 7
