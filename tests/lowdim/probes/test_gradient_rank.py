"""What is read of gradients: their rank, and what an update rule keeps of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lowdim.data.task import Split, Task
from lowdim.engine import Program, Replica, train
from lowdim.engine.job import ReplicaView
from lowdim.optim import Adam, Galore, LrgAdam
from lowdim.probes.gradient_rank import GradientRank, stable_rank

TOLERANCE = 1e-10
BATCH = 10


def task(samples=60) -> Task:
    draw = torch.Generator().manual_seed(1)
    y = torch.randint(0, 3, (samples,), generator=draw)
    x = torch.randn(samples, 6, generator=draw, dtype=torch.float64) + y[:, None]
    return Task("blobs", "cross_entropy", Split(x[None], y[None]))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def view(replicas=2, **hyper) -> tuple[list[nn.Module], ReplicaView]:
    torch.manual_seed(0)
    nets = [network() for _ in range(replicas)]
    names = dict(nets[0].named_parameters())
    stacked = {
        n: torch.stack([dict(m.named_parameters())[n].detach() for m in nets]) for n in names
    }
    return nets, ReplicaView(nets[0], stacked, {}, torch.zeros(replicas, dtype=torch.int64), hyper)


def gradient_of(net: nn.Module, x, y) -> list[torch.Tensor]:
    net.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    return [p.grad.clone() for p in net.parameters()]


def by_hand(net: nn.Module, probe: GradientRank, rank: int | None) -> dict[str, float]:
    """Return the readings of one network by plain backward passes and full decompositions."""
    x, y = probe.task.train.inputs[0], probe.task.train.targets[0]
    true = torch.cat([g.flatten() for g in gradient_of(net, x, y)])
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(BATCH)[:4]
    found = []
    for own in rows:
        parts = gradient_of(net, x[own], y[own])
        whole = torch.cat([g.flatten() for g in parts])
        square = torch.zeros(64, dtype=whole.dtype)
        square[: len(whole)] = whole
        u, s, vh = torch.linalg.svd(square.view(8, 8))
        low = (u[:, :rank] * s[:rank] @ vh[:rank]).flatten()[: len(whole)]
        layers = [torch.linalg.svdvals(g) for g in parts if g.dim() == 2]
        cosine = {
            n: float(v @ true / v.norm() / true.norm()) for n, v in (("b", whole), ("u", low))
        }
        found.append(
            {
                "stable_rank": float(s.square().sum() / s[0] ** 2),
                "stable_rank_of_layers": float(
                    sum(v.square().sum() / v[0] ** 2 for v in layers) / len(layers)
                ),
                "energy_kept": float(low.square().sum() / whole.square().sum()),
                "cosine_of_batch": cosine["b"],
                "cosine_of_used": cosine["u"],
                "cosine_gain": cosine["u"] - cosine["b"],
            }
        )
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}


@pytest.mark.parametrize(("rule", "rank"), [(LrgAdam("flat"), 2), (Adam(), None)])
def test_readings_are_those_of_plain_backward_passes(rule, rank):
    probe = GradientRank(task(), rule, BATCH)
    nets, seen = view(rank=2)
    found = probe(seen)
    for place, net in enumerate(nets):
        expected = by_hand(net, probe, rank)
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name][place].item() == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE)


def test_every_replica_is_cut_at_its_own_rank():
    probe = GradientRank(task(), LrgAdam("flat"), BATCH)
    _, seen = view(rank=torch.tensor([1.0, 99.0]))
    kept = probe(seen)["energy_kept"]
    assert kept[0] < 1
    assert kept[1] == 1


def test_what_a_rule_uses_is_left_out_where_it_hangs_on_the_state():
    for rule in (LrgAdam(project="momentum"), LrgAdam(error_feedback=True), Galore(2)):
        found = GradientRank(task(), rule, BATCH)(view(rank=2)[1])
        assert set(found) == {"stable_rank", "stable_rank_of_layers", "cosine_of_batch"}


def test_the_stable_rank_of_known_matrices():
    g = torch.stack([torch.eye(4), torch.ones(4, 4), torch.zeros(4, 4)]).double()
    assert stable_rank(g).tolist() == pytest.approx([4.0, 1.0, 0.0], rel=TOLERANCE)


@pytest.mark.parametrize("engine", ["torch", "fused"])
def test_both_engines_read_it(engine):
    job = Program(
        build=lambda: network().float(),
        rule=Adam(),
        epochs=2,
        batch_size=BATCH,
        probes=(GradientRank(task(), Adam(), BATCH),),
    )
    replicas = [Replica(seed, {"learning_rate": 1e-3}) for seed in range(2)]
    for result in train(job, task(), replicas, engine=engine):
        assert len(result.curves["weights", "stable_rank"]) == 3
        assert result.curves["weights", "energy_kept"].tolist() == [1, 1, 1]


def test_each_replica_is_read_on_its_own_set():
    one, other = task(), task()
    inputs = torch.cat([one.train.inputs, 2 * other.train.inputs + 1])
    both = Split(inputs, torch.cat([one.train.targets, other.train.targets.flip(1)]))
    seen = replace(view()[1], data_set=torch.tensor([1, 0]))
    together = GradientRank(Task("sets", "cross_entropy", both), Adam(), BATCH)(seen)
    for place, own in enumerate((1, 0)):
        split = Split(both.inputs[own : own + 1], both.targets[own : own + 1])
        alone = GradientRank(Task("set", "cross_entropy", split), Adam(), BATCH)(view()[1])
        for name, values in together.items():
            torch.testing.assert_close(values[place], alone[name][place])
