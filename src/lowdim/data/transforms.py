"""Linear transforms of images to fewer numbers, each as a matrix (outputs, features)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Fitting(NamedTuple):
    """What a transform may depend on: samples (n, features), their mean and a generator."""

    inputs: Tensor
    mean: Tensor
    generator: torch.Generator


class Transform(NamedTuple):
    """How a matrix is made; `drawn` ones differ by seed."""

    matrix: Callable[[Fitting, int], Tensor]
    drawn: bool


def dct_matrix(length: int) -> Tensor:
    """Return the orthonormal DCT-II (length, length): a row a frequency."""
    k, n = torch.meshgrid(*[torch.arange(length, dtype=torch.float64)] * 2, indexing="ij")
    matrix = torch.cos(math.pi * (2 * n + 1) * k / (2 * length)) * (2 / length) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def zigzag(side: int) -> Tensor:
    """Return flat indices of a square by rising diagonal, in alternating direction (JPEG)."""

    def place(index: int) -> tuple[int, int]:
        row, column = divmod(index, side)
        diagonal = row + column
        return diagonal, row if diagonal % 2 else column

    return torch.tensor(sorted(range(side * side), key=place))


def image_side(features: int) -> int:
    """Return the side of a square image; raise ValueError unless features is a square."""
    side = math.isqrt(features)
    if side * side != features:
        raise ValueError(f"features must be those of a square image, got {features}")
    return side


def _dct_block(fitting: Fitting, outputs: int) -> Tensor:
    """The lowest frequencies of both axes, a square block of the 2-D DCT-II."""
    side, block = image_side(fitting.inputs.shape[1]), math.isqrt(outputs)
    if block * block != outputs:
        raise ValueError(f"outputs must be a square for a block of frequencies, got {outputs}")
    low = dct_matrix(side)[:block]
    return torch.kron(low, low)


def _dct_band(band: str) -> Callable[[Fitting, int], Tensor]:
    """The first, middle or last coefficients of the 2-D DCT-II in zig-zag order."""

    def matrix(fitting: Fitting, outputs: int) -> Tensor:
        features = fitting.inputs.shape[1]
        side = image_side(features)
        spare = features - outputs
        first = {"low": 0, "middle": spare // 2, "high": spare}[band]
        rows = zigzag(side)[first : first + outputs]
        return torch.kron(dct_matrix(side), dct_matrix(side))[rows]

    return matrix


def _dct_as_published(fitting: Fitting, outputs: int) -> Tensor:
    """The first numbers, row by row, of Y = Re(w_k F_rows X + w_l F_columns X) / side, masked.

    F are unnormalised Fourier transforms along one axis each, w_k = 2 exp(-i pi k / (2 side));
    Y is zero outside a block of sqrt(outputs) frequencies a side. It is a sum of two
    one-dimensional transforms, not a two-dimensional one.
    """
    side = image_side(fitting.inputs.shape[1])
    k = torch.arange(side, dtype=torch.float64)
    angle = -math.pi * (k[:, None] / (2 * side) + 2 * k[:, None] * k / side)
    wave = 2 * torch.cos(angle) / side  # Re(w_k exp(-2 pi i k n / side)) / side
    one = torch.eye(side, dtype=torch.float64)
    kept = (k < math.isqrt(outputs)).double()
    mask = torch.outer(kept, kept).flatten()
    whole = torch.kron(wave, one) + torch.kron(one, wave)
    return (whole * mask[:, None])[:outputs]


def _gaussian(fitting: Fitting, outputs: int) -> Tensor:
    """Independent normals of variance 1 / features: lengths shrink by sqrt(outputs / features)."""
    features = fitting.inputs.shape[1]
    drawn = torch.randn(outputs, features, generator=fitting.generator, dtype=torch.float64)
    return drawn / features**0.5


def _pca(fitting: Fitting, outputs: int) -> Tensor:
    """The directions of largest variance of the samples; largest entries are positive."""
    covariance = fitting.mean.new_zeros(len(fitting.mean), len(fitting.mean))
    for part in fitting.inputs.split(8192):
        centred = part.double() - fitting.mean
        covariance.addmm_(centred.mT, centred)
    _, vectors = torch.linalg.eigh(covariance)
    rows = vectors.mT.flip(0)[:outputs]
    largest = rows.abs().argmax(1, keepdim=True)
    return rows * rows.gather(1, largest).sign()


def _hadamard(fitting: Fitting, outputs: int) -> Tensor:
    """Random rows of an orthonormal Hadamard matrix, its columns' signs random as well.

    Its size is the next power of two, for which samples are padded with zeros.
    """
    features = fitting.inputs.shape[1]
    matrix = torch.ones(1, 1, dtype=torch.float64)
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    while len(matrix) < features:
        matrix = torch.kron(matrix, step)
    rows = torch.randperm(len(matrix), generator=fitting.generator)[:outputs]
    signs = torch.randint(2, (features,), generator=fitting.generator) * 2.0 - 1
    return matrix[rows, :features] * signs


def _pixels(fitting: Fitting, outputs: int) -> Tensor:
    """A random choice of pixels, in their order."""
    features = fitting.inputs.shape[1]
    chosen = torch.randperm(features, generator=fitting.generator)[:outputs].sort().values
    return torch.eye(features, dtype=torch.float64)[chosen]


def _identity(fitting: Fitting, outputs: int) -> Tensor:
    """Every pixel."""
    features = fitting.inputs.shape[1]
    if outputs != features:
        raise ValueError(f"outputs must be {features} for 'none', got {outputs}")
    return torch.eye(features, dtype=torch.float64)


TRANSFORMS: dict[str, Transform] = {
    "none": Transform(_identity, drawn=False),
    "dct": Transform(_dct_block, drawn=False),
    "dct_zigzag": Transform(_dct_band("low"), drawn=False),
    "dct_middle": Transform(_dct_band("middle"), drawn=False),
    "dct_high": Transform(_dct_band("high"), drawn=False),
    "dct_as_published": Transform(_dct_as_published, drawn=False),
    "gauss": Transform(_gaussian, drawn=True),
    "pca": Transform(_pca, drawn=False),
    "hadamard": Transform(_hadamard, drawn=True),
    "pixels": Transform(_pixels, drawn=True),
}
