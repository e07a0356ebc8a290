"""The page says what the result files say, and asks for nothing from outside."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from by_hand import draw_figures, draw_nothing, read_study, write_results
from lowdim.analyse.verdicts import judge
from lowdim.records import read_json, study_paths
from lowdim.report import write_report

NO_BREAK = "\u00a0"


class Page(HTMLParser):
    """Cells, numbers, images and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
        self.hypotheses: dict[str, list[tuple[float, str]]] = {}
        self.images: list[dict[str, str]] = []
        self.asked: list[str] = []
        self.words: list[str] = []
        self._sink: list[tuple[float, str]] = []
        self._value: float | None = None
        self._table = self._row = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag == "img":
            self.images.append(told)
        if tag != "a":
            self.asked += [told[key] for key in ("src", "href", "srcset", "action") if key in told]
        if tag == "table":
            self._table = told.get("class", "")
        if "data-hypothesis" in told:
            self._sink = self.hypotheses.setdefault(told["data-hypothesis"], [])
        if "data-arm" in told:
            key = (self._table, told["data-arm"], told["data-metric"])
            self._sink = self.cells.setdefault(key, [])
        if tag == "data":
            self._value = float(told["value"])

    def handle_data(self, text):
        self.words.append(text)
        if self._value is not None:
            self._sink.append((self._value, text))
            self._value = None

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace(NO_BREAK, " ").split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with one diverged arm and one at the edge, its tables, and the page on them."""
    study = read_study()
    folder = tmp_path_factory.mktemp("results")
    run, tables = write_results(folder, study, diverged=("sparse", 1), edge="kronecker")
    draw_figures(run, study)
    write_report(run, [study], folder / "report.html")
    return run, study, tables, (folder / "report.html").read_text()


def written(text: str) -> tuple[float, float]:
    """The number that a text shows and half a unit of its last digit."""
    plain = text.replace(",", "").replace("−", "-")
    digits, _, power = plain.partition("e")
    decimals = len(digits.partition(".")[2])
    return float(plain), 0.5 * 10.0 ** (int(power or 0) - decimals) * (1 + 1e-9)


def test_every_number_of_the_results_table_is_the_summarys(made):
    _, study, tables, html = made
    page = Page(html)
    compared = 0
    for arm in study.arms:
        for metric in ("test_accuracy", "best_loss", "learning_rate", "effective_parameters"):
            row = tables.row(arm, metric)
            numbers = page.cells["results", arm, metric]
            expected = [row["mean"]]
            if row["ci95_high"] > row["ci95_low"]:
                expected += [row["ci95_low"], row["ci95_high"]]
            assert [value for value, _ in numbers] == expected
            for value, text in numbers:
                shown, half = written(text)
                assert abs(shown - value) <= half
                compared += 1
    assert compared > 50


def test_published_figures_stand_beside_ours(made):
    _, study, tables, html = made
    page = Page(html)
    for arm, figures in study.published.items():
        for metric, told in figures.items():
            numbers = [value for value, _ in page.cells["published", arm, metric]]
            assert numbers[:2] == [told, tables.row(arm, metric)["mean"]]


def test_verdicts_show_the_numbers_of_the_file(made):
    run, study, _, html = made
    page = Page(html)
    judged = read_json(study_paths(run, study.name).verdicts)
    assert judged
    for row in judged:
        values = [value for value, _ in page.hypotheses[row["name"]]]
        expected = [row["p_holm"]]
        for contrast in row["contrasts"]:
            expected += [contrast[k] for k in ("estimate", "ci95_low", "ci95_high", "margin", "p")]
        assert values[: len(expected)] == expected
        assert row["statement"] in page.text
        assert f"{row['verdict']} {row['statement']}" in page.text


def test_the_page_asks_for_nothing_from_outside(made):
    _, _, _, html = made
    page = Page(html)
    assert page.asked
    assert all(address.startswith("data:") for address in page.asked)
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\(", html)
    assert "<script" not in html


def test_links_lead_to_the_files_beside_the_page(made):
    run, _, _, html = made
    links = re.findall(r'<a href="([^"#]+)"', html)
    assert len(links) >= 12
    assert all((run.results / link).exists() for link in links)


def test_figures_are_whole_with_caption_and_words_for_the_blind(made):
    run, study, _, html = made
    folder = study_paths(run, study.name).figures
    index = read_json(folder / "index.json")
    page = Page(html)
    assert len(page.images) == len(index)
    for entry, image in zip(index, page.images, strict=True):
        payload = base64.b64decode(image["src"].partition(",")[2])
        assert payload == (folder / f"{entry['name']}.svg").read_bytes()
        assert image["alt"].replace(NO_BREAK, " ") == entry["alt"]
        assert entry["caption"] in page.text


def test_what_a_reader_should_mistrust_is_said(made):
    text = Page(made[3]).text
    assert "Sparse (10 %): 1 of 4 runs diverged (seeds 1) and are left out." in text
    assert "Kronecker: the best learning rate of 4 of 4 seeds lies at an edge" in text
    assert "smoke" not in text


def test_method_and_provenance_are_told(made):
    text = Page(made[3]).text
    for words in (
        "MNIST-1D, 5,000 samples",
        "30 epochs, batch 64, constant learning rate",
        "10 trials of 10 epochs",
        "Kronecker 10×5 ⊗ 10×8; Kronecker 2×10 ⊗ 5×10",
        "torch on cpu",
        f"numpy {np.__version__}",
    ):
        assert words in text


def test_the_same_files_give_the_same_page(made, tmp_path):
    run, study, _, html = made
    write_report(run, [study], run.results / "again.html")
    assert (run.results / "again.html").read_text() == html


def test_a_study_without_results_stays_on_the_page_with_the_reason(made):
    run, study, _, _ = made
    ghost = study.model_copy(update={"name": "compressed_inputs", "question": "Is it so?"})
    write_report(run, [ghost, study], run.results / "two.html")
    text = Page((run.results / "two.html").read_text()).text
    assert "Is it so?" in text
    assert "This study has no results: compressed_inputs/all/runs.csv is missing" in text
    assert "Published figures beside ours" in text


def test_a_damaged_file_is_named_instead_of_believed(tmp_path):
    study = read_study(seeds=2)
    run, _ = write_results(tmp_path, study)
    draw_nothing(run, study)
    summary = study_paths(run, study.name).summary
    summary.write_text(summary.read_text().replace("dense", "dance"))
    write_report(run, [study], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).text
    assert "summary.csv: is damaged" in text


def test_smoke_results_are_marked_as_such(tmp_path):
    study = read_study(seeds=2, scale="smoke")
    run, _ = write_results(tmp_path, study)
    draw_nothing(run, study)
    write_report(run, [study], tmp_path / "report.html")
    assert (
        "it shows that everything runs, and nothing else"
        in Page((tmp_path / "report.html").read_text()).text
    )


def test_a_label_cannot_smuggle_markup_into_the_page(tmp_path):
    study = read_study(seeds=2, scale="smoke")
    arms = dict(study.arms)
    arms["dense"] = arms["dense"].model_copy(update={"label": "<b onclick=x>Dense"})
    study = study.model_copy(update={"arms": arms})
    run, _ = write_results(tmp_path, study)
    draw_nothing(run, study)
    write_report(run, [study], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "<b onclick" not in html
    assert "&lt;b onclick=x&gt;Dense" in html


def test_runs_that_all_diverged_leave_a_dash_and_an_undecided_verdict(tmp_path):
    study = read_study(seeds=1)
    run, tables = write_results(tmp_path, study, diverged=("sparse", 0))
    draw_nothing(run, study)
    write_report(run, [study], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert page.cells["results", "sparse", "test_accuracy"] == []
    assert "No pair of runs of" in page.text
    assert all(row["verdict"] == "undecided" for row in judge(tables.runs, study.hypotheses))
