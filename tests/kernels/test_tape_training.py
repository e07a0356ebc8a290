"""Whole steps on the tape against float64 torch: losses, gradients and ten updates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kernels.tape_networks import NETWORKS, dense, of_kind, random_start, torch_weights
from kernels.tolerances import RELATIVE
from lowdim_kernels.tape.schedules import adam_schedule, sgd_schedule

STEPS = 10
SAMPLES = 120
DTYPES = ("float32", "float64")
# rounding of a step is amplified by the following ones
AMPLIFIED = 20

CASES = {
    **{name: (network, 100) for name, network in NETWORKS.items()},
    "tanh, ragged sizes": (dense(39, 33, 7, activation="tanh"), 37),
    "silu, one sample": (dense(7, 33, 20, 5, activation="silu"), 1),
    "no activation, real targets": (dense(9, 17, 3, activation=None, loss="squared_error"), 30),
    "sizes of one": (dense(1, 1, 2), 3),
    "three factors": (
        of_kind(
            "kronecker",
            (24, 30, 8),
            {"factors": [(5, 2), (3, 3), (2, 4)]},
            {"factors": [(2, 3), (2, 5), (2, 2)]},
            activation="silu",
        ),
        33,
    ),
    "diagonals of wide and tall": (
        of_kind(
            "low_rank",
            (20, 12, 30),
            {"rank": 3, "diagonal": True},
            {"rank": 2, "diagonal": True},
            activation="tanh",
        ),
        50,
    ),
    "one entry, then all": (
        of_kind("masked", (20, 12, 30), {"entries": 1}, {"entries": 360}, activation="silu"),
        50,
    ),
    "residual factorisation": (
        of_kind(
            "nlmf",
            (20, 12, 30),
            {"rank": 3, "units": 5, "residual": True, "activation": "tanh"},
            {"rank": 2, "units": 3, "activation": "relu"},
            activation="silu",
        ),
        50,
    ),
}


# phi has gradients that cancel to nothing, whose sign Adam would follow
CANCELLING = {"nlmf", "residual factorisation"}


class Run:
    """One network, its data, and what torch and the tape make of them."""

    def __init__(self, name: str, dtype: str, update: str = "adam") -> None:
        self.network, batch = CASES[name]
        self.program = self.network.program(batch, dtype=dtype, update=update)
        self.states, tables = random_start(self.network, self.program)
        self.tables = tables[0]
        rng = np.random.default_rng(1)
        width, outputs = self.network.layers[0].into, self.network.layers[-1].out
        self.order = np.stack([rng.permutation(SAMPLES)[:batch] for _ in range(STEPS)])
        self.samples = self.program.padded_samples(rng.standard_normal((SAMPLES, width)))
        self.x = self.samples[:, :width]
        if self.network.loss == "cross_entropy":
            self.targets = self.y = rng.integers(0, outputs, SAMPLES)
        else:
            self.targets = self.program.padded_samples(rng.standard_normal((SAMPLES, outputs)))
            self.y = self.targets[:, :outputs]
        self.weights = torch_weights(self.program, self.states[0])
        self.batch = batch

    def tape(self, schedule: np.ndarray) -> np.ndarray:
        """Run the schedule's steps on the tape; return the outputs."""
        outputs = np.zeros((len(schedule), 4), self.program.dtype)
        finished = self.program.run(
            self.states[0],
            workspace=self.program.workspace(),
            schedule=schedule,
            order=self.order[: len(schedule)],
            samples=self.samples,
            targets=self.targets,
            outputs=outputs,
        )
        assert finished == len(schedule)
        return outputs

    def torch(self, optimizer: torch.optim.Optimizer, steps: int) -> tuple[list, list]:
        """Run the same steps in torch's float64; return the losses and each step's gradients."""
        losses, gradients = [], []
        for step in range(steps):
            x, y = self.x[self.order[step]], self.y[self.order[step]]
            loss = self.network.reference_loss(self.weights, self.tables, x, y)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            gradients.append({k: w.grad.detach().clone().numpy() for k, w in self.weights.items()})
            optimizer.step()
        return losses, gradients


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    scale = np.linalg.norm(expected)
    return float(np.linalg.norm(np.asarray(actual, np.float64) - expected) / (scale or 1))


def tolerance(dtype: str) -> float:
    return AMPLIFIED * RELATIVE[getattr(torch, dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_one_step_has_the_gradient_and_loss_of_autograd(name: str, dtype: str) -> None:
    run = Run(name, dtype)
    outputs = run.tape(adam_schedule(np.zeros(1), loss_scale=1 / run.batch, dtype=dtype))
    parameters = list(run.weights.values())
    losses, gradients = run.torch(torch.optim.SGD(parameters, lr=0.0), 1)
    assert relative(outputs[0, 0], np.float64(losses[0])) < tolerance(dtype)
    square = sum(np.sum(gradient**2) for gradient in gradients[0].values())
    assert relative(outputs[0, 1], np.float64(square)) < tolerance(dtype)
    for key, gradient in gradients[0].items():
        found = run.program.parameter_view(run.states[0], key, segment="previous")
        # a constant of phi moves all weights alike: its gradient may cancel
        floor = np.sqrt(square) * tolerance(dtype)
        error = np.linalg.norm(np.asarray(found, np.float64) - gradient)
        assert error < tolerance(dtype) * np.linalg.norm(gradient) + floor, key


UPDATES = {
    "Adam": ("adam", {"weight_decay": 0.01}, torch.optim.Adam, {}),
    "AdamW": ("adam", {"weight_decay": 0.1, "decoupled": True}, torch.optim.AdamW, {}),
    "other betas": (
        "adam",
        {"betas": (0.8, 0.99), "epsilon": 1e-6},
        torch.optim.Adam,
        {"betas": (0.8, 0.99), "eps": 1e-6},
    ),
    "SGD": ("sgd", {}, torch.optim.SGD, {}),
    "SGD with momentum": (
        "sgd",
        {"momentum": 0.9, "weight_decay": 1e-2},
        torch.optim.SGD,
        {"momentum": 0.9},
    ),
    "Nesterov": (
        "sgd",
        {"momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", UPDATES)
def test_ten_steps_of_a_rule_are_those_of_torch(rule: str, dtype: str) -> None:
    update, options, optimizer, torch_options = UPDATES[rule]
    if "weight_decay" in options:
        torch_options = {**torch_options, "weight_decay": options["weight_decay"]}
    run = Run("dense", dtype, update)
    rates = np.full(STEPS, 1e-2)
    make = adam_schedule if update == "adam" else sgd_schedule
    schedule = make(rates, loss_scale=1 / run.batch, dtype=dtype, **options)
    outputs = run.tape(schedule)
    parameters = list(run.weights.values())
    losses, _ = run.torch(optimizer(parameters, lr=1e-2, **torch_options), STEPS)
    assert relative(outputs[:, 0], np.array(losses)) < tolerance(dtype)
    for key, weight in run.weights.items():
        found = run.program.parameter_view(run.states[0], key)
        assert relative(found, weight.detach().numpy()) < tolerance(dtype), key


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(CASES.keys() - CANCELLING))
def test_ten_adam_steps_follow_torch_for_every_structure(name: str, dtype: str) -> None:
    run = Run(name, dtype)
    rates = np.full(STEPS, 1e-2)
    outputs = run.tape(adam_schedule(rates, loss_scale=1 / run.batch, dtype=dtype))
    losses, gradients = run.torch(torch.optim.Adam(list(run.weights.values()), lr=1e-2), STEPS)
    assert relative(outputs[:, 0], np.array(losses)) < tolerance(dtype)
    products = [
        sum(np.sum(now[key] * before[key]) for key in now)
        for before, now in itertools.pairwise(gradients)
    ]
    assert relative(outputs[1:, 2], np.array(products)) < tolerance(dtype)
    for key, weight in run.weights.items():
        found = run.program.parameter_view(run.states[0], key)
        assert relative(found, weight.detach().numpy()) < tolerance(dtype), key


def test_a_partial_batch_leaves_out_the_missing_samples() -> None:
    run = Run("dense", "float64")
    present = 41
    run.order[0, present:] = -1
    outputs = run.tape(adam_schedule(np.zeros(1), loss_scale=1 / present, dtype="float64"))
    chosen = run.order[0, :present]
    loss = run.network.reference_loss(run.weights, {}, run.x[chosen], run.y[chosen])
    loss.backward()
    assert relative(outputs[0, 0], np.float64(loss.item())) < tolerance("float64")
    found = run.program.parameter_view(run.states[0], "0.weight", segment="previous")
    assert relative(found, run.weights["0.weight"].grad.numpy()) < tolerance("float64")


def test_correct_predictions_are_counted() -> None:
    run = Run("dense", "float64")
    outputs = run.tape(adam_schedule(np.zeros(1), loss_scale=1.0, dtype="float64"))
    x = torch.as_tensor(run.x[run.order[0]])
    hidden = torch.relu(x @ run.weights["0.weight"].T + run.weights["0.bias"])
    logits = hidden @ run.weights["1.weight"].T + run.weights["1.bias"]
    assert outputs[0, 3] == (logits.argmax(1).numpy() == run.y[run.order[0]]).sum()
