"""The page in a browser: clicked through, by keyboard alone, checked by axe, narrow and printed."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image as Pillow

from browser import chromium, screenshot_path
from dicomfiles import as_bytes, dataset
from factories import make_dataset
from medlego import __version__
from medlego.bricks import save_brick
from medlego.evaluation import GateLimits
from medlego.evaluation.gate import TaskLimits
from medlego.generalist import Generalist
from medlego.serve import PageGate, PageSettings
from serving import here, make_place, on_a_socket, picture, png, unknown

TOKEN = "a token of some length"
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def browser():
    with chromium() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files to choose: a familiar image, a unknown one, none, and a folder of DICOM."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "known.png").write_bytes(png(picture(0)))
    (folder / "unknown.png").write_bytes(unknown())
    (folder / "notes.txt").write_bytes(b"no image")
    (folder / "study").mkdir()
    for number in range(2):
        content = as_bytes(dataset(picture(number), PatientName="DOE^JOHN"))
        (folder / "study" / f"slice-{number}").write_bytes(content)
    (folder / "study" / "DICOMDIR").write_bytes(b"a list")
    return folder


def labelled(tasks, _show):
    return {t.name: make_dataset(t.name, images=24) for t in tasks if t.name == "greys"}


@pytest.fixture(scope="module")
def address(place):
    """Everybody may come in; nothing is edited."""
    with on_a_socket(here(place, place.generalist("shown"))) as (port, _):
        yield f"http://127.0.0.1:{port}/page"


@pytest.fixture
def editable(place, tmp_path):
    """A generalist of its own, whose edits must keep a gate."""
    directory = place.generalist(f"edited-{tmp_path.name}", 2)
    settings = PageSettings(
        edits=True, gate=PageGate(GateLimits(default=TaskLimits(max_loss=1.0)), labelled)
    )
    with on_a_socket(here(place, directory), page=settings) as (port, _):
        yield f"http://127.0.0.1:{port}/page", directory


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    opened.messages, opened.requests = [], []
    opened.on("console", lambda message: opened.messages.append(message.text))
    opened.on("pageerror", lambda error: opened.messages.append(str(error)))
    opened.on("request", lambda asked: opened.requests.append(asked))
    yield opened
    opened.close()


def choose(page, *paths):
    """Hand images in, and wait until all are looked at."""
    page.set_input_files("#files", list(paths))
    page.get_by_role("status").get_by_text("Done:").wait_for(state="attached")


def violations(page):
    """What axe finds wrong with the page as it is."""
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in Axe().run(page).response["violations"]
    ]


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def press_until(page, focused, key="Tab", times=60):
    """Press a key until a selector has the focus."""
    for _ in range(times):
        if page.evaluate("s => document.activeElement.matches(s)", focused):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{focused} is not reached by {key}")


@pytest.fixture
def answered(page, address, images):
    page.goto(f"{address}/")
    choose(page, images / "known.png", images / "unknown.png", images / "notes.txt")
    return page


def test_every_image_is_answered_refused_or_told_why_not(answered):
    cards = answered.get_by_role("article")
    assert [card.get_by_role("heading").first.inner_text() for card in cards.all()] == [
        "known.png",
        "unknown.png",
        "notes.txt",
    ]
    assert cards.nth(0).locator(".probabilities").count() == 3
    assert "No answer." in cards.nth(1).inner_text()
    assert "Expected a PNG" in cards.nth(2).inner_text()
    answered.screenshot(path=screenshot_path("page-answers"), full_page=True)


def test_the_overlay_follows_its_slider(answered):
    answered.get_by_role("button", name="Show on the image").first.click()
    layer = answered.locator(".layer").first
    layer.wait_for()
    slider = answered.get_by_label("Strength of the overlay").first
    slider.focus()
    answered.keyboard.press("ArrowRight")
    assert float(layer.evaluate("image => image.style.opacity")) == pytest.approx(0.7, abs=1e-9)
    answered.keyboard.press("Home")
    assert layer.evaluate("image => image.style.opacity") == "0"
    assert answered.locator(".picture.grey").count() == 0
    answered.keyboard.press("End")
    assert layer.evaluate("image => image.naturalWidth") > 0
    assert answered.requests[-1].url.endswith(
        "/page/saliency"
    )  # a proxy logs what is in an address
    answered.screenshot(path=screenshot_path("page-overlay"))


def test_nothing_is_fetched_from_elsewhere_and_nothing_breaks_the_policy(answered, address):
    own = address.removesuffix("page")
    assert [a.url for a in answered.requests if not a.url.startswith((own, "data:"))] == []
    assert [words for words in answered.messages if "422" not in words] == []


def test_a_files_name_never_leaves_the_browser(page, address, images):
    page.add_init_script(
        """window.sent = [];
        const real = window.fetch;
        window.fetch = (url, how) => {
          window.sent.push(...[...how.body.values()].map((value) => value.name ?? value));
          return real(url, how);
        };"""
    )
    page.goto(f"{address}/")
    choose(page, images / "known.png", images / "notes.txt")
    assert page.evaluate("window.sent") == ["image", "image"]


def test_answers_are_saved_as_json(answered, tmp_path):
    with answered.expect_download() as waiting:
        answered.get_by_role("button", name="Save as JSON").click()
    waiting.value.save_as(tmp_path / "answers.json")
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert [one["file"] for one in answers] == ["known.png", "unknown.png", "notes.txt"]
    assert answers[0]["predictions"][0]["answers"]
    assert "expected a PNG" in answers[2]["problems"][0]


def greys(page):
    """The picture as it is seen, without the pixels at its edge."""
    with Pillow.open(BytesIO(page.locator(".stack").first.screenshot())) as shot:
        return np.asarray(shot.convert("L"))[8:-8, 8:-8].astype(float)


def test_an_image_is_zoomed_moved_and_reset_by_keyboard(answered):
    stack = answered.locator(".stack").first
    stack.focus()
    for _ in range(4):
        answered.keyboard.press("+")
    zoom = float(answered.locator(".zoom").first.input_value())
    assert zoom > 200
    answered.keyboard.press("ArrowRight")
    assert "translate(-10%, 0%)" in stack.locator(".moved").get_attribute("style")
    for _ in range(40):
        answered.keyboard.press("ArrowRight")
    edge = stack.locator(".picture").bounding_box()
    box = stack.bounding_box()
    assert edge["x"] + edge["width"] == pytest.approx(box["x"] + box["width"], abs=1)
    assert f"shown at {zoom:g} %" in answered.locator("figcaption").first.inner_text()
    answered.get_by_role("button", name="Reset view").first.click()
    assert "scale(1)" in stack.locator(".moved").get_attribute("style")
    assert "shown at" not in answered.locator("figcaption").first.inner_text()


def test_a_zoomed_image_is_dragged_and_the_overlay_goes_with_it(answered):
    answered.get_by_role("button", name="Show on the image").first.click()
    answered.locator(".layer").first.wait_for()
    stack = answered.locator(".stack").first
    answered.locator(".zoom").first.fill("200")
    box = stack.bounding_box()
    answered.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    answered.mouse.down()
    answered.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    answered.mouse.up()
    places = [stack.locator(one).bounding_box() for one in (".picture", ".layer")]
    assert places[0] == places[1]
    assert places[0]["x"] == pytest.approx(box["x"] - 0.25 * box["width"], abs=2)


def test_a_window_is_the_line_that_it_states(answered):
    before = greys(answered)
    answered.locator(".level").first.fill("90")
    answered.locator(".width").first.fill("40")
    expected = np.clip(255 * (0.5 + (256 / 40) * (before / 255 - 90 / 256)), 0, 255)
    assert np.abs(greys(answered) - expected).max() < 8  # a grey level is 6.4 of them
    assert np.ptp(expected) > 200
    words = "shown with window level 90, width 40 of 256 greys"
    assert words in answered.locator("figcaption").first.inner_text()
    answered.get_by_role("button", name="Reset view").first.click()
    assert np.array_equal(greys(answered), before)


def test_a_drag_with_shift_changes_the_window(answered):
    stack = answered.locator(".stack").first
    stack.scroll_into_view_if_needed()
    box = stack.bounding_box()
    answered.keyboard.down("Shift")
    answered.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    answered.mouse.down()
    answered.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.625)
    answered.mouse.up()
    answered.keyboard.up("Shift")
    assert int(answered.locator(".width").first.input_value()) == pytest.approx(192, abs=2)
    assert int(answered.locator(".level").first.input_value()) == pytest.approx(160, abs=2)


def test_a_zoomed_image_is_moved_by_touch(browser, address, images):
    opened = browser.new_page(has_touch=True, viewport={"width": 400, "height": 800})
    opened.goto(f"{address}/")
    choose(opened, images / "known.png")
    opened.locator(".zoom").first.fill("200")
    stack = opened.locator(".stack")
    stack.scroll_into_view_if_needed()
    box = stack.bounding_box()
    touch = opened.context.new_cdp_session(opened)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 40, "y": y}]),
        ("touchMove", [{"x": x + 80, "y": y}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    moved = stack.locator(".picture").bounding_box()["x"]
    assert moved > box["x"] - box["width"] / 2 + 30
    opened.close()


def test_printing_opens_what_is_folded_and_leaves_the_controls_out(answered, tmp_path):
    answered.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert answered.locator("details:not([open])").count() == 0
    answered.emulate_media(media="print")
    assert not answered.get_by_role("button").first.is_visible()
    assert "No answer." in answered.inner_text("main")
    assert answered.inner_text("main").count(f"UTC by medlego {__version__}, generalist") == 2
    assert not answered.locator(".view").first.is_visible()
    answered.screenshot(path=screenshot_path("page-print"), full_page=True)
    answered.pdf(path=tmp_path / "answers.pdf", prefer_css_page_size=True)
    assert (tmp_path / "answers.pdf").read_bytes().startswith(b"%PDF")


def test_removing_an_image_moves_the_focus_to_the_next(answered):
    answered.get_by_role("button", name="Remove known.png").click()
    assert answered.get_by_role("article").count() == 2
    label = "document.activeElement.getAttribute('aria-label')"
    assert answered.evaluate(label) == "Remove unknown.png"


def test_clearing_forgets_all_images(answered):
    answered.get_by_role("button", name="Clear all").click()
    assert answered.get_by_role("article").count() == 0
    assert not answered.locator("#results").is_visible()


def test_clearing_forgets_images_that_wait_or_are_asked_about_too(page, address, images):
    page.goto(f"{address}/")
    choose(page, images / "known.png")
    routes = []
    page.route("**/page/answers*", lambda asked: routes.append(asked))
    page.set_input_files("#files", [images / "unknown.png", images / "known.png"])
    while not routes:
        page.wait_for_timeout(10)  # lets events in
    page.get_by_role("button", name="Clear all").click()
    routes[0].continue_()
    page.locator("#work").wait_for(state="hidden")
    assert len(routes) == 1
    assert page.get_by_role("article").count() == 0


def test_images_outlast_a_session_and_are_gone_on_with_after_the_next_sign_in(page, place, images):
    with on_a_socket(here(place, place.generalist("outlasts")), TOKEN) as (port, _):
        page.goto(f"http://127.0.0.1:{port}/page/")
        page.fill("#token", TOKEN)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        choose(page, images / "known.png")
        page.context.clear_cookies()
        page.set_input_files("#files", images / "unknown.png")
        with page.context.expect_page() as waiting:
            page.get_by_role("link", name="Sign in again").click()
        waiting.value.fill("#token", TOKEN)
        waiting.value.keyboard.press("Enter")
        waiting.value.wait_for_selector("#choose")
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        page.get_by_role("heading", name="unknown.png").wait_for()
        assert page.get_by_role("article").count() == 2
        assert not page.locator("#signed-out").is_visible()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()


def test_a_folder_of_dicom_is_answered_file_by_file(page, address, images):
    page.goto(f"{address}/")
    page.set_input_files("#folder", images / "study")
    page.get_by_role("status").get_by_text("Done: 2 images").wait_for(state="attached")
    assert page.locator(".card.failed").count() == 0


def test_whose_image_it_is_shows_on_the_page_and_is_neither_printed_nor_saved(
    page, address, images, tmp_path
):
    page.goto(f"{address}/")
    choose(page, images / "study" / "slice-0", images / "known.png")
    people = page.locator(".identity")
    assert "DOE, JOHN" in people.first.inner_text()
    assert people.nth(1).inner_text() == "The file states no patient and no study."
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as JSON").click()
    waiting.value.save_as(tmp_path / "answers.json")
    assert "DOE" not in (tmp_path / "answers.json").read_text()
    page.emulate_media(media="print")
    assert "DOE" not in page.inner_text("main")
    assert page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage)]") == [[], []]


@pytest.mark.parametrize("width", [400, 1366])
def test_hostile_headers_break_no_page(page, address, tmp_path, width):
    evil: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "<script>document.title`gone`</script>" + "W" * 27,
        "PatientID": "\u202e" + "M" * 63,
        "StudyDescription": "</dd></dl><script>document.title`gone`</script>" + "ש" * 16,
    }
    (tmp_path / "evil").write_bytes(as_bytes(dataset(picture(0), **evil)))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{address}/")
    choose(page, tmp_path / "evil")
    assert page.title() == "Images – medlego"
    assert [words for words in page.messages if "content security" in words.lower()] == []
    assert page.locator(".identity").inner_text().count("<") == 6
    assert fits(page)
    page.screenshot(path=screenshot_path(f"page-hostile-{width}"), full_page=True)
    assert violations(page) == []


def test_an_image_is_dropped(page, address, images):
    page.goto(f"{address}/")
    content = list((images / "known.png").read_bytes())
    transfer = page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          return transfer;
        }""",
        content,
    )
    page.dispatch_event("#choose", "drop", {"dataTransfer": transfer})
    page.get_by_role("heading", name="dropped.png").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_answers(answered, scheme):
    answered.emulate_media(color_scheme=scheme)
    answered.get_by_role("button", name="Show on the image").first.click()
    answered.locator(".layer").first.wait_for()
    for summary in answered.locator("summary").all():
        summary.click()
    answered.screenshot(path=screenshot_path(f"page-answers-{scheme}"), full_page=True)
    assert violations(answered) == []


def test_axe_would_find_a_control_without_a_name(page, address):
    page.goto(f"{address}/")
    page.evaluate("document.querySelector('label[for=task]').remove()")
    assert [name for name, _ in violations(page)] == ["select-name"]


@pytest.mark.parametrize("path", ["/", "/compare", "/bricks"])
@pytest.mark.parametrize("width", [400, 640], ids=["narrow", "laptop at 200 %"])
def test_a_page_is_no_wider_than_its_window(page, address, images, path, width):
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"{address}{path}")
    if path == "/":
        choose(page, images / "known.png", images / "unknown.png")
        page.get_by_role("button", name="Show on the image").first.click()
        page.locator(".layer").first.wait_for()
    page.screenshot(path=screenshot_path(f"page{path.replace('/', '-')}-{width}"), full_page=True)
    assert fits(page)


def test_nothing_moves_where_that_is_not_wanted(browser, address):
    opened = browser.new_page(reduced_motion="reduce")
    opened.goto(f"{address}/")
    moving = "[...document.querySelectorAll('*')].map(e => getComputedStyle(e).transitionDuration)"
    assert set(opened.evaluate(moving)) == {"0s"}
    opened.close()


def test_by_keyboard_alone_an_image_is_chosen_and_explained(page, address, images):
    page.on("filechooser", lambda _: None)  # asked for only when due, Chromium at times misses it
    page.goto(f"{address}/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    press_until(page, "#files")
    with page.expect_file_chooser() as waiting:
        page.keyboard.press("Enter")
    waiting.value.set_files(images / "known.png")
    page.get_by_role("heading", name="known.png").wait_for()
    press_until(page, ".explain button")
    page.keyboard.press("Enter")
    page.locator(".layer").first.wait_for()
    press_until(page, "input[type=range]", "Shift+Tab")
    press_until(page, "summary")
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1


def test_one_signs_in_with_the_token_and_out_again(browser, place):
    with on_a_socket(here(place, place.generalist("locked")), TOKEN) as (port, _):
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{port}/")
        opened.get_by_label("Access token").fill("a guess")
        opened.keyboard.press("Enter")
        opened.get_by_role("alert").wait_for()
        assert violations(opened) == []
        opened.screenshot(path=screenshot_path("page-sign-in"))
        opened.get_by_label("Access token").fill(TOKEN)
        opened.keyboard.press("Enter")
        opened.get_by_role("heading", name="Answer images").wait_for()
        opened.get_by_role("button", name="Sign out").click()
        opened.get_by_role("heading", name="Sign in").wait_for()
        opened.close()


def test_one_signs_out_before_any_script_has_arrived(page, place):
    with on_a_socket(here(place, place.generalist("scriptless")), TOKEN) as (port, _):
        page.route("**/*.js", lambda asked: asked.abort())
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Access token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()


def test_a_brick_is_removed_seen_by_the_gate_compared_and_taken_back(page, editable, images):
    address, directory = editable
    page.goto(f"{address}/bricks")
    assert violations(page) == []
    page.get_by_role("button", name="Preview removal of found").click()
    page.locator("#proposal").get_by_text("The gate is passed.").wait_for()
    assert violations(page) == []
    page.screenshot(path=screenshot_path("page-gate"), full_page=True)
    page.get_by_role("button", name="Apply", exact=True).click()
    page.locator("#proposal").get_by_text("Applied.").wait_for()
    assert [t.name for t in Generalist.load(directory).tasks] == ["greys"]

    page.goto(f"{address}/compare")
    page.set_input_files("#files", images / "known.png")
    page.get_by_role("region", name="Difference by label").wait_for()
    assert violations(page) == []
    page.screenshot(path=screenshot_path("page-compare"), full_page=True)

    page.goto(f"{address}/bricks")
    page.get_by_role("button", name="Preview undo of the last edit").click()
    page.get_by_role("button", name="Apply", exact=True).click()
    page.get_by_role("heading", name="found", exact=True).wait_for()
    assert [t.name for t in Generalist.load(directory).tasks] == ["greys", "found"]


def test_a_brick_is_added_from_its_file(page, editable, place, tmp_path):
    address, directory = editable
    save_brick(place.bricks[2], tmp_path / "signs.brick.safetensors")
    page.goto(f"{address}/bricks")
    page.get_by_label("Brick file").set_input_files(tmp_path / "signs.brick.safetensors")
    page.get_by_label("Your name").fill("A. Radiologist")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.get_by_role("button", name="Apply", exact=True).click()
    page.get_by_role("heading", name="signs", exact=True).wait_for()
    assert Generalist.load(directory).lineage[-1].by == "A. Radiologist"
    assert "A. Radiologist" in page.get_by_role("region", name="Lineage").inner_text()


def test_the_screenshots_are_pictures_of_something(answered):
    path = screenshot_path("page-answers")
    answered.screenshot(path=path, full_page=True)
    with Pillow.open(path) as shot:
        assert np.unique(np.asarray(shot.convert("L"))).size > 50
