"""MNIST from a folder: split once, scaled, and never from a file that is not the original."""

import hashlib
import struct

import numpy as np
import pytest
import torch

from lowdim.data import DataUnavailableError, data_folder, find_mnist, mnist_task
from lowdim.data import mnist as module


def write_idx(path, array):
    """Write bytes the way the originals hold them."""
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with forty training and ten test images, and their checksums in the table."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    table = {}
    for part, samples in (("train", 40), ("t10k", 10)):
        images = drawn.integers(0, 256, (samples, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(samples) % 10)
    for path in sorted(folder.iterdir()):
        payload = path.read_bytes()
        table[path.name] = len(payload), hashlib.md5(payload, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(module, "FILES", table)
    return tmp_path


def test_real_mnist_is_split_54000_to_6000(mnist):
    assert mnist.train.inputs.shape == (1, 54_000, 784)
    assert {name: split.samples for name, split in mnist.held_out.items()} == {
        "monitor": 6_000,
        "test": 10_000,
    }
    assert (mnist.train.inputs.min(), mnist.train.inputs.max()) == (-1, 1)
    assert mnist.held_out["test"].targets[0, :5].tolist() == [7, 2, 1, 0, 4]


def test_the_split_is_fixed_and_loses_no_sample(root):
    first, again = mnist_task(root, validation=10), mnist_task(root, validation=10)
    assert torch.equal(first.train.inputs, again.train.inputs)
    rows = torch.cat([first.train.inputs[0], first.held_out["monitor"].inputs[0]])
    assert len(rows.unique(dim=0)) == 40
    other = mnist_task(root, validation=10, split_seed=1)
    assert not torch.equal(first.train.inputs, other.train.inputs)


def test_fewer_samples_are_the_first_of_all(root):
    whole = mnist_task(root, validation=10)
    fewer = mnist_task(root, validation=10, samples=7)
    assert torch.equal(fewer.train.inputs, whole.train.inputs[:, :7])
    assert torch.equal(fewer.held_out["monitor"].inputs, whole.held_out["monitor"].inputs)


def test_labels_stay_with_their_images(root):
    task = mnist_task(root, validation=10)
    (folder,) = root.glob("MNIST/raw")
    images = np.frombuffer((folder / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    scaled = torch.from_numpy(images.reshape(40, 784).astype(np.float32)) / 127.5 - 1
    for x, y in zip(task.train.inputs[0], task.train.targets[0]):
        source = (scaled - x).abs().sum(1).argmin()
        assert source % 10 == y


def test_a_missing_file_is_named_with_the_remedy(root):
    (root / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailableError, match=r"t10k-labels.*data root"):
        mnist_task(root, validation=10)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_file_is_refused(root, damage):
    path = root / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataUnavailableError, match=r"train-images.* must have .* md5"):
        mnist_task(root, validation=10)


def test_a_processed_copy_of_an_old_torchvision_is_not_read(root):
    expected = mnist_task(root, validation=10).train.inputs
    folder = root / "MNIST/processed"
    folder.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(40, 28, 28), torch.zeros(40)), folder / name)
    assert torch.equal(mnist_task(root, validation=10).train.inputs, expected)


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    from torchvision import datasets

    def fail(*_, **__):
        raise RuntimeError("Error downloading:\nno route to host")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(DataUnavailableError, match=r"cannot be fetched \(no route to host\)"):
        mnist_task(tmp_path, download=True)


def test_nothing_is_fetched_unless_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_download", lambda root: pytest.fail("asked for a download"))
    with pytest.raises(DataUnavailableError):
        find_mnist(tmp_path)


def test_the_folder_is_the_argument_then_the_variable_then_the_cache_s(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWDIM_DATA", str(tmp_path / "variable"))
    assert data_folder(tmp_path) == tmp_path
    assert data_folder() == tmp_path / "variable"
    monkeypatch.delenv("LOWDIM_DATA")
    monkeypatch.setenv("LOWDIM_CACHE", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "cache" / "data"


@pytest.mark.parametrize("arguments", [{"validation": 0}, {"validation": 40}, {"samples": 31}])
def test_bad_sizes_are_named(root, arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} must be in 1"):
        mnist_task(root, **{"validation": 10, **arguments})
