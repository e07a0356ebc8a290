"""The figures of the study of non-linear factorisations: spectra, ranks and gradients by layer."""

import numpy as np
import pandas as pd
import pytest

from by_hand import FOLDER, write_results
from lowdim.config import load_study
from lowdim.drawing.layer_spectra import layer_spectra, read_spectra
from lowdim.drawing.picture import drawn
from lowdim.figures import pictures_of
from lowdim.records import provenance, write_table

LAYERS = {"fc1": 7, "fc2": 4}


def readings(arm, seed, last_epoch):
    """Spectra and norms at the start, which fall off fast, and at the end, which do not."""
    rows = []
    for epoch, fall in ((0, 0.1), (last_epoch, 0.8)):
        for layer, count in LAYERS.items():
            values = (1 + 0.1 * seed) * fall ** np.arange(count)
            rows += [(epoch, f"{layer}_singular_values", k, v) for k, v in enumerate(values)]
            for ending in ("effective_rank", "first_energy", "u_gradient_norm"):
                rows.append((epoch, f"{layer}_{ending}", 0, 1 + fall))
    frame = pd.DataFrame(rows, columns=["epoch", "metric", "index", "value"])
    return frame.assign(arm=arm, seed=seed, step=50 * frame["epoch"], split="weights")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Three seeds an arm, of which the published one's first diverged."""
    study = load_study("nlmf", folder=FOLDER, seeds=3).model_copy(update={"hypotheses": []})
    _, tables = write_results(tmp_path_factory.mktemp("results"), study, diverged=("nlmf", 0))
    more = [readings(arm, seed, 5) for arm in study.arms for seed in range(3)]
    curves = pd.concat([tables.curves, *more], ignore_index=True)
    write_table(tables.files.curves[0], curves, provenance("train", study))
    return type(tables)(study, tables.files)


def test_every_picture_is_drawn_in_words_too(tables):
    found = [drawn(drawing, tables) for drawing in pictures_of("nlmf")]
    assert all(found)
    names = [picture.name for picture, _ in found]
    expected = {"convergence", "spectra", "effective_rank", "accuracy_by_size", "gradient_norms"}
    assert expected <= set(names)
    assert len(set(names)) == len(names)
    for picture, _ in found:
        assert len(picture.caption) > 20
        assert tables.label("lowrank_r4") in picture.alt


def test_spectra_are_those_of_the_first_and_the_last_reading(tables):
    first, last = read_spectra(tables, ["dense"], "fc1")
    assert first["dense"].shape == last["dense"].shape == (3, 7)
    assert first["dense"][0] == pytest.approx(0.1 ** np.arange(7))
    assert last["dense"][1] == pytest.approx(1.1 * 0.8 ** np.arange(7))


def test_spectra_leave_out_runs_that_diverged(tables):
    _, last = read_spectra(tables, ["nlmf"], "fc1")
    assert len(last["nlmf"]) == 2


def test_words_on_spectra_count_what_is_within_a_factor_of_ten(tables):
    picture, _ = drawn(layer_spectra(layers=["fc1"], arms=["dense"]), tables)
    assert "Dense 1.1 with 2, then 1.1 with 7" in picture.alt


def test_a_study_without_the_probe_has_no_spectra(tables):
    assert drawn(layer_spectra(layers=["fc9"]), tables) is None
