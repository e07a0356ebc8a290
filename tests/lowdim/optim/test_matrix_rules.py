"""Muon, GaLore and Dion: the published updates, written out by hand beside the rules."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import pytest
import torch
from optim_problems import OVER_MANY

from lowdim.optim import Dion, Galore, Muon

SHAPES = {"wide": (4, 7), "tall": (9, 5), "bias": (5,)}
RATE, DECAY, STEPS = 0.03, 0.1, 12
DTYPES = list(OVER_MANY)


def drawn(seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(1, *shape, generator=draw, dtype=torch.float64).to(dtype)
        for name, shape in SHAPES.items()
    }


def run(rule, dtype=torch.float64, **hyper):
    params = drawn(99, dtype)
    state = rule.init(params)
    for step in range(STEPS):
        grads = drawn(step, dtype)
        params, state = rule.update(params, grads, state, {"learning_rate": RATE, **hyper})
    return params, state


def by_hand(optimisers, dtype):
    """Return parameters after steps of torch optimisers, each over some of the names."""
    params = {name: torch.nn.Parameter(p[0]) for name, p in drawn(99, dtype).items()}
    made = [make([params[name] for name in names]) for make, names in optimisers]
    for step in range(STEPS):
        for name, g in drawn(step, dtype).items():
            params[name].grad = g[0]
        for optimiser in made:
            optimiser.step()
    return {name: p.detach()[None] for name, p in params.items()}


def error(first, second, names=tuple(SHAPES)) -> float:
    a, b = (torch.cat([part[name].flatten() for name in names]) for part in (first, second))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_is_torchs_where_that_does_not_round_to_bfloat16(adjust, dtype, monkeypatch):
    monkeypatch.setattr(torch, "bfloat16", dtype)

    def muon(p):
        return torch.optim.Muon(p, lr=RATE, weight_decay=DECAY, adjust_lr_fn=adjust)

    def adam(p):
        return torch.optim.Adam(p, lr=RATE)

    theirs = by_hand([(muon, ["wide", "tall"]), (adam, ["bias"])], dtype)
    ours, _ = run(Muon(adjust), dtype, weight_decay=DECAY)
    assert error(ours, theirs) < OVER_MANY[dtype]


def _galore_by_hand(rank, refresh, scale):
    w = {name: p[0] for name, p in drawn(99).items() if p.dim() > 2}
    mean, square, basis = {}, {}, {}
    for step in range(STEPS):
        for name in w:
            g = drawn(step)[name][0] + DECAY * w[name]
            g = g if g.shape[0] <= g.shape[1] else g.T
            if step % refresh == 0:
                basis[name] = torch.linalg.svd(g)[0][:, :rank]
            low = basis[name].T @ g
            mean[name] = 0.9 * mean.get(name, 0) + 0.1 * low
            square[name] = 0.999 * square.get(name, 0) + 0.001 * low**2
            root = (square[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            move = basis[name] @ (mean[name] / (1 - 0.9 ** (step + 1)) / root)
            w[name] = w[name] - RATE * scale * (move if move.shape == w[name].shape else move.T)
    return {name: p[None] for name, p in w.items()}


def test_galore_is_adam_in_a_subspace_found_anew_now_and_then():
    # one change of basis: moments go on in it, and the signs of its columns are no one's choice
    for refresh in (STEPS, STEPS + 1):
        ours, state = run(Galore(2, refresh=refresh), weight_decay=DECAY, scale=0.5)
        expected = _galore_by_hand(2, refresh, 0.5)
        assert error(ours, expected, ("wide", "tall")) < OVER_MANY[torch.float64]
    assert state["low_mean"]["wide"].shape == (1, 2, 7)
    assert state["low_mean"]["tall"].shape == (1, 2, 9)


def test_galore_finds_its_subspace_when_it_is_due():
    rule = Galore(2, refresh=3)
    params, bases = drawn(99), []
    state = rule.init(params)
    for step in range(7):
        params, state = rule.update(params, drawn(step), state, {"learning_rate": RATE})
        bases.append(state["basis"]["wide"])
        if step % 3 == 0:
            g = drawn(step)["wide"][0]
            best = torch.linalg.svd(g)[0][:, :2]
            assert (bases[-1][0] @ bases[-1][0].T - best @ best.T).norm() < 1e-9
    changed = [not torch.equal(a, b) for a, b in pairwise(bases)]
    assert changed == [False, False, True, False, False, True]


def test_dion_is_one_power_iteration_on_a_momentum_that_keeps_what_is_left():
    rule = Dion(2)
    start = rule.init(drawn(99))["basis"]
    w = {name: drawn(99)[name][0] for name in ("wide", "tall")}
    q = {name: start[name][0] for name in w}
    m = {name: torch.zeros_like(p) for name, p in w.items()}
    for step in range(STEPS):
        for name in w:
            b = m[name] + drawn(step)[name][0]
            p = torch.linalg.qr(b @ q[name]).Q
            r = b.T @ p
            m[name] = b - 0.05 * p @ r.T
            q[name] = r / r.norm(dim=0)
            scale = sqrt(w[name].shape[0] / w[name].shape[1])
            w[name] = (1 - RATE * DECAY) * w[name] - RATE * scale * p @ q[name].T
    ours, _ = run(rule, weight_decay=DECAY)
    expected = {name: p[None] for name, p in w.items()}
    assert error(ours, expected, ("wide", "tall")) < OVER_MANY[torch.float64]


@pytest.mark.parametrize("rule", [Muon(), Galore(2), Dion(2)])
def test_vectors_take_adams_steps(rule):
    theirs = by_hand([(lambda p: torch.optim.Adam(p, lr=RATE), ["bias"])], torch.float64)
    ours, _ = run(rule)
    assert error(ours, theirs, ("bias",)) < OVER_MANY[torch.float64]


@pytest.mark.parametrize("rule", [Muon(), Galore(2), Dion(2)])
def test_zero_gradients_move_nothing_and_later_ones_still_do(rule):
    params = drawn(99)
    zeros = {name: torch.zeros_like(p) for name, p in params.items()}
    still, state = rule.update(params, zeros, rule.init(params), {"learning_rate": RATE})
    assert all(torch.equal(still[name], params[name]) for name in params)
    if not isinstance(rule, Galore):
        moved, _ = rule.update(still, drawn(1), state, {"learning_rate": RATE})
        assert all((moved[name] - params[name]).norm() > 1e-3 for name in params)


@pytest.mark.parametrize("rule", [Muon(), Galore(2), Dion(2)])
def test_a_replica_that_is_not_finite_is_alone_in_that(rule):
    params = {name: torch.cat([p, p]) for name, p in drawn(99).items()}
    grads = {name: torch.cat([p, p]) for name, p in drawn(1).items()}
    grads["wide"][0, 0, 0] = torch.nan
    new, _ = rule.update(params, grads, rule.init(params), {"learning_rate": RATE})
    healthy, _ = rule.update(drawn(99), drawn(1), rule.init(drawn(99)), {"learning_rate": RATE})
    assert new["wide"][0].isnan().any()
    assert error({n: p[1:] for n, p in new.items()}, healthy) < OVER_MANY[torch.float64]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Muon("rms"), "adjust must be one of"),
        (lambda: Galore(0), "rank and refresh must be at least 1, got 0"),
        (lambda: Dion(0), "rank must be at least 1, got 0"),
    ],
)
def test_an_option_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
