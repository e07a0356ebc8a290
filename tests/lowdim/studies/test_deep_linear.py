"""The theory of deep linear maps, its study file, and the figures that set runs beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lowdim.analyse import analyse
from lowdim.config import RunConfig, load_study
from lowdim.data import linear_map_task, second_moments
from lowdim.drawing.arms import ordered
from lowdim.drawing.course import course
from lowdim.drawing.courses import Panel, courses
from lowdim.drawing.picture import drawn
from lowdim.drawing.spectra import final_values
from lowdim.drawing.style import arm_styles
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.engine import Program, Replica, ReplicaResult, train
from lowdim.engine.curves import CURVE_COLUMNS
from lowdim.figures import draw
from lowdim.models import DeepLinear, shallow_linear
from lowdim.optim import Sgd
from lowdim.probes import LinearMapErrors
from lowdim.records import provenance, study_paths, write_table
from lowdim.studies.deep_linear import Descent, expected
from lowdim.studies.readings import readings_of_probes

FOLDER = Path(__file__).parents[3] / "config" / "studies"
VALUES = np.array([5.0, 3.0])
SAME = {"rel": 1e-9}
SMALL_STEPS = {"rel": 5e-3}
# one start against the expectation over starts
LIKE = {"rel": 0.15}
ERRORS = ("rel_err", "err_support", "err_null", "err_mixed")


def study_at(scale="standard", seeds=None):
    return load_study("deep_linear", folder=FOLDER, scale=scale, seeds=seeds)


def descent(**keys) -> Descent:
    known = {"outputs": 24, "inputs": 20, "samples": 10**9, "values": VALUES, "rate": 1.0}
    return Descent(**{**known, "deviation": 0.01, **keys})


def test_a_shallow_map_loses_the_same_share_of_its_error_off_the_support_at_every_step():
    steps = np.arange(0, 1500, 50)
    found = descent(rate=0.7).after(steps)
    share = (1 - 2 * 0.7 / (24 * 20)) ** steps
    assert found["err_null"] / found["err_null"][0] == pytest.approx(share, **SAME)
    assert found["singular_values"] == pytest.approx(np.outer(1 - share, VALUES), **SAME)


@pytest.mark.parametrize("decay", [0.0, 2e-3])
def test_a_shallow_map_is_where_the_recursion_of_its_expected_gradient_leads(decay):
    own = descent(decay=decay, deviation=1e-9)
    a, target = np.zeros((24, 20)), np.zeros((24, 20))
    target[[0, 1], [0, 1]] = VALUES
    for _ in range(300):
        a -= own.rate * (own.pull * (a - target) + decay * a)
    found = own.after(np.array([300.0]))
    assert found["singular_values"][0] == pytest.approx(np.diag(a)[:2], **SAME)
    assert found["err_support"][0] == pytest.approx(np.linalg.norm(a - target), **SAME)


def test_modes_of_a_balanced_start_follow_the_sigmoid():
    own, target = descent(rate=0.05, width=2), np.zeros((24, 20))
    target[[0, 1], [0, 1]] = VALUES
    start = np.sqrt(2 * 0.01**2 / 2) * np.eye(24, 2)
    w, u = start, start[:20].T
    for _ in range(9000):
        gradient = own.pull * (w @ u - target)
        w, u = w - own.rate * gradient @ u.T, u - own.rate * w.T @ gradient
    found = own.after(np.array([9000.0]))["singular_values"][0]
    assert found == pytest.approx(np.diag(w @ u)[:2], **SMALL_STEPS)
    assert 0.2 < found[1] / VALUES[1] < 0.8


@pytest.mark.parametrize("width", [16, None])
def test_runs_go_where_theory_says(width):
    generators = [torch.Generator().manual_seed(seed) for seed in range(6)]
    task = linear_map_task(
        4_000, 30, 30, singular_values=[5.0, 3.0], monitor=30, generators=generators
    )

    def build():
        return DeepLinear(30, 30, width, 0.01) if width else shallow_linear(30, 30, scale=0.01)

    probe = LinearMapErrors(task.facts["target_map"], every=50)
    program = Program(build, Sgd(), epochs=500, batch_size=None, probes=(probe,))
    replicas = [Replica(seed, {"learning_rate": 1.0}, data_set=seed) for seed in range(6)]
    results = train(program, second_moments(task), replicas)
    steps = results[0].times["weights", "rel_err"][:, 0].astype(float)
    told = Descent(30, 30, 4_000, VALUES, 1.0, 0.01, width).after(steps)
    for metric in ERRORS:
        middle = np.median([result.curves["weights", metric] for result in results], 0)
        assert middle == pytest.approx(told[metric], **LIKE), metric
    assert told["rel_err"][-1] < 0.5 * told["rel_err"][0]


def test_theory_is_silent_where_it_has_nothing_to_say():
    arms = study_at("full").arms
    epochs = np.array([0.0, 1.0])
    spoken = {name for name, arm in arms.items() if expected(arm, epochs)}
    assert spoken == {n for n in arms if n.startswith("h0_") and "nuclear" not in n}
    deep = arms["h0_deep_r30"]
    for update in ({"momentum": 0.9}, {"weight_decay": 0.1}, {"learning_rate": None}):
        other = deep.model_copy(update={"optimiser": deep.optimiser.model_copy(update=update)})
        assert expected(other, epochs) == {}
    cosine = deep.training.model_copy(update={"schedule": "cosine"})
    assert expected(deep.model_copy(update={"training": cosine}), epochs) == {}


def test_theory_counts_steps_and_knows_the_starts_of_an_arm():
    arms = study_at().arms
    found = {name: expected(arms[name], np.array([0.0, 50.0])) for name in arms}
    # 40 batches of 512 in 20,000 samples
    share = (1 - 2 * 0.5 / 2500) ** 2000
    for name in ("h0_shallow", "h0_shallow_product"):
        null = found[name]["err_null"]
        assert null[1] / null[0] == pytest.approx(share, **SAME)
    starts = {name: own["err_null"][0] for name, own in found.items() if own}
    assert starts["h0_shallow_zero"] == 0
    assert starts["h0_shallow_product"] == pytest.approx(starts["h0_deep_r30"], **SAME)
    assert starts["h0_deep_r30_large"] == pytest.approx(starts["h0_shallow"], rel=1e-2)


def test_the_standard_scale_runs_every_arm_that_is_judged_or_published():
    study = study_at()
    judged = {arm for h in study.hypotheses for c in h.contrasts for arm in (c.a, c.b)}
    assert judged | set(study.published) <= set(study.arms)
    assert min(study.seeds_of(arm) for arm in judged) >= 10
    rates = {(a.model.width, a.optimiser.learning_rate) for a in study.arms.values()}
    assert {(30, 10.0), (None, 5.0)} <= rates
    assert study_at("full").arms.keys() > study.arms.keys()


def test_an_error_that_starts_at_rounding_has_no_ratio_to_its_start():
    curves = {
        ("weights", "err_support"): np.array([7.0, 3.5]),
        ("weights", "err_null"): np.array([3e-7, 2e-6]),
        ("weights", "err_mixed"): np.array([0.0, 0.1]),
        ("weights", "null_frac"): np.array([0.1, 0.2]),
    }
    found = readings_of_probes(ReplicaResult(curves=curves))
    assert found == {
        "err_support": 3.5,
        "err_support_relative_to_start": 0.5,
        "err_null": 2e-6,
        "err_mixed": 0.1,
        "null_frac": 0.2,
    }


def write_results(folder: Path, seeds: int = 3) -> tuple[RunConfig, Tables]:
    """Write what a run leaves that theory describes to the last digit; Adam's never move."""
    study = study_at(seeds=seeds).model_copy(update={"hypotheses": []})
    run = RunConfig(studies=["deep_linear"], results=folder, study_folder=FOLDER)
    paths = study_paths(run, study.name)
    block, epochs = paths.block("all"), np.arange(0.0, 51.0, 5.0)
    rows, curves = [], []
    for name, arm in study.arms.items():
        told = expected(arm, epochs) or {
            **{metric: np.full(len(epochs), 0.1) for metric in ERRORS},
            "singular_values": np.tile(np.arange(6.0, 0.0, -1.0), (len(epochs), 1)),
        }
        for seed in range(seeds):
            ends = {metric: told[metric][-1] for metric in ERRORS}
            relative = {f"{m}_relative_to_start": told[m][-1] / max(told[m][0], 1) for m in ERRORS}
            rows.append({"arm": name, "seed": seed, **ends, **relative, "diverged_epoch": None})
            for metric, values in told.items():
                table = values.reshape(len(epochs), -1)
                for index, column in enumerate(table.T):
                    fixed = (name, seed), ("weights", metric, index)
                    curves += [(*fixed[0], int(e), 0, *fixed[1], v) for e, v in zip(epochs, column)]
    made_by = provenance("train", study)
    write_table(block.runs, pd.DataFrame(rows), made_by)
    write_table(block.curves, pd.DataFrame(curves, columns=CURVE_COLUMNS), made_by)
    analyse(study, [block.runs], paths.summary, paths.verdicts)
    return run, Tables(study, ResultFiles.of(study, run))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tables of results, the folder of their figures and its index."""
    run, tables = write_results(tmp_path_factory.mktemp("results"))
    files, folder = tables.files, study_paths(run, "deep_linear").figures
    index = draw(
        *(tables.study, run, files.runs, files.trials, files.curves),
        *(files.summary, files.verdicts, folder),
    )
    return tables, folder, index


def test_the_figures_of_the_study_are_drawn_with_their_numbers(made):
    _, folder, index = made
    assert [entry["name"] for entry in index] == [
        "error_components",
        "null_error_relative_to_start",
        "singular_values",
        "final_spectra",
        "errors_at_the_end",
    ]
    assert all((folder / f"{e['name']}.{end}").exists() for e in index for end in ("svg", "png"))
    assert {path.stem for path in folder.glob("*.csv")} == {e["name"] for e in index[:3]}
    assert all("csv_sha256" in entry for entry in index[:3])


def test_results_that_are_theory_are_no_distance_from_it(made):
    _, folder, index = made
    for entry in index[:3]:
        table = pd.read_csv(folder / f"{entry['name']}.csv")
        compared = table[table["theory"].notna() & (table["theory"] > 0)]
        assert len(compared) > 50
        assert compared["decades_from_theory"].abs().max() < 1e-6
        assert set(compared["arm"]) == {a for a in table["arm"] if a.startswith("h0_")}
    assert "a factor of 1.00 and 1.00 (" in index[0]["caption"]


def test_panels_show_points_of_ours_and_lines_of_theory(made):
    tables, _, _ = made
    panels = [
        Panel("Rate", ("h0_deep_r30", "h0_shallow", "h0_shallow_product"), "err_null"),
        Panel("Adam", ("h1_deep_r5", "absent"), "err_null"),
        Panel("Values", ("h0_deep_r30",), "singular_values", tuple(range(6)), "linear"),
    ]
    draws = courses("c", title="C", panels=panels, columns=3, expected=expected)
    picture, files = drawn(draws, tables)
    rate, adam, values = picture.figure.axes
    assert [line.get_linestyle() for line in rate.get_lines()].count("None") == 3
    assert len(rate.get_lines()) == 6
    assert [line.get_linestyle() for line in adam.get_lines()] == ["-"]
    # theory knows the target's five values
    assert len(values.get_lines()) == 5 + 5
    assert [axes.get_yscale() for axes in picture.figure.axes] == ["log", "log", "linear"]
    assert files["csv"].startswith(b"arm,metric,index,epoch,n,median,low,high,theory,")


def test_a_metric_relative_to_its_start_is_a_share_of_each_seeds_own(made):
    tables, _, _ = made
    whole = course(tables, "h0_shallow", "err_null", expected)
    share = course(tables, "h0_shallow", "err_null_relative_to_start", expected)
    assert share.median == pytest.approx(whole.median / whole.median[0], **SAME)
    assert share.theory == pytest.approx(whole.theory / whole.theory[0], **SAME)
    assert course(tables, "absent", "err_null") is None
    assert course(tables, "h0_shallow", "absent") is None


@pytest.mark.parametrize(("count", "place"), [(5, 0), (6, 1), (10, 2), (20, 6)])
def test_the_interval_of_a_median_is_a_pair_of_the_values_themselves(count, place):
    values = np.random.default_rng(count).lognormal(size=count)
    found = ordered(values)
    assert found.middle == np.median(values)
    if not place:
        assert np.isnan([found.low, found.high]).all()
        return
    assert (np.sum(values < found.low), np.sum(values > found.high)) == (place - 1, place - 1)
    # the median lies outside with the chance of fewer than `place` heads, or tails
    assert 2 * stats.binom.cdf(place - 1, count, 0.5) <= 0.05
    assert 2 * stats.binom.cdf(place, count, 0.5) > 0.05


def test_final_values_lie_in_their_order_and_not_under_the_floor(made):
    tables, _, _ = made
    picture, _ = drawn(final_values("s", title="S", panels={"All": ("h1_deep_r5",)}), tables)
    (line,) = picture.figure.axes[0].get_lines()
    assert list(line.get_ydata()) == [6, 5, 4, 3, 2, 1]
    assert drawn(final_values("s", title="S", panels={"None": ("absent",)}), tables) is None


def test_maps_of_one_width_share_a_colour_that_no_other_width_has():
    study = study_at()
    colours = {(a.model.width, arm_styles(study)[n].colour) for n, a in study.arms.items()}
    widths = {arm.model.width for arm in study.arms.values()}
    assert len(colours) == len(widths) == len({colour for _, colour in colours})
