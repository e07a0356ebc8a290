"""A sweep is every point with every seed, without a workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import lowdim
from lowdim.engine import Replica, train
from lowdim.optim import Sgd
from lowdim.sweeps import as_task

DOCUMENT = Path(__file__).parents[2] / "docs" / "sweep.md"


def _data() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(120, 6, generator=draw)
    y = (x.sum(1) > 0).long()
    return {"train": (x[:80], y[:80]), "test": (x[80:], y[80:])}


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def _sweep(network=_network, grid=None, **settings):
    grid = grid or {"learning_rate": [0.01, 0.1]}
    settings = {"seeds": 3, "epochs": 2, "batch_size": 20, "progress": False, **settings}
    return lowdim.sweep(network, _data(), grid, **settings)


def test_every_point_is_trained_with_every_seed():
    grid = {"learning_rate": [0.01, 0.1], "momentum": [0.0, 0.5]}
    runs = _sweep(grid=grid, optimiser="sgd").runs
    assert len(runs) == len(runs.drop_duplicates(["learning_rate", "momentum", "seed"])) == 12
    assert runs.test_accuracy.between(0, 100).all()


def test_a_row_is_what_training_it_alone_gives():
    runs = _sweep(dtype=torch.float64).runs
    row = runs[(runs.learning_rate == 0.1) & (runs.seed == 2)].iloc[0]
    from lowdim.engine import Program
    from lowdim.optim import Adam

    program = Program(_network, Adam(), epochs=2, batch_size=20, final=("test",))
    replica = Replica(2, {"learning_rate": 0.1})
    (alone,) = train(program, as_task(_data()), [replica], dtype=torch.float64)
    assert row.test_loss == pytest.approx(alone.metrics["test", "loss"], rel=1e-10)


def test_more_replicas_than_one_chunk_come_back_in_order():
    runs = _sweep(seeds=60, epochs=1, threads=2).runs
    assert list(runs.seed) == [*range(60), *range(60)]
    assert runs.learning_rate.tolist() == [0.01] * 60 + [0.1] * 60


def test_curves_hold_every_split_after_every_epoch():
    curves = _sweep().curves
    counts = curves.groupby(["split", "metric"]).size()
    assert counts["test", "accuracy"] == 2 * 3 * 3
    assert counts["train", "loss"] == 2 * 3 * 2


def test_a_network_is_started_afresh_for_every_seed():
    network = _network()
    before = [p.clone() for p in network.parameters()]
    runs = _sweep(network).runs
    assert runs[runs.learning_rate == 0.01].test_loss.nunique() == 3
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_real_targets_mean_squared_error():
    x = torch.randn(50, 3)
    data = {"train": (x, x @ torch.randn(3, 2))}
    settings = {"seeds": 1, "epochs": 200, "batch_size": None, "progress": False}
    grid = {"learning_rate": [0.2]}
    runs = lowdim.sweep(lambda: nn.Linear(3, 2), data, grid, optimiser=Sgd(), **settings).runs
    assert runs.train_loss.item() < 1e-4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grid": {"learning_rat": [1]}}, "grid must name hyperparameters among"),
        ({"grid": {"learning_rate": []}}, "at least one value"),
        ({"grid": {"beta1": [0.5]}}, "grid must give `learning_rate`"),
        ({"optimiser": "lion"}, r"optimiser must be one of .*adam.*'lion'"),
        ({"engine": "quick"}, "engine must be one of"),
    ],
)
def test_a_wrong_argument_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        _sweep(**settings)


def test_data_without_training_samples_is_refused():
    with pytest.raises(ValueError, match=r"'train', got \['test'\]"):
        as_task({"test": _data()["test"]})


def test_the_document_runs_and_its_first_example_is_ten_lines_or_so(capsys):
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    names: dict = {}
    for example in examples:
        exec(compile(example, str(DOCUMENT), "exec"), names)
    assert "mean" in capsys.readouterr().out
    statements = [line for line in examples[0].splitlines() if line and "import" not in line]
    assert len(statements) <= 12
