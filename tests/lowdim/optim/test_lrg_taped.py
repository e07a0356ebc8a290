"""Small matrices of one model, cut on the tape."""

import pytest
import torch

from lowdim.optim.lrg_projection import Limit, LowRankProjection
from lowdim.optim.lrg_taped import TapedProjection
from lowdim_kernels import excess_error

ITERATED = {"mode": "matrix", "method": "iterate", "warm_start": True}
LARGEST_EXCESS = {"cold": 5e-3, "warm": 5e-4}


def falling(count: int, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    g = torch.randn(count, rows, columns, generator=draw, dtype=torch.float64)
    return (g * torch.logspace(0, -1.5, columns)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(40, 40), (64, 30), (30, 119)])
def test_a_cut_is_nearly_the_best_and_nearer_from_the_step_before(shape, dtype):
    g = falling(1, *shape, dtype)
    projection = TapedProjection(**ITERATED)
    state = projection.init({"w": g})
    for start in ("cold", "warm"):
        low, state = projection.cut({"w": g}, state, Limit(8, None))
        assert low["w"].dtype == dtype
        assert float(excess_error(g, low["w"], 8).max()) <= LARGEST_EXCESS[start]
        basis = state["start"]["w"][0].double()
        identity = torch.eye(basis.shape[1], dtype=torch.float64)
        assert torch.allclose(basis.mT @ basis, identity, atol=1e-5)


def test_equal_calls_give_equal_bits():
    g = falling(1, 40, 50, torch.float32)
    first, second = (
        TapedProjection(**ITERATED).cut({"w": g}, {"start": {}}, Limit(8, None)) for _ in range(2)
    )
    assert torch.equal(first[0]["w"], second[0]["w"])
    assert torch.equal(first[1]["start"]["w"], second[1]["start"]["w"])


@pytest.mark.parametrize(
    ("g", "limit"),
    [
        (falling(2, 20, 24, torch.float32), Limit(4, None)),
        (falling(1, 20, 24, torch.float32), Limit(4, 0.9)),
        (falling(1, 20, 8, torch.float32), Limit(4, None)),
    ],
)
def test_what_the_tape_does_not_serve_is_cut_as_by_the_kernel(g, limit):
    cuts = [
        projection(**ITERATED).cut({"w": g}, {"start": {}}, limit)[0]["w"]
        for projection in (TapedProjection, LowRankProjection)
    ]
    assert torch.equal(*cuts)


def test_a_matrix_that_is_not_finite_becomes_nan():
    g = falling(1, 20, 24, torch.float32)
    g[0, 3, 4] = torch.inf
    low, _ = TapedProjection(**ITERATED).cut({"w": g}, {"start": {}}, Limit(4, None))
    assert low["w"].isnan().all()
