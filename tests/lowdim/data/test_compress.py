"""Compressed images: orthonormality, distances, round trips, and what each scheme keeps."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch

from lowdim.data import TRANSFORMS, CompressedDataset, Compressor, digits_task
from lowdim.data.transforms import dct_matrix, zigzag

ORTHONORMAL = ["none", "dct", "dct_zigzag", "dct_middle", "dct_high", "pca", "pixels"]
DRAWN = ["gauss", "hadamard", "pixels"]


@pytest.fixture(scope="module")
def digits():
    return digits_task()


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.inputs[0].double()


def fit(name, images, outputs=16, **options):
    return Compressor.fit(name, images, 64 if name == "none" else outputs, **options)


@pytest.mark.parametrize("name", ORTHONORMAL)
def test_rows_are_orthonormal(name, images, agree):
    matrix = fit(name, images).matrix
    agree(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64))


def test_a_hadamard_matrix_is_orthonormal_where_nothing_is_padded(images, agree):
    matrix = fit("hadamard", images, 64).matrix
    agree(matrix @ matrix.T, torch.eye(64, dtype=torch.float64))
    padded = fit("hadamard", images[:, :36], 36).matrix
    agree(padded.abs(), torch.full((36, 36), 64**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_what_is_compressed_again_stays(name, images, agree):
    compressor = fit(name, images)
    z = compressor.transform(images)
    agree(compressor.transform(compressor.inverse(z)), z)


@pytest.mark.parametrize("name", ["none", "dct", "dct_zigzag", "pca", "hadamard", "gauss"])
def test_nothing_is_lost_at_full_size(name, images, agree):
    compressor = fit(name, images, 64)
    agree(compressor.inverse(compressor.transform(images)), images)
    assert compressor.energy_kept(images) == pytest.approx(1)


def test_energy_kept_grows_with_size_and_pca_keeps_most(images):
    for name in ("dct", "dct_zigzag"):
        kept = [fit(name, images, size).energy_kept(images) for size in (4, 16, 36)]
        assert kept == sorted(kept)
        assert all(0 < share < 1 for share in kept)
    best = fit("pca", images).energy_kept(images)
    for name in TRANSFORMS.keys() - {"none", "pca"}:
        assert fit(name, images).energy_kept(images) < best


def test_pca_keeps_the_leading_share_of_the_variance(images):
    spectrum = torch.linalg.svdvals(images - images.mean(0)).square()
    expected = (spectrum[:16].sum() / spectrum.sum()).item()
    assert fit("pca", images).energy_kept(images) == pytest.approx(expected)


def test_dct_is_that_of_scipy(images, agree):
    theirs = scipy.fft.dctn(images.view(-1, 8, 8).numpy(), axes=(1, 2), norm="ortho")
    ours = fit("dct", images).transform(images)
    agree(ours, torch.from_numpy(np.ascontiguousarray(theirs[:, :4, :4])).flatten(1))
    agree(dct_matrix(5), torch.from_numpy(scipy.fft.dct(np.eye(5), axis=0, norm="ortho")))


def test_hadamard_is_that_of_scipy_but_for_signs_of_columns(images):
    """The product of two rows cancels the signs, and is again a row of Sylvester's matrix."""
    matrix = fit("hadamard", images, 64).matrix * 8
    ours = {tuple(row) for row in (matrix * matrix[0]).round().int().tolist()}
    assert ours == {tuple(row) for row in scipy.linalg.hadamard(64).tolist()}


def test_zigzag_walks_by_rising_diagonal():
    expected = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15]
    assert zigzag(4).tolist() == expected


def test_bands_are_the_first_the_middle_and_the_last_coefficients(images):
    whole = fit("dct_zigzag", images, 64).matrix
    assert torch.equal(fit("dct_zigzag", images).matrix, whole[:16])
    assert torch.equal(fit("dct_middle", images).matrix, whole[24:40])
    assert torch.equal(fit("dct_high", images).matrix, whole[48:])


@pytest.mark.parametrize("side", [8, 28])
def test_the_published_transform_is_a_sum_of_two_fourier_transforms(side, agree):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, side, side, generator=generator, dtype=torch.float64)
    block = 16 if side == 28 else 4
    k = torch.arange(side)
    weight = 2 * torch.exp(-1j * torch.pi * k.double() / (2 * side))
    rows, columns = torch.fft.fft(images, dim=1), torch.fft.fft(images, dim=2)
    whole = (weight[:, None] * rows + weight * columns).real / side
    whole[:, block:] = 0
    whole[:, :, block:] = 0
    compressor = Compressor.fit("dct_as_published", images.flatten(1), block**2)
    agree(compressor.transform(images.flatten(1)), whole.flatten(1)[:, : block**2])


def test_the_published_transform_has_148_columns_that_are_not_zero():
    compressor = Compressor.fit("dct_as_published", torch.zeros(2, 784), 256)
    assert compressor.matrix.any(1).sum() == 148


@pytest.mark.parametrize("name", ["dct", "gauss", "pca"])
def test_every_output_varies_over_real_mnist(name, mnist):
    compressor = Compressor.fit(name, mnist.train.inputs[0, :4000], 256)
    z = compressor.transform(mnist.train.inputs[0, :4000])
    assert z.shape == (4000, 256)
    assert (z.std(0) > 1e-3).all()


def test_random_projections_keep_distances(mnist):
    """Johnson and Lindenstrauss: squared distances shrink alike, to about sqrt(2 / outputs)."""
    x = mnist.held_out["monitor"].inputs[0, :120]
    for seed in range(3):
        z = Compressor.fit("gauss", x, 256, seed=seed).transform(x)
        ratio = (torch.pdist(z) / torch.pdist(x)).square() * 784 / 256
        deviation = (2 / 256) ** 0.5
        assert abs(ratio.mean() - 1) < 2 * deviation
        assert ratio.std() < 1.5 * deviation
        assert (ratio - 1).abs().max() < 7 * deviation


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_decides_what_is_drawn(name, images):
    first, again, other = (fit(name, images, seed=seed).matrix for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scaled_features_have_unit_variance_or_are_zero(images, agree):
    for name in TRANSFORMS:
        compressor = fit(name, images, scale_features=True)
        z = compressor.transform(images)
        varying = compressor.transform(images).std(0) > 0
        one = torch.ones(int(varying.sum()), dtype=torch.float64)
        agree(z[:, varying].std(0, unbiased=False), one)
        assert not z[:, ~varying].any()
        assert z.isfinite().all()
        plain = fit(name, images).energy_kept(images)
        assert compressor.energy_kept(images) == pytest.approx(plain, abs=1e-6)


def test_drawn_transforms_give_a_set_for_each_seed_and_others_one(digits):
    seeds = (3, 5, 8)
    drawn = CompressedDataset.fit(digits, "gauss", 16, seeds=seeds)
    fixed = CompressedDataset.fit(digits, "pca", 16, seeds=seeds)
    assert drawn.task.train.inputs.shape == (3, 1200, 16)
    assert drawn.task.held_out["test"].targets.shape == (3, 300)
    assert [drawn.set_of(seed) for seed in seeds] == [0, 1, 2]
    assert fixed.task.train.inputs.shape == (1, 1200, 16)
    assert [fixed.set_of(seed) for seed in seeds] == [0, 0, 0]
    assert (drawn.task.name, drawn.task.loss) == ("digits_gauss", "cross_entropy")


def test_each_set_is_the_transform_of_the_task(digits, agree):
    compressed = CompressedDataset.fit(digits, "gauss", 16, seeds=(1, 2))
    for number, compressor in enumerate(compressed.compressors):
        for name, split in compressed.task.held_out.items():
            agree(split.inputs[number], compressor.transform(digits.held_out[name].inputs[0]))
            assert torch.equal(split.targets[number], digits.held_out[name].targets[0])


def test_fitting_sees_the_training_samples_alone(digits):
    changed = CompressedDataset.fit(digits, "pca", 16)
    digits.held_out["test"].inputs.mul_(3)
    again = CompressedDataset.fit(digits, "pca", 16)
    digits.held_out["test"].inputs.div_(3)
    assert torch.equal(changed.compressors[0].matrix, again.compressors[0].matrix)


@pytest.mark.parametrize(
    ("name", "outputs", "message"),
    [
        ("wavelet", 16, "one of .*'dct'.*got 'wavelet'"),
        ("dct", 15, "outputs must be a square .* got 15"),
        ("gauss", 65, r"outputs must be in 1..64, got 65"),
        ("gauss", 0, r"outputs must be in 1..64, got 0"),
        ("none", 16, "outputs must be 64 for 'none', got 16"),
    ],
)
def test_bad_arguments_are_named(name, outputs, message, images):
    with pytest.raises(ValueError, match=message):
        Compressor.fit(name, images, outputs)


def test_images_must_be_square_for_a_transform_of_two_axes():
    with pytest.raises(ValueError, match="square image, got 12"):
        Compressor.fit("dct", torch.zeros(3, 12), 4)


def test_an_unknown_seed_is_refused(digits):
    with pytest.raises(ValueError, match=r"seed must be one of \(0,\), got 1"):
        CompressedDataset.fit(digits, "pca", 16).set_of(1)
