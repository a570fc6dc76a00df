"""The report in a browser: whole, legible on a laptop and a narrow window, printable."""

from __future__ import annotations

import pytest
from PIL import Image as Pillow

from browser import chromium, screenshot_path
from factories import make_base, make_brick, make_dataset
from medlego.evaluation import evaluate, find_examples, write_page
from medlego.generalist import assemble

KINDS = ("multiclass", "multilabel")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    base = make_base()
    bricks = [make_brick(k, seed=20 + i, kind=k, base=base) for i, k in enumerate(KINDS)]
    data = {k: make_dataset(k, seed=i, kind=k, images=24) for i, k in enumerate(KINDS)}
    generalist = assemble(bricks, coefficients=0.6)
    report = evaluate(generalist, data, base=base, resamples=20)
    shown = find_examples(report, generalist, base=base, count=2)
    write_page(report, path, generalist=generalist, examples=shown)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as chrome:
        yield chrome


@pytest.fixture(params=[(1280, 800), (390, 800)], ids=["laptop", "narrow"])
def page(request, browser, address):
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height})
    opened.said = []
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.asked = []
    opened.on("request", lambda asked: opened.asked.append(asked.url))
    opened.goto(address)
    opened.screenshot(path=screenshot_path(f"report-{width}"), full_page=True)
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


def test_links_in_the_page_lead_somewhere(page):
    lost = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash))"
    assert page.evaluate(f"{lost}.length") == 0
    page.get_by_role("link", name="Lineage").click()
    assert page.evaluate("document.querySelector('#lineage').getBoundingClientRect().top") < 400


def test_the_screenshot_is_a_picture_of_something(page):
    width = page.viewport_size["width"]
    with Pillow.open(screenshot_path(f"report-{width}")) as picture:
        assert picture.width == width
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 50


def test_it_prints_on_several_pages(browser, address, tmp_path):
    opened = browser.new_page()
    opened.goto(address)
    opened.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    written = (tmp_path / "report.pdf").read_bytes()
    assert written.count(b"/Type /Page\n") + written.count(b"/Type /Page ") >= 3
