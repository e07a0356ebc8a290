"""Any network, one replica or many, in plain PyTorch: the definition of a training run."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lowdim.data.task import Task
from lowdim.engine.evaluate import evaluate, gather
from lowdim.engine.job import OnEpoch, Program, Replica, ReplicaResult, ReplicaView
from lowdim.engine.network import StackedNetwork, load_start
from lowdim.engine.seeds import built, generator
from lowdim.optim.rules import Params, select
from lowdim.optim.schedules import rate_factor


class TorchRun:
    """Replicas of one program in training; `run` trains them and returns their results.

    A replica whose loss is not finite leaves the stack after that epoch; the others go on.
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        replicas: Sequence[Replica],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if task.loss == "map_mse" and program.batch_size is not None:
            raise ValueError("loss map_mse has no samples to draw from: batch_size must be None")
        self.program, self.replicas, self.device = program, replicas, device
        self.loss = task.loss
        self.train = task.train.to(device, dtype)
        names = {*program.watch, *program.final}
        self.held_out = {name: task.held_out[name].to(device, dtype) for name in names}
        modules = [self._start(replica) for replica in replicas]
        self.network = StackedNetwork(modules, device, dtype)
        self.places = torch.arange(len(replicas))
        self.data_set = torch.tensor([r.data_set for r in replicas], device=device)
        self.hyper = _stacked_hyper(program, replicas, device)
        self.orders = [generator(replica.seed, "order") for replica in replicas]
        self.state = program.rule.init(self._presented(self.network.theta))
        self.results = [ReplicaResult(device=str(device)) for _ in replicas]
        self.previous: Tensor | None = None
        self._readings: list[dict[tuple[str, str], list]] = [{} for _ in replicas]

    def run(self, on_epoch: OnEpoch | None = None) -> list[ReplicaResult]:
        """Train every replica to the last epoch or to its divergence."""
        began = time.perf_counter()
        self._read(0)
        for epoch in range(1, self.program.epochs + 1):
            self.epoch(epoch)
            if not len(self.network):
                break
            self._read(epoch)
            if on_epoch:
                on_epoch(epoch, len(self.network))
        self._finish()
        seconds = (time.perf_counter() - began) / len(self.replicas)
        for result, readings in zip(self.results, self._readings, strict=True):
            result.seconds = seconds
            for pair, points in readings.items():
                result.times[pair] = np.array([time for time, _ in points], np.int32)
                result.curves[pair] = np.stack([value for _, value in points])
        return self.results

    def _start(self, replica: Replica) -> torch.nn.Module:
        module = built(self.program.build, replica.seed)
        return load_start(module, replica.start) if replica.start else module

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, numbered from 1, without evaluating anything."""
        orders = self._sample_orders(epoch)
        size = self.program.batch_size or orders.shape[1]
        batches = orders.split(size, dim=1)
        done = (epoch - 1) * len(batches)
        steps = []
        for number, rows in enumerate(batches):
            factor = rate_factor(
                self.program.schedule, done + number, self.program.epochs * len(batches)
            )
            x, y = gather(self.train, self.data_set, rows)
            losses, gradient = self.network.gradients(self.loss, x, y)
            steps.append(self._step_metrics(losses, gradient))
            self._update(gradient, factor)
        self._record_steps(epoch, done, steps, batches)
        self._drop_diverged(epoch, torch.stack([step["loss"] for step in steps]))

    def _update(self, gradient: Tensor, factor: float) -> None:
        hyper = dict(self.hyper)
        hyper["learning_rate"] = hyper["learning_rate"] * factor
        rule = self.program.rule
        new, self.state = rule.update(
            self._presented(self.network.theta), self._presented(gradient), self.state, hyper
        )
        self.network.theta = self._joined(new)

    def _presented(self, theta: Tensor) -> Params:
        """Return what the update rule sees: one tensor if it works element by element."""
        return {"theta": theta} if self.program.rule.elementwise else self.network.params(theta)

    def _joined(self, params: Params) -> Tensor:
        if self.program.rule.elementwise:
            return params["theta"]
        return torch.cat([p.flatten(1) for p in params.values()], dim=1)

    def _sample_orders(self, epoch: int) -> Tensor:
        """Return each replica's rows of the training split in this epoch's order (R, n)."""
        rows = []
        for place in self.places.tolist():
            replica = self.replicas[place]
            if replica.orders is not None:
                rows.append(replica.orders[epoch - 1])
                continue
            own = replica.train_rows
            count = self.train.samples if own is None else len(own)
            if self.program.batch_size is None:
                order = torch.arange(count)  # one step takes all, so their order is nothing
            else:
                order = torch.randperm(count, generator=self.orders[place])
            rows.append(order if own is None else own[order])
        return torch.stack(rows).to(self.device)

    def _step_metrics(self, losses: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        metrics = {"loss": losses}
        if self.program.step_metrics:
            metrics["gradient_square"] = gradient.square().sum(1)
            before = torch.zeros_like(gradient) if self.previous is None else self.previous
            metrics["gradient_product"] = (gradient * before).sum(1)
            self.previous = gradient
        return metrics

    def _record_steps(
        self,
        epoch: int,
        done: int,
        steps: list[dict[str, Tensor]],
        batches: Sequence[Tensor],
    ) -> None:
        weights = torch.tensor([b.shape[1] for b in batches], dtype=torch.float64)
        for metric in steps[0]:
            values = torch.stack([step[metric] for step in steps], dim=1).double().cpu()
            if metric == "loss":
                means = values @ (weights / weights.sum())
                self._note(epoch, done + len(steps), ("train", "loss"), means)
            if self.program.step_metrics:
                name = "step_loss" if metric == "loss" else metric
                for number in range(len(steps)):
                    step = done + number + 1
                    self._note(epoch, step, ("train", name), values[:, number])

    def _drop_diverged(self, epoch: int, losses: Tensor) -> None:
        alive = losses.isfinite().all(0).cpu()
        if alive.all():
            return
        for place in self.places[~alive].tolist():
            self.results[place].diverged_epoch = epoch
        keep = alive.nonzero().squeeze(1)
        self.places = self.places[keep]
        keep = keep.to(self.device)
        self.network.keep(keep)
        self.state = select(self.state, keep)
        self.data_set = self.data_set[keep]
        self.hyper = {n: h[keep] if isinstance(h, Tensor) else h for n, h in self.hyper.items()}
        self.previous = None if self.previous is None else self.previous[keep]

    def _read(self, epoch: int) -> None:
        """Evaluate the watched splits and run the probes that are due."""
        step = epoch * self._steps_per_epoch()
        for name in self.program.watch:
            split = self.held_out[name]
            for metric, values in evaluate(self.network, self.loss, split, self.data_set).items():
                self._note(epoch, step, (name, metric), values.cpu())
        net = self.network
        for probe in self.program.probes:
            if epoch % probe.every and epoch != self.program.epochs:
                continue
            fixed = {n: t.expand(len(net), *t.shape) for n, t in net.shared.items()}
            buffers = {**net.own, **fixed}
            view = ReplicaView(net.module, net.params(), buffers, self.data_set, self.hyper)
            for metric, values in probe(view).items():
                self._note(epoch, step, ("weights", metric), values.detach().cpu())

    def _steps_per_epoch(self) -> int:
        own = self.replicas[0].train_rows
        count = self.train.samples if own is None else len(own)
        return -(-count // (self.program.batch_size or count))

    def _note(self, epoch: int, step: int, pair: tuple[str, str], values: Tensor) -> None:
        for place, value in zip(self.places.tolist(), values.numpy(), strict=True):
            self._readings[place].setdefault(pair, []).append(((epoch, step), value))

    def _finish(self) -> None:
        """Evaluate what is evaluated once, and hand over the weights."""
        if not len(self.network):
            return
        found = {
            name: evaluate(self.network, self.loss, self.held_out[name], self.data_set)
            for name in self.program.final
        }
        if self.replicas[0].score_rows is not None:
            rows = [self.replicas[place].score_rows for place in self.places.tolist()]
            stacked = torch.stack(rows).to(self.device)  # type: ignore[arg-type]
            found["validation"] = evaluate(
                self.network, self.loss, self.train, self.data_set, stacked
            )
        for number, place in enumerate(self.places.tolist()):
            result = self.results[place]
            result.state = self.network.state(number)
            for split, metrics in found.items():
                for metric, values in metrics.items():
                    result.metrics[split, metric] = values[number].item()


def _stacked_hyper(
    program: Program, replicas: Sequence[Replica], device: torch.device
) -> dict[str, float | Tensor]:
    """Return each hyperparameter as a number where all replicas agree, else as a tensor (R,)."""
    hyper: dict[str, float | Tensor] = {}
    for name in {**program.rule.defaults, **replicas[0].hyper}:
        values = [replica.hyper.get(name, program.rule.defaults.get(name)) for replica in replicas]
        if any(value is None for value in values):
            raise ValueError(f"hyperparameter {name} is set for some replicas only")
        if len(set(values)) == 1:
            hyper[name] = values[0]  # type: ignore[assignment]
        else:
            hyper[name] = torch.tensor(values, dtype=torch.float64, device=device)
    return hyper
