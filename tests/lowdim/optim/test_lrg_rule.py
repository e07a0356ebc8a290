"""The update rule of LRG-Adam: replicas apart, the best approximation, what is cut away."""

from __future__ import annotations

import pytest
import torch
from optim_problems import ONCE, OVER_MANY

from lowdim.optim import Adam, LrgAdam, lrg_projection
from lowdim.optim.lrg_projection import Limit, limit_at
from lowdim.optim.rules import select
from lowdim_kernels.truncated_svd import low_rank_reference

DOUBLE = torch.float64


def stacked(replicas=3, dtype=DOUBLE, seed=0):
    """Return parameters of replicas: two matrices of one shape, one of another, two vectors."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 5), "b": (5,), "c": (6, 5), "d": (4, 3, 2), "e": ()}
    return {
        name: torch.randn(replicas, *shape, generator=draw, dtype=torch.float64).to(dtype)
        for name, shape in shapes.items()
    }


def gradients(count=5, replicas=3, dtype=DOUBLE):
    return [stacked(replicas, dtype, seed=10 + step) for step in range(count)]


def run(rule, grads, hyper, params=None):
    params = params or stacked(len(grads[0]["a"]), grads[0]["a"].dtype)
    state = rule.init(params)
    for g in grads:
        params, state = rule.update(params, g, state, {"learning_rate": 0.03, **hyper})
    return params, state


def error(first, second) -> float:
    a, b = (torch.cat([t.flatten() for t in part.values()]) for part in (first, second))
    return float((a - b).norm() / b.norm())


def test_every_replica_has_its_own_rank():
    ranks = torch.tensor([1.0, 3.0, 99.0], dtype=DOUBLE)
    rates = torch.tensor([0.1, 0.01, 0.03], dtype=DOUBLE)
    for rule in (LrgAdam("flat"), LrgAdam("matrix"), LrgAdam("flat", project="momentum")):
        hyper = {"rank": ranks, "learning_rate": rates}
        together, _ = run(rule, gradients(), hyper)
        for place in range(3):
            own = [{n: t[place : place + 1] for n, t in g.items()} for g in gradients()]
            start = {n: t[place : place + 1] for n, t in stacked().items()}
            hyper = {"rank": int(ranks[place]), "learning_rate": float(rates[place])}
            alone, _ = run(rule, own, hyper, start)
            assert error({n: t[place] for n, t in together.items()}, alone) < OVER_MANY[DOUBLE]


@pytest.mark.parametrize("dtype", ONCE)
@pytest.mark.parametrize("mode", ["flat", "matrix"])
@pytest.mark.parametrize("project", ["grad", "momentum"])
def test_a_rank_of_at_least_the_side_is_adam_to_the_last_bit(mode, project, dtype):
    grads = gradients(dtype=dtype)
    plain, _ = run(Adam(), grads, {})
    for rank in (12, torch.tensor([12.0, 40.0, 13.0])):
        low, _ = run(LrgAdam(mode, project=project), grads, {"rank": rank})
        assert all(torch.equal(low[name], plain[name]) for name in plain)


def test_a_replica_at_full_rank_is_adam_beside_others_that_are_cut():
    grads = gradients(dtype=torch.float32)
    plain, _ = run(Adam(), grads, {})
    low, _ = run(LrgAdam("flat"), grads, {"rank": torch.tensor([2.0, 99.0, 2.0])})
    assert all(torch.equal(low[name][1], plain[name][1]) for name in plain)
    assert not torch.equal(low["a"][0], plain["a"][0])


def test_matrices_are_cut_each_by_itself_and_vectors_left_alone():
    (grads,) = gradients(1)
    low = LrgAdam("matrix").projection.cut(grads, {}, Limit(2, None))[0]
    for name in ("a", "c", "d"):
        best = low_rank_reference(grads[name].flatten(2), 2).view(grads[name].shape)
        assert error({name: low[name]}, {name: best}) < ONCE[DOUBLE]
    assert all(low[name] is grads[name] for name in ("b", "e"))


def test_matrices_of_one_shape_go_through_one_kernel_call(monkeypatch):
    seen = []

    def counted(g, *args, **options):
        seen.append(tuple(g.shape))
        return real(g, *args, **options)

    real = lrg_projection.truncated_svd
    monkeypatch.setattr(lrg_projection, "truncated_svd", counted)
    run(LrgAdam("matrix"), gradients(1), {"rank": 2})
    assert sorted(seen) == [(3, 4, 6), (6, 6, 5)]


@pytest.mark.parametrize("share", [0.3, 0.8, 0.999])
def test_energy_keeps_the_fewest_directions_that_hold_it(share):
    (grads,) = gradients(1)
    low = LrgAdam("matrix").projection.cut(grads, {}, Limit(None, share))[0]["a"]
    for g, x in zip(grads["a"], low, strict=True):
        held = torch.linalg.svdvals(g).square().cumsum(0)
        least = int((held < share * held[-1]).sum()) + 1
        assert torch.linalg.matrix_rank(x) == least
        best = low_rank_reference(g[None], least)[0]
        assert (x - best).norm() < ONCE[DOUBLE] * g.norm()


def test_energy_and_rank_together_keep_at_most_the_rank():
    grads = {"a": torch.randn(3, 9, 9, dtype=DOUBLE)}
    energy = torch.tensor([0.999, 0.999, 0.1], dtype=DOUBLE)
    ranks = torch.tensor([3, 5, 3])
    low = LrgAdam("matrix").projection.cut(grads, {}, Limit(ranks, energy))[0]["a"]
    assert torch.linalg.matrix_rank(low).tolist() == [3, 5, 1]


@pytest.mark.parametrize("mode", ["flat", "matrix"])
def test_error_feedback_loses_nothing(mode):
    rule, grads = LrgAdam(mode, error_feedback=True), gradients(6)
    state, passed = rule.projection.init(grads[0]), []
    for g in grads:
        low, state = rule.projection.cut(g, state, Limit(1, None))
        passed.append(low)
    for name in grads[0]:
        total = sum(g[name] for g in grads)
        let_through = sum(low[name] for low in passed) + state["error"][name]
        torch.testing.assert_close(let_through, total)
        if name == "a":
            assert state["error"][name].norm() > 0


def test_a_momentum_is_cut_after_it_took_in_the_whole_gradient():
    grads = gradients(4)
    _, plain = run(Adam(), grads, {})
    rule = LrgAdam("matrix", project="momentum")
    params, state = run(rule, grads[:3], {"rank": 1})
    after, state = rule.update(params, grads[3], state, {"learning_rate": 0.03, "rank": 1})
    torch.testing.assert_close(state["mean"]["a"], plain["mean"]["a"])
    scale = (state["square"]["a"] / (1 - 0.999**4)).sqrt() + 1e-8
    step = (params["a"] - after["a"]) * scale
    low = low_rank_reference(state["mean"]["a"], 1)
    within = low.abs() < 7 * state["square"]["a"].sqrt()
    assert within.double().mean() > 0.9
    torch.testing.assert_close(step[within], low[within] * 0.03 / (1 - 0.9**4))


@pytest.mark.parametrize("mode", ["flat", "matrix"])
def test_a_cut_momentum_moves_no_entry_further_than_adam_could(mode):
    """An entry that never had a gradient stays, though truncation gives it one."""
    grads = gradients(30)
    for g in grads:
        g["a"][:, 1, 2] = 0
    rule = LrgAdam(mode, project="momentum")
    state, params = rule.init(grads[0]), {n: torch.zeros_like(g) for n, g in grads[0].items()}
    furthest = 0.1 / (0.001 * (1 - 0.9**2 / 0.999)) ** 0.5
    for g in grads:
        before = params
        params, state = rule.update(params, g, state, {"learning_rate": 1.0, "rank": 1})
        correction = (1 - 0.999 ** state["step"]) ** 0.5 / (1 - 0.9 ** state["step"])
        for name, p in params.items():
            moved = (p - before[name]).abs().max()
            assert moved <= 1.01 * furthest * correction
    assert (params["a"][:, 1, 2] == 0).all()


def test_the_rank_moves_evenly_to_its_end():
    hyper = {"rank": 2, "rank_end": 10, "rank_steps": 4}
    assert [limit_at(hyper, step).rank for step in range(6)] == [2, 4, 6, 8, 10, 10]
    hyper["rank"] = torch.tensor([2.0, 18.0])
    ranks = torch.stack([limit_at(hyper, step).rank for step in range(6)])
    assert ranks.T.tolist() == [[2, 4, 6, 8, 10, 10], [18, 16, 14, 12, 10, 10]]
    assert not ranks.is_floating_point()


def test_a_warm_start_comes_nearer_to_the_best_approximation():
    draw = torch.Generator().manual_seed(3)
    base = torch.randn(1, 40, 40, generator=draw, dtype=DOUBLE)
    grads = [{"a": base + 0.01 * torch.randn(1, 40, 40, generator=draw, dtype=DOUBLE)}] * 6
    best = low_rank_reference(grads[-1]["a"], 5)

    def last(warm):
        rule = LrgAdam("matrix", method="iterate", iterations=0, oversample=0, warm_start=warm)
        state = rule.projection.init(grads[0])
        for g in grads:
            low, state = rule.projection.cut(g, state, Limit(5, None))
        return float((low["a"] - best).norm())

    assert last(True) < 0.3 * last(False)


@pytest.mark.parametrize("mode", ["flat", "matrix"])
def test_a_replica_whose_gradient_is_not_finite_is_nan_alone(mode):
    grads = gradients(2)
    healthy, _ = run(LrgAdam(mode), grads, {"rank": 2})
    grads[1]["a"][1, 0, 0] = torch.inf
    spoilt, _ = run(LrgAdam(mode), grads, {"rank": 2})
    assert spoilt["a"][1].isnan().any()
    for place in (0, 2):
        assert torch.equal(spoilt["a"][place], healthy["a"][place])


@pytest.mark.parametrize("limit", [{"rank": 2}, {"energy": 0.5}])
@pytest.mark.parametrize("method", ["auto", "exact", "gram", "iterate"])
def test_zero_gradients_leave_parameters_where_they_are(method, limit):
    start = stacked()
    zeros = [{name: torch.zeros_like(t) for name, t in start.items()}] * 2
    after, _ = run(LrgAdam("flat", method=method), zeros, limit, start)
    assert all(torch.equal(after[name], start[name]) for name in start)


def test_chosen_replicas_go_on_as_if_alone():
    rule = LrgAdam("matrix", method="iterate", warm_start=True, error_feedback=True)
    grads, keep = gradients(4), torch.tensor([0, 2])
    whole, _ = run(rule, grads, {"rank": 2})
    params, state = run(rule, grads[:2], {"rank": 2})
    params, state = {n: t[keep] for n, t in params.items()}, select(state, keep)
    for g in grads[2:]:
        part = {n: t[keep] for n, t in g.items()}
        params, state = rule.update(params, part, state, {"learning_rate": 0.03, "rank": 2})
    assert error(params, {n: t[keep] for n, t in whole.items()}) < OVER_MANY[DOUBLE]


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({}, "rank or energy must be given"),
        ({"rank": 2.5}, "whole number of at least 0, got 2.5"),
        ({"rank": -1}, "whole number of at least 0, got -1"),
    ],
)
def test_a_limit_that_is_none_is_refused(hyper, message):
    with pytest.raises(ValueError, match=message):
        run(LrgAdam(), gradients(1), hyper)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "rows"}, "mode must be one of .*'rows'"),
        ({"project": "step"}, "project must be one of .*'step'"),
        ({"method": "power"}, "method must be one of .*'power'"),
        ({"warm_start": True}, "warm_start serves method 'iterate', got method 'auto'"),
    ],
)
def test_an_unknown_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        LrgAdam(**options)
