"""A finished tape: the records, the replicas' states, and the call that runs steps of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import description
from .bounds import Bounds
from .layout import STATE_SEGMENTS, Layout, aligned_zeros
from .library import Library, load_library_for
from .library_arrays import CONTEXT, OUTPUTS
from .library_target import Target
from .records_all import NUMBERS
from .records_training import HYPERPARAMETERS, LABELS
from .run_checks import check_samples, check_table, expect
from .views import Parameter, Table, View


@dataclass(frozen=True)
class Program:
    """Records with the layout of their workspace. A replica is one row of a state array.

    The state holds parameters, moments, the previous gradient, tables and kept matrices; all
    else is scratch of the workspace, of which each thread needs one.
    """

    target: Target
    records: np.ndarray
    layout: Layout
    batch: int
    parameters: dict[str, Parameter]
    tables: dict[str, Table]
    kept: dict[str, View]
    sample_columns: dict[int, int]
    schedule_groups: int = 1

    # sizes

    @cached_property
    def dtype(self) -> np.dtype:
        return np.dtype(self.target.element)

    @cached_property
    def state_size(self) -> int:
        """Elements of one replica's state."""
        return sum(self.layout.sizes[name] for name in STATE_SEGMENTS)

    @property
    def workspace_bytes(self) -> int:
        return self.layout.total * self.target.element_bytes

    @property
    def schedule_columns(self) -> int:
        return 1 + self.schedule_groups * len(HYPERPARAMETERS)

    # states

    def new_states(self, replicas: int) -> np.ndarray:
        """Return zero states, one row a replica."""
        return np.zeros((replicas, self.state_size), self.dtype)

    def parameter_view(
        self, states: np.ndarray, name: str, *, segment: str = "parameters"
    ) -> np.ndarray:
        """Return a parameter of all states as a view (..., *shape) that can be assigned to.

        segment: "parameters", or "first", "second" (moments) and "previous" (gradient).
        """
        parameter = self.parameters[name]
        if not self.layout.sizes[segment]:
            raise ValueError(f"this program keeps no segment {segment!r}")
        view = parameter.values
        matrix = self._strided(states, self.layout.starts[segment] + view.offset, view)
        return matrix[..., 0] if len(parameter.shape) == 1 else matrix

    def kept_view(self, states: np.ndarray, name: str) -> np.ndarray:
        """Return a kept matrix of all states as a view (..., rows, columns)."""
        view = self.kept[name]
        return self._strided(states, self.layout.starts["kept"] + view.offset, view)

    def set_table(self, states: np.ndarray, name: str, values: np.ndarray) -> None:
        """Write a table into states; ValueError where it leaves its range or falls."""
        table = self.tables[name]
        values = np.asarray(values)
        if values.shape[-1:] != (table.view.columns,):
            raise ValueError(
                f"table {name!r} has {table.view.columns} entries, got shape {values.shape}"
            )
        check_table(table, values)
        self.table_view(states, name)[...] = values

    def take(self, states: np.ndarray, other: Program, other_states: np.ndarray) -> None:
        """Copy parameters, tables and kept matrices from states of another program, by name.

        The other tape must have every parameter and table of this one, in the same shapes; kept
        matrices that only one of them has are left alone.
        """
        for kind in ("parameters", "tables"):
            if missing := sorted(set(getattr(self, kind)) - set(getattr(other, kind))):
                raise ValueError(f"the other program has no {kind} {missing}")
        both = set(self.kept) & set(other.kept)
        names = [("parameter_view", name) for name in self.parameters]
        names += [("table_view", name) for name in self.tables]
        for view, name in [*names, *(("kept_view", name) for name in both)]:
            target = getattr(self, view)(states, name)
            source = getattr(other, view)(other_states, name)
            if target.shape != source.shape:
                raise ValueError(f"{name!r} is {target.shape} here and {source.shape} there")
            target[...] = source

    def table_view(self, states: np.ndarray, name: str) -> np.ndarray:
        """Return a table of all states as a view (..., length); `set_table` is the checked way."""
        table = self.tables[name]
        start = self.layout.starts["tables"] + table.view.offset
        part = states[..., start : start + table.view.columns]
        return part.view(np.int32 if self.dtype.itemsize == 4 else np.int64)

    def _strided(self, states: np.ndarray, start: int, view: View) -> np.ndarray:
        size = self.dtype.itemsize
        return np.lib.stride_tricks.as_strided(
            states[..., start:],
            (*states.shape[:-1], view.rows, view.columns),
            (*states.strides[:-1], view.row_stride * size, view.column_stride * size),
        )

    # samples

    def padded_samples(self, x: np.ndarray) -> np.ndarray:
        """Return rows of samples, or of real targets, as `run` takes them: aligned, zero-padded."""
        x = np.asarray(x).reshape(len(x), -1)
        width = -(-x.shape[1] // self.target.lanes) * self.target.lanes
        padded = aligned_zeros(len(x) * width, self.dtype).reshape(len(x), width)
        padded[:, : x.shape[1]] = x
        return padded

    # running

    def check(self) -> None:
        """Raise ValueError, naming the record, if one could reach outside the workspace."""
        width = self.target.vector_bytes
        sample_bytes = {
            array: -(-columns * self.target.element_bytes // width) * width
            for array, columns in self.sample_columns.items()
        }
        bounds = Bounds(
            self.target,
            self.layout,
            self.tables.values(),
            batch=self.batch if sample_bytes else -1,
            sample_bytes=sample_bytes,
            schedule_bytes=self.schedule_columns * self.target.element_bytes,
        )
        for number, record in enumerate(self.records):
            try:
                bounds.check(record)
            except ValueError as error:
                raise ValueError(f"record {number} of the tape is refused: {error}") from None

    @cached_property
    def library(self) -> Library:
        """The library that runs this program, loaded or compiled at first use."""
        return load_library_for(self.target)

    def workspace(self) -> np.ndarray:
        """Return room for one thread to run this program in."""
        space = aligned_zeros(self.layout.total, self.dtype)
        constants = self.layout.starts["constants"]
        zeros = max(16, self.target.lanes)
        space[constants + zeros : constants + self.layout.sizes["constants"]] = 1
        return space

    def run(
        self,
        state: np.ndarray,
        *,
        workspace: np.ndarray,
        schedule: np.ndarray,
        order: np.ndarray | None = None,
        samples: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
        library: Library | None = None,
    ) -> int:
        """Run one step a row of the schedule on one replica; return how many were finished.

        state: one replica's row, updated in place. schedule: (steps, schedule_columns), see
        schedules.py. order: (steps, batch) sample numbers, -1 for none. samples: from
        `padded_samples`. targets: int64 labels, or real ones from `padded_samples`. outputs:
        (steps, 4), columns as OUTPUTS. A step whose loss is not finite ends the call before its
        gradients. The GIL is let go while the steps run.
        """
        steps = len(schedule)
        if steps == 0:
            return 0
        if outputs is None:
            outputs = np.zeros((steps, len(OUTPUTS)), self.dtype)
        arrays = {
            "samples": samples,
            "targets": targets,
            "order": order,
            "schedule": schedule,
            "outputs": outputs,
        }
        expect("state", state, (self.state_size,), self.dtype)
        expect("workspace", workspace, (self.layout.total,), self.dtype)
        expect("schedule", schedule, (steps, self.schedule_columns), self.dtype)
        expect("outputs", outputs, (steps, len(OUTPUTS)), self.dtype)
        for name, table in self.tables.items():
            check_table(table, self.table_view(state, name))
        check_samples(
            order,
            {"samples": samples, "targets": targets},
            shape=(steps, self.batch),
            columns=self.sample_columns,
            lanes=self.target.lanes,
            dtype=self.dtype,
            needs_labels=self._needs_labels,
        )
        context = np.zeros(len(CONTEXT), np.int64)
        for name, array in arrays.items():
            context[CONTEXT.index(name)] = 0 if array is None else array.ctypes.data
        context[CONTEXT.index("schedule_row")] = schedule.strides[0]
        size = self.state_size
        workspace[:size] = state
        library = library or self.library
        finished = library.interpret(workspace.ctypes.data, self.records, context, steps)
        state[...] = workspace[:size]
        return finished

    @cached_property
    def _needs_labels(self) -> bool:
        place = 1 + LABELS.fields.index("as_weights")
        mine = self.records[:, 0] == NUMBERS[LABELS.name]
        return bool(np.any(self.records[mine, place] == 0))

    def describe(self) -> str:
        """Return a table of the records, with flops, bytes and predicted microseconds."""
        return description.described(self)

    def predicted_microseconds(self) -> float:
        """Return the time of one step that the records' flops and bytes suggest."""
        return description.predicted_microseconds(self)
