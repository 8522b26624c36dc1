"""The page in a real browser: chromium, driven by Playwright; `make test-web` installs both."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.web import dials

pytestmark = [pytest.mark.browser, pytest.mark.slow]

sync_api = pytest.importorskip("playwright.sync_api", reason="make test-web installs Playwright")

CHROMIUM = os.environ.get("STYLECORE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = os.environ.get("STYLECORE_AXE")
"""The file axe.min.js."""

PATIENCE = 180_000  # ms
GIVEN = {"size": "96", "network": "small", "iterations": "30", "pyramid": "1"}
ENDLESS = {**GIVEN, "iterations": "100000"}


class Serving:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = None

    def start(self):
        port = [] if self.port is None else ["--port", str(self.port)]
        command = [sys.executable, "-m", "stylecore", "serve", "--no-browser", "--folder", str(self.folder), *port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().strip()
        self.port = int(re.search(r":(\d+)/", self.address)[1])

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    serving = Serving(tmp_path_factory.mktemp("served"))
    serving.start()
    yield serving
    serving.end()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium; make test-web installs it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium, serving):
    """A browser that fails the test if the page asks for an outside address, or breaks its policy."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    problems = []

    def refuse(route):
        if not route.request.url.startswith((f"http://127.0.0.1:{serving.port}/", "blob:")):
            problems.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    context.route("**/*", refuse)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
    yield context
    context.close()
    assert problems == []


@pytest.fixture
def page(context, serving):
    page = context.new_page()
    page.goto(serving.address)
    page.get_by_role("heading", name="Paint a photograph").wait_for()
    assert "token" not in page.url
    return page


def drop(page, selector, path, name):
    """Drop a file onto an element."""
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"}));
            return transfer;
        }""",
        [list(Path(path).read_bytes()), name],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(selector, event, {"dataTransfer": transfer})


def drop_both(page):
    drop(page, "#main", PHOTOGRAPH, "town.jpg")
    page.locator("#content").get_by_text("town.jpg").wait_for()
    drop(page, "#styles .drop", PAINTING, "bay.jpg")
    page.locator("#styles").get_by_text("bay.jpg").wait_for()


def set_dials(page, given):
    page.locator("#more").evaluate("more => more.open = true")
    for name, words in given.items():
        field = page.locator(f"#dial-{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(words)
        else:
            field.fill(words)
            field.press("Tab")


def start(page, given=GIVEN):
    set_dials(page, given)
    page.locator("#prediction", has_text="of memory").wait_for()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.locator(".after[src]").wait_for()


def step(page):
    found = re.search(r"tep (\d+)", page.locator(".status").inner_text())
    return int(found[1]) if found else 0


def wait_for_status(page, words):
    page.locator(".status", has_text=words).wait_for()


def wait_for_step(page, least):
    end = time.monotonic() + PATIENCE / 1000
    while step(page) < least:
        assert time.monotonic() < end
        page.wait_for_timeout(50)


def download(page, name):
    with page.expect_download() as waiting:
        page.locator(".job").get_by_role("link", name=name, exact=True).click()
    return Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes()))


def test_a_newcomer_paints_and_downloads_a_picture(page):
    drop_both(page)
    seen, given = set(), {**GIVEN, "iterations": "120"}
    start(page, given)
    while page.locator(".status", has_text="Done:").count() == 0:
        seen.add(page.locator(".after").get_attribute("src"))
        page.wait_for_timeout(20)
    page.locator(".after[src$=png]").wait_for()
    assert len(seen) >= 2  # With the finished picture, three.
    assert page.locator(".plot .curve.loss").count() == 1
    made = download(page, "Download as PNG")
    expected = stylecore.transfer(PHOTOGRAPH, PAINTING, **dials.settings({**given, "optimizer": "lbfgs"}))
    np.testing.assert_array_equal(np.asarray(made), np.asarray(expected.image))
    assert download(page, "Download as 16-bit TIFF").format == "TIFF"
    assert download(page, "Download as JPEG").format == "JPEG"
    page.get_by_role("button", name="Copy the command").click()
    assert "stylecore transfer town.jpg bay.jpg" in page.locator("dialog pre").first.inner_text()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="History").click()
    page.get_by_role("button", name="Show the picture of town.jpg").wait_for()
    page.get_by_role("button", name="Again").click()
    assert page.locator("#dial-size").input_value() == "96"


def test_dials_are_changed_and_the_picture_stopped(page):
    drop_both(page)
    start(page, ENDLESS)
    wait_for_step(page, 2)
    assert page.get_by_role("button", name="Change this picture").is_hidden()
    set_dials(page, {"style_weight": "100"})
    page.get_by_role("button", name="Change this picture").click()
    page.locator(".plot").get_by_text("changed").wait_for()
    page.get_by_role("button", name="Pause").click()
    wait_for_status(page, "Paused")
    paused = step(page)
    page.get_by_role("button", name="Go on").click()
    wait_for_step(page, paused + 2)
    page.get_by_role("button", name="Stop and keep").click()
    wait_for_status(page, "Stopped and kept")
    assert download(page, "Download as PNG").size == (96, 72)
    page.get_by_role("button", name="Copy the command").click()
    command = page.locator("dialog pre").first.inner_text()
    assert "--style-weight=100" in command and "--init start.png" in command


def test_a_region_is_painted_and_undone(page, tmp_path):
    drop_both(page)
    box = page.locator(".sheet canvas").bounding_box()

    def stroke(top):
        page.mouse.move(box["x"] + 5, box["y"] + top)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 5, box["y"] + top, steps=4)
        page.mouse.up()

    stroke(0.2 * box["height"])
    page.get_by_label("Region 1 takes").wait_for()
    stroke(0.9 * box["height"])
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_label("Everywhere else takes").input_value() == "keep"
    start(page)
    wait_for_status(page, "Done:")
    made = np.asarray(download(page, "Download as PNG")) / 255
    expected = stylecore.transfer(PHOTOGRAPH, PAINTING, **dials.settings({**GIVEN, "optimizer": "lbfgs"})).array
    photograph = np.asarray(Image.open(PHOTOGRAPH).resize((96, 72), Image.Resampling.LANCZOS)) / 255
    top, bottom = slice(8, 20), slice(50, 72)
    change = np.abs(made - photograph)
    assert change[top].mean() > 3 * change[bottom].mean()
    assert np.abs(expected - photograph)[bottom].mean() > 3 * change[bottom].mean()


def test_two_tabs_and_a_reload_see_the_same_picture(page, context, serving):
    drop_both(page)
    start(page, ENDLESS)
    other = context.new_page()
    other.goto(f"http://127.0.0.1:{serving.port}/")
    other.locator(".after[src]").wait_for()
    wait_for_step(page, 3)
    page.reload()
    page.locator(".after[src]").wait_for()
    assert page.locator("#content").get_by_text("town.jpg").is_visible()
    wait_for_step(page, 5)
    other.get_by_role("button", name="Stop and keep").click()
    wait_for_status(page, "Stopped and kept")


def test_the_server_is_killed_and_started_again(page, serving):
    drop_both(page)
    start(page, ENDLESS)
    wait_for_step(page, 4)
    page.wait_for_timeout(500)
    serving.end(signal.SIGKILL)
    page.locator("#trouble", has_text="The server does not answer").wait_for()
    serving.start()
    page.locator("#trouble").wait_for(state="hidden")
    before = step(page)
    wait_for_step(page, before + 2)
    page.get_by_role("button", name="Stop and keep").click()
    wait_for_status(page, "Stopped and kept")


def test_files_that_are_no_pictures(page, tmp_path):
    (tmp_path / "x.png").write_text("not a picture")
    drop(page, "#main", tmp_path / "x.png", "<b>x</b>.png")
    page.locator("#trouble", has_text="not a picture").wait_for()
    assert page.locator("#trouble b").count() == 0


def test_the_page_is_used_by_keyboard(page):
    page.get_by_role("main").get_by_role("button", name="Try it with the sample pictures").focus()
    page.keyboard.press("Enter")
    canvas = page.get_by_role("application")
    page.locator("#styles").get_by_text("painting.jpg").wait_for()
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "+", " "):
        page.keyboard.press(key)
    page.get_by_label("Region 1 takes").wait_for()
    page.keyboard.press("Control+z")
    page.get_by_label("Region 1 takes").wait_for(state="detached")
    page.get_by_role("radio", name="bold").focus()
    page.keyboard.press("Space")
    assert page.locator("#dial-style_weight").input_value() == "100"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_axe_finds_no_serious_fault(chromium, serving, scheme, width):
    if AXE is None:
        pytest.skip("make test-web installs axe-core")
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(serving.address)
    page.add_script_tag(path=AXE)

    def check():
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ]
        assert serious == []

    page.get_by_role("heading", name="Paint a photograph").wait_for()
    check()
    page.get_by_role("main").get_by_role("button", name="Try it with the sample pictures").click()
    page.locator("#styles").get_by_text("painting.jpg").wait_for()
    check()
    start(page)
    wait_for_status(page, "Done:")
    check()
    page.get_by_role("link", name="History").click()
    page.get_by_role("button", name="Show the picture of photograph.jpg").wait_for()
    check()
    context.close()
