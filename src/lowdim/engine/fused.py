"""Whole training runs on the CPU by one precompiled library: a call is epochs of a replica.

The network, its backward pass and its update are a tape (`lowdim_kernels.tape`). A replica's
result is the same to the last bit whatever is trained beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowdim.data.task import Split, Task
from lowdim.engine.job import OnEpoch, OnResult, Program, Replica, ReplicaResult, ReplicaView
from lowdim.engine.network import load_start
from lowdim.engine.readings import Readings
from lowdim.engine.seeds import built, generator
from lowdim.engine.tape_program import Compiled, compiled
from lowdim.engine.taping import UntapeableError
from lowdim.optim.schedules import rate_factor

Workspaces = tuple[np.ndarray, np.ndarray]
STEPS_AHEAD = 4096  # of a schedule made at once
STEPS_AT_ONCE = 1024
STEP_METRICS = ("step_loss", "gradient_square", "gradient_product")


def structures(replicas: Sequence[Replica]) -> dict[Any, Replica]:
    """Return a replica for each of the programs that some replicas need."""
    return {_structure(replica): replica for replica in replicas}


def _structure(replica: Replica) -> Any:
    """Return what of a replica decides the records of its programs."""
    return replica.hyper.get("rank"), frozenset(replica.hyper)


class FusedRun:
    """Replicas of one program, trained one after the other; `run` returns their results.

    Raises UntapeableError, saying why, where this engine cannot train one of them.
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        replicas: Sequence[Replica],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if device.type != "cpu":
            raise UntapeableError(f"the fused engine runs on the CPU, not on {device}")
        self.program, self.task, self.replicas = program, task, replicas
        module = built(program.build, 0)
        self._programs: dict[Any, tuple[Compiled, Workspaces]] = {}
        for key, replica in structures(replicas).items():
            tape = compiled(program, task, module, replica, dtype)
            self._programs[key] = tape, (tape.training.workspace(), tape.evaluation.workspace())

    def run(
        self, on_epoch: OnEpoch | None = None, on_result: OnResult | None = None
    ) -> list[ReplicaResult]:
        """Train every replica to the last epoch or to its divergence."""
        results = []
        for number, replica in enumerate(self.replicas):
            results.append(self._replica(replica, on_epoch))
            if on_result:
                on_result(number, results[-1])
        return results

    def programs(self, replica: Replica) -> tuple[Compiled, Workspaces]:
        """Return the programs of a replica and room for them to run in."""
        return self._programs[_structure(replica)]

    def _replica(self, replica: Replica, on_epoch: OnEpoch | None) -> ReplicaResult:
        began = time.perf_counter()
        run = _ReplicaRun(self, replica)
        result = run.train(on_epoch)
        result.seconds = time.perf_counter() - began
        return result


class _ReplicaRun:
    """One replica in training: its state, its order of samples, what was read of it."""

    def __init__(self, parent: FusedRun, replica: Replica) -> None:
        self.program, self.task, self.replica = parent.program, parent.task, replica
        module = built(self.program.build, replica.seed)
        self.module = load_start(module, replica.start) if replica.start else module
        self.tape, self.spaces = parent.programs(replica)
        self.state = self.tape.new_state(self.module, replica)
        self.hyper = {**self.program.rule.defaults, **replica.hyper}
        self.order = generator(replica.seed, "order")
        rows = replica.train_rows
        self.count = self.tape.samples(self.task.train) if rows is None else len(rows)
        self.size = self.program.batch_size or self.count
        self.steps = -(-self.count // self.size)
        self.present = np.full(self.steps, float(self.size))  # samples in each step
        self.present[-1] -= self.steps * self.size - self.count
        # Epochs between which nothing is read are one call; it can't be interrupted, so not all.
        watched = self.program.watch or self.program.probes
        self.together = 1 if watched else max(1, STEPS_AT_ONCE // self.steps)
        self.outputs = np.zeros((self.together * self.steps, 4), self.tape.dtype)
        self._schedules = np.zeros((0, 0, 0))
        self._first_schedule = 0
        self._laid_out: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self.readings = Readings()
        self.result = ReplicaResult(device="cpu")

    def train(self, on_epoch: OnEpoch | None) -> ReplicaResult:
        self._read(0)
        epoch, epochs = 1, self.program.epochs
        while epoch <= epochs:
            count = min(self.together, epochs - epoch + 1)
            whole = self._epochs(epoch, count)
            for finished in range(epoch, epoch + whole):
                self._read(finished)
                if on_epoch:
                    on_epoch(finished, 1)
            epoch += whole
            if whole < count:
                self.result.diverged_epoch = epoch
                break
        self.result.curves, self.result.times = self.readings.arrays()
        if self.result.diverged_epoch is None:
            self._finish()
        return self.result

    def _epochs(self, first: int, count: int) -> int:
        """Run epochs; return how many came to an end, fewer where a loss was not finite."""
        orders = [self._batches(epoch) for epoch in range(first, first + count)]
        samples, targets = self._arrays(self.task.train)
        steps, outputs = self.steps, self.outputs[: count * self.steps]
        finished = self.tape.training.run(
            self.state,
            workspace=self.spaces[0],
            schedule=self._schedule(first, count),
            order=orders[0] if count == 1 else np.concatenate(orders),
            samples=samples,
            targets=targets,
            outputs=outputs,
        )
        for number in range(min(count, finished // steps + 1)):
            own = outputs[number * steps : min((number + 1) * steps, finished + 1)]
            self._note(first + number, own.astype(np.float64))
        return finished // steps

    def _note(self, epoch: int, steps: np.ndarray) -> None:
        """Keep what an epoch's steps put out."""
        done, present = (epoch - 1) * self.steps, self.present[: len(steps)]
        loss = float(steps[:, 0] @ (present / present.sum()))
        self.readings.note(epoch, done + self.steps, ("train", "loss"), loss)
        for name, values in zip(STEP_METRICS, steps.T) if self.program.step_metrics else ():
            for number, value in enumerate(values, done + 1):
                self.readings.note(epoch, number, ("train", name), value)

    def _schedule(self, first: int, count: int) -> np.ndarray:
        """Return the schedule of some epochs' steps; those of many are made at once."""
        place = first - 1 - self._first_schedule
        if place + count > len(self._schedules):
            self._first_schedule, place = first - 1, 0
            ahead = min(self.program.epochs - first + 1, max(count, STEPS_AHEAD // self.steps))
            done, total = (first - 1) * self.steps, self.program.epochs * self.steps
            numbers = range(done, done + ahead * self.steps)
            factors = [rate_factor(self.program.schedule, n, total) for n in numbers]
            rates = self.hyper["learning_rate"] * np.array(factors)
            scales = np.tile(1 / self.present, ahead)
            rows = self.tape.schedule(self.hyper, rates, done, scales)
            self._schedules = rows.reshape(ahead, self.steps, -1)
        return self._schedules[place : place + count].reshape(count * self.steps, -1)

    def _batches(self, epoch: int) -> np.ndarray:
        """Return the rows of each step (steps, batch), -1 for none."""
        rows = self._sample_order(epoch).numpy()
        if self.count == self.steps * self.size:
            return rows.reshape(self.steps, self.size)
        padded = np.full(self.steps * self.size, -1, np.int64)
        padded[: len(rows)] = rows
        return padded.reshape(self.steps, self.size)

    def _sample_order(self, epoch: int) -> Tensor:
        if self.replica.orders is not None:
            return self.replica.orders[epoch - 1]
        own = self.replica.train_rows
        if self.program.batch_size is None:
            order = torch.arange(self.count)
        else:
            order = torch.randperm(self.count, generator=self.order)
        return order if own is None else own[order]

    def _read(self, epoch: int) -> None:
        step = epoch * self.steps
        for name in self.program.watch:
            for metric, value in self._evaluate(self.task.held_out[name]).items():
                self.readings.note(epoch, step, (name, metric), value)
        for probe in self.program.probes:
            if epoch % probe.every and epoch != self.program.epochs:
                continue
            for metric, values in probe(self._view()).items():
                self.readings.note(epoch, step, ("weights", metric), values[0].detach().numpy())

    def _evaluate(self, split: Split, rows: np.ndarray | None = None) -> dict[str, float]:
        rows = np.arange(self.tape.samples(split)) if rows is None else rows
        size, data_set = self.tape.batch, self.replica.data_set
        steps = -(-len(rows) // size)
        order = np.full(steps * size, -1, np.int64)
        order[: len(rows)] = rows
        outputs = np.zeros((steps, 4), self.tape.dtype)
        samples, targets = self._arrays(split)
        self.tape.evaluation.run(
            self.tape.for_evaluation(self.state, split, data_set),
            workspace=self.spaces[1],
            schedule=self.tape.evaluation_schedule(steps),
            order=order.reshape(steps, size),
            samples=samples,
            targets=targets,
            outputs=outputs,
        )
        total = outputs.astype(np.float64).sum(0)
        found = {"loss": float(total[0]) / len(rows)}
        if self.task.loss == "cross_entropy":
            found["accuracy"] = 100 * float(total[3]) / len(rows)
        return found

    def _arrays(self, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
        """Return samples and targets as the programs take them, laid out once for all epochs."""
        if id(split) not in self._laid_out:
            self._laid_out[id(split)] = self.tape.arrays(split, self.replica.data_set)
        return self._laid_out[id(split)]

    def _view(self) -> ReplicaView:
        params = {name: tensor[None] for name, tensor in self._parameters().items()}
        buffers = {name: tensor[None] for name, tensor in self.module.named_buffers()}
        data_set = torch.tensor([self.replica.data_set])
        return ReplicaView(self.module, params, buffers, data_set, self.hyper)

    def _parameters(self) -> dict[str, Tensor]:
        return self.tape.parameters(self.state, [n for n, _ in self.module.named_parameters()])

    def _finish(self) -> None:
        for name in self.program.final:
            for metric, value in self._evaluate(self.task.held_out[name]).items():
                self.result.metrics[name, metric] = value
        rows = self.replica.score_rows
        if rows is not None:
            for metric, value in self._evaluate(self.task.train, rows.numpy()).items():
                self.result.metrics["validation", metric] = value
        fixed = {name: tensor.clone() for name, tensor in self.module.named_buffers()}
        self.result.state = {**self._parameters(), **fixed}
