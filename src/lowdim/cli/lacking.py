"""What a run will have to do without, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from lowdim.config import RunConfig, Study
from lowdim.config.data_root import data_folder, mnist_lacks


def lacking_lines(run: RunConfig, studies: Sequence[Study]) -> list[str]:
    """Return a line for each study that wants real MNIST where that does not seem to be there."""
    gone = mnist_lacks(run.data_root)
    if gone is None:
        return []
    lines = []
    for study in studies:
        arms = [name for name, arm in study.arms.items() if wants_mnist(arm.data)]
        if arms and run.download:
            lines.append(f"{study.name}: MNIST is not below {data_folder(run.data_root)}; fetching")
        elif arms:
            lines.append(
                f"{study.name}: {len(arms)} of {len(study.arms)} arms need MNIST and are left out, "
                f"for {gone} is not there or not whole (keys data_root and download)"
            )
    return lines


def wants_mnist(data: object) -> bool:
    """Whether a data set's configuration asks for real MNIST."""
    return getattr(data, "source", None) == "mnist"
