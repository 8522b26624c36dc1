"""The page in a real browser: chromium, driven by Playwright; `make test-web` installs both."""

import io
import os
import re
import shutil
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pages import Serving
from PIL import Image, ImageDraw

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


def choose(page, place, *paths):
    """Choose files as with the file dialog."""
    page.locator(f"{place} input[type=file]").last.set_input_files(list(map(str, paths)))


def named(folder, name, path=PHOTOGRAPH):
    """A copy of a picture under another name."""
    return shutil.copyfile(path, folder / name)


def test_pictures_are_chosen_and_pasted(page, tmp_path):
    choose(page, "#content", named(tmp_path, "town.jpg"))
    page.locator("#content").get_by_text("town.jpg").wait_for()
    page.evaluate(
        """bytes => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", {type: "image/jpeg"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData}));
        }""",
        list(PAINTING.read_bytes()),
    )
    page.locator("#styles").get_by_text("pasted.jpg").wait_for()
    page.get_by_role("button", name="Paint", exact=True).wait_for()


def test_the_picture_is_shown_pixel_by_pixel(page):
    drop_both(page)
    start(page, {**GIVEN, "size": "1600", "iterations": "1"})
    wait_for_status(page, "Done:")
    sheet, zoom = page.locator(".sheet"), page.get_by_role("button", name="1 : 1")
    assert sheet.bounding_box()["width"] < 1600
    zoom.click()
    assert zoom.get_attribute("aria-pressed") == "true"
    ratio = page.evaluate("devicePixelRatio")
    assert sheet.bounding_box()["width"] * ratio == pytest.approx(1600, abs=1)
    frame = page.locator(".frame")
    assert frame.evaluate("frame => [frame.scrollLeft, frame.scrollWidth]") == [0, round(1600 / ratio)]
    _drag(page, frame, -80)
    assert frame.evaluate("frame => frame.scrollLeft") == pytest.approx(80, abs=2)
    zoom.click()
    _drag(page, frame, 40)
    box, left = sheet.bounding_box(), frame.bounding_box()["x"]
    slider = page.get_by_label("Compare with the photograph")
    assert int(slider.input_value()) == pytest.approx(100 * (left + 240 - box["x"]) / box["width"], abs=2)


def _drag(page, element, distance):
    """Drag from a point 200 pixels from the left edge."""
    element.evaluate("element => element.scrollIntoView({block: 'center'})")
    box = element.bounding_box()
    x, y = box["x"] + 200, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + distance, y)
    page.mouse.up()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    av = pytest.importorskip("av", reason="films need PyAV")
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    frame = np.asarray(Image.open(PHOTOGRAPH).resize((160, 120)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for i in range(6):
            moved = np.ascontiguousarray(frame[20:92, 10 + 2 * i : 106 + 2 * i])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode(None))
    return path


FILM = {"size": "96", "network": "small", "iterations": "4", "pyramid": "1", "frame_iterations": "2"}


def test_a_film(page, film, serving):
    page.get_by_role("link", name="Film").click()
    choose(page, "#content", film)
    page.locator("#content").get_by_text("clip.mp4").wait_for()
    choose(page, "#styles", PAINTING)
    set_dials(page, FILM)
    page.locator("#prediction", has_text="6 frames of 96 × 72").wait_for()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.locator(".status", has_text="Frame").wait_for()
    serving.end(signal.SIGKILL)  # It goes on after the last frame.
    page.locator("#trouble", has_text="The server does not answer").wait_for()
    serving.start()
    wait_for_status(page, "Done: 96 × 72 pixels, 6 frames")
    video = page.locator("video")
    video.wait_for()
    page.wait_for_function("document.querySelector('video').videoWidth === 96")
    with page.expect_download() as waiting:
        page.locator(".job").get_by_role("link", name="Download as MP4").click()
    made = Path(waiting.value.path())
    expected = made.with_name("expected.mp4")
    stylecore.transfer_video(film, PAINTING, expected, **dials.settings(FILM, kind="film"))
    assert _frames(made) == _frames(expected)
    page.get_by_role("button", name="Copy the command").click()
    assert "stylecore video clip.mp4 painting.jpg -o out.mp4" in page.locator("dialog pre").first.inner_text()


def _frames(path):
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def test_a_sketch(page, tmp_path):
    pytest.importorskip("skimage", reason="sketches need scikit-image")
    drawing = Image.new("L", (96, 96), 255)
    ImageDraw.Draw(drawing).ellipse((20, 30, 76, 70), outline=0, width=3)
    drawing.save(tmp_path / "drawing.png")
    page.get_by_role("link", name="Sketch").click()
    choose(page, "#content", tmp_path / "drawing.png")
    page.locator("#content").get_by_text("drawing.png").wait_for()
    for name, path in (("town.jpg", PHOTOGRAPH), ("bay.jpg", PAINTING)):
        choose(page, "#styles", named(tmp_path, name, path))
        page.locator("#styles").get_by_text(name).wait_for()
    set_dials(page, {"size": "96", "iterations": "4"})
    page.locator("#prediction", has_text="96 × 96 pixels").wait_for()
    page.get_by_role("button", name="Colour", exact=True).click()
    wait_for_status(page, "Done: 96 × 96 pixels, 4 steps")
    made = np.asarray(download(page, "Download as PNG"))
    assert made[30, 48].mean() < 100 < made[5, 5].mean()
    assert download(page, "Download as Stages").size[0] > 96
    page.get_by_role("button", name="Copy the command").click()
    assert "--photos photographs" in page.locator("dialog pre").first.inner_text()


def test_a_folder(page, tmp_path):
    page.get_by_role("link", name="Folder").click()
    choose(page, "#content", *(named(tmp_path, name) for name in ("a.jpg", "b.jpg", "c.jpg")))
    page.locator("#content").get_by_text("c.jpg").wait_for()
    choose(page, "#styles", PAINTING)
    set_dials(page, {**GIVEN, "iterations": "3"})
    page.locator("#prediction", has_text="3 pictures").wait_for()
    page.get_by_role("button", name="Paint all").click()
    page.get_by_role("heading", name="3 of 3 photographs are painted").wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download all as a ZIP file").click()
    expected = stylecore.transfer(
        PHOTOGRAPH, PAINTING, **dials.settings({**GIVEN, "iterations": "3", "optimizer": "lbfgs"})
    )
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == ["a.png", "b.png", "c.png"]
        for name in archive.namelist():
            made = Image.open(io.BytesIO(archive.read(name)))
            np.testing.assert_array_equal(np.asarray(made), np.asarray(expected.image))


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
    for name in ("Film", "Sketch", "Folder"):
        page.get_by_role("link", name=name).click()
        page.locator(".welcome").wait_for()
        check()
    context.close()
