"""Update rules are pure, and equal torch's optimisers step by step."""

from __future__ import annotations

import pytest
import torch

from lowdim.optim import RULES, rate_factor
from lowdim.optim.proximal import shrunk
from lowdim.optim.rules import select

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
TORCH = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.03, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.03, weight_decay=0.1, momentum=0.8),
}
HYPER = {
    "proximal_sgd": {"learning_rate": 0.03, "nuclear_norm": 0.2},
    "lrg_adam": {"learning_rate": 0.03, "rank": 2},
    "muon": {"learning_rate": 0.03, "weight_decay": 0.1},
    "galore": {"learning_rate": 0.03, "weight_decay": 0.1},
    "dion": {"learning_rate": 0.03, "weight_decay": 0.1},
    "adamw": {"learning_rate": 0.03, "weight_decay": 0.1},
    "adam": {"learning_rate": 0.03, "weight_decay": 0.1},
    "sgd": {"learning_rate": 0.03, "weight_decay": 0.1, "momentum": 0.8},
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", TORCH)
def test_a_rule_equals_torchs_optimiser_over_many_steps(name, dtype):
    rule, p = RULES[name](), torch.randn(4, 3, dtype=dtype)
    theirs = torch.nn.Parameter(p.clone())
    optimiser = TORCH[name]([theirs])
    ours = {"p": p}
    state = rule.init(ours)
    for step in range(30):
        gradient = torch.randn(4, 3, dtype=dtype, generator=torch.Generator().manual_seed(step))
        theirs.grad = gradient.clone()
        optimiser.step()
        ours, state = rule.update(ours, {"p": gradient}, state, HYPER[name])
    error = (ours["p"] - theirs.detach()).norm() / theirs.norm()
    assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_its_arguments_alone(name):
    rule = RULES[name]()
    params, grads = {"p": torch.randn(3, 2)}, {"p": torch.randn(3, 2)}
    state = rule.init(params)
    state = rule.update(params, grads, state, HYPER[name])[1]
    kept = [params["p"].clone(), grads["p"].clone(), *_flat(state)]
    rule.update(params, grads, state, HYPER[name])
    after = [params["p"], grads["p"], *_flat(state)]
    assert all(torch.equal(a, b) for a, b in zip(kept, after, strict=True))


def _flat(state):
    return [t.clone() for part in state.values() if isinstance(part, dict) for t in part.values()]


@pytest.mark.parametrize("name", RULES)
def test_hyperparameters_of_each_replica_act_on_it_alone(name):
    rule, p = RULES[name](), torch.randn(3, 5, 4, dtype=torch.float64)
    rates = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    grads = [torch.randn(3, 5, 4, dtype=torch.float64) for _ in range(3)]

    def run(params, chosen, rate):
        state = rule.init(params)
        for g in grads:
            hyper = {**HYPER[name], "learning_rate": rate}
            params, state = rule.update(params, {"p": g[chosen]}, state, hyper)
        return params["p"]

    together = run({"p": p}, slice(None), rates)
    for place in range(3):
        own = slice(place, place + 1)
        alone = run({"p": p[own]}, own, rates[own])[0]
        error = (together[place] - alone).norm() / alone.norm()
        assert error < TOLERANCE[torch.float64]


def test_adams_constants_are_rounded_from_float64():
    rule = RULES["adam"]()
    g = torch.full((1,), 1e-3)
    state = rule.update({"p": g}, {"p": g}, rule.init({"p": g}), {"learning_rate": 1.0})[1]
    expected = torch.tensor(1 - 0.999, dtype=torch.float64).float() * (g * g)
    assert torch.equal(state["square"]["p"], expected)


def test_select_keeps_the_state_of_chosen_replicas():
    rule = RULES["adam"]()
    params = {"p": torch.randn(4, 2)}
    state = rule.update(params, params, rule.init(params), {"learning_rate": 0.1})[1]
    kept = select(state, torch.tensor([1, 3]))
    assert torch.equal(kept["mean"]["p"], state["mean"]["p"][[1, 3]])
    assert kept["step"] == 1


def test_cosine_falls_from_one_towards_zero():
    factors = [rate_factor("cosine", step, 10) for step in range(10)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert 0 < factors[-1] < 0.05


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="'linear'"):
        rate_factor("linear", 0, 10)


def test_the_proximal_step_minimises_distance_plus_nuclear_norm():
    draw = torch.Generator().manual_seed(5)
    start = torch.randn(6, 4, dtype=torch.float64, generator=draw)
    best = shrunk(start, 0.7)

    def cost(matrix):
        return 0.5 * (matrix - start).square().sum() + 0.7 * torch.linalg.svdvals(matrix).sum()

    for _ in range(50):
        other = best + 0.01 * torch.randn(6, 4, dtype=torch.float64, generator=draw)
        assert cost(other) > cost(best)
