"""The layer that the tape's README shows is right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lowdim_kernels.tape
from kernels.tolerances import RELATIVE
from lowdim_kernels.tape import Tape, sgd_schedule

README = Path(lowdim_kernels.tape.__path__[0]) / "README.md"


def code_with(text: str) -> str:
    """Return the README's block of code that holds a text."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return next(block for block in blocks if text in block)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", None])
def test_the_block_diagonal_layer_has_the_gradients_of_autograd(activation: str | None) -> None:
    names: dict = {}
    exec(code_with("def block_diagonal"), names)
    batch, rng = 9, np.random.default_rng(0)
    tape = Tape(batch, dtype="float64")
    x = tape.samples(12)
    shapes = {"0": (18, 4), "1": (6, 6)}
    for name, (out, into) in shapes.items():
        y = tape.buffer(out, activation if name == "0" else None)
        blocks = tape.parameter(f"{name}.blocks", (out, into))
        names["block_diagonal"](tape, y, blocks, x, tape.parameter(f"{name}.bias", (out,)))
        x = y
    tape.squared_error(x)
    tape.backward()
    tape.gradient_statistics()
    tape.sgd()
    program = tape.finish()
    states = program.new_states(1)
    weights = {}
    for name in program.parameters:
        view = program.parameter_view(states, name)
        view[...] = rng.standard_normal(view.shape)
        weights[name] = torch.tensor(view[0].copy(), requires_grad=True)
    inputs, targets = rng.standard_normal((batch, 12)), rng.standard_normal((batch, 6))
    program.run(
        states[0],
        workspace=program.workspace(),
        schedule=sgd_schedule(np.zeros(1), loss_scale=1 / batch, dtype="float64"),
        order=np.arange(batch)[None],
        samples=program.padded_samples(inputs),
        targets=program.padded_samples(targets),
    )
    values = torch.tensor(inputs)
    functions = {"relu": torch.relu, "tanh": torch.tanh, "silu": torch.nn.functional.silu}
    for name, (_, into) in shapes.items():
        blocks = weights[f"{name}.blocks"]
        parts = blocks.view(values.shape[1] // into, -1, into)
        values = values @ torch.block_diag(*parts).T + weights[f"{name}.bias"]
        if name == "0" and activation:
            values = functions[activation](values)
    torch.nn.functional.mse_loss(values, torch.tensor(targets)).backward()
    for name, weight in weights.items():
        found = program.parameter_view(states[0], name, segment="previous")
        expected = weight.grad.numpy()
        error = np.linalg.norm(found - expected)
        assert error < 10 * RELATIVE[torch.float64] * np.linalg.norm(expected), name
