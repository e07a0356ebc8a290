"""Shared by the tests of layers: the kinds at one size, and one table of tolerances."""

import pytest
import torch

# relative, in the norm of the expected tensor
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}

# layers of 12 inputs and 8 outputs
KINDS = {
    "kronecker": {"factors": [(2, 3), (4, 4)]},
    "kronecker_of_three": {"factors": [(2, 3), (2, 2), (2, 2)]},
    "kronecker_of_one": {"factors": [(8, 12)]},
    "lowrank": {"rank": 2},
    "lowrank_diag": {"rank": 2, "diagonal_share": 0.5},
    "lowrank_diag_without_diagonal": {"rank": 2, "diagonal": False},
    "masked": {"density": 0.25},
    "masked_nowhere": {"density": 1.0},
    "nlmf": {"rank": 2, "units": 5, "start": "centred"},
    "nlmf_residual": {"rank": 2, "units": 4, "activation": "tanh", "residual": True},
}


@pytest.fixture(params=sorted(KINDS))
def case(request):
    """The registry's name of a layer and the options it is built with."""
    kind = next(
        name
        for name in ("lowrank_diag", "lowrank", "kronecker", "masked", "nlmf")
        if request.param.startswith(name)
    )
    return kind, KINDS[request.param]


@pytest.fixture
def agree():
    """A function that asserts agreement in norm within the tolerance of the first one's dtype."""

    def check(actual, expected):
        error = (actual - expected).norm()
        assert error <= TOLERANCE[actual.dtype] * expected.norm().clamp_min(1e-30)

    return check


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
