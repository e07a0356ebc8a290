"""A program refuses what would overrun, stops on divergence, and gives the same bits anywhere."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.tape_networks import NETWORKS, dense, random_pattern, random_start
from lowdim_kernels.tape.bounds import record_fields
from lowdim_kernels.tape.layout import aligned_zeros
from lowdim_kernels.tape.program import Program
from lowdim_kernels.tape.records import RECORD_FIELDS
from lowdim_kernels.tape.schedules import adam_schedule, evaluation_schedule
from lowdim_kernels.tape.tape import Tape

STEPS, SAMPLES, BATCH = 3, 50, 20
GUARD = 1 << 16
LONGEST_MICROSECONDS = 1e5


class Job:
    """A program with everything that a run of it needs."""

    def __init__(self, name: str = "dense", replicas: int = 1) -> None:
        network = NETWORKS[name]
        self.program = network.program(BATCH, dtype="float32")
        self.states, _ = random_start(network, self.program, replicas)
        rng = np.random.default_rng(2)
        self.samples = self.program.padded_samples(rng.standard_normal((SAMPLES, 40)))
        self.targets = rng.integers(0, 10, SAMPLES)
        self.order = rng.integers(0, SAMPLES, (STEPS, BATCH))
        self.schedule = adam_schedule(np.full(STEPS, 1e-2), loss_scale=1 / BATCH)
        self.workspace = self.program.workspace()

    def run(self, replica: int = 0, **changes) -> int:
        arguments = {
            name: getattr(self, name)
            for name in ("samples", "targets", "order", "schedule", "workspace")
        }
        program = changes.pop("program", self.program)
        return program.run(self.states[replica], **(arguments | changes))


JOBS = {name: Job(name) for name in NETWORKS}


def replaced(program: Program, records: np.ndarray) -> Program:
    return dataclasses.replace(program, records=records)


# what is refused


def accepted(program: Program) -> bool:
    try:
        program.check()
    except ValueError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_corrupted_record_is_refused_or_stays_in_its_workspace(data) -> None:
    name = data.draw(st.sampled_from(sorted(JOBS)))
    job = JOBS[name]
    records = job.program.records.copy()
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(records) - 1))
        field = data.draw(st.integers(0, RECORD_FIELDS - 1))
        old = int(records[row, field])
        near = st.integers(max(old - 64, -(2**63)), min(old + 64, 2**63 - 1))
        far = st.integers(-(2**63), 2**63 - 1)
        records[row, field] = data.draw(st.one_of(near, st.sampled_from([0, -1, old // 2]), far))
    program = replaced(job.program, records)
    # what is accepted may still be long: counts are bounded, their products are not
    if not accepted(program) or program.predicted_microseconds() > LONGEST_MICROSECONDS:
        return
    size = program.layout.total
    space = aligned_zeros(size + 2 * GUARD, np.float32)
    space[:] = 7.0
    space[GUARD : GUARD + size] = program.workspace()
    state = job.states[0].copy()
    program.run(
        state,
        **{name: getattr(job, name) for name in ("samples", "targets", "order", "schedule")},
        workspace=space[GUARD : GUARD + size],
    )
    assert (space[:GUARD] == 7.0).all()
    assert (space[GUARD + size :] == 7.0).all()


def test_every_offset_moved_past_the_end_is_refused() -> None:
    for job in JOBS.values():
        end = job.program.workspace_bytes
        for row, record in enumerate(job.program.records):
            operation, fields = record_fields(record)
            for name in (*operation.offsets, *operation.optional_offsets):
                if getattr(fields, name) < 0 or (name == "scale" and fields.source < 0):
                    continue
                for offset in (end, -64):
                    records = job.program.records.copy()
                    records[row, 1 + operation.fields.index(name)] = offset
                    assert not accepted(replaced(job.program, records)), (operation.name, name)


def test_a_record_that_writes_constants_or_tables_is_refused() -> None:
    job = JOBS["masked"]
    for segment in ("constants", "tables"):
        start, _ = job.program.layout.segment_bytes(segment, 4)
        records = job.program.records.copy()
        records[0, 1 + record_fields(records[0])[0].fields.index("out")] = start
        assert not accepted(replaced(job.program, records))


def test_a_table_out_of_range_is_refused_when_set_and_when_run() -> None:
    job = Job("masked")
    rng = np.random.default_rng(0)
    pattern = random_pattern(rng, 100, 40, 400)
    columns = pattern["columns"].copy()
    columns[7] = 40
    with pytest.raises(ValueError, match=r"table '0.columns' must lie in 0\.\.39"):
        job.program.set_table(job.states, "0.columns", columns)
    with pytest.raises(ValueError, match="must not fall"):
        job.program.set_table(job.states, "0.row_offsets", pattern["row_offsets"][::-1])
    start = job.program.layout.starts["tables"]
    job.states[0, start : start + 500] = 1e9
    with pytest.raises(ValueError, match="table"):
        job.run()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", np.full((STEPS, BATCH), SAMPLES)),
        ("order", np.full((STEPS, BATCH), -2)),
        ("order", np.zeros((STEPS, BATCH + 1), np.int64)),
        ("samples", np.zeros((SAMPLES, 40), np.float32)),
        ("samples", np.zeros((SAMPLES, 48), np.float64)),
        ("targets", np.zeros(SAMPLES, np.int32)),
        ("schedule", np.zeros((STEPS, 3), np.float32)),
        ("workspace", np.zeros(10, np.float32)),
        ("samples", None),
        ("targets", None),
        ("order", None),
    ],
)
def test_arrays_that_would_be_overrun_are_refused(name: str, value) -> None:
    with pytest.raises(ValueError, match=name):
        JOBS["dense"].run(**{name: value})


# divergence


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["dense", "masked", "kronecker", "nlmf"])
def test_a_sample_that_is_not_finite_stops_the_call_at_its_step(name: str, value: float) -> None:
    job = Job(name)
    job.samples[13, 3] = value
    job.order[:] = 5
    job.order[2, 4] = 13
    if name == "masked":
        tables = job.program.tables["0.columns"]
        start = job.program.layout.starts["tables"] + tables.view.offset
        job.states[0, start : start + 1].view(np.int32)[:] = 3
    before = JOBS[name].states.copy()
    assert np.isfinite(before).all()
    assert job.run() == 2


def test_a_nan_in_any_layer_is_seen_through_relu() -> None:
    network = dense(8, 9, 7, 3)
    program = network.program(BATCH, dtype="float32")
    for name in program.parameters:
        states, _ = random_start(network, program)
        program.parameter_view(states, name)[..., 0] = np.nan
        finished = program.run(
            states[0],
            workspace=program.workspace(),
            schedule=adam_schedule(np.full(1, 1e-3)),
            order=np.zeros((1, BATCH), np.int64),
            samples=program.padded_samples(np.ones((3, 8))),
            targets=np.zeros(3, np.int64),
        )
        assert finished == 0, name


def test_the_step_that_diverged_has_not_updated_the_parameters() -> None:
    job = Job()
    job.samples[13] = np.nan
    job.order[:] = 13
    before = job.states.copy()
    assert job.run() == 0
    np.testing.assert_array_equal(job.states, before)


# equality to the last bit


@pytest.mark.parametrize("name", NETWORKS)
def test_a_replica_has_the_same_bits_beside_any_others_and_in_any_thread(name: str) -> None:
    alone, together = Job(name), Job(name, replicas=4)
    together.states[1:] = together.states[0]
    together.states[2, : together.program.layout.sizes["parameters"]] *= 1.5
    alone.states[0] = together.states[0]
    alone.run()

    def work(replica: int) -> None:
        together.run(replica, workspace=together.program.workspace())

    threads = [threading.Thread(target=work, args=(replica,)) for replica in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for replica in (0, 1, 3):
        assert together.states[replica].tobytes() == alone.states[0].tobytes()
    assert together.states[2].tobytes() != alone.states[0].tobytes()


def test_one_call_of_three_steps_has_the_bits_of_three_calls() -> None:
    whole, parts = Job(), Job()
    whole.run()
    for step in range(STEPS):
        part = slice(step, step + 1)
        parts.run(order=parts.order[part], schedule=whole.schedule[part])
    assert whole.states.tobytes() == parts.states.tobytes()


def test_a_workspace_that_is_not_aligned_gives_the_same_bits() -> None:
    aligned, shifted = Job(), Job()
    aligned.run()
    size = shifted.program.layout.total
    space = aligned_zeros(size + 3, np.float32)[3:]
    space[:] = shifted.program.workspace()
    shifted.run(workspace=space)
    assert aligned.states.tobytes() == shifted.states.tobytes()


def test_denormals_are_flushed_in_a_run_and_allowed_again_after_it() -> None:
    job = Job()
    start = job.program.layout.starts["first"]
    job.states[0, start : start + 40] = 1e-40
    job.schedule[:, 1:] = 0
    job.run()
    assert (job.states[0, start : start + 40] == 0).sum() > 0
    assert np.float32(1e-40) * np.float32(0.5) != 0


# evaluation and description


def test_an_evaluation_program_scores_the_parameters_of_a_training_program() -> None:
    job = Job()
    tape = Tape(33)
    x = tape.samples(40)
    for number, (into, out) in enumerate(((40, 100), (100, 10))):
        y = tape.buffer(out, "relu" if number == 0 else None)
        weight = tape.parameter(f"{number}.weight", (out, into))
        bias = tape.parameter(f"{number}.bias", (out,))
        # the other network declares biases first
        tape.gemm(y.product, weight, x, bias=bias, finish=y)
        x = y
    tape.cross_entropy(x)
    program = tape.finish()
    states = program.new_states(1)
    for name in program.parameters:
        mine = program.parameter_view(states, name)
        mine[...] = job.program.parameter_view(job.states, name)
    order = np.full((2, 33), -1)
    order.ravel()[:SAMPLES] = np.arange(SAMPLES)
    outputs = np.zeros((2, 4), np.float32)
    program.run(
        states[0],
        workspace=program.workspace(),
        schedule=evaluation_schedule(2),
        order=order,
        samples=job.samples,
        targets=job.targets,
        outputs=outputs,
    )
    weights = {name: job.program.parameter_view(job.states[0], name) for name in program.parameters}
    hidden = np.maximum(job.samples[:, :40] @ weights["0.weight"].T + weights["0.bias"], 0)
    logits = hidden @ weights["1.weight"].T + weights["1.bias"]
    assert outputs[:, 3].sum() == (logits.argmax(1) == job.targets).sum()


def test_states_are_taken_only_from_a_program_with_the_same_parameters() -> None:
    job, other = Job("dense"), Job("masked")
    copy = job.program.new_states(1)
    job.program.take(copy, job.program, job.states)
    size = job.program.layout.sizes["parameters"]
    np.testing.assert_array_equal(copy[:, :size], job.states[:, :size])
    with pytest.raises(ValueError, match="has no parameters"):
        job.program.take(copy, other.program, other.states)
    wider = Tape(batch=3)
    for name, parameter in job.program.parameters.items():
        wider.parameter(name, tuple(size + 1 for size in parameter.shape))
    program = wider.finish()
    with pytest.raises(ValueError, match="here and"):
        job.program.take(copy, program, program.new_states(1))


def test_a_description_has_a_line_for_every_record() -> None:
    program = JOBS["kronecker"].program
    text = program.describe()
    assert len(text.splitlines()) == len(program.records) + 5
    assert f"workspace {program.workspace_bytes} bytes" in text
    assert program.predicted_microseconds() > 0
