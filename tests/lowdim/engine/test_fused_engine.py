"""The fused engine trains as the torch engine does, and each replica by itself to the last bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from engine_problems import classification, distance, network, program, regression, replicas
from torch import nn

from lowdim.engine import Program, Replica, fused, split_rows, train
from lowdim.models import DeepLinear, Mlp
from lowdim.optim import Adam, Sgd
from lowdim.optim.proximal import ProximalSgd
from lowdim.optim.rules import AdamW

STRUCTURES = {
    "dense": ("dense", {}),
    "kronecker": ("kronecker", {"factors": [(4, 3), (4, 4)]}),
    "three factors": ("kronecker", {"factors": [(2, 3), (2, 2), (4, 2)]}),
    "lowrank": ("lowrank", {"rank": 2}),
    "lowrank_diag": ("lowrank_diag", {"rank": 1}),
    "masked": ("masked", {"density": 0.3}),
    "nlmf": ("nlmf", {"rank": 2, "units": 5}),
    "nlmf, tanh": ("nlmf", {"rank": 3, "activation": "tanh"}),
    "nlmf, residual": ("nlmf", {"rank": 2, "residual": True, "activation": "relu"}),
}
CLOSE = 1e-9


def _pair(job, task, chosen, dtype=torch.float64):
    return [train(job, task, chosen, engine=engine, dtype=dtype) for engine in ("torch", "fused")]


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "none"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_it_equals_the_torch_engine_in_float64(structure, activation):
    def build() -> nn.Module:
        layers = [STRUCTURES[structure], ("dense", {})]
        return Mlp([12, 16, 4], layers, activation)

    job = program(build, Sgd(), epochs=3, batch_size=37)
    chosen = [Replica(s, {"learning_rate": 0.02, "momentum": 0.9}) for s in range(2)]
    for one, other in zip(*_pair(job, classification(), chosen), strict=True):
        assert distance(one.state, other.state) < CLOSE
        assert other.metrics == pytest.approx(one.metrics, rel=1e-7)
        assert set(other.curves) == set(one.curves)
        for pair, curve in one.curves.items():
            assert other.curves[pair] == pytest.approx(curve, rel=1e-7)
            assert other.times[pair].tolist() == one.times[pair].tolist()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(
    ("rule", "hyper"),
    [
        (Adam(), {"weight_decay": 0.01, "beta1": 0.8}),
        (AdamW(), {"weight_decay": 0.1}),
        (Sgd(), {"momentum": 0.9, "weight_decay": 0.01}),
        (Sgd(), {}),
    ],
)
def test_rules_and_schedules_are_those_of_the_torch_engine(rule, hyper, schedule):
    job = program(rule=rule, epochs=2, schedule=schedule)
    one, other = _pair(job, classification(), [Replica(3, {"learning_rate": 0.01, **hyper})])
    assert distance(one[0].state, other[0].state) < CLOSE


def test_regression_on_sets_of_its_own_agrees():
    task = regression()
    job = Program(
        lambda: DeepLinear(5, 2, 4, 0.3), Sgd(), epochs=20, batch_size=None, final=("test",)
    )
    chosen = [Replica(s, {"learning_rate": 0.1}, data_set=s) for s in range(3)]
    for one, other in zip(*_pair(job, task, chosen), strict=True):
        assert distance(one.state, other.state) < CLOSE
        assert other.metrics == pytest.approx(one.metrics, rel=1e-7)


def test_trials_are_scored_on_the_same_rows():
    fitted, held = split_rows(300, 0.2, seed=1)
    trial = Replica(1, {"learning_rate": 0.01}, train_rows=fitted, score_rows=held)
    one, other = _pair(program(watch=(), final=()), classification(), [trial])
    assert other[0].metrics == pytest.approx(one[0].metrics, rel=1e-7)


def test_step_metrics_agree():
    job = program(rule=Sgd(), step_metrics=True)
    one, other = _pair(job, classification(), [Replica(0, {"learning_rate": 0.05})])
    for metric in ("step_loss", "gradient_square", "gradient_product"):
        pair = ("train", metric)
        assert other[0].curves[pair] == pytest.approx(one[0].curves[pair], rel=1e-7, abs=1e-12)


def test_a_replica_is_the_same_to_the_last_bit_whatever_runs_beside_it():
    task, job = classification(), program(epochs=3)
    together = train(job, task, replicas(6), engine="fused")
    backwards = train(job, task, replicas(6)[::-1], engine="fused")[::-1]
    with ThreadPoolExecutor(3) as pool:
        alone = list(pool.map(lambda r: train(job, task, [r], engine="fused")[0], replicas(6)))
    for a, b, c in zip(together, backwards, alone, strict=True):
        for name, tensor in a.state.items():
            assert torch.equal(tensor, b.state[name])
            assert torch.equal(tensor, c.state[name])


def test_float32_is_as_near_to_float64_as_torchs_own():
    """At steps 1, 10, 100: median distance over 20 seeds at most three times torch float32's."""
    task = classification(3200)
    for steps in (1, 10, 100):
        job = program(epochs=1, watch=(), final=())
        rows = torch.arange(32 * steps)
        chosen = [
            Replica(
                s,
                {"learning_rate": 1e-2},
                train_rows=rows,
                orders=torch.randperm(len(rows), generator=torch.Generator().manual_seed(s))[None],
            )
            for s in range(20)
        ]
        exact = train(job, task, chosen, engine="torch", dtype=torch.float64)
        far = {}
        for engine in ("torch", "fused"):
            found = train(job, task, chosen, engine=engine)
            gaps = [distance(a.state, b.state) for a, b in zip(exact, found, strict=True)]
            far[engine] = torch.tensor(gaps).median().item()
        assert far["fused"] <= 3 * far["torch"], (steps, far)


def test_a_diverged_replica_stops_alone():
    job = program(rule=Sgd(), epochs=3)
    chosen = [Replica(s, {"learning_rate": rate}) for s, rate in enumerate((0.01, 1e38, 0.01))]
    found = train(job, classification(), chosen, engine="fused")
    assert [r.diverged_epoch for r in found] == [None, 1, None]
    assert not found[1].metrics
    (alone,) = train(job, classification(), chosen[2:], engine="fused")
    assert distance(alone.state, found[2].state) == 0


@pytest.mark.parametrize("steps_at_once", [1, 20, 1024])
def test_bits_do_not_depend_on_how_many_epochs_are_one_call(monkeypatch, steps_at_once):
    task = regression(sets=1)
    sizes = task.train.inputs.shape[-1], task.train.targets.shape[-1]
    settings = {"build": lambda: nn.Sequential(nn.Linear(*sizes)), "rule": Sgd(), "epochs": 9}
    settings |= {"batch_size": 16, "final": (), "schedule": "cosine"}
    # too high a rate: the last one's error grows from step to step, until float32 is left
    chosen = [*replicas(2), Replica(2, {"learning_rate": 10.0})]
    step_by_step = train(program(**settings, watch=tuple(task.held_out)), task, chosen)
    monkeypatch.setattr(fused, "STEPS_AT_ONCE", steps_at_once)
    epochs = []
    job = program(**settings, watch=())
    found = train(job, task, chosen, engine="fused", on_epoch=lambda epoch, _: epochs.append(epoch))
    ends = [result.diverged_epoch for result in found]
    assert ends == [result.diverged_epoch for result in step_by_step]
    assert ends[:2] == [None, None]
    assert ends[2] > 1
    assert epochs == [*range(1, 10), *range(1, 10), *range(1, ends[2])]
    assert [len(result.curves["train", "loss"]) for result in found] == [9, 9, ends[2]]
    for one, other in zip(found, step_by_step, strict=True):
        assert one.state.keys() == other.state.keys()
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
        loss = ("train", "loss")
        np.testing.assert_array_equal(one.curves[loss], other.curves[loss])


def test_a_nan_in_the_inputs_is_seen_as_divergence():
    task = classification()
    task.train.inputs[0, 5, 0] = math.nan
    found = train(program(), task, replicas(2), engine="fused")
    assert all(result.diverged_epoch == 1 for result in found)


class _Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(12, 4)

    def forward(self, x):
        return self.inner(x).abs()


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (program(_Odd), "_Odd has no form on the tape"),
        (program(lambda: nn.Sequential(nn.Linear(12, 4), nn.GELU())), "GELU has no form"),
        (program(rule=ProximalSgd()), "the rule ProximalSgd has no form on the tape"),
    ],
)
def test_what_it_cannot_train_is_refused_with_the_reason_and_auto_goes_on(job, reason):
    hyper = {"learning_rate": 0.01, "nuclear_norm": 0.0}
    chosen = [Replica(0, hyper if isinstance(job.rule, ProximalSgd) else {"learning_rate": 0.01})]
    with pytest.raises(ValueError, match=f"engine fused cannot run this: {reason}"):
        train(job, classification(), chosen, engine="fused")
    (found,) = train(job, classification(), chosen, engine="auto")
    assert found.engine == "torch"
    assert reason in found.engine_reason


def test_auto_takes_it_where_it_can():
    (found,) = train(program(), classification(), replicas(1))
    assert (found.engine, found.engine_reason) == ("fused", "the fastest")
    (found,) = train(program(), classification(), replicas(1), engine="torch")
    assert (found.engine, found.engine_reason) == ("torch", "asked for")


def test_a_plain_sequential_network_needs_no_recipe():
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 9, bias=False), network(9))

    def flat() -> nn.Module:
        return nn.Sequential(*list(build())[:3], nn.SiLU(), nn.Linear(9, 4))

    one, other = _pair(program(flat), classification(), replicas(1))
    assert distance(one[0].state, other[0].state) < CLOSE
