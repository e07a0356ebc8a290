"""Pictures of the study of compressed inputs say what its result files say."""

import numpy as np
import pandas as pd
import pytest

from by_hand import FOLDER
from lowdim.analyse import analyse
from lowdim.config import RunConfig, load_study
from lowdim.drawing.facets import standard_error
from lowdim.drawing.maps import stability_map
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.records import provenance, study_paths, write_table
from lowdim.studies import compressed_inputs as module

ACCURACY = {"mnist_dct_lr0.001": 91.0, "mnist_dct_lr0.01": 97.5, "mnist_dct_lr0.1": 97.0}


def written(folder, accuracies, diverged=()) -> Tables:
    """Write results of two seeds of some arms and return how to read them."""
    study = load_study("compressed_inputs", folder=FOLDER, seeds=2)
    study = study.model_copy(update={"hypotheses": []})
    run = RunConfig(studies=[study.name], results=folder, study_folder=FOLDER)
    paths = study_paths(run, study.name)
    block = paths.block("all")
    rows, curves = [], []
    for arm, mean in accuracies.items():
        for seed, step in ((0, -0.1), (1, 0.1)):
            lost = arm in diverged and seed == 1
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "test_accuracy": np.nan if lost else mean + step,
                    "final_loss_variance": 1e-4,
                    "image_energy_kept": 0.93,
                    "diverged_epoch": 1 if lost else np.nan,
                    "engine": "fused",
                    "device": "cpu",
                }
            )
            curves.append(long(arm, seed, "monitor", "loss", [2.0, 1.0 + step], range(2)))
        if arm.endswith("_lr0.001"):
            for metric, level in (("images", 1.0), ("kept_images", 0.5)):
                curves.append(long(arm, 0, "final", metric, [level] * 40, [10] * 40))
    write_table(block.runs, pd.DataFrame(rows), provenance("train", study))
    write_table(block.curves, pd.concat(curves, ignore_index=True), provenance("train", study))
    analyse(study, [block.runs], paths.summary, paths.verdicts)
    return Tables(study, ResultFiles.of(study, run))


def long(arm, seed, split, metric, values, epochs) -> pd.DataFrame:
    index = np.arange(len(values)) if split == "final" else 0
    columns = {"arm": arm, "seed": seed, "epoch": epochs, "step": epochs, "split": split}
    return pd.DataFrame({**columns, "metric": metric, "index": index, "value": values})


@pytest.fixture
def tables(tmp_path) -> Tables:
    return written(tmp_path, ACCURACY)


def test_a_band_is_one_standard_error_to_either_side():
    band = standard_error(np.arange(2), np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]))
    assert band.mean.tolist() == [3.0, 2.0]
    assert band.high - band.mean == pytest.approx([2 / 3**0.5, 0.0])


def test_each_rate_has_a_column_and_each_scheme_a_line(tables):
    drawn = module._of_source("mnist")[1](tables)
    assert drawn.name == "val_loss_mnist_across_runs"
    assert [axes.get_title() for axes in drawn.figure.axes] == [
        *("rate 0.001", "rate 0.01", "rate 0.1")
    ]
    assert "one standard error" in drawn.caption
    assert "rate 0.1, loss at the end: DCT 1" in drawn.alt


def test_stable_is_what_is_near_the_best_of_its_scheme_and_never_diverged(tmp_path):
    tables = written(tmp_path, ACCURACY, diverged=("mnist_dct_lr0.1",))
    caption = module.STABILITY(tables).caption
    assert "Stable: MNIST, DCT at rate 0.01." in caption
    wide = stability_map(
        *("wide",),
        title="Wide",
        groups=module._cells,
        metrics=("test_accuracy",),
        within=10.0,
        columns="rate",
    )(tables)
    assert "Stable: MNIST, DCT at rate 0.001, 0.01." in wide.caption


def test_images_stand_beside_what_is_kept_of_them(tables):
    drawn = module.KEPT(tables)
    shown = [axes.get_images()[0].get_array() for axes in drawn.figure.axes if axes.get_images()]
    assert [image.max() for image in shown] == [1.0] * 10 + [0.5] * 10
    assert "DCT, 93 %" in drawn.alt


def test_every_band_ends_in_the_arm_that_holds_all_coefficients():
    study = load_study("compressed_inputs", folder=FOLDER)
    for one in module._dimensions(study):
        sizes = [study.arms[arm].data.outputs for arm in one.arms]
        assert sorted(sizes) == [16, 64, 256, 784], one.text


def test_what_no_run_has_read_is_not_drawn(tables):
    train_loss, _, _, gradients, statistics = module._of_source("mnist")
    assert [draw(tables) for draw in (train_loss, gradients, statistics)] == [None] * 3
    assert all(draw(tables) is None for draw in module._of_source("digits"))
    assert module.BY_DIMENSION(tables) is None
