"""Whatever is killed, and whenever, the next run ends with the undisturbed results."""

import os
import re
import shutil
import signal
import time
from contextlib import contextmanager

from lowdim.cli.watch import is_alive
from lowdim.records import ReplicaStore
from workflow.nursery import moments, nursery
from workflow.project import contents, family, wait_for_end, wait_until

KILLS = 10
ENDS_WITHIN_S = 1.0
ENDLESS = {
    "tune": ("    epochs: 1\n", "    epochs: 1000000\n"),
    "train": ("{epochs: 2,", "{epochs: 1000000,"),
}
TRIAL_EPOCHS = 40
WORK = [
    ("trials: 2\n    epochs: 1\n", f"trials: 8\n    epochs: {TRIAL_EPOCHS}\n"),
    ("{epochs: 2,", "{epochs: 150,"),
]
STAGES = [("tune", "tiny"), ("train", "tiny")]


@contextmanager
def at_work(project, stage: str, moment_s: float):
    """Start a run and give it, and all its processes, some time after a stage began to train."""
    log = project.block / "logs" / f"{stage}.log"
    log.unlink(missing_ok=True)
    project.edit(*ENDLESS[stage])
    with project.running("lowdim", "run") as run:
        wait_until(log.exists, stage)
        time.sleep(moment_s)
        members = family(run.pid)
        yield run, members
        wait_for_end(members)
    project.edit(*reversed(ENDLESS[stage]))


def kill_by_name(members, name: str) -> None:
    """Kill the innermost of the processes that were called with a word."""
    [member for member in members if is_alive(member.pid) and name in member.cmdline()][-1].kill()


def test_a_run_of_which_any_part_was_killed_ends_as_if_undisturbed(
    project, undisturbed, lowdim, monkeypatch
):
    moment = moments(seed=1, most_s=1.0)

    with at_work(project, "tune", next(moment)) as (run, members):
        kill_by_name(members, "tune")
        said, _ = run.communicate()
        assert run.returncode == 1
        assert "the same command goes on there" in said

    with at_work(project, "tune", next(moment)) as (run, _):
        os.killpg(run.pid, signal.SIGINT)
        said, _ = run.communicate()
        assert run.returncode == 130
        assert "the same command goes on there" in said
        assert "Traceback" not in said

    with at_work(project, "train", next(moment)) as (run, members):
        kill_by_name(members, "snakemake")
        said, _ = run.communicate()
        assert run.returncode != 0
        assert "the same command goes on there" in said
    assert any((project.folder / ".snakemake" / "locks").iterdir())

    tuned = (project.block / "tuned.json").stat().st_mtime_ns
    with at_work(project, "train", next(moment)) as (run, _):
        code, said = lowdim(project.folder, "run")
        assert code == 2
        assert f"another run writes here, process {run.pid}" in said
        run.kill()

    code, said = project.call("lowdim", "run")
    assert code == 0, said
    assert (project.block / "tuned.json").stat().st_mtime_ns == tuned
    assert contents(project.results) == contents(undisturbed.results)


def test_stages_killed_at_random_times_lose_little_and_end_as_if_undisturbed(project):
    for change in WORK:
        project.edit(*change)
    with nursery(project) as stages:
        calm_s = sum(stages.call(*stage) for stage in STAGES)
        calm = contents(project.results)
        shutil.rmtree(project.results)
        moment, kept, kills, began = moments(1, calm_s / 3), [0], 0, time.monotonic()
        for stage in STAGES:
            while kills < KILLS * (1 + STAGES.index(stage)) / len(STAGES):
                if not stages.killed(next(moment), *stage):
                    break
                kills += 1
                kept.append(len(list(project.results.rglob("*.shard"))))
            stages.call(*stage)
        lost_s = time.monotonic() - began - calm_s
    assert kept == sorted(kept)
    assert contents(project.results) == calm
    print(f"{kills} kills, {lost_s:.1f} s lost of {calm_s:.1f} s; kept {kept}")


def test_ctrl_c_ends_a_stage_within_a_second_and_keeps_what_is_finished(project):
    for change in WORK:
        project.edit(*change)
    project.edit("trials: 8\n", "trials: 200\n")
    store = project.results / "tiny" / ".replicas"
    with nursery(project) as stages:
        stage = stages.start("tune", "tiny")
        wait_until(lambda: any(store.glob("*.shard")), "the first trial")
        stage.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert stages.ended() == 130
        took_s = time.monotonic() - began
        stages.start("tune", "tiny").send_signal(signal.SIGINT)
        stages.ended()
        said = stages.said
    assert took_s < ENDS_WITHIN_S
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    finished = re.search(rf"tuning: (\d+) of {4 * 200 * TRIAL_EPOCHS} epochs", said)
    assert finished is not None, said
    assert len(ReplicaStore(store)._records) == int(finished[1]) // TRIAL_EPOCHS > 0
