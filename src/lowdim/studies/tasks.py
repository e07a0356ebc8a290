"""The data of an arm, built from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lowdim.config import ArmConfig, RunConfig, Study
from lowdim.config.data import CompressedData, DataConfig, LinearMapData, Mnist1dData
from lowdim.data import (
    TRANSFORMS,
    CompressedDataset,
    DataUnavailableError,
    Task,
    digits_task,
    linear_map_task,
    mnist1d_task,
    mnist_task,
    second_moments,
)
from lowdim.data.mnist1d import with_label_noise
from lowdim.engine import generator
from lowdim.engine.memory import task_bytes
from lowdim.progress import Progress

# of the memory that a run may take; the rest is for the replicas in training
_DATA_SHARE = 5 / 8


def tell_unavailable(missing: Mapping[str, str], progress: Progress) -> None:
    """Say once for each reason which arms are left out for want of data."""
    for reason in dict.fromkeys(missing.values()):
        arms = [arm for arm, own in missing.items() if own == reason]
        progress.message(f"left out, for want of data: {', '.join(arms)}. {reason}")


class TaskShelf:
    """Tasks by configuration, each built once and shared by the arms that ask for it."""

    def __init__(self, run: RunConfig, study: Study) -> None:
        self.run = run
        self._seeds: dict[str, int] = {}
        for name, arm in study.arms.items():
            key = arm.data.model_dump_json()
            self._seeds[key] = max(self._seeds.get(key, 1), study.seeds_of(name))
        self._built: dict[str, Task] = {}
        self._images: dict[tuple[str, int | None], Task] = {}

    def task(self, config: DataConfig) -> Task:
        """Return the task of a configuration; what differs by seed has a set for each seed.

        Raises DataUnavailableError where real MNIST is neither found nor fetched.
        """
        key = config.model_dump_json()
        if key not in self._built:
            build: Callable[..., Task] = getattr(self, f"_{config.name}")
            self._built[key] = build(config, self._seeds[key])
        return self._built[key]

    def available(self, arms: Mapping[str, ArmConfig]) -> tuple[list[str], dict[str, str]]:
        """Return the arms whose data can be had, and for the others why not."""
        found, missing = [], {}
        for name, arm in arms.items():
            try:
                if isinstance(arm.data, CompressedData):
                    self._source(arm.data.source, arm.data.samples)
                found.append(name)
            except DataUnavailableError as error:
                missing[name] = str(error)
        return found, missing

    def parts(self, arms: Mapping[str, ArmConfig]) -> Iterator[list[str]]:
        """Yield arms whose tasks are on the shelf, those on the same data together.

        A part ends before the task that would bring the memory of all, and of the images they are
        made of, above five eighths of `run.memory_gib`; before the next one they are dropped.
        """
        groups: dict[str, list[str]] = {}
        for name, arm in arms.items():
            groups.setdefault(arm.data.model_dump_json(), []).append(name)
        part: list[str] = []
        for names in groups.values():
            config = arms[names[0]].data
            most = _DATA_SHARE * self.run.memory_gib * 2**30
            if part and self.held_bytes() + self._needed(config) > most:
                yield part
                part = []
                self._built.clear()
            self.task(config)
            part += names
        if part:
            yield part

    def held_bytes(self) -> int:
        """Return the memory of the tasks on the shelf and of the images they are made of."""
        return sum(map(task_bytes, (*self._built.values(), *self._images.values())))

    def _needed(self, config: DataConfig) -> int:
        """Return the memory that a task will take, where it takes much."""
        if not isinstance(config, CompressedData):
            return 0
        source = self._source(config.source, config.samples)
        samples = sum(split.samples for split in (source.train, *source.held_out.values()))
        drawn = TRANSFORMS[config.transform].drawn
        sets = self._seeds[config.model_dump_json()] if drawn else 1
        return sets * samples * config.outputs * source.train.inputs.element_size()

    def _mnist1d(self, config: Mnist1dData, seeds: int) -> Task:
        task = mnist1d_task(
            config.samples,
            monitor=config.monitor,
            fresh=config.fresh,
            sets=seeds if config.redraw else 1,
            folder=self.run.cache,
        )
        return with_label_noise(task, config.label_noise) if config.label_noise else task

    def _linear_map(self, config: LinearMapData, seeds: int) -> Task:
        made = linear_map_task(
            config.samples,
            config.inputs,
            config.outputs,
            singular_values=config.singular_values,
            monitor=config.monitor,
            generators=[generator(seed, "data") for seed in range(seeds)],
        )
        return second_moments(made) if config.statistics else made

    def _compressed(self, config: CompressedData, seeds: int) -> Task:
        return CompressedDataset.fit(
            self._source(config.source, config.samples),
            config.transform,
            config.outputs,
            seeds=range(seeds),
            scale_features=config.scale_features,
        ).task

    def _source(self, name: str, samples: int | None) -> Task:
        if (name, samples) not in self._images:
            if name == "digits":
                self._images[name, samples] = digits_task()
            else:
                root: Path | None = self.run.data_root
                self._images[name, samples] = mnist_task(
                    root, download=self.run.download, samples=samples
                )
        return self._images[name, samples]
