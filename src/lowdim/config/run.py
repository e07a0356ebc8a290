"""What one run of the workflow does: config/config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lowdim.config.base import Count, Strict
from lowdim.config.study import Identifier, ScaleName


class RunConfig(Strict):
    """The studies to run, their scale, and where things are computed and kept.

    `cache` and `data_root` may be null: the cache folder is then the platform's, and real MNIST
    is looked for in the usual places.
    """

    studies: Annotated[list[Identifier], Field(min_length=1)]
    scale: ScaleName = "standard"
    seeds: Count | None = None
    engine: Literal["auto", "torch", "fused"] = "auto"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    threads: Count = 2
    memory_gib: Annotated[float, Field(gt=0)] = 4.0
    results: Path = Path("results")
    study_folder: Path = Path("config/studies")
    cache: Path | None = None
    data_root: Path | None = None
    download: bool = False
    blocks: dict[Identifier, dict[Identifier, list[Identifier]]] = Field(default_factory=dict)
