"""What a step costs is measured for one network, beside Adam's on the same."""

from __future__ import annotations

import torch
from engine_problems import classification, program

from lowdim.engine import Replica, train
from lowdim.optim import Adam, LrgAdam

PARAMETERS = 12 * 16 + 16 + 16 * 4 + 4
REPLICAS = [Replica(seed, {"learning_rate": 1e-2, "rank": 2}) for seed in range(2)]


def test_costs_are_there_where_they_are_asked_for_and_of_every_engine():
    for engine in ("torch", "fused"):
        asked = train(program(costs=True, epochs=1), classification(), REPLICAS, engine=engine)
        for result in asked:
            assert result.costs["step_us"] > 0
            assert result.costs["step_over_adam"] > 0
            # two moments of four bytes each
            assert result.costs["optimiser_kib"] == 2 * 4 * PARAMETERS / 1024
    assert not train(program(epochs=1), classification(), REPLICAS)[0].costs


def test_measuring_changes_no_result():
    with_costs, without = (
        train(program(costs=costs), classification(), REPLICAS, engine="torch")[0]
        for costs in (True, False)
    )
    assert with_costs.metrics == without.metrics


def test_a_dearer_rule_costs_more_than_adam():
    class Slow(Adam):
        def update(self, *arguments):
            for _ in range(4):
                super().update(*arguments)
                torch.linalg.svd(torch.randn(80, 80))
            return super().update(*arguments)

    job = program(rule=Slow(), costs=True, epochs=1)
    (result,) = train(job, classification(), REPLICAS[:1], engine="torch")
    assert result.costs["step_over_adam"] > 1.5


def test_the_memory_of_error_feedback_is_counted():
    job = program(rule=LrgAdam("matrix", error_feedback=True), costs=True, epochs=1)
    (result,) = train(job, classification(), REPLICAS[:1], engine="torch")
    assert result.costs["optimiser_kib"] == 3 * 4 * PARAMETERS / 1024
