"""The data of an arm, built from its configuration."""

from __future__ import annotations

from functools import lru_cache

from lowdim.config import RunConfig
from lowdim.config.data import DataConfig, Mnist1dData
from lowdim.data.task import Task


def build_task(config: DataConfig, run: RunConfig) -> Task:
    """Return the task that a data configuration describes; arms of like data share one."""
    return _built(config, run.cache)


@lru_cache(maxsize=8)
def _built(config: DataConfig, cache) -> Task:
    if isinstance(config, Mnist1dData):
        from lowdim.data.mnist1d import mnist1d_task

        return mnist1d_task(
            config.samples, monitor=config.monitor, fresh=config.fresh, folder=cache
        )
    raise AssertionError(f"no builder for {config!r}")
