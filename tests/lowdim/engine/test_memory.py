"""What replicas will take is known before they start, and what is allowed bounds how many do."""

from __future__ import annotations

import pytest
import torch
from engine_problems import classification, network, program, replicas

from lowdim.engine import Replica
from lowdim.engine.memory import Need, at_once, memory_need, task_bytes
from lowdim.engine.tape_program import compiled
from lowdim.optim import LrgAdam
from lowdim.sweeps import as_task, sweep

ON = {"device": "cpu", "dtype": torch.float32}
MIB = 2**20


def need(job=None, task=None, count=4, engine="torch") -> Need:
    return memory_need(
        "it", job or program(), task or classification(), replicas(count), engine=engine, **ON
    )


def test_the_torch_engine_needs_what_a_step_holds_for_every_replica():
    small, large = (need(program(batch_size=size)) for size in (8, 256))
    hidden = 256 * 16 * 4
    assert large.replica - small.replica > hidden
    parameters = sum(p.nbytes for p in network().parameters())
    assert small.replica > 4 * parameters
    assert small.of(10) == small.call + 10 * small.replica


def test_the_fused_engine_needs_a_workspace_and_not_one_for_each_replica():
    job, task = program(), classification()
    tape = compiled(job, task, job.build(), replicas(1)[0], torch.float32)
    room = tape.training.workspace_bytes + tape.evaluation.workspace_bytes
    found = need(job, task, engine="fused")
    assert found.call > room
    parameters = sum(p.nbytes for p in network().parameters())
    assert found.replica == parameters


def test_every_rank_has_programs_of_its_own_that_count():
    job, task = program(rule=LrgAdam("flat")), classification()

    def of(ranks):
        chosen = [Replica(s, {"learning_rate": 0.01, "rank": r}) for s, r in enumerate(ranks)]
        return memory_need("it", job, task, chosen, engine="auto", **ON).call

    assert of([2, 2, 2]) == of([2]) < of([2, 3, 4])


def test_what_has_no_form_on_the_tape_is_counted_as_the_torch_engine_takes_it():
    job = program(lambda: torch.nn.Sequential(torch.nn.Linear(12, 4), torch.nn.GELU()))
    assert need(job, engine="auto") == need(job, engine="torch")


def test_all_train_at_once_where_there_is_room():
    assert at_once([Need("a", MIB, MIB)], 1000 * MIB, threads=2, most=50) == (2, [50])


def test_fewer_replicas_train_at_once_where_that_suffices():
    needs = [Need("a", MIB, MIB), Need("b", 3 * MIB, 2 * MIB)]
    threads, counts = at_once(needs, 22 * MIB, threads=2, most=50)
    assert (threads, counts) == (2, [10, 4])
    assert sum(n.of(c) for n, c in zip(needs, counts, strict=True)) <= 22 * MIB


def test_fewer_threads_work_where_a_share_is_too_small():
    assert at_once([Need("a", 8 * MIB, 2 * MIB)], 15 * MIB, threads=2, most=50) == (1, [3])


def test_one_replica_that_does_not_fit_is_refused_with_bytes_needed_and_allowed():
    needs = [Need("arm a", MIB, MIB), Need("arm b", MIB, 3 * MIB)]
    with pytest.raises(
        ValueError, match=r"1 replica of arm b needs .*4,194,304 bytes.*3,145,728 bytes.*allowed"
    ):
        at_once(needs, 3 * MIB, threads=2, most=50)


def test_a_sweep_gives_the_same_runs_with_little_memory_and_refuses_too_little():
    x, y = torch.randn(64, 12), torch.randint(0, 4, (64,))
    data = {"train": (x, y), "test": (x, y)}

    def runs(memory_gib: float):
        found = sweep(
            network,
            data,
            {"learning_rate": [0.01, 0.1]},
            seeds=3,
            epochs=2,
            progress=False,
            memory_gib=memory_gib,
        )
        return found.runs.drop(columns="seconds")

    job = program(batch_size=64, watch=("test",), final=("test",))
    task = as_task(data)
    one = memory_need("it", job, task, replicas(1), engine="auto", **ON).of(1) + task_bytes(task)
    little = 1.5 * one / 2**30
    assert runs(4.0).equals(runs(little))
    with pytest.raises(ValueError, match=r"memory_gib=1e-06 is too little: 1 replica of the net"):
        runs(1e-6)


def test_samples_that_programs_read_where_they_lie_count_for_nothing():
    def call(features: int, samples: int) -> int:
        job = program(lambda: network(features), watch=(), final=())
        return need(job, classification(samples, features), engine="fused").call

    assert call(64, 3000) == call(64, 300)
    assert call(65, 3000) - call(65, 300) >= 2700 * 65 * 4
