"""Figures come from the result files alone: whole, the same each time, and legible."""

import json
import re
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Annotation, Text

from by_hand import draw_figures, matrix, read_study, write_results
from lowdim.config import load_study
from lowdim.drawing.arms import by_arm
from lowdim.drawing.convergence import convergence
from lowdim.drawing.picture import drawn
from lowdim.drawing.rates import rates
from lowdim.drawing.size import by_size
from lowdim.drawing.style import arm_styles
from lowdim.figures import INDEX, pictures_of
from lowdim.records import study_paths
from lowdim.studies.low_rank_gradients import OTHERS, TUNED

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, a study and its tables, one run of which diverged; the figures are drawn."""
    study = read_study()
    folder = tmp_path_factory.mktemp("results")
    run, tables = write_results(folder, study, diverged=("sparse", 1))
    return run, study, tables, draw_figures(run, study)


def payloads(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.*g")}


def test_the_same_results_give_the_same_bytes(made, tmp_path):
    run, study, _, _ = made
    draw_figures(run, study, tmp_path)
    first = payloads(study_paths(run, study.name).figures)
    assert first == payloads(tmp_path)
    assert len(first) == 8


def test_other_results_give_another_figure(made, tmp_path):
    _, study, _, index = made
    run, _ = write_results(tmp_path, study)
    before = {entry["name"]: entry["svg_sha256"] for entry in index}
    after = {entry["name"]: entry["svg_sha256"] for entry in draw_figures(run, study)}
    assert before["comparison_results"] != after["comparison_results"]


def test_the_index_names_every_figure_with_its_words(made):
    run, study, _, index = made
    folder = study_paths(run, study.name).figures
    assert json.loads((folder / INDEX).read_text()) == index
    names = [entry["name"] for entry in index]
    assert names == ["comparison_results", "accuracy_by_size", "best_rates", "weights"]
    assert all(len(entry[key]) > 20 for entry in index for key in ("caption", "alt"))
    files = {f"{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert set(payloads(folder)) == files


def test_files_are_what_they_are_called_and_ask_for_nothing(made):
    run, study, _, _ = made
    for name, payload in payloads(study_paths(run, study.name).figures).items():
        if name.endswith("png"):
            assert payload.startswith(PNG)
            continue
        root = ElementTree.fromstring(payload)
        links = {
            value
            for element in root.iter()
            for key, value in element.attrib.items()
            if key.endswith("href")
        }
        assert all(link.startswith(("#", "data:")) for link in links)
        assert not list(root.iter("{http://www.w3.org/2000/svg}text"))
        assert b"<dc:date>" not in payload


def test_words_for_the_blind_name_every_arm_and_its_number(made):
    _, study, tables, index = made
    by_name = {entry["name"]: entry["alt"] for entry in index}
    for arm, config in study.arms.items():
        for name in ("comparison_results", "accuracy_by_size", "best_rates"):
            assert config.label in by_name[name]
        mean = tables.row(arm, "test_accuracy")["mean"]
        assert f"{mean:.2f} %" in by_name["accuracy_by_size"]


def test_a_run_that_diverged_is_left_out_of_the_curve_and_said(made):
    _, study, tables, index = made
    epochs, values = tables.curve("sparse", "monitor", "accuracy")
    assert values.shape == (study.seeds - 1, len(epochs))
    assert np.isfinite(values).all()
    assert "diverged are left out: Sparse (10 %) 1" in index[0]["caption"]


def test_weights_are_read_back_row_by_row(made):
    _, _, tables, _ = made
    found = tables.weights("kronecker")
    assert list(found) == ["layers.0", "layers.1"]
    assert (found["layers.0"] == matrix("kronecker", "layers.0", 6, 4)).all()


def test_a_figure_no_longer_drawn_is_deleted(made, tmp_path):
    run, study, _, _ = made
    (tmp_path / "old.svg").write_text("<svg/>")
    (tmp_path / "note.txt").write_text("kept")
    draw_figures(run, study, tmp_path)
    assert not (tmp_path / "old.svg").exists()
    assert (tmp_path / "note.txt").exists()


def test_a_study_without_a_module_draws_the_generic_pictures():
    assert len(pictures_of("structured_weights")) == 4
    assert len(pictures_of("a_study_of_ones_own")) == 3


def test_a_metric_of_finished_runs_has_one_row_an_arm(made):
    _, study, tables, _ = made
    picture, _ = drawn(
        by_arm("ends", title="Ends", metrics=["test_accuracy", "nowhere", "best_loss"]), tables
    )
    first, second = picture.figure.axes
    assert (first.get_xscale(), second.get_xscale()) == ("linear", "log")
    labels = [text.get_text() for text in first.get_yticklabels()]
    assert labels == [arm.label for arm in study.arms.values()]
    assert "Hollow markers are the published" in picture.caption


def test_an_untuned_study_has_no_figure_of_rates(made):
    _, study, tables, _ = made
    arms = {name: arm.model_copy(update={"tuning": None}) for name, arm in study.arms.items()}
    untuned = study.model_copy(update={"arms": arms})
    assert drawn(rates(), type(tables)(untuned, tables.files)) is None


@pytest.mark.parametrize("scale", ["standard", "full"])
def test_every_arm_looks_like_no_other(scale):
    styles = arm_styles(read_study(scale=scale))
    looks = [(style.colour, str(style.line)) for style in styles.values()]
    assert len(set(looks)) == len(looks)
    markers = {style.colour: style.marker for style in styles.values()}
    assert len(set(markers.values())) == len(markers)


def test_every_optimiser_has_a_colour_of_its_own():
    folder = Path(__file__).parents[3] / "config" / "studies"
    styles = arm_styles(load_study("low_rank_gradients", folder=folder, scale="full"))
    assert len({styles[arm].colour for arm in (*TUNED, *OTHERS)}) == len(TUNED) + len(OTHERS)


@pytest.mark.parametrize("drawing", [convergence(), by_size()])
@pytest.mark.parametrize("scale", ["standard", "full"])
def test_labels_do_not_hide_one_another(drawing, scale, tmp_path):
    study = read_study(seeds=2, scale=scale)
    _, tables = write_results(tmp_path, study)
    picture, _ = drawn(drawing, tables)
    canvas = picture.figure.canvas
    for axes in picture.figure.axes:
        texts = [child for child in axes.get_children() if isinstance(child, Annotation)]
        assert len(texts) == len(study.arms)
        boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in texts]
        assert all(box.x1 <= picture.figure.bbox.x1 for box in boxes)
        if axes.get_xlabel() == "effective parameters":
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
            continue
        heights = sorted((box.y0, box.y1) for box in boxes)
        assert all(below[1] <= above[0] + 1 for below, above in pairwise(heights))


def test_drawing_does_not_load_torch():
    code = (
        "import sys, lowdim.figures; lowdim.figures.pictures_of('structured_weights'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_weights_of_each_structure_are_shown_by_layer(made):
    run, study, tables, _ = made
    svg = (study_paths(run, study.name).figures / "weights.svg").read_text()
    first_of_each = [arm for arm, style in arm_styles(study).items() if style.is_first]
    shown = [len(tables.weights(arm)) for arm in first_of_each]
    scale_bar = 1
    assert len(re.findall("<image", svg)) == sum(shown) + scale_bar
