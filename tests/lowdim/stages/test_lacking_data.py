"""A study that lacks all its data has empty results, and a section that says why."""

from pathlib import Path

from by_hand import draw_figures
from lowdim.analyse import analyse
from lowdim.config import RunConfig, load_study
from lowdim.config.data_root import mnist_lacks
from lowdim.progress import SilentProgress
from lowdim.records import read_table, study_paths
from lowdim.report import write_report
from lowdim.train import train_block

STUDY = """\
question: What is left where all data are missing?
seeds: 2
hypotheses:
  - name: nothing
    statement: Nothing is compared.
    contrasts: [{metric: test_accuracy, a: mnist_dct, b: mnist_pca}]
defaults:
  data: {name: compressed, source: mnist, transform: dct, outputs: 16}
  model: {name: mlp, sizes: [16, 10], layers: [{kind: dense}]}
  optimiser: {name: sgd, learning_rate: 0.1}
  training: {epochs: 1, batch_size: 128}
arms:
  mnist_dct: {label: "MNIST, DCT"}
  mnist_pca: {label: "MNIST, PCA", data: {transform: pca}}
published:
  mnist_dct: {test_accuracy: 95.58}
"""


def test_a_study_without_any_data_still_has_its_section(tmp_path: Path):
    (tmp_path / "lacking.yaml").write_text(STUDY)
    study = load_study("lacking", folder=tmp_path)
    run = RunConfig(studies=["lacking"], results=tmp_path, data_root=tmp_path / "nothing")
    paths = study_paths(run, "lacking")
    block = paths.block("all")
    train_block(study, run, list(study.arms), None, block.runs, block.curves, SilentProgress())
    assert read_table(block.runs).empty
    analyse(study, [block.runs], paths.summary, paths.verdicts)
    assert draw_figures(run, study) == []
    write_report(run, [study], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Left out, for want of data: MNIST, DCT, MNIST, PCA." in page


def test_files_of_the_wrong_size_count_as_lacking(tmp_path: Path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    first = folder / "train-images-idx3-ubyte"
    assert mnist_lacks(tmp_path) == first
    first.write_bytes(b"short")
    assert mnist_lacks(tmp_path) == first
