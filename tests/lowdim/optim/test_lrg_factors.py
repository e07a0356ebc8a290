"""factored=True: the exact truncation of dense layers' gradients from their two thin factors."""

from __future__ import annotations

import copy

import pytest
import torch
from optim_problems import OVER_MANY, distance, same_bits
from torch import nn

from lowdim.optim import LRGAdam

ROWS = 5


def wide(dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 10, bias=False), nn.Linear(10, 2)
    return nn.Sequential(*layers).to(dtype)


def pair(dtype=torch.float64, **options):
    """Return a network twice, one trained through factors and one without."""
    nets = wide(dtype), wide(dtype)
    common = {"lr": 0.02, "mode": "matrix", **({"rank": 2} | options)}
    factored = LRGAdam(nets[0].parameters(), factored=True, model=nets[0], **common)
    return list(zip(nets, (factored, LRGAdam(nets[1].parameters(), **common)), strict=True))


def backward(net, seed, rows=ROWS):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 12, generator=draw, dtype=torch.float64).to(net[0].weight.dtype)
    net(x).square().mean().backward()


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


def apart(pairs) -> float:
    return distance(weights(pairs[0][0]), weights(pairs[1][0]))


@pytest.mark.parametrize("dtype", OVER_MANY)
@pytest.mark.parametrize("limit", [{"rank": 1}, {"rank": 3}, {"rank": None, "energy": 0.9}])
def test_factors_give_the_steps_that_whole_gradients_give(limit, dtype):
    pairs = pair(dtype, **limit)
    for step in range(10):
        for net, optimiser in pairs:
            optimiser.zero_grad()
            backward(net, step)
            optimiser.step()
    assert apart(pairs) < OVER_MANY[dtype]


def test_no_whole_matrix_is_decomposed_where_rows_are_few(monkeypatch):
    from lowdim.optim import lrg_projection

    sizes = []
    real = lrg_projection.truncated_svd

    def seen(g, *args, **options):
        sizes.append(tuple(g.shape[-2:]))
        return real(g, *args, **options)

    monkeypatch.setattr(lrg_projection, "truncated_svd", seen)
    net, optimiser = pair(rank=1)[0]
    backward(net, 0)
    optimiser.step()
    assert sizes == [(ROWS, ROWS), (ROWS, ROWS), (2, 10)]


def test_accumulated_gradients_are_those_of_all_passes():
    pairs = pair()
    for step in range(4):
        for net, optimiser in pairs:
            optimiser.zero_grad()
            backward(net, 2 * step, rows=2)
            backward(net, 2 * step + 1, rows=3)
            optimiser.step()
    assert apart(pairs) < OVER_MANY[torch.float64]


def test_gradients_that_are_never_cleared_go_on_accumulating():
    pairs = pair()
    for step in range(3):
        for net, optimiser in pairs:
            backward(net, step, rows=2)
            optimiser.step()
    assert apart(pairs) < OVER_MANY[torch.float64]


@pytest.mark.parametrize("clear", ["model", "zeros", "none"])
def test_gradients_may_be_cleared_in_any_way(clear):
    pairs = pair()
    for step in range(3):
        for net, optimiser in pairs:
            if clear == "model":
                net.zero_grad()
            elif clear == "zeros":
                optimiser.zero_grad(set_to_none=False)
            else:
                for p in net.parameters():
                    p.grad = None
            backward(net, step)
            optimiser.step()
    assert apart(pairs) < OVER_MANY[torch.float64]


def test_clipped_and_rescaled_gradients_are_followed():
    pairs = pair()
    for step in range(3):
        for net, optimiser in pairs:
            optimiser.zero_grad()
            backward(net, step)
            nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
            optimiser.step()
    assert apart(pairs) < OVER_MANY[torch.float64]


def test_a_layer_used_twice_gives_both_its_products():
    net = nn.Sequential(nn.Linear(9, 9), nn.Tanh())
    both = net, copy.deepcopy(net)
    optimisers = [
        LRGAdam(both[0].parameters(), mode="matrix", rank=2, factored=True, model=both[0]),
        LRGAdam(both[1].parameters(), mode="matrix", rank=2),
    ]
    x = torch.randn(3, 9)
    for twin, optimiser in zip(both, optimisers, strict=True):
        twin(twin(x)).square().sum().backward()
        optimiser.step()
    first, second = (weights(twin) for twin in both)
    assert distance(first, second) < OVER_MANY[torch.float32]


def test_sequences_count_every_place_as_a_row():
    pairs = pair()
    x = torch.randn(2, 2, 12, dtype=torch.float64)
    for net, optimiser in pairs:
        net(x).square().mean().backward()
        optimiser.step()
    assert apart(pairs) < OVER_MANY[torch.float64]


def test_more_rows_than_the_layer_has_are_decomposed_whole():
    pairs = pair()
    for net, optimiser in pairs:
        backward(net, 0, rows=40)
        optimiser.step()
    assert same_bits(weights(pairs[0][0]), weights(pairs[1][0]))


def test_a_gradient_that_hooks_did_not_see_whole_is_refused_by_name():
    net, optimiser = pair()[0]
    backward(net, 0)
    net[0].weight.grad += torch.randn_like(net[0].weight)
    with pytest.raises(ValueError, match=r"params'\]\[0\] is not a multiple of what the hooks"):
        optimiser.step()


def test_layers_are_left_as_they_were_when_hooks_are_removed():
    net, optimiser = pair()[0]
    optimiser.remove_hooks()
    backward(net, 0)
    optimiser.step()
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "flat"}, "factored=True serves mode 'matrix'"),
        ({"project": "momentum"}, "factored=True serves mode 'matrix', project 'grad'"),
        ({"error_feedback": True}, "no error_feedback"),
        ({"model": None}, "needs the model"),
    ],
)
def test_what_factors_do_not_serve_is_refused_by_name(options, message):
    net = wide()
    chosen = {"rank": 2, "mode": "matrix", "factored": True, "model": net, **options}
    with pytest.raises(ValueError, match=message):
        LRGAdam(net.parameters(), **chosen)
