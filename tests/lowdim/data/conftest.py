"""Shared by the tests of data: tolerances, and where real MNIST lies, if anywhere."""

from pathlib import Path

import pytest
import torch
import yaml

from lowdim.data import DataUnavailableError, data_folder, find_mnist, mnist_task

REPOSITORY = Path(__file__).parents[3]

# relative, in the norm of the expected tensor
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture(scope="session")
def agree():
    """A function that asserts agreement in norm within the tolerance of the first one's dtype."""

    def check(actual, expected):
        error = (actual - expected).norm()
        assert error <= TOLERANCE[actual.dtype] * expected.norm().clamp_min(1)

    return check


@pytest.fixture(scope="session")
def mnist():
    """Real MNIST from the configuration's data root or LOWDIM_DATA; skipped where it is not."""
    configured = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()).get("data_root")
    roots = [data_folder()] + ([REPOSITORY / configured] if configured else [])
    for root in roots:
        try:
            find_mnist(root)
        except DataUnavailableError:
            continue
        return mnist_task(root)
    pytest.skip("MNIST lies neither below config/config.yaml's data_root nor below LOWDIM_DATA")
