"""Low-rank gradients on the tape against numpy's singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.tape_networks import dense, random_start
from lowdim_kernels.tape import truncation
from lowdim_kernels.tape.program import Program
from lowdim_kernels.tape.schedules import adam_schedule, sgd_schedule
from lowdim_kernels.tape.tape import Tape

# relative excess of the error over that of the best approximation; rounding of a full one
EXCESS = 5e-3
ROUNDING = {"float32": 1e-5, "float64": 1e-12}
DTYPES = sorted(ROUNDING)


def truncating(
    rows: int, columns: int, limit: int, dtype: str, *, in_place: bool = False
) -> tuple[Program, np.ndarray]:
    """Return a program that truncates its kept matrix, and a state for it."""
    tape = Tape(1, dtype=dtype)
    gradient = tape.keep("gradient", rows, columns)
    out = gradient if in_place else tape.keep("out", rows, columns)
    truncation.truncate(tape, "svd", out, gradient, limit)
    program = tape.finish()
    states = program.new_states(1)
    noise = program.kept_view(states, "svd.noise")
    noise[...] = np.random.default_rng(0).standard_normal(noise.shape)
    return program, states


def truncated(program: Program, states: np.ndarray, gradient: np.ndarray, rank: int) -> np.ndarray:
    program.kept_view(states, "gradient")[...] = gradient
    schedule = adam_schedule(np.zeros(1), rank=rank, dtype=program.dtype)
    program.run(states[0], workspace=program.workspace(), schedule=schedule)
    name = "out" if "out" in program.kept else "gradient"
    return np.array(program.kept_view(states, name)[0], np.float64)


def best(gradient: np.ndarray, rank: int) -> np.ndarray:
    u, s, vt = np.linalg.svd(np.asarray(gradient, np.float64))
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def decaying(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.standard_normal((rows, columns)) * np.logspace(0, -2, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "rank", "limit"),
    [(119, 119, 20, 20), (119, 119, 3, 32), (64, 128, 8, 16), (10, 64, 3, 10), (40, 17, 1, 1)],
)
def test_a_truncation_is_nearly_the_best(
    rows: int, columns: int, rank: int, limit: int, dtype: str, in_place: bool
) -> None:
    program, states = truncating(rows, columns, limit, dtype, in_place=in_place)
    gradient = decaying(np.random.default_rng(1), rows, columns)
    found = truncated(program, states, gradient, rank)
    reached = np.linalg.norm(gradient - found)
    assert reached <= (1 + EXCESS) * np.linalg.norm(gradient - best(gradient, rank))
    assert np.linalg.svd(found)[1][rank] < ROUNDING[dtype] * np.linalg.norm(gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_warm_basis_comes_nearer_to_the_same_matrix(dtype: str) -> None:
    program, states = truncating(50, 60, 10, dtype)
    gradient = np.random.default_rng(2).standard_normal((50, 60))
    least = np.linalg.norm(gradient - best(gradient, 10))
    excess = [
        np.linalg.norm(gradient - truncated(program, states, gradient, 10)) / least - 1
        for _ in range(4)
    ]
    assert excess[-1] < excess[0] / 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_directions_that_were_lost_come_back(dtype: str) -> None:
    program, states = truncating(50, 60, 10, dtype)
    rng = np.random.default_rng(3)
    zero, thin = np.zeros((50, 60)), np.outer(rng.standard_normal(50), rng.standard_normal(60))
    assert not truncated(program, states, zero, 10).any()
    found = truncated(program, states, thin, 10)
    assert np.linalg.norm(found - thin) < ROUNDING[dtype] * np.linalg.norm(thin)
    gradient = decaying(rng, 50, 60)
    found = truncated(program, states, gradient, 10)
    least = np.linalg.norm(gradient - best(gradient, 10))
    assert np.linalg.norm(gradient - found) <= (1 + EXCESS) * least


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_a_gradient_does_not_matter(scale: float) -> None:
    program, states = truncating(50, 60, 10, "float32")
    gradient = scale * decaying(np.random.default_rng(4), 50, 60)
    found = truncated(program, states, gradient, 10)
    least = np.linalg.norm(gradient - best(gradient, 10))
    assert np.linalg.norm(gradient - found) <= (1 + EXCESS) * least


def test_a_gradient_that_is_not_finite_is_not_hidden() -> None:
    program, states = truncating(50, 60, 10, "float32")
    gradient = decaying(np.random.default_rng(5), 50, 60)
    gradient[3, 4] = np.nan
    assert np.isnan(truncated(program, states, gradient, 10)).any()


def test_columns_fewer_than_the_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match="truncate 'svd': columns"):
        truncating(50, 3, 1, "float32")


def test_a_flat_truncation_is_that_of_all_gradients_in_one_square() -> None:
    """The first step of SGD shows the gradient that was used."""
    network = dense(17, 19, 5)
    batch, rank = 12, 4
    gradients = {}
    for truncates in (False, True):
        tape = Tape(batch, dtype="float64")
        x = tape.samples(17)
        for number, layer in enumerate(network.layers):
            y = tape.buffer(layer.out, "relu" if number == 0 else None)
            layer.record(tape, str(number), x, y)
            x = y
        tape.cross_entropy(x)
        tape.backward()
        if truncates:
            side = truncation.truncate_flat(tape, rank)
        tape.sgd()
        program = tape.finish()
        states, _ = random_start(network, program)
        if truncates:
            program.kept_view(states, "flat.noise")[...] = np.random.default_rng(6).standard_normal(
                program.kept_view(states, "flat.noise").shape
            )
        rng = np.random.default_rng(7)
        schedule = sgd_schedule(np.zeros(1), loss_scale=1 / batch, rank=rank, dtype="float64")
        program.run(
            states[0],
            workspace=program.workspace(),
            schedule=schedule,
            order=np.arange(batch)[None],
            samples=program.padded_samples(rng.standard_normal((batch, 17))),
            targets=rng.integers(0, 5, batch),
        )
        gradients[truncates] = np.concatenate(
            [
                program.parameter_view(states[0], name, segment="first").ravel()
                for name in program.parameters
            ]
        )
    total = len(gradients[False])
    assert side == int(np.ceil(np.sqrt(total)))
    square = np.zeros(side * side)
    square[:total] = gradients[False]
    square = square.reshape(side, side)
    expected = best(square, rank)
    # what is cut off with the padding is the same part of both
    found = np.append(gradients[True], expected.ravel()[total:]).reshape(side, side)
    reached, least = (np.linalg.norm(square - x) for x in (found, expected))
    assert reached <= (1 + EXCESS) * least
