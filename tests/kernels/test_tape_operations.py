"""Single operations of the tape against numpy's float64, over drawn sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tolerances import RELATIVE
from lowdim_kernels.tape.schedules import adam_schedule, sgd_schedule
from lowdim_kernels.tape.tape import Tape
from lowdim_kernels.tape.views import Buffer, View

DTYPES = ("float32", "float64")
sizes = st.integers(1, 23)
activations = st.sampled_from([None, "relu", "tanh", "silu"])


class Bench:
    """A tape whose inputs are kept matrices, filled with normal numbers; results are read back."""

    def __init__(self, batch: int, dtype: str, seed: int = 0) -> None:
        self.tape = Tape(batch, dtype=dtype)
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)
        self.values: dict[str, np.ndarray] = {}

    def given(self, name: str, rows: int, columns: int) -> View:
        self.values[name] = self.rng.standard_normal((rows, columns)).astype(self.dtype)
        return self.tape.keep(name, rows, columns)

    def wanted(self, name: str, rows: int, columns: int) -> View:
        self.values[name] = np.full((rows, columns), np.nan, self.dtype)
        return self.tape.keep(name, rows, columns)

    def wide(self, name: str) -> np.ndarray:
        return self.values[name].astype(np.float64)

    def run(self, steps: int = 1, **arrays) -> dict[str, np.ndarray]:
        program = self.tape.finish()
        states = program.new_states(1)
        for name, values in self.values.items():
            program.kept_view(states, name)[0] = values
        schedule = adam_schedule(np.zeros(steps), dtype=self.dtype)
        outputs = np.zeros((steps, 4), self.dtype)
        workspace = program.workspace()
        program.run(states[0], workspace=workspace, schedule=schedule, outputs=outputs, **arrays)
        found = {name: np.array(program.kept_view(states, name)[0]) for name in self.values}
        return found | {"outputs": outputs}


def assert_near(actual: np.ndarray, expected: np.ndarray, scale: np.ndarray | float) -> None:
    """Compare by the rounding of sums whose terms have the size `scale`."""
    assert np.isfinite(actual).all()
    bound = 4 * RELATIVE[getattr(torch, str(actual.dtype))]
    assert np.abs(actual.astype(np.float64) - expected).max() <= bound * max(1, np.max(scale))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 4),
    rows=sizes,
    inner=sizes,
    batch=st.integers(1, 90),
    shared=st.booleans(),
    transposed=st.booleans(),
    biased=st.booleans(),
    sourced=st.booleans(),
    activation=activations,
)
def test_gemm_with_all_its_ends(
    dtype, groups, rows, inner, batch, shared, transposed, biased, sourced, activation
) -> None:
    bench = Bench(batch, dtype)
    tape = bench.tape
    n = tape.columns
    sets = 1 if shared else groups
    stored = (sets * inner, rows) if transposed else (sets * rows, inner)
    weights = bench.given("w", *stored).split(sets)
    weights = weights.transposed if transposed else weights
    x = bench.given("x", groups * inner, n)
    out = bench.wanted("out", groups * rows, n)
    bias = bench.given("bias", groups * rows, 1) if biased else None
    source = bench.given("source", groups * rows, n) if sourced else None
    scale = bench.given("scale", rows, 1) if sourced else None
    buffer = Buffer(out, out, activation)
    if activation == "silu":
        buffer = Buffer(out, bench.wanted("product", groups * rows, n), activation)
    tape.gemm(
        buffer.product.split(groups),
        weights,
        x.split(groups),
        bias=bias,
        source=None if source is None else source.split(groups),
        scale=scale,
        finish=buffer,
    )
    found = bench.run()
    w = bench.wide("w").reshape(sets, *((inner, rows) if transposed else (rows, inner)))
    w = w.transpose(0, 2, 1) if transposed else w
    expected = w @ bench.wide("x").reshape(groups, inner, n)
    if sourced:
        expected = expected + bench.wide("scale") * bench.wide("source").reshape(groups, rows, n)
    expected = expected.reshape(groups * rows, n) + (bench.wide("bias") if biased else 0)
    size = 3 * np.sqrt(inner)
    assert_near(found["out"], activated(expected, activation), size)


def activated(x: np.ndarray, activation: str | None) -> np.ndarray:
    functions = {
        None: lambda x: x,
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "silu": lambda x: x / (1 + np.exp(-x)),
    }
    return functions[activation](x)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=30, deadline=None)
@given(rows=sizes, inner=sizes, columns=st.integers(16, 90))
def test_gemm_into_columns_that_are_no_whole_vectors(dtype, rows, inner, columns) -> None:
    bench = Bench(1, dtype)
    w, x = bench.given("w", rows, inner), bench.given("x", inner, columns)
    bench.tape.gemm(bench.wanted("out", rows, columns), w, x)
    assert_near(bench.run()["out"], bench.wide("w") @ bench.wide("x"), 3 * np.sqrt(inner))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 4),
    rows=sizes,
    columns=sizes,
    batch=st.integers(1, 90),
    accumulate=st.booleans(),
)
def test_dot_sums_over_groups(dtype, groups, rows, columns, batch, accumulate) -> None:
    bench = Bench(batch, dtype)
    n = bench.tape.columns
    left, right = bench.given("left", groups * rows, n), bench.given("right", groups * columns, n)
    make = bench.given if accumulate else bench.wanted
    out = make("out", rows, columns)
    bench.tape.dot(out, left.split(groups), right.split(groups), accumulate=accumulate)
    found = bench.run()["out"]
    a = bench.wide("left").reshape(groups, rows, n)
    b = bench.wide("right").reshape(groups, columns, n)
    expected = np.einsum("gmn,gcn->mc", a, b) + (bench.wide("out") if accumulate else 0)
    assert_near(found, expected, 3 * np.sqrt(groups * n))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20, deadline=None)
@given(rows=sizes, batch=st.integers(1, 90))
def test_rows_are_summed_multiplied_and_transposed(dtype, rows, batch) -> None:
    bench = Bench(batch, dtype)
    tape, n = bench.tape, bench.tape.columns
    a, b = bench.given("a", rows, n), bench.given("b", rows, n)
    tape.row_sums(bench.wanted("sums", rows, 1), a)
    tape.row_products(bench.wanted("products", rows, 1), a, b)
    turned = tape.transpose(a)
    tape.copy(
        bench.wanted("turned", n, rows),
        replace(turned, columns=rows),
    )
    found = bench.run()
    wide = bench.wide("a")
    assert_near(found["sums"][:, 0], wide.sum(1), 3 * np.sqrt(n))
    assert_near(found["products"][:, 0], (wide * bench.wide("b")).sum(1), 3 * np.sqrt(n))
    np.testing.assert_array_equal(found["turned"], bench.values["a"].T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_are_combined_multiplied_filled_and_copied(dtype: str) -> None:
    bench = Bench(20, dtype)
    tape, n = bench.tape, bench.tape.columns
    a, b = bench.given("a", 5, n), bench.given("b", 5, n)
    tape.combine(bench.wanted("combined", 5, n), a, 0.3, b, -2.0)
    tape.multiply(bench.wanted("multiplied", 5, n), a, b)
    tape.fill(bench.wanted("filled", 5, n), 1.25)
    tape.copy(bench.wanted("copied", n, 5), a.transposed)
    found = bench.run()
    wide = bench.wide("a"), bench.wide("b")
    assert_near(found["combined"], 0.3 * wide[0] - 2.0 * wide[1], 10)
    assert_near(found["multiplied"], wide[0] * wide[1], 10)
    assert (found["filled"] == 1.25).all()
    np.testing.assert_array_equal(found["copied"], bench.values["a"].T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_an_activation_and_its_derivative_are_accurate_over_the_whole_range(
    dtype: str, activation: str
) -> None:
    bench = Bench(256, dtype)
    n = bench.tape.columns
    span = 80.0 if dtype == "float32" else 600.0
    points = np.concatenate([np.linspace(-span, span, n // 2), np.geomspace(1e-6, 5, n // 2)])
    x, out = bench.given("x", 1, n), bench.wanted("out", 1, n)
    gradient = bench.given("gradient", 1, n)
    bench.values["x"][0] = points
    buffer = Buffer(out, x, activation, gradient)
    bench.tape.activate(buffer)
    bench.tape.differentiate(buffer)
    found = bench.run()
    wide = torch.tensor(bench.wide("x"), requires_grad=True)
    functions = {"relu": torch.relu, "tanh": torch.tanh, "silu": torch.nn.functional.silu}
    value = functions[activation](wide)
    value.backward(torch.tensor(bench.wide("gradient")))
    expected = value.detach().numpy()
    error = np.abs(found["out"] - expected) / np.maximum(np.abs(expected), 1e-20)
    # relative, but where silu is a denormal away from zero
    assert error[np.abs(expected) > 1e-15].max() < 4 * RELATIVE[getattr(torch, dtype)]
    assert_near(found["gradient"], wide.grad.numpy(), 4)


def test_a_map_with_sufficient_statistics_descends_as_in_numpy() -> None:
    """A = W U against A*: loss tr(D C D^T) / (n m), as deep linear maps are trained."""
    size, rank, samples = 16, 3, 40
    rng = np.random.default_rng(3)
    x, target = rng.standard_normal((samples, size)), rng.standard_normal((size, size))
    statistics = x.T @ x
    factor = 1 / (samples * size)
    tape = Tape(1, dtype="float64")
    w, u = tape.parameter("W", (size, rank)), tape.parameter("U", (rank, size))
    goal, second = tape.keep("goal", size, size), tape.keep("statistics", size, size)
    product, error, pushed = (tape.matrix(size, size) for _ in range(3))
    tape.gemm(product, w, u.values)
    tape.combine(error, product, 1.0, goal, -1.0)
    tape.gemm(pushed, error, second)
    tape.inner_loss(error, pushed, factor)
    tape.combine(pushed, pushed, 2 * factor, pushed, 0.0)
    tape.dot(w.gradient, pushed, u.values)
    tape.gemm(u.gradient, w.transposed, pushed)
    tape.sgd()
    program = tape.finish()
    states = program.new_states(1)
    a, b = 0.1 * rng.standard_normal((size, rank)), 0.1 * rng.standard_normal((rank, size))
    program.parameter_view(states, "W")[0], program.parameter_view(states, "U")[0] = a, b
    program.kept_view(states, "goal")[0] = target
    program.kept_view(states, "statistics")[0] = statistics
    outputs = np.zeros((5, 4))
    schedule = sgd_schedule(np.full(5, 0.5), dtype="float64")
    program.run(states[0], workspace=program.workspace(), schedule=schedule, outputs=outputs)
    for step in range(5):
        difference = a @ b - target
        loss = np.mean((x @ difference.T) ** 2)
        assert abs(outputs[step, 0] - loss) <= 1e-13 * loss
        slope = 2 * factor * difference @ statistics
        a, b = a - 0.5 * slope @ b.T, b - 0.5 * a.T @ slope
    np.testing.assert_allclose(program.parameter_view(states, "W")[0], a, rtol=1e-11)
    np.testing.assert_allclose(program.parameter_view(states, "U")[0], b, rtol=1e-11)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (lambda t, v: t.gemm(v(3, 16), v(3, 4), v(5, 16)), "gemm"),
        (lambda t, v: t.gemm(v(3, 3), v(3, 4), v(4, 3)), "columns"),
        (lambda t, v: t.gemm(v(3, 16), v(3, 4), v(4, 16), bias=v(2, 1)), "bias"),
        (lambda t, v: t.dot(v(3, 4), v(3, 16), v(5, 16)), "dot"),
        (lambda t, v: t.dot(v(3, 5), v(3, 17), v(5, 17)), "whole vectors"),
        (lambda t, v: t.row_sums(v(4, 1), v(3, 16)), "row_products"),
        (lambda t, v: t.combine(v(3, 16), v(3, 16), 1, v(4, 16), 1), "differ in size"),
        (lambda t, v: t.copy(v(3, 4), v(4, 3)), "copy"),
        (lambda t, v: t.phi(v(2, 16), v(2, 16), v(5, 1)), "phi"),
        (lambda t, v: t.buffer(3, "gelu"), "activation"),
        (lambda t, v: t.parameter("w", (1, 2, 3)), "shape"),
    ],
)
def test_sizes_that_do_not_fit_are_named(record, message: str) -> None:
    tape = Tape(16)
    with pytest.raises(ValueError, match=message):
        record(tape, tape.matrix)
