"""Data are built once for the arms that share them, in parts that fit in memory."""

from pathlib import Path

from lowdim.config import RunConfig, load_study
from lowdim.studies.tasks import TaskShelf

FOLDER = Path(__file__).parents[3] / "config" / "studies"


def shelf(memory_gib: float) -> tuple[TaskShelf, dict]:
    study = load_study("compressed_inputs", folder=FOLDER, seeds=4)
    arms = {name: arm for name, arm in study.arms.items() if name.startswith("digits")}
    run = RunConfig(studies=[study.name], memory_gib=memory_gib)
    return TaskShelf(run, study), arms


def test_arms_on_the_same_data_share_a_task_and_all_fit_in_one_part():
    made, arms = shelf(1.0)
    (part,) = made.parts(arms)
    assert sorted(part) == sorted(arms)
    tasks = {id(made.task(arms[name].data)) for name in part}
    assert len(tasks) == 4
    assert made.task(arms["digits_gauss_lr0.1"].data).train.sets == 4
    assert made.task(arms["digits_pca_lr0.1"].data).train.sets == 1


def test_a_part_ends_before_its_tasks_exceed_the_memory():
    made, arms = shelf(1e-3)
    held = []
    for part in made.parts(arms):
        held.append(set(part))
        tasks = [*made._built.values(), *made._images.values()]
        total = sum(s.inputs.nbytes for t in tasks for s in (t.train, *t.held_out.values()))
        assert total <= 1e-3 * 2**30
    assert len(held) > 1
    assert set.union(*held) == set(arms)
    assert sum(map(len, held)) == len(arms)


def test_what_a_task_will_take_is_known_before_it_is_built():
    made, arms = shelf(1.0)
    for arm in arms.values():
        task = made.task(arm.data)
        splits = (task.train, *task.held_out.values())
        assert made._needed(arm.data) == sum(s.inputs.nbytes for s in splits)
