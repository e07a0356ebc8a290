"""Second moments and low-rank gradients on the fused engine."""

from __future__ import annotations

import pytest
import torch
from engine_problems import classification, distance, program
from torch import nn

from lowdim.data.linear_map import linear_map_task, second_moments
from lowdim.engine import Program, Replica, train
from lowdim.models import DeepLinear, Mlp, shallow_linear
from lowdim.optim import Adam, LrgAdam, Sgd
from lowdim.probes.linear_map import LinearMapErrors


def _moments(samples: int = 80, size: tuple[int, int] = (10, 7)):
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    task = linear_map_task(
        samples,
        *size,
        singular_values=(2.0, 1.0),
        monitor=30,
        generators=generators,
        dtype=torch.float64,
    )
    return second_moments(task)


@pytest.mark.parametrize("rule", [Sgd(), Adam()])
@pytest.mark.parametrize("width", [None, 4])
def test_second_moments_give_the_torch_engines_runs(rule, width):
    def build() -> nn.Module:
        return DeepLinear(10, 7, width, 0.3) if width else shallow_linear(10, 7, scale=0.3)

    task = _moments()
    probe = LinearMapErrors(task.facts["target_map"], every=2)
    job = Program(
        build,
        rule,
        epochs=30,
        batch_size=None,
        watch=("monitor",),
        final=("monitor",),
        probes=(probe,),
    )
    chosen = [Replica(s, {"learning_rate": 0.02}, data_set=s) for s in range(3)]
    one, other = (
        train(job, task, chosen, engine=engine, dtype=torch.float64)
        for engine in ("torch", "fused")
    )
    for a, b in zip(one, other, strict=True):
        assert distance(a.state, b.state) < 1e-9
        assert set(a.curves) == set(b.curves)
        for pair, curve in a.curves.items():
            assert b.curves[pair] == pytest.approx(curve, rel=1e-6, abs=1e-12)
        assert b.metrics == pytest.approx(a.metrics, rel=1e-6)


def _lrg(mode: str = "flat", **options) -> Program:
    return program(rule=LrgAdam(mode, **options), epochs=2)


def _one(job: Program, rank: float, engine: str, seed: int = 0, **hyper):
    replica = Replica(seed, {"learning_rate": 0.01, "rank": rank, **hyper})
    return train(job, classification(), [replica], engine=engine, dtype=torch.float64)[0]


def test_a_rank_as_large_as_the_square_is_adam_to_the_last_bit():
    whole = _one(_lrg(), 1000, "fused")
    plain = program(epochs=2)
    replica = Replica(0, {"learning_rate": 0.01})
    adam = train(plain, classification(), [replica], engine="fused", dtype=torch.float64)[0]
    assert distance(whole.state, adam.state) == 0


@pytest.mark.parametrize("mode", ["flat", "matrix"])
def test_low_rank_gradients_are_the_exact_ones_to_their_promised_excess(mode):
    """A step's error is within a percent of the least one, so runs stay near the exact ones."""

    def build() -> nn.Module:
        return Mlp([16, 24, 32, 4], [("dense", {})] * 3)

    job = program(build, LrgAdam(mode), epochs=1)
    exact = program(build, LrgAdam(mode, method="exact"), epochs=1)
    other = program(build, Adam(), epochs=1)
    replica = Replica(1, {"learning_rate": 1e-3, "rank": 3})
    task = classification(features=16)
    options = {"dtype": torch.float64}
    truncated = train(job, task, [replica], engine="fused", **options)[0]
    reference = train(exact, task, [replica], engine="torch", **options)[0]
    untouched = train(
        other, task, [Replica(1, {"learning_rate": 1e-3})], engine="torch", **options
    )[0]
    gap = distance(reference.state, untouched.state)
    assert distance(reference.state, truncated.state) < 0.1 * gap


def test_each_replica_has_its_own_rank_and_no_neighbour_changes_it():
    ranks = (1, 3, 6)
    chosen = [Replica(s, {"learning_rate": 0.01, "rank": k}) for s, k in enumerate(ranks)]
    together = train(_lrg(), classification(), chosen, engine="fused")
    for replica, result in zip(chosen, together, strict=True):
        (alone,) = train(_lrg(), classification(), [replica], engine="fused")
        assert distance(alone.state, result.state) == 0
    assert distance(together[0].state, together[1].state) > 0


@pytest.mark.parametrize(
    ("job", "hyper"),
    [
        (_lrg(project="momentum"), {}),
        (_lrg(error_feedback=True), {}),
        (_lrg(method="exact"), {}),
        (_lrg(), {"energy": 0.9}),
    ],
)
def test_other_low_rank_gradients_are_left_to_the_torch_engine(job, hyper):
    assert _one(job, 2, "auto", **hyper).engine == "torch"
    with pytest.raises(ValueError, match="engine fused cannot run this"):
        _one(job, 2, "fused", **hyper)
