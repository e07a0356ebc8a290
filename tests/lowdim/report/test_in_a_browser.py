"""The page in headless Chromium: silent, offline, whole, and no wider than a phone."""

import pytest
from browser import Browser, executable

from by_hand import draw_figures, read_study, write_results
from lowdim.report import write_report

pytestmark = pytest.mark.skipif(
    executable() is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)
PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page on one study with results and one without."""
    study = read_study()
    folder = tmp_path_factory.mktemp("results")
    run, _ = write_results(folder, study, diverged=("sparse", 1), edge="kronecker")
    draw_figures(run, study)
    ghost = study.model_copy(update={"name": "compressed_inputs"})
    write_report(run, [study, ghost], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_complained_of_or_asked_for(page, browser, width):
    browser.open(page, width)
    asked = {event["request"]["url"] for event in browser.told("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    assert browser.told("Log.entryAdded") == []
    assert browser.told("Runtime.consoleAPICalled") == []
    assert browser.told("Runtime.exceptionThrown") == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_is_no_wider_than_the_screen(page, browser, width):
    browser.open(page, width)
    browser.value("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.value("document.documentElement.scrollWidth") == width
    beyond = (
        "[...document.querySelectorAll('p, li, h1, h2, h3, figcaption, td.words')]"
        ".filter(part => part.getBoundingClientRect().right > innerWidth).length"
    )
    if width == PHONE:
        assert browser.value(beyond) == 0


def test_every_figure_is_shown(page, browser):
    browser.open(page, DESK)
    shown = "[...document.images].map(image => image.complete && image.naturalWidth > 100)"
    assert browser.value(shown) == [True] * 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, browser, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.ask("Emulation.setEmulatedMedia", features=[feature])
    browser.open(page, DESK)
    assert browser.value(LEAST_CONTRAST) >= 4.5


LEAST_CONTRAST = """
(() => {
  const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = numbers(colour).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = part => {
    for (; part; part = part.parentElement) {
      const colour = getComputedStyle(part).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const parts = [...document.querySelectorAll('body *')].filter(part =>
    [...part.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return Math.min(...parts.map(part => {
    const [a, b] = [light(getComputedStyle(part).color), light(ground(part))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()
"""
