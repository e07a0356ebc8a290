"""LRGAdam in an ordinary training loop: what is published, what torch promises, what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from optim_problems import OVER_MANY, as_published, distance, network, same_bits, trained
from torch import nn

from lowdim.optim import LRGAdam

WAYS = [
    {"mode": "flat", "rank": 3},
    {"mode": "flat", "rank": 3, "method": "iterate", "warm_start": True},
    {"mode": "flat", "energy": 0.9, "project": "momentum"},
    {"mode": "matrix", "rank": 2, "method": "iterate", "warm_start": True, "error_feedback": True},
    {"mode": "matrix", "rank": 1, "rank_end": 4, "rank_steps": 10, "error_feedback": True},
]


@pytest.mark.parametrize("dtype", OVER_MANY)
@pytest.mark.parametrize("rank", [1, 4])
def test_mode_flat_is_the_published_algorithm_step_by_step(rank, dtype):
    for count in (1, 2, 20):
        net = network(dtype)
        ours = trained(net, LRGAdam(net.parameters(), lr=0.02, rank=rank), count)
        expected = as_published(network(dtype), rank, 0.02, count)
        assert distance(ours, expected) < OVER_MANY[dtype]


@pytest.mark.parametrize("dtype", OVER_MANY)
@pytest.mark.parametrize("mode", ["flat", "matrix"])
@pytest.mark.parametrize("project", ["grad", "momentum"])
def test_a_rank_of_at_least_the_side_is_torchs_adam_to_the_last_bit(mode, project, dtype):
    options = {"lr": 0.02, "weight_decay": 0.1, "betas": (0.8, 0.99)}
    theirs, ours = network(dtype), network(dtype)
    expected = trained(theirs, torch.optim.Adam(theirs.parameters(), **options))
    rank = {"mode": mode, "project": project, "rank": 13}
    assert same_bits(trained(ours, LRGAdam(ours.parameters(), **options, **rank)), expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_state_dict_brings_every_later_step_back_to_the_last_bit(way, tmp_path):
    net = network()
    optimiser = LRGAdam(net.parameters(), lr=0.02, **way)
    trained(net, optimiser, 5)
    torch.save([net.state_dict(), optimiser.state_dict()], tmp_path / "kept.pt")
    weights, state = torch.load(tmp_path / "kept.pt", weights_only=True)
    other = network(seed=1)
    resumed = LRGAdam(other.parameters(), lr=0.5, rank=7)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert same_bits(trained(other, resumed, 5), trained(net, optimiser, 5))


def test_a_state_of_torchs_adam_is_taken_over():
    net, other = network(), network()
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    trained(net, adam, 5)
    other.load_state_dict(net.state_dict())
    ours = LRGAdam(other.parameters(), rank=99)
    ours.load_state_dict(copy.deepcopy(adam.state_dict()))
    assert ours.param_groups[0]["rank"] == 99
    assert same_bits(trained(other, ours, 5), trained(net, adam, 5))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (torch.optim.Adam, {"amsgrad": True}, r"param_groups\[0\].*amsgrad False.*got True"),
        (torch.optim.Adam, {"maximize": True}, r"param_groups\[0\].*maximize False.*got True"),
        (torch.optim.AdamW, {}, "decoupled_weight_decay False"),
        (torch.optim.SGD, {"momentum": 0.9}, r"state\[0\].*without exp_avg, exp_avg_sq, step"),
    ],
)
def test_a_state_whose_steps_would_differ_is_refused_by_name(source, options, message):
    net = network()
    other = source(net.parameters(), lr=0.02, **options)
    trained(net, other, 1)
    ours = LRGAdam(net.parameters(), rank=3)
    with pytest.raises(ValueError, match=message):
        ours.load_state_dict(other.state_dict())
    assert not ours.state


def test_a_decoupled_decay_of_zero_is_no_decay():
    net = network()
    adam = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.0)
    trained(net, adam, 1)
    ours = LRGAdam(net.parameters(), rank=3)
    ours.load_state_dict(adam.state_dict())
    assert ours.param_groups[0]["lr"] == 0.02


def test_a_rate_may_be_a_tensor_that_a_scheduler_changes():
    def run(rate):
        net = network()
        optimiser = LRGAdam(net.parameters(), lr=rate, rank=3)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
        for _ in range(3):
            trained(net, optimiser, 1)
            schedule.step()
        assert float(optimiser.param_groups[0]["lr"]) == 0.25 / 8
        return [p.detach().clone() for p in net.parameters()]

    assert same_bits(run(torch.tensor(0.25)), run(0.25))


def test_each_group_has_options_of_its_own():
    net, plain = network(), network()
    groups = [
        {"params": net[0].parameters(), "rank": None},
        {"params": net[2].parameters(), "lr": 0.0},
        {"params": net[4].parameters(), "mode": "matrix", "rank": 99},
    ]
    before = [p.detach().clone() for p in net[2].parameters()]
    trained(net, LRGAdam(groups, lr=0.01, rank=1), 1)
    expected = trained(plain, torch.optim.Adam(plain.parameters(), lr=0.01), 1)
    assert same_bits([*net[0].parameters(), *net[4].parameters()], expected[:2] + expected[4:])
    assert same_bits(list(net[2].parameters()), before)


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned():
    net = network()
    optimiser = LRGAdam(net.parameters(), rank=2)
    x = torch.randn(4, 6)

    def closure():
        optimiser.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        return loss

    first, second = (optimiser.step(closure).item() for _ in range(2))
    assert first > second > 0


def test_parameters_without_gradients_are_left_alone_and_counted_by_themselves():
    net, other = network(), network()
    ours = LRGAdam(net.parameters(), lr=0.02, mode="matrix", rank=99)
    theirs = torch.optim.Adam(other.parameters(), lr=0.02)
    for used in ([0, 4], [0, 2, 4], [2]):
        for module, optimiser in ((net, ours), (other, theirs)):
            optimiser.zero_grad()
            sum(p.square().sum() for place in used for p in module[place].parameters()).backward()
            optimiser.step()
    assert same_bits(list(net.parameters()), list(other.parameters()))
    assert int(ours.state[net[2].weight]["step"]) == 2


@pytest.mark.parametrize("way", WAYS)
def test_zero_gradients_move_nothing(way):
    net = network()
    optimiser = LRGAdam(net.parameters(), **way)
    before = [p.detach().clone() for p in net.parameters()]
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(3):
        optimiser.step()
    assert same_bits(list(net.parameters()), before)


def _spoil(net):
    trained(net, torch.optim.SGD(net.parameters(), lr=0.0), 1)
    net[2].bias.grad[1] = torch.nan


def test_a_gradient_that_is_not_finite_is_refused_by_name():
    net = network()
    _spoil(net)
    with pytest.raises(ValueError, match=r"gradient of 2.bias must be finite.*nonfinite='skip'"):
        LRGAdam(net.named_parameters(), rank=2).step()
    with pytest.raises(ValueError, match=r"gradient of param_groups\[0\]\['params'\]\[3\] must"):
        LRGAdam(net.parameters(), rank=2).step()


def test_a_gradient_that_is_not_finite_skips_the_step_or_goes_through():
    for action, moved in (("skip", 0), ("propagate", 6)):
        net = network()
        _spoil(net)
        before = [p.detach().clone() for p in net.parameters()]
        optimiser = LRGAdam(net.parameters(), rank=2, nonfinite=action)
        optimiser.step()
        after = net.parameters()
        assert sum(not torch.equal(a, b) for a, b in zip(after, before, strict=True)) == moved
        assert len(optimiser.state) == moved


def test_sparse_and_complex_gradients_are_refused_by_name():
    words = nn.Embedding(5, 3, sparse=True)
    words(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(TypeError, match="no sparse gradients, got one for weight"):
        LRGAdam(words.named_parameters(), rank=2).step()
    p = nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
    p.grad = torch.ones_like(p)
    with pytest.raises(TypeError, match=r"real parameters, got torch.complex64"):
        LRGAdam([p], rank=1).step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "rank or energy must be given"),
        ({"rank": 2, "lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"rank": 2, "betas": (0.9, 1.0)}, "betas must be in"),
        ({"energy": 1.5}, r"energy must be in \(0, 1\], got 1.5"),
        ({"rank": 1.5}, "rank must be a whole number"),
        ({"rank": 2, "mode": "rows"}, "mode must be one of"),
        ({"rank": 2, "nonfinite": "ignore"}, "nonfinite must be one of"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        LRGAdam(network().parameters(), **options)


def test_it_lowers_the_loss_of_a_convolutional_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    x = torch.randn(64, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    optimiser = LRGAdam(net.parameters(), lr=0.01, mode="matrix", rank=2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
