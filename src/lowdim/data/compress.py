"""Images compressed by a transform that was fitted to the training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lowdim.data.task import Split, Task
from lowdim.data.transforms import TRANSFORMS, Fitting


@dataclass(frozen=True)
class Compressor:
    """z = (M x - offset) / scale, fitted; `fit` makes one.

    Shapes: matrix M (outputs, features), mean of the training samples (features,), offset and scale
    (outputs,). Tensors are float64; results have the dtype of what comes in.
    """

    name: str
    matrix: Tensor
    mean: Tensor
    offset: Tensor
    scale: Tensor

    @classmethod
    def fit(
        cls,
        name: str,
        inputs: Tensor,
        outputs: int,
        *,
        seed: int = 0,
        scale_features: bool = False,
    ) -> Compressor:
        """Return the transform that TRANSFORMS names, fitted to samples (n, features).

        Transforms with a choice by chance draw it from `seed`, the others ignore it. With
        `scale_features` every output has mean 0 and variance 1 over the samples, or is 0 if
        constant. PCA is centred, so its outputs have mean 0 in any case.
        """
        if name not in TRANSFORMS:
            raise ValueError(f"transform must be one of {sorted(TRANSFORMS)}, got {name!r}")
        if inputs.dim() != 2:
            raise ValueError(f"inputs must be (samples, features), got {tuple(inputs.shape)}")
        if not 1 <= outputs <= inputs.shape[1]:
            raise ValueError(f"outputs must be in 1..{inputs.shape[1]}, got {outputs}")
        mean = inputs.double().mean(0)
        generator = torch.Generator().manual_seed(seed)
        matrix = TRANSFORMS[name].matrix(Fitting(inputs, mean, generator), outputs)
        offset = matrix @ mean if name == "pca" else torch.zeros(outputs, dtype=torch.float64)
        scale = torch.ones_like(offset)
        if scale_features:
            projected = inputs @ matrix.to(inputs.dtype).mT
            offset = projected.double().mean(0)
            deviation = projected.double().std(0, unbiased=False)
            constant = deviation <= 1e-6 * deviation.max()
            scale = torch.where(constant, torch.inf, deviation)
        return cls(name, matrix, mean, offset, scale)

    def transform(self, x: Tensor) -> Tensor:
        """Return compressed samples: x (..., features) -> (..., outputs)."""
        z = x @ self.matrix.to(x.dtype).mT
        return (z - self.offset.to(x.dtype)) / self.scale.to(x.dtype)

    def inverse(self, z: Tensor) -> Tensor:
        """Return, of all samples that compress to z, those nearest to the training mean.

        Shapes: z (..., outputs) -> (..., features).
        """
        scale = torch.where(self.scale.isinf(), 0.0, self.scale)
        kept = z.double() * scale + self.offset - self.matrix @ self.mean
        kept = torch.where(self.scale.isinf(), 0.0, kept)
        return (self.mean + kept @ self._inverse.mT).to(z.dtype)

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.linalg.pinv(self.matrix)

    def energy_kept(self, x: Tensor) -> float:
        """Return the share of the samples' square distance from the training mean that is kept.

        It is 1 - ||x - inverse(transform(x))||^2 / ||x - mean||^2, from 0 (all lost) to 1.
        """
        x = x.double()
        lost = (x - self.inverse(self.transform(x))).square().sum()
        return 1 - (lost / (x - self.mean).square().sum()).item()


@dataclass(frozen=True)
class CompressedDataset:
    """A task whose images went through compressors, a set for each, and which seed uses which."""

    task: Task
    compressors: tuple[Compressor, ...]
    seeds: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        task: Task,
        transform: str,
        outputs: int,
        *,
        seeds: Sequence[int] = (0,),
        scale_features: bool = False,
    ) -> CompressedDataset:
        """Return a task of one set compressed to `outputs` numbers a sample.

        A transform drawn by chance is drawn anew for every seed and gives a set each; any other
        gives one set. Fitted to the training samples alone. Memory: sets * samples * outputs.
        The task's `facts` are `image_energy_kept` (sets,), the share of the test images, and of the
        first image of each class `images` (1, classes, features) and `kept_images` (sets, classes,
        features).
        """
        if task.train.sets != 1:
            raise ValueError(f"task must have one set of images, got {task.train.sets}")
        if not seeds:
            raise ValueError("seeds must hold one seed at least")
        drawn = transform in TRANSFORMS and TRANSFORMS[transform].drawn
        images = task.train.inputs[0].flatten(1)
        compressors = tuple(
            Compressor.fit(transform, images, outputs, seed=s, scale_features=scale_features)
            for s in (seeds if drawn else seeds[:1])
        )
        held_out = {name: _compress(split, compressors) for name, split in task.held_out.items()}
        name = f"{task.name}_{transform}"
        train, facts = _compress(task.train, compressors), _facts(task, compressors)
        compressed = Task(name, task.loss, train, held_out, facts)
        return cls(compressed, compressors, tuple(seeds))

    def set_of(self, seed: int) -> int:
        """Return the number of the set that a seed trains on; ValueError for an unknown seed."""
        if seed not in self.seeds:
            raise ValueError(f"seed must be one of {self.seeds}, got {seed}")
        return self.seeds.index(seed) if len(self.compressors) > 1 else 0


def _compress(split: Split, compressors: Sequence[Compressor]) -> Split:
    images = split.inputs[0].flatten(1)
    inputs = images.new_empty(len(compressors), len(images), len(compressors[0].offset))
    for own, compressor in zip(inputs, compressors, strict=True):
        own.copy_(compressor.transform(images))
    return Split(inputs, split.targets.expand(len(compressors), *split.targets.shape[1:]))


def _facts(task: Task, compressors: Sequence[Compressor]) -> dict[str, Tensor]:
    """Return what the compressors keep of the test images, where there are any."""
    if "test" not in task.held_out:
        return {}
    test = task.held_out["test"]
    images, classes = test.inputs[0].flatten(1), test.targets[0]
    firsts = [int((classes == c).nonzero()[0]) for c in classes.unique()]
    shown = images[firsts]
    return {
        "image_energy_kept": torch.tensor([c.energy_kept(images) for c in compressors]),
        "images": shown[None],
        "kept_images": torch.stack([c.inverse(c.transform(shown)) for c in compressors]),
    }
