"""The report in a browser: whole, legible wide and narrow, light and dark, and printed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image as Pillow

from browser import chromium, screenshot_path
from factories import make_base, make_brick, make_dataset
from medlego.evaluation import evaluate, find_examples, write_page
from medlego.generalist import assemble

TASKS = {
    "multiclass": (
        "multiclass",
        ("glioma", "meningioma", "pituitary adenoma with suprasellar extension"),
    ),
    "chest-findings-of-the-radiographs-of.site-3": (
        "multilabel",
        (
            "W" * 60,
            "Enlarged cardiomediastinum or widened hilum",
            *(f"label {i}" for i in range(8)),
        ),
    ),
}
"""Names and labels as long as hospitals have them."""
A4_PX = round((210 - 2 * 14) / 25.4 * 96)
"""The width of a printed page within its margins."""
BEYOND = """width => [...document.querySelectorAll('main *, header *')]
  .filter(one => !one.closest('.hint') && one.getBoundingClientRect().right > width + 1)
  .map(one => one.outerHTML.slice(0, 80))"""
CUT = """() => [...document.images].filter(image => image.src.includes('svg')).flatMap(image => {
  const frame = document.createElement('div');
  frame.innerHTML = atob(image.src.split(',')[1]);
  document.body.append(frame);
  const svg = frame.querySelector('svg');
  const own = svg.getBoundingClientRect();
  const cut = [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < own.left - 1 || box.right > own.right + 1 || box.bottom > own.bottom + 1;
  }).map(text => text.textContent);
  frame.remove();
  return cut;
})"""
"""Words of a chart that lie outside of it, at least in part."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    base = make_base()
    bricks, data = [], {}
    for number, (name, (kind, labels)) in enumerate(TASKS.items()):
        made = make_dataset(name, number, kind, images=24, count=len(labels))
        task = made.task.model_copy(update={"labels": labels})
        sites = np.array(["Universitätsklinikum Nord, Abteilung Radiologie", "south"])
        test = replace(made.test, groups={"institution": sites[np.arange(24) % 2]})
        data[name] = replace(made, task=task, test=test)
        brick = make_brick(name, 20 + number, kind=kind, base=base, count=len(labels))
        bricks.append(replace(brick, task=task))
    generalist = assemble(bricks, coefficients=0.6)
    report = evaluate(generalist, data, base=base, resamples=20)
    shown = find_examples(report, generalist, base=base, count=2)
    write_page(report, path, examples=shown)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as chrome:
        yield chrome


@pytest.fixture(
    params=[(1366, "light"), (1366, "dark"), (400, "light"), (400, "dark")],
    ids=["laptop", "laptop, dark", "narrow", "narrow, dark"],
)
def page(request, browser, address):
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened.said = []
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.asked = []
    opened.on("request", lambda asked: opened.asked.append(asked.url))
    opened.goto(address)
    opened.shot = screenshot_path(f"report-{width}-{scheme}")
    opened.screenshot(path=opened.shot, full_page=True)
    yield opened
    opened.close()


@pytest.fixture
def printed(browser, address):
    """The report as it lies on a printed page."""
    opened = browser.new_page(viewport={"width": A4_PX, "height": 1000}, color_scheme="dark")
    opened.goto(address)
    opened.emulate_media(media="print")
    yield opened
    opened.close()


def test_every_picture_shows(page):
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) > 8
    assert min(widths) > 0


def test_nothing_is_fetched_and_nothing_is_complained_of(page):
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.said == []


def test_the_page_is_no_wider_than_its_window(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_scrolls_sideways_says_so_and_nothing_else_does(page):
    scrolls = """[...document.querySelectorAll('.wide')].map(
      one => [one.scrollWidth > one.clientWidth, one.querySelector('.hint').clientWidth > 0])"""
    found = page.evaluate(scrolls)
    assert [scrolls for scrolls, _ in found] == [said for _, said in found]
    assert any(said for _, said in found) is (page.viewport_size["width"] == 400)


def test_axe_finds_nothing_wrong(page):
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_no_word_of_a_chart_is_cut(page):
    assert page.evaluate(CUT) == []


def test_a_word_that_is_cut_would_be_found(page):
    page.evaluate(
        """() => { const image = new Image(); image.src = 'data:image/svg+xml;base64,' + btoa(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40"><text x="30" y="20">cut</text></svg>');
        document.body.append(image); }"""
    )
    assert page.evaluate(CUT) == ["cut"]


def test_links_in_the_page_lead_somewhere(page):
    lost = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash))"
    assert page.evaluate(f"{lost}.length") == 0
    page.get_by_role("link", name="Lineage").click()
    assert page.evaluate("document.querySelector('#lineage').getBoundingClientRect().top") < 400


def test_the_screenshot_is_a_picture_of_something(page):
    with Pillow.open(page.shot) as picture:
        assert picture.width == page.viewport_size["width"]
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 50


def test_no_column_is_cut_on_a4(printed):
    assert printed.evaluate(BEYOND, A4_PX) == []


def test_a_column_that_is_cut_would_be_found(printed):
    printed.evaluate("document.querySelector('td').style.paddingLeft = '200mm'")
    assert printed.evaluate(BEYOND, A4_PX) != []


def test_it_prints_dark_on_white_whatever_the_screen(printed):
    colours = "[document.body].map(getComputedStyle).map(s => [s.color, s.backgroundColor])[0]"
    assert printed.evaluate(colours) == ["rgb(29, 35, 39)", "rgb(255, 255, 255)"]


def test_it_prints_on_several_pages(browser, address, tmp_path):
    opened = browser.new_page()
    opened.goto(address)
    opened.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    opened.close()
    written = (tmp_path / "report.pdf").read_bytes()
    assert written.count(b"/Type /Page\n") + written.count(b"/Type /Page ") >= 3
