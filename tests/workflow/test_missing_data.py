"""Without MNIST a run says so at its start and in the report, and does the rest."""

import html
import re

import pytest

from lowdim.config.data_root import MNIST_FILES
from lowdim.records import read_json, read_table, sidecar

STUDY = """\
question: What is left where data are missing?
seeds: 2
hypotheses:
  - name: digits_differ
    statement: Two transforms of digits differ.
    contrasts: [{metric: test_accuracy, a: digits_dct, b: digits_pca, direction: different}]
  - name: mnist_differs
    statement: MNIST differs from digits.
    contrasts: [{metric: test_accuracy, a: mnist_dct, b: digits_dct, direction: different}]
defaults:
  data: {name: compressed, source: digits, transform: dct, outputs: 16}
  model: {name: mlp, sizes: [16, 10], layers: [{kind: dense}]}
  optimiser: {name: sgd, learning_rate: 0.1}
  training: {epochs: 1, batch_size: 128}
arms:
  digits_dct: {label: "Digits, DCT"}
  digits_pca: {label: "Digits, PCA", data: {transform: pca}}
  mnist_dct: {label: "MNIST, DCT", data: {source: mnist}}
published:
  mnist_dct: {test_accuracy: 95.58}
"""


@pytest.fixture(scope="module")
def without(tmp_path_factory, new_project):
    """A project whose data root is an empty folder, and what its run said."""
    project = new_project(tmp_path_factory.mktemp("without"))
    project.study.write_text(STUDY)
    (project.folder / "nothing").mkdir()
    project.config.write_text("studies: [tiny]\nthreads: 1\ndata_root: nothing\n")
    code, output = project.call("lowdim", "run")
    assert code == 0, output
    return project, output


def test_what_is_missing_is_said_at_the_start_and_in_the_report(without):
    project, output = without
    start = output[: output.index("training")] if "training" in output else output
    assert "1 of 3 arms need MNIST and are left out" in start
    assert "train-images-idx3-ubyte is not there" in start
    page = re.sub(r"\s+", " ", html.unescape((project.results / "report.html").read_text()))
    assert re.search(r"Left out, for want of data: MNIST, DCT\. \S+train-images-idx3-ubyte", page)
    assert "Not run: an arm that it compares has no runs" in page


def test_nothing_takes_its_place_and_the_rest_is_judged(without):
    project, _ = without
    runs = project.results / "tiny/all/runs.csv"
    assert set(read_table(runs).arm) == {"digits_dct", "digits_pca"}
    assert list(read_json(sidecar(runs))["unavailable"]) == ["mnist_dct"]
    verdicts = {row["name"]: row for row in read_json(project.results / "tiny/verdicts.json")}
    assert verdicts["mnist_differs"]["verdict"] == "not run"
    assert verdicts["digits_differ"]["p_holm"] == verdicts["digits_differ"]["p"]


def test_data_that_appear_later_are_trained_on(without):
    project, _ = without
    assert "train" not in project.outdated()
    folder = project.folder / "nothing/MNIST/raw"
    folder.mkdir(parents=True)
    for name, (size, _) in MNIST_FILES.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    assert "train" in project.outdated()
