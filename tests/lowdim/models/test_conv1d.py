"""The small 1-D convolutional network has the published sizes and trains replica by replica."""

from __future__ import annotations

import pytest
import torch

from lowdim.data.task import Split, Task
from lowdim.engine import Program, Replica, train
from lowdim.models.conv1d import Conv1dNet
from lowdim.optim import Sgd


def test_it_is_the_published_network_of_2048_128_10():
    network = Conv1dNet(256, 10)
    assert network.fc1.in_features == 2048
    convolutions = 16 * 3 + 16 + 32 * 16 * 3 + 32
    assert sum(p.numel() for p in network.parameters()) == convolutions + 2049 * 128 + 129 * 10


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_outputs_keep_the_leading_axes(leading):
    network = Conv1dNet(16, 3, channels=(2, 4), hidden=5)
    assert network(torch.randn(*leading, 16)).shape == (*leading, 3)


def test_replicas_train_together_as_they_do_alone():
    x = torch.randn(60, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    task = Task("signs", "cross_entropy", Split(x[None], (x[None, :, :8].sum(-1) > 0).long()))
    job = Program(lambda: Conv1dNet(16, 2, channels=(2, 4), hidden=5), Sgd(), 3, batch_size=20)
    replicas = [Replica(seed, {"learning_rate": 0.1}) for seed in range(3)]
    together = train(job, task, replicas, dtype=torch.float64)
    for replica, result in zip(replicas, together, strict=True):
        (alone,) = train(job, task, [replica], dtype=torch.float64)
        for name, tensor in result.state.items():
            torch.testing.assert_close(tensor, alone.state[name], rtol=1e-10, atol=1e-12)
    assert together[0].curves["train", "loss"][-1] < together[0].curves["train", "loss"][0]
