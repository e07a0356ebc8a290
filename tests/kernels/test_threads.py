"""Parts of a call on several threads: all are run, errors come back, a fork has its own workers."""

import multiprocessing
import threading

import pytest
import torch

from lowdim_kernels import SparsePattern, masked_matmul, threads


@pytest.mark.parametrize("total", [1, 5, 64, 1000])
@pytest.mark.parametrize("multiple", [1, 16])
def test_cuts_cover_everything_once_and_end_at_multiples(total, multiple):
    for count in (1, 2, 3, 7):
        ranges = threads.cuts(total, count, multiple)
        assert len(ranges) <= count
        assert [k for a, b in ranges for k in range(a, b)] == list(range(total))
        assert all(b % multiple == 0 for _, b in ranges[:-1])


def test_short_calls_stay_on_one_thread_and_long_ones_take_as_many_as_torch():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert threads.thread_count(1e3) == 1
        assert threads.thread_count(1e12) == 3
        torch.set_num_threads(1)
        assert threads.thread_count(1e12) == 1
    finally:
        torch.set_num_threads(before)


def test_parts_run_beside_each_other_and_an_error_in_one_is_raised_once_all_are_done():
    meeting, done = threading.Barrier(3, timeout=30), []

    def part(number):
        meeting.wait()
        if number == 1:
            raise RuntimeError("part 1")
        done.append(number)

    with pytest.raises(RuntimeError, match="part 1"):
        threads.run_together([lambda k=k: part(k) for k in range(3)])
    assert sorted(done) == [0, 2]


def product_in_child(queue, x, values, pattern):
    torch.set_num_threads(2)
    queue.put(masked_matmul(x, values, pattern).sum().item())


def test_a_fork_computes_on_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "LEAST_FLOPS", 1)
    pattern = SparsePattern.random(40, 30, 0.3, torch.Generator().manual_seed(0))
    x, values = torch.randn(64, 30), torch.randn(pattern.nnz)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = masked_matmul(x, values, pattern).sum().item()
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=product_in_child, args=(queue, x, values, pattern))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert queue.get() == expected
    finally:
        torch.set_num_threads(before)
