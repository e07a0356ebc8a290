"""One run at a time, and no lock or stage outlives the run that started it."""

import os
import socket
import subprocess
import sys
import time

import pytest

from lowdim.cli.run_lock import hold
from lowdim.cli.watch import RUN_PROCESS, is_alive
from lowdim.config import UserError

WAITED_FOR_S = 20


def start(code: str, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def holder(results) -> str:
    return (
        f"from lowdim.cli.run_lock import hold\nlock = hold({str(results)!r})\n"
        "print('ready', flush=True)\ninput()"
    )


def test_a_second_run_is_told_who_holds_the_folder_and_what_to_do(tmp_path):
    with start(holder(tmp_path)) as first:
        with pytest.raises(UserError) as refused:
            hold(tmp_path)
        first.kill()
    said = str(refused.value)
    assert f"process {first.pid} on {socket.gethostname()} since " in said
    assert f"kill {first.pid}" in said
    assert "\n" not in said


def test_a_killed_holder_lets_go(tmp_path):
    with start(holder(tmp_path)) as first:
        first.kill()
        first.wait()
    os.close(hold(tmp_path))


def test_a_child_that_was_given_the_lock_holds_it_after_its_parent_died(tmp_path):
    code = (
        "import subprocess\nfrom lowdim.cli.run_lock import hold\n"
        f"lock = hold({str(tmp_path)!r})\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock])\n"
        "print('ready', flush=True)\nprint(child.pid, flush=True)\ninput()"
    )
    with start(code) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        with pytest.raises(UserError):
            hold(tmp_path)
        os.kill(child, 9)
        wait_until(lambda: not is_alive(child))
    os.close(hold(tmp_path))


def test_a_stage_ends_with_the_run_that_started_it():
    with subprocess.Popen(["sleep", "60"]) as run:
        stage = start(
            "from lowdim.cli.watch import end_with_run; import time; end_with_run();"
            "print('ready', flush=True); time.sleep(60)",
            **{RUN_PROCESS: f"{run.pid}@{socket.gethostname()}"},
        )
        assert stage.poll() is None
        run.kill()
    with stage:
        assert stage.wait(WAITED_FOR_S) == 1


def test_a_stage_of_a_run_on_another_machine_does_not_look_for_it_here():
    with start(
        "from lowdim.cli.watch import end_with_run; import time; end_with_run();"
        "print('ready', flush=True); time.sleep(2)",
        **{RUN_PROCESS: f"{2**22 + 1}@elsewhere"},
    ) as stage:
        assert stage.wait(WAITED_FOR_S) == 0


def test_a_process_that_ended_is_not_alive_though_nobody_waited_for_it():
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: not is_alive(ended.pid))


def wait_until(happened) -> None:
    end = time.monotonic() + WAITED_FOR_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
