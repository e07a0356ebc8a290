"""Configuration of a data set, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lowdim.config.base import Count, Positive, Strict


class Mnist1dData(Strict):
    """MNIST-1D: `samples` of the published draw (80 % train, 20 % test) and two further draws.

    `redraw` gives every seed but the first training samples of a draw of its own; all are judged
    on the same held-out samples. `label_noise` is the share of the training samples whose class is
    replaced by another.
    """

    name: Literal["mnist1d"] = "mnist1d"
    samples: Annotated[int, Field(ge=50)] = 5_000
    monitor: Annotated[int, Field(ge=10)] = 10_000
    fresh: Annotated[int, Field(ge=10)] = 10_000
    redraw: bool = False
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def train_samples(self) -> int:
        """Return how many samples an epoch of a final run goes over."""
        return self.samples * 4 // 5


class LinearMapData(Strict):
    """Regression on a linear map of low rank, drawn anew for every seed.

    `statistics` replaces the samples by their second moments, which is exact for full batches of
    least squares and makes a step cost no more with more samples.
    """

    name: Literal["linear_map"] = "linear_map"
    samples: Count = 20_000
    inputs: Count = 50
    outputs: Count = 50
    singular_values: list[Positive] = Field(default_factory=lambda: [5.0, 4.0, 3.0, 2.0, 1.0])
    monitor: Count = 2_000
    statistics: bool = False

    @property
    def train_samples(self) -> int:
        """Return how many samples an epoch of a final run goes over."""
        return self.samples


class CompressedData(Strict):
    """Images reduced to `outputs` numbers by a transform fitted to the training images.

    `source` is real MNIST, looked for in the data root, or scikit-learn's 8x8 digits.
    `scale_features` divides each number by its standard deviation over the training images.
    """

    name: Literal["compressed"] = "compressed"
    source: Literal["mnist", "digits"]
    transform: Literal[
        "none",
        "dct",
        "dct_zigzag",
        "dct_middle",
        "dct_high",
        "dct_as_published",
        "gauss",
        "pca",
        "hadamard",
        "pixels",
    ]
    outputs: Count
    samples: Count | None = None
    scale_features: bool = False

    @property
    def train_samples(self) -> int:
        """Return how many samples an epoch of a final run goes over."""
        there = {"mnist": 54_000, "digits": 1_200}[self.source]
        return min(self.samples or there, there)


DataConfig = Annotated[Mnist1dData | LinearMapData | CompressedData, Field(discriminator="name")]
