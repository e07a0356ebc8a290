"""Regression on linear maps: published digits, sufficient statistics, error components."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lowdim.data import Split, Task, linear_map_task, second_moments
from lowdim.engine import Program, Replica, train
from lowdim.models import DeepLinear, shallow_linear
from lowdim.optim import Adam, Sgd
from lowdim.probes import LinearMapErrors, linear_map_errors

PUBLISHED = {
    "deep": {"rel_err": 0.7563, "err_support": 5.607, "err_null": 0.02437, "err_mixed": 0.1557},
    "shallow": {"rel_err": 0.4493, "err_support": 3.322, "err_null": 0.2058, "err_mixed": 0.1579},
}


def _as_published() -> tuple[torch.Tensor, torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
    """Return X, A* and both starts in the order in which one global seed draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(20_000, 50) / 50**0.5
        u = torch.linalg.qr(torch.randn(50, 5)).Q
        v = torch.linalg.qr(torch.randn(50, 5)).Q
        deep = {"W": 0.01 * torch.randn(50, 30), "U": 0.01 * torch.randn(30, 50)}
        shallow = {"weight": 0.01 * torch.randn(50, 50)}
    target = u @ torch.diag(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) @ v.T
    return x, target, {"deep": deep, "shallow": shallow}


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_run_comes_out_to_its_digits(model):
    x, target, starts = _as_published()
    builds = {
        "deep": lambda: DeepLinear(50, 50, 30),
        "shallow": lambda: nn.Linear(50, 50, bias=False),
    }
    orders = torch.Generator().manual_seed(123)
    replica = Replica(
        0,
        {"learning_rate": 0.5},
        start=starts[model],
        orders=torch.stack([torch.randperm(len(x), generator=orders) for _ in range(50)]),
    )
    task = Task("published", "mse", Split(x[None], (x @ target.T)[None]))
    probe = LinearMapErrors(target[None], every=50)
    program = Program(builds[model], Sgd(), epochs=50, batch_size=512, probes=(probe,))
    (result,) = train(program, task, [replica])
    for metric, value in PUBLISHED[model].items():
        assert result.curves["weights", metric][-1] == pytest.approx(value, rel=1e-3)


def _small(dtype=torch.float64, sets=2) -> Task:
    generators = [torch.Generator().manual_seed(s) for s in range(sets)]
    return linear_map_task(
        300, 9, 7, singular_values=[3.0, 1.0], monitor=50, generators=generators, dtype=dtype
    )


@pytest.mark.parametrize("rule", [Sgd(), Adam()])
@pytest.mark.parametrize("width", [4, None])
def test_second_moments_train_as_all_samples_do(rule, width):
    task = _small()

    def build() -> nn.Module:
        return DeepLinear(9, 7, width, 0.3) if width else shallow_linear(9, 7, scale=0.3)

    program = Program(build, rule, epochs=40, batch_size=None, watch=("monitor",))
    replicas = [Replica(s, {"learning_rate": 0.05}, data_set=s) for s in range(2)]
    plain = train(program, task, replicas, dtype=torch.float64)
    compact = train(program, second_moments(task), replicas, dtype=torch.float64)
    for one, other in zip(plain, compact, strict=True):
        for pair in (("train", "loss"), ("monitor", "loss")):
            assert other.curves[pair] == pytest.approx(one.curves[pair], rel=1e-9)
        for name, tensor in one.state.items():
            assert torch.allclose(tensor, other.state[name], rtol=1e-8, atol=1e-10)


def test_second_moments_do_not_cancel_near_the_solution_in_float32():
    task = _small(torch.float32, sets=1)
    gap = 1e-6 * torch.randn(7, 9)
    program = Program(
        lambda: shallow_linear(9, 7), Sgd(), epochs=1, batch_size=None, watch=("monitor",)
    )
    start = {"weight": task.facts["target_map"][0] + gap}
    replica = Replica(0, {"learning_rate": 1e-20}, start=start)
    (result,) = train(program, second_moments(task), [replica])
    exact_gap = start["weight"].double() - task.facts["target_map"][0].double()
    exact = (task.train.inputs[0].double() @ exact_gap.T).square().mean()
    assert result.curves["train", "loss"][0] == pytest.approx(float(exact), rel=1e-5)


def test_batches_of_second_moments_are_refused():
    program = Program(lambda: shallow_linear(9, 7), Sgd(), epochs=1, batch_size=4)
    with pytest.raises(ValueError, match="batch_size must be None"):
        train(program, second_moments(_small()), [Replica(0, {"learning_rate": 0.1})])


def test_error_components_are_those_of_the_projectors():
    target = _small().facts["target_map"]
    a = torch.randn_like(target)
    found = linear_map_errors(a, target)
    for place in range(2):
        u, _, vh = torch.linalg.svd(target[place])
        left, right = u[:, :2] @ u[:, :2].T, vh[:2].T @ vh[:2]
        gap = a[place] - target[place]
        off_left, off_right = torch.eye(7) - left, torch.eye(9) - right
        cross = left @ gap @ off_right + off_left @ gap @ right
        assert found["err_support"][place] == pytest.approx(float((left @ gap @ right).norm()))
        assert found["err_null"][place] == pytest.approx(float((off_left @ gap @ off_right).norm()))
        assert found["err_mixed"][place] == pytest.approx(float(cross.norm()))
        assert found["rel_err"][place] == pytest.approx(float(gap.norm() / target[place].norm()))


def test_starts_of_a_shallow_map_are_as_named():
    assert shallow_linear(5, 4, start="zero").weight.abs().max() == 0
    torch.manual_seed(3)
    product = shallow_linear(5, 4, start="product", product_width=6).weight
    torch.manual_seed(3)
    nn.Linear(5, 4, bias=False)
    assert torch.equal(product, DeepLinear(5, 4, 6).end_to_end())
    with pytest.raises(ValueError, match="start must be"):
        shallow_linear(5, 4, start="product")
