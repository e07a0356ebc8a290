"""Networks on the tape and the same in torch's float64, for the tests and the benchmark."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from lowdim_kernels.tape import products
from lowdim_kernels.tape.program import Program
from lowdim_kernels.tape.tape import Tape
from lowdim_kernels.tape.views import Buffer

Weights = dict[str, torch.Tensor]


@dataclass
class Layer:
    """One layer of a structure: what it adds to a tape, and its weight in torch."""

    kind: str
    out: int
    into: int
    options: dict = field(default_factory=dict)

    def record(self, tape: Tape, name: str, x: Buffer, y: Buffer) -> None:
        bias = tape.parameter(f"{name}.bias", (self.out,))
        getattr(self, f"_record_{self.kind}")(tape, name, x, y, bias)

    def weight(self, name: str, weights: Weights, tables: dict[str, np.ndarray]) -> torch.Tensor:
        return getattr(self, f"_weight_{self.kind}")(name, weights, tables)

    def _record_dense(self, tape, name, x, y, bias):
        products.linear(
            tape,
            y,
            tape.parameter(f"{name}.weight", (self.out, self.into), padded=x.is_samples),
            x,
            bias,
        )

    def _weight_dense(self, name, weights, tables):
        return weights[f"{name}.weight"]

    def _record_kronecker(self, tape, name, x, y, bias):
        factors = [
            tape.parameter(f"{name}.factor{k}", shape)
            for k, shape in enumerate(self.options["factors"])
        ]
        products.kronecker(tape, y, factors, x, bias)

    def _weight_kronecker(self, name, weights, tables):
        weight = weights[f"{name}.factor0"]
        for k in range(1, len(self.options["factors"])):
            weight = torch.kron(weight, weights[f"{name}.factor{k}"])
        return weight

    def _record_low_rank(self, tape, name, x, y, bias):
        rank = self.options["rank"]
        u = tape.parameter(f"{name}.u", (self.out, rank))
        v = tape.parameter(f"{name}.v", (self.into, rank), transposed=True)
        diagonal = None
        if self.options.get("diagonal"):
            diagonal = tape.parameter(f"{name}.d", (min(self.out, self.into),))
        products.low_rank(tape, y, u, v, x, bias, diagonal)

    def _weight_low_rank(self, name, weights, tables):
        weight = weights[f"{name}.u"] @ weights[f"{name}.v"].T
        if self.options.get("diagonal"):
            n = min(self.out, self.into)
            diagonal = torch.diag(weights[f"{name}.d"])
            weight = weight + torch.nn.functional.pad(diagonal, (0, self.into - n, 0, self.out - n))
        return weight

    def _record_masked(self, tape, name, x, y, bias):
        entries = self.options["entries"]
        tables = products.pattern_tables(tape, name, self.out, self.into, entries)
        values = tape.parameter(f"{name}.values", (entries,))
        products.masked(tape, y, values, tables, x, bias)

    def _weight_masked(self, name, weights, tables):
        rows = np.repeat(np.arange(self.out), np.diff(tables[f"{name}.row_offsets"]))
        places = torch.as_tensor(rows * self.into + tables[f"{name}.columns"])
        values = weights[f"{name}.values"]
        flat = values.new_zeros(self.out * self.into)
        return flat.index_put((places,), values).view(self.out, self.into)

    def _record_nlmf(self, tape, name, x, y, bias):
        rank, units = self.options["rank"], self.options["units"]
        u = tape.parameter(f"{name}.u", (self.out, rank))
        v = tape.parameter(f"{name}.v", (self.into, rank), transposed=True, padded=True)
        phi = tape.parameter(f"{name}.phi", (3 * units + 1,))
        products.nonlinear_factorisation(
            tape, y, u, v, phi, x, bias, activation=self.activation, residual=self.residual
        )

    def _weight_nlmf(self, name, weights, tables):
        product = weights[f"{name}.u"] @ weights[f"{name}.v"].T
        phi = weights[f"{name}.phi"]
        a1, b1, a2 = phi[:-1].view(-1, 3).T
        hidden = ACTIVATIONS[self.activation](product[..., None] * a1 + b1)
        value = (hidden * a2).sum(-1) + phi[-1]
        return value + product if self.residual else value

    @property
    def activation(self) -> str:
        return self.options.get("activation", "silu")

    @property
    def residual(self) -> bool:
        return self.options.get("residual", False)


ACTIVATIONS: dict[str | None, Callable] = {
    None: lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
}


@dataclass
class Network:
    """Layers in a row, an activation between them, a loss at the end."""

    layers: list[Layer]
    activation: str | None = "relu"
    loss: str = "cross_entropy"

    def program(
        self, batch: int, *, dtype: str = "float64", update: str = "adam", target=None
    ) -> Program:
        tape = Tape(batch, dtype=dtype, target=target)
        x = tape.samples(self.layers[0].into)
        for number, layer in enumerate(self.layers):
            last = number + 1 == len(self.layers)
            y = tape.buffer(layer.out, None if last else self.activation)
            layer.record(tape, str(number), x, y)
            x = y
        getattr(tape, self.loss)(x)
        tape.backward()
        tape.gradient_statistics()
        getattr(tape, update)()
        return tape.finish()

    def reference_loss(
        self, weights: Weights, tables: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray
    ) -> torch.Tensor:
        """Return torch's loss on a batch, in the weights' type."""
        dtype = weights["0.bias"].dtype
        values = torch.as_tensor(x, dtype=dtype)
        for number, layer in enumerate(self.layers):
            values = values @ layer.weight(str(number), weights, tables).T
            values = values + weights[f"{number}.bias"]
            if number + 1 < len(self.layers):
                values = ACTIVATIONS[self.activation](values)
        if self.loss == "cross_entropy":
            return torch.nn.functional.cross_entropy(values, torch.as_tensor(y))
        return torch.nn.functional.mse_loss(values, torch.as_tensor(y, dtype=dtype))


def dense(*sizes: int, **options) -> Network:
    pairs = itertools.pairwise(sizes)
    return Network([Layer("dense", out, into) for into, out in pairs], **options)


def of_kind(kind: str, sizes: tuple[int, int, int], *options: dict, **network) -> Network:
    pairs = zip(itertools.pairwise(sizes), options, strict=True)
    return Network([Layer(kind, out, into, extra) for (into, out), extra in pairs], **network)


NETWORKS: dict[str, Network] = {
    "dense": dense(40, 100, 10),
    "kronecker": of_kind(
        "kronecker",
        (40, 100, 10),
        {"factors": [(10, 5), (10, 8)]},
        {"factors": [(2, 10), (5, 10)]},
    ),
    "low_rank": of_kind("low_rank", (40, 100, 10), {"rank": 8}, {"rank": 8}),
    "low_rank_diagonal": of_kind(
        "low_rank",
        (40, 100, 10),
        {"rank": 1, "diagonal": True},
        {"rank": 1, "diagonal": True},
    ),
    "masked": of_kind("masked", (40, 100, 10), {"entries": 400}, {"entries": 100}),
    "nlmf": of_kind("nlmf", (40, 100, 10), {"rank": 4, "units": 16}, {"rank": 4, "units": 16}),
}


def random_pattern(
    rng: np.random.Generator, out: int, into: int, entries: int
) -> dict[str, np.ndarray]:
    """Return the five tables of a random pattern, in row-major order."""
    flat = np.sort(rng.choice(out * into, entries, replace=False))
    rows, columns = np.divmod(flat, into)
    by_column = np.lexsort((rows, columns))

    def offsets(indices: np.ndarray, count: int) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=count))])

    return {
        "row_offsets": offsets(rows, out),
        "columns": columns,
        "column_offsets": offsets(columns, into),
        "transposed_rows": rows[by_column],
        "transposed_positions": by_column,
    }


def random_start(
    network: Network, program: Program, replicas: int = 1, seed: int = 0
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Return random states, and each replica's tables by name."""
    rng = np.random.default_rng(seed)
    states = program.new_states(replicas)
    for name in program.parameters:
        view = program.parameter_view(states, name)
        fan_in = view.shape[-1] if view.ndim > 2 else 10
        view[...] = rng.standard_normal(view.shape) / np.sqrt(fan_in)
    tables: list[dict[str, np.ndarray]] = [{} for _ in range(replicas)]
    for number, layer in enumerate(network.layers):
        if layer.kind != "masked":
            continue
        for replica in range(replicas):
            pattern = random_pattern(rng, layer.out, layer.into, layer.options["entries"])
            for part, values in pattern.items():
                program.set_table(states[replica], f"{number}.{part}", values)
                tables[replica][f"{number}.{part}"] = values
    return states, tables


def torch_weights(program: Program, state: np.ndarray) -> Weights:
    """Return a state's parameters as float64 leaves."""
    weights = {}
    for name in program.parameters:
        values = np.array(program.parameter_view(state, name), dtype=np.float64)
        weights[name] = torch.tensor(values, requires_grad=True)
    return weights
