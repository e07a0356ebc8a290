"""Statistics of gradients at fixed weights, and that the rate reaches the update."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_problems import classification, network, program, regression, replicas

from lowdim.config import load_study
from lowdim.data import CompressedDataset, digits_task
from lowdim.data.task import Split, Task
from lowdim.engine import Replica, train
from lowdim.engine.seeds import built
from lowdim.optim import Sgd
from lowdim.probes import GradientStats
from lowdim.studies.programs import final_program

STUDIES = Path(__file__).parents[3] / "config" / "studies"
SCALARS = ("mean_gradient_norm", "gradient_noise", "signal_to_noise", "batch_cosine")


def read(task, probe, engine="torch", count=1, **changes):
    """Return what a probe reads before training, by metric, of each replica."""
    job = program(rule=Sgd(), epochs=1, watch=(), final=(), probes=(probe,), **changes)
    results = train(job, task, replicas(count), engine=engine, dtype=torch.float64)
    return [{m: v[0] for (split, m), v in r.curves.items() if split == "weights"} for r in results]


def by_autograd(module, x, y):
    module.zero_grad()
    torch.nn.functional.cross_entropy(module(x), y).backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters()])


def test_they_are_those_of_autograds_gradients():
    task = classification()
    probe = GradientStats(task, batch_size=32, batches=4)
    (found,) = read(task, probe)
    module = built(network, 0).double()
    x, y = task.train.inputs[0].double(), task.train.targets[0]
    each = torch.stack([by_autograd(module, x[rows], y[rows]) for rows in probe._rows])
    mean, spread = each.mean(0), each - each.mean(0)
    assert len(each) == 4
    assert found["mean_gradient_norm"] == pytest.approx(mean.norm().item())
    assert found["gradient_noise"] == pytest.approx(spread.norm().item() / 2)
    assert found["signal_to_noise"] == pytest.approx(2 * (mean.norm() / spread.norm()).item())
    cosine = torch.cosine_similarity(each[1:], each[:-1]).mean()
    assert found["batch_cosine"] == pytest.approx(cosine.item())


def test_layers_make_up_the_whole():
    (found,) = read(classification(), GradientStats(classification(), batch_size=32))
    layers = [v for name, v in found.items() if name.startswith("mean_gradient_norm.")]
    assert len(layers) == 2
    assert sum(v**2 for v in layers) == pytest.approx(found["mean_gradient_norm"] ** 2)


def test_samples_that_are_all_alike_have_no_noise():
    task = classification()
    x, y = (t[:, :1].expand_as(t).contiguous() for t in (task.train.inputs, task.train.targets))
    alike = replace(task, train=Split(x, y))
    (found,) = read(alike, GradientStats(alike, batch_size=32))
    assert found["gradient_noise"] < 1e-6 * found["mean_gradient_norm"]
    assert found["batch_cosine"] == pytest.approx(1.0)


def test_both_engines_read_the_same():
    task = classification()
    probe = GradientStats(task, batch_size=32)
    (torch_read,), (fused_read,) = (read(task, probe, engine) for engine in ("torch", "fused"))
    for name in SCALARS:
        assert fused_read[name] == pytest.approx(torch_read[name], rel=1e-9)


def test_each_replica_reads_its_own_set():
    task = regression(sets=2)
    probe = GradientStats(task, batch_size=20)
    jobs = [Replica(seed, {"learning_rate": 0.1}, data_set=seed) for seed in range(2)]
    job = program(build=lambda: torch.nn.Linear(5, 2), rule=Sgd(), watch=(), final=())
    job = replace(job, probes=(probe,), epochs=1)
    both = train(job, task, jobs, engine="torch")
    for seed, result in enumerate(both):
        alone = train(job, task, jobs[seed : seed + 1], engine="torch")[0]
        for name in SCALARS:
            own = alone.curves["weights", name][0]
            assert result.curves["weights", name][0] == pytest.approx(own, rel=1e-5)


def test_second_moments_have_one_batch_and_its_norm():
    x, target = torch.randn(1, 5, 5), torch.randn(1, 5, 2)
    task = Task("map", "map_mse", Split(x, target))
    probe = GradientStats(task, batch_size=None)
    job = program(build=lambda: torch.nn.Linear(5, 2, bias=False), rule=Sgd(), probes=(probe,))
    job = replace(job, batch_size=None, watch=(), final=(), epochs=1, step_metrics=True)
    (result,) = train(job, task, replicas(1), engine="torch", dtype=torch.float64)
    assert ("weights", "signal_to_noise") not in result.curves
    norm = result.curves["weights", "mean_gradient_norm"][0]
    assert norm**2 == pytest.approx(result.curves["train", "gradient_square"][0])


@pytest.mark.parametrize("engine", ["torch", "fused"])
def test_the_rate_reaches_the_update_and_changes_the_result(engine):
    study = load_study("compressed_inputs", folder=STUDIES)
    arms = [study.arms[f"digits_gauss_lr{rate}"] for rate in ("0.001", "0.01", "0.1")]
    task = CompressedDataset.fit(digits_task(), "gauss", 16).task
    start = built(final_program(arms[0], task).build, 0).double().state_dict()
    moved, accuracies = [], []
    for arm in arms:
        job = replace(final_program(arm, task), probes=(), watch=(), step_metrics=False)
        one_step = replace(job, epochs=1, batch_size=None)
        replica = [Replica(0, arm.optimiser.hyper())]
        (stepped,) = train(one_step, task, replica, engine=engine, dtype=torch.float64)
        moved.append(sum((stepped.state[n] - p).norm() ** 2 for n, p in start.items()) ** 0.5)
        (ended,) = train(replace(job, epochs=3), task, replica, engine=engine)
        accuracies.append(ended.metrics["test", "accuracy"])
    assert moved[1] / moved[0] == pytest.approx(10, rel=1e-6)
    assert moved[2] / moved[0] == pytest.approx(100, rel=1e-6)
    assert len(set(accuracies)) == 3
