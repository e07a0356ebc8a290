"""Configuration of a data set, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lowdim.config.base import Strict


class Mnist1dData(Strict):
    """MNIST-1D: `samples` of the published draw (80 % train, 20 % test) and two further draws."""

    name: Literal["mnist1d"] = "mnist1d"
    samples: Annotated[int, Field(ge=50)] = 5_000
    monitor: Annotated[int, Field(ge=10)] = 10_000
    fresh: Annotated[int, Field(ge=10)] = 10_000

    @property
    def train_samples(self) -> int:
        """Return how many samples an epoch of a final run goes over."""
        return self.samples * 4 // 5


DataConfig = Mnist1dData
