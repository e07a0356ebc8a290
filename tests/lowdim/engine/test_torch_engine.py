"""The torch engine trains R replicas as R single runs would, and as plain PyTorch does."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engine_problems import (
    classification,
    distance,
    network,
    program,
    regression,
    replicas,
)
from torch import nn

from lowdim.engine import Program, Replica, ReplicaView, split_rows, train
from lowdim.engine.seeds import built
from lowdim.models import Mlp
from lowdim.optim import Adam, Sgd

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
RULES = {"adam": Adam(), "sgd": Sgd()}
STRUCTURES = {
    "dense": ("dense", {}),
    "kronecker": ("kronecker", {"factors": [(4, 3), (4, 4)]}),
    "lowrank": ("lowrank", {"rank": 2}),
    "lowrank_diag": ("lowrank_diag", {"rank": 1}),
    "masked": ("masked", {"density": 0.3}),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_many_replicas_equal_single_runs_after_fifty_steps(structure, dtype):
    def build() -> nn.Module:
        return Mlp([12, 16, 4], [STRUCTURES[structure], ("dense", {})])

    task = classification(320)
    job = program(build, epochs=5, batch_size=32)
    many = train(job, task, replicas(3), dtype=dtype, engine="torch")
    for replica, result in zip(replicas(3), many, strict=True):
        (alone,) = train(job, task, [replica], dtype=dtype, engine="torch")
        assert distance(alone.state, result.state) < TOLERANCE[dtype]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("rule", RULES)
def test_a_run_follows_torchs_own_optimiser_in_float64(rule, schedule):
    task = classification()
    hyper = {"learning_rate": 0.02, "weight_decay": 0.01}
    if rule == "sgd":
        hyper["momentum"] = 0.9
    job = program(rule=RULES[rule], epochs=3, schedule=schedule)
    orders = torch.stack([torch.randperm(300) for _ in range(3)])
    (result,) = train(job, task, [Replica(7, hyper, orders=orders)], dtype=torch.float64)
    expected = _plain_loop(rule, schedule, hyper, task, orders)
    assert distance(expected, result.state) < TOLERANCE[torch.float64]


def _plain_loop(rule, schedule, hyper, task, orders):
    module = built(network, 7).double()
    own = {"lr": hyper["learning_rate"], "weight_decay": hyper["weight_decay"]}
    if rule == "adam":
        optimiser = torch.optim.Adam(module.parameters(), **own)
    else:
        optimiser = torch.optim.SGD(module.parameters(), momentum=hyper["momentum"], **own)
    batches = [rows for order in orders for rows in order.split(32)]
    for step, rows in enumerate(batches):
        if schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * step / len(batches)))
            optimiser.param_groups[0]["lr"] = own["lr"] * factor
        optimiser.zero_grad()
        x, y = task.train.inputs[0].double()[rows], task.train.targets[0][rows]
        nn.functional.cross_entropy(module(x), y).backward()
        optimiser.step()
    return dict(module.state_dict())


def test_each_replica_follows_its_own_rate():
    task, job = classification(), program(rule=Sgd(), epochs=1)
    rates = [0.0001, 0.01, 0.1]
    together = [Replica(0, {"learning_rate": rate}) for rate in rates]
    many = train(job, task, together, dtype=torch.float64)
    for replica, result in zip(together, many, strict=True):
        (alone,) = train(job, task, [replica], dtype=torch.float64)
        assert distance(alone.state, result.state) < TOLERANCE[torch.float64]
    assert distance(many[0].state, many[2].state) > 0.01


def test_seeds_differ_in_start_and_in_order():
    starts = [built(network, seed).state_dict() for seed in (0, 1, 0)]
    assert distance(starts[0], starts[1]) > 0.1
    assert distance(starts[0], starts[2]) == 0


def test_training_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    train(program(), classification(), replicas(2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_starts_drawn_on_several_threads_are_those_drawn_on_one():
    expected = [built(network, seed).state_dict() for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: built(network, seed).state_dict(), range(40)))
    assert all(distance(a, b) == 0 for a, b in zip(expected, found, strict=True))


def test_two_runs_give_the_same_bits():
    first, second = (train(program(), classification(), replicas(3)) for _ in range(2))
    assert all(distance(a.state, b.state) == 0 for a, b in zip(first, second, strict=True))


def test_a_diverged_replica_stops_alone():
    task, job = classification(), program(rule=Sgd(), epochs=4)
    good, bad = {"learning_rate": 0.01}, {"learning_rate": 1e38}
    result = train(job, task, [Replica(0, good), Replica(1, bad), Replica(2, good)])
    assert [r.diverged_epoch for r in result] == [None, 1, None]
    assert not result[1].metrics
    assert len(result[1].curves["monitor", "loss"]) == 1
    (alone,) = train(job, task, [Replica(2, good)])
    assert distance(alone.state, result[2].state) < TOLERANCE[torch.float32]


def test_a_nan_in_the_inputs_is_seen_as_divergence():
    task = classification()
    task.train.inputs[0, 5, 0] = math.nan
    results = train(program(), task, replicas(2))
    assert all(result.diverged_epoch == 1 for result in results)


def test_replicas_train_on_their_own_set():
    task = regression()
    job = Program(lambda: nn.Linear(5, 2), Sgd(), epochs=150, batch_size=None, final=("test",))
    chosen = [Replica(s, {"learning_rate": 0.3}, data_set=s) for s in range(3)]
    results = train(job, task, chosen, dtype=torch.float64)
    for place, result in enumerate(results):
        x, y = task.train.inputs[place].double(), task.train.targets[place].double()
        exact = torch.linalg.lstsq(x, y).solution.T
        assert torch.allclose(result.state["weight"], exact, atol=1e-3)
        assert result.metrics["test", "loss"] < 1e-5


def test_a_trial_sees_only_its_training_rows():
    task = classification()
    fitted, held = split_rows(300, 0.2, seed=3)
    assert len(held) == 60
    assert set(fitted.tolist()).isdisjoint(held.tolist())
    job = program(watch=(), final=())
    trial = Replica(3, {"learning_rate": 0.01}, train_rows=fitted, score_rows=held)
    (before,) = train(job, task, [trial])
    task.train.inputs[0, held] = 0.0
    (after,) = train(job, task, [trial])
    assert distance(before.state, after.state) == 0
    assert before.metrics["validation", "loss"] != after.metrics["validation", "loss"]


def test_watched_curves_begin_before_training_and_end_after_it():
    (result,) = train(program(epochs=3), classification(), replicas(1))
    assert result.times["monitor", "loss"].tolist() == [[0, 0], [1, 10], [2, 20], [3, 30]]
    assert result.times["train", "loss"].tolist() == [[1, 10], [2, 20], [3, 30]]


def test_evaluation_agrees_with_the_network_itself():
    task = classification()
    (result,) = train(program(), task, replicas(1))
    module = network()
    module.load_state_dict(result.state)
    x, y = task.held_out["test"].inputs[0], task.held_out["test"].targets[0]
    with torch.no_grad():
        outputs = module(x)
    accuracy = 100 * (outputs.argmax(1) == y).double().mean().item()
    assert result.metrics["test", "accuracy"] == pytest.approx(accuracy)
    loss = nn.functional.cross_entropy(outputs, y).item()
    assert result.metrics["test", "loss"] == pytest.approx(loss, rel=TOLERANCE[torch.float32])


class _NormProbe:
    every = 2

    def __call__(self, view: ReplicaView) -> dict[str, torch.Tensor]:
        return {"norm": view.params["0.weight"].flatten(1).norm(dim=1)}


def test_probes_run_when_due_and_at_the_end():
    results = train(program(epochs=5, probes=(_NormProbe(),)), classification(), replicas(2))
    times = results[1].times["weights", "norm"]
    assert times[:, 0].tolist() == [0, 2, 4, 5]
    expected = results[1].state["0.weight"].norm()
    assert results[1].curves["weights", "norm"][-1] == pytest.approx(float(expected))


def test_step_metrics_are_gradient_norm_and_product():
    task = classification(64)
    job = program(rule=Sgd(), epochs=1, batch_size=32, step_metrics=True)
    frozen = Replica(0, {"learning_rate": 1e-30}, orders=torch.arange(64).repeat(1, 1))
    (result,) = train(job, task, [frozen], dtype=torch.float64)
    module = built(network, 0).double()
    gradients = []
    for rows in (slice(0, 32), slice(32, 64)):
        loss = nn.functional.cross_entropy(
            module(task.train.inputs[0, rows].double()), task.train.targets[0, rows]
        )
        own = torch.autograd.grad(loss, list(module.parameters()))
        gradients.append(torch.cat([g.reshape(-1) for g in own]))
    squares = result.curves["train", "gradient_square"]
    products = result.curves["train", "gradient_product"]
    assert squares == pytest.approx([float(g @ g) for g in gradients])
    assert products == pytest.approx([0.0, float(gradients[0] @ gradients[1])])


def test_layers_with_running_statistics_are_refused_by_name():
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4))

    with pytest.raises(ValueError, match="BatchNorm1d changes its buffers"):
        train(program(build), classification(), replicas(2))


def test_an_unknown_engine_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"engine must be one of .*torch.*'quick'"):
        train(program(), classification(), replicas(1), engine="quick")
