import errno
import io
import itertools
import json
import struct
import zlib

import numpy as np
import pytest
import tifffile
from pages import QUICK, client_of, opened
from PIL import Image

import stylecore
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.web import app as app_module
from stylecore.web import dials

pytestmark = pytest.mark.slow


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width=80, height=60, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(levels)


@pytest.fixture(scope="module")
def finished(server):
    """A page with a finished job."""
    server.cookies.clear()
    page = opened(server)
    page.pictures = page.samples()
    page.id = page.paint(page.pictures[0], page.pictures[1:]).json()["id"]
    page.wait(page.id)
    page.cookie = server.cookies.get("stylecore")
    return page


@pytest.fixture
def done(finished):
    finished.client.cookies.clear()
    finished.client.cookies.set("stylecore", finished.cookie)
    return finished


# The picture


def test_the_picture_is_that_of_transfer(done, tmp_path):
    expected = stylecore.transfer(PHOTOGRAPH, PAINTING, **dials.settings({**QUICK, "optimizer": "lbfgs"}))
    for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF")):
        response = done.get(f"/jobs/{done.id}/{suffix}")
        assert response.headers["content-disposition"].startswith("attachment")
        expected.save(tmp_path / f"expected.{suffix}")
        made, there = io.BytesIO(response.content), tmp_path / f"expected.{suffix}"
        if kind == "TIFF":
            np.testing.assert_array_equal(tifffile.imread(made), tifffile.imread(there))
        else:
            np.testing.assert_array_equal(np.asarray(Image.open(made)), np.asarray(Image.open(there)))


def test_its_metadata_names_the_files(done):
    settings = read_settings(io.BytesIO(done.get(f"/jobs/{done.id}/png").content))
    assert (settings["content"], settings["style"]) == ("photograph.jpg", ["painting.jpg"])
    assert settings["size"] == 64 and settings["optimizer"] == "lbfgs"


def test_the_job_has_losses_and_commands(done):
    job = done.get(f"/api/jobs/{done.id}").json()
    assert [row[1] for row in job["losses"]] == [1, 2, 3, 4, 5, 6]
    assert all(row[4] == pytest.approx(sum(row[5:]), rel=1e-4) for row in job["losses"])
    assert job["commands"]["shell"].startswith("stylecore transfer photograph.jpg painting.jpg -o out.png --size=64")
    for address in job["commands"]["files"].values():
        assert done.get(f"/{address}").status_code == 200


@pytest.mark.parametrize("which", ["now", "before", "small"])
def test_pictures_that_the_page_shows(done, which):
    image = Image.open(io.BytesIO(done.get(f"/jobs/{done.id}/{which}").content))
    assert image.format == "JPEG" and image.size == (64, 48)


def test_larger_continues_the_picture(done):
    id = done.post(f"/api/jobs/{done.id}/larger").json()["id"]
    job = done.wait(id)
    assert job["size"] == [128, 96] and job["step"] == job["steps"] == 60
    start, content = (
        io.BytesIO(done.get(address).content) for address in (f"/jobs/{id}/start", f"/jobs/{done.id}/png")
    )
    np.testing.assert_array_equal(np.asarray(Image.open(start)), np.asarray(Image.open(content)))
    assert "--init start.png" in job["commands"]["shell"] and "--pyramid 1" in job["commands"]["shell"]


def test_regions_and_shares(page, tmp_path):
    content, style = page.samples()
    other = page.upload(encoded(noise(96, 96)), "other.png").json()["id"]
    mask = np.zeros((58, 77, 3), np.uint8)
    mask[:, :30] = 255
    mask = page.upload(encoded(Image.fromarray(mask)), "region.png", **{"mask-of": content}).json()
    assert (mask["kind"], mask["width"], mask["height"]) == ("mask", 768, 576)
    regions = [{"mask": mask["id"], "styles": [1]}, {"mask": "rest", "styles": [0, 1]}]
    job = page.paint(content, [style, other], regions=regions, shares=[30, 10]).json()
    page.wait(job["id"])
    files = {}
    commands = page.get(f"/api/jobs/{job['id']}").json()["commands"]
    for name, address in commands["files"].items():
        files[name] = tmp_path / name
        files[name].write_bytes(page.get(f"/{address}").content)
    assert "--region region-1.png none all --region rest all all" in commands["shell"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(commands["python"], {})
    made = page.get(f"/jobs/{job['id']}/png").content
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(made))), np.asarray(Image.open(tmp_path / "out.png"))
    )


# Uploads


def test_an_upload_keeps_its_pixels(page):
    image = noise()
    picture = page.upload(encoded(image), "noise.png").json()
    assert (picture["name"], picture["width"], picture["height"]) == ("noise.png", 80, 60)
    stored = page.get(f"/pictures/{picture['id']}/file").content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), np.asarray(image))
    for which in ("view", "small"):
        assert page.get(f"/pictures/{picture['id']}/{which}").headers["content-type"] == "image/jpeg"


def test_an_upload_of_16_bits_keeps_them(page):
    levels = np.random.default_rng(0).integers(0, 2**16, (20, 30, 3), np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, levels, photometric="rgb")
    picture = page.upload(stream.getvalue(), "deep.tif").json()
    stored = io.BytesIO(page.get(f"/pictures/{picture['id']}/file").content)
    np.testing.assert_array_equal(read_image(stored)[0], levels / np.float32(65535))


def test_the_metadata_of_an_upload_is_not_kept(page):
    exif = Image.Exif()
    exif[270] = "a secret place"
    picture = page.upload(encoded(noise(), "JPEG", exif=exif, comment=b"a secret place"), "photo.jpg").json()
    for which in ("file", "view", "small"):
        assert b"secret" not in page.get(f"/pictures/{picture['id']}/{which}").content


def test_of_an_animation_the_first_frame_is_used(page):
    picture = page.upload(encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=1)]), "moving.gif").json()
    assert "first" in picture["note"] and "moving.gif" in picture["note"]


def bomb(width, height):
    """A PNG that claims to be of that size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a picture", "not a picture"),
        (b"", "is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.png"),
        (encoded(noise())[:500], "x.png"),
        (bomb(60000, 60000), "over a gigapixel"),
        (bomb(9000, 9000), "at most 50 megapixels"),
        (encoded(Image.new("L", (1, 1))), "1 x 1"),
    ],
)
def test_uploads_that_are_refused(page, content, words):
    response = page.upload(content, "x.png")
    assert response.status_code == 422
    error = response.json()["error"]
    assert words in error and "/" not in error.replace("w3.org/2000/svg", "")
    assert page.get("/api/start").json()["pictures"] == {}


def test_an_upload_that_is_too_long_leaves_no_file(page, monkeypatch):
    monkeypatch.setitem(app_module._LARGEST, "picture", 2**20)
    session = next(iter(reversed(page.studio.store.sessions.values())))
    response = page.upload(itertools.repeat(bytes(2**16), 64), "x.png")
    assert response.status_code == 413 and "1 MB" in response.json()["error"]
    assert list((session.folder / "pictures").iterdir()) == []


def test_a_name_is_only_a_name(page):
    picture = page.upload(encoded(noise()), "..%2F..%2F%3Cb%3Eevil%3C/b%3E.png").json()
    assert picture["name"] == "b.png" or "/" not in picture["name"]
    assert "<" not in picture["name"]


def test_pictures_that_a_job_uses_are_kept(done):
    content = done.pictures[0]
    assert done.post(f"/api/pictures/{content}/remove").status_code == 200
    assert done.get("/api/start").json()["pictures"][content]["shown"] is False
    assert done.get(f"/pictures/{content}/file").status_code == 200


# Requests that are refused


def test_other_sessions_see_nothing(done):
    paths = [f"/jobs/{done.id}/png", f"/api/jobs/{done.id}", f"/pictures/{done.pictures[0]}/file"]
    assert [done.get(path).status_code for path in paths] == [200, 200, 200]
    done.client.cookies.clear()
    other = opened(done.client)
    assert [other.get(path).status_code for path in paths] == [404, 404, 404]
    assert other.post(f"/api/jobs/{done.id}/remove").status_code == 404
    assert other.get("/api/start").json()["jobs"] == {}
    assert other.paint(done.pictures[0], done.pictures[1:]).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e%2fapp.py",
        "/page/__init__.py",
        "/jobs/../../../etc/passwd",
        "/jobs/%2e%2e/png",
        "/pictures/..%2f..%2frates.json/file",
        "/rates.json",
        "//etc/passwd",
        "/api/jobs/x/remove/y",
    ],
)
def test_paths_lead_nowhere(page, path):
    assert page.get(path).status_code in (403, 404)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": None}, "choose a photograph"),
        ({"content": "0" * 16}, "choose a photograph"),
        ({"content": {"a": 1}}, "choose a photograph"),
        ({"styles": []}, "one to 8 paintings"),
        ({"styles": "all"}, "one to 8 paintings"),
        ({"styles": ["../x"]}, "choose a painting"),
        ({"shares": ["a"]}, "not numbers"),
        ({"given": {"size": "8"}}, "too small"),
        ({"given": {"size": "36000"}}, "needs"),
        ({"given": {"size": "60000"}}, "over a gigapixel"),
        ({"given": {"size": "large"}}, "size is 'large'"),
        ({"given": {"network": "../x.h5"}}, "not known"),
        ({"given": 3}, "not an object"),
        ({"regions": [{"mask": "x", "styles": [0]}]}, "needs a mask"),
        ({"regions": [{"mask": "rest", "styles": []}]}, "needs a mask"),
        ({"regions": [{"mask": "rest", "styles": [7]}]}, "needs a mask"),
        ({"regions": 5}, "at most 16 regions"),
    ],
)
def test_jobs_that_are_refused(done, change, words):
    wanted = {"content": done.pictures[0], "styles": done.pictures[1:], "given": QUICK, **change}
    for path in ("/api/predict", "/api/jobs"):
        response = done.post(path, wanted)
        assert response.status_code == 422, response.text
        assert words in response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 60000, b"\xff", json.dumps({"a": "x" * 70000}).encode()])
def test_bodies_that_are_refused(page, body):
    response = page.client.post("/api/jobs", content=body)
    assert response.status_code in (413, 422) and response.json()["error"]


def test_what_a_job_takes_is_predicted(done):
    wanted = {"content": done.pictures[0], "styles": done.pictures[1:], "given": {**QUICK, "pyramid": "2"}}
    prediction = done.post("/api/predict", wanted).json()
    assert prediction["size"] == [64, 48] and sum(steps for _, steps in prediction["scales"]) == 6
    assert prediction["bytes"] > 3 * 64 * 48 * 4 and prediction["seconds"] > 0


def test_the_queue_is_bounded(page, monkeypatch):
    content, style = page.samples()
    monkeypatch.setattr("stylecore.web.studio.MAX_JOBS", 2)
    jobs = [page.paint(content, [style], {"iterations": "100000"}) for _ in range(3)]
    assert [job.status_code for job in jobs] == [200, 200, 429]
    first, second = (job.json()["id"] for job in jobs[:2])
    assert page.get(f"/api/jobs/{second}").json()["place"] == 1
    assert page.post(f"/api/jobs/{second}/remove").status_code == 200
    page.wait(first, until=lambda job: job["step"] > 0)
    page.post(f"/api/jobs/{first}/stop")
    assert page.wait(first, "stopped")["step"] < 100000


def test_a_full_disk(done, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stylecore.web.store.replacing", full)
    for response in (done.upload(encoded(noise())), done.paint(done.pictures[0], done.pictures[1:])):
        assert response.status_code == 507 and "No space left" in response.json()["error"]
    monkeypatch.undo()
    assert list(done.get("/api/start").json()["jobs"]).count(done.id) == 1


def test_a_decoder_that_crashes_is_started_again(page, monkeypatch):
    page.studio._reader.kill()
    answers = [page.upload(encoded(noise())).status_code for _ in range(2)]
    assert answers[-1] == 200


def test_the_files_of_the_page_are_small():
    from stylecore.web import page

    assert sum(map(len, page.contents().values())) <= 150_000
    assert {"index.html", "style.css", "main.js"} <= page.contents().keys()


def test_a_server_can_be_started_again(tmp_path):
    with client_of(tmp_path) as client:
        page = opened(client)
        content, style = page.samples()
        id = page.paint(content, [style], {"iterations": "40"}).json()["id"]
        page.wait(id, until=lambda job: job["step"] > 3)
        cookie = client.cookies.get("stylecore")
    with client_of(tmp_path) as client:
        client.cookies.set("stylecore", cookie)
        page = opened(client)
        page.wait(id)
        made = page.get(f"/jobs/{id}/png").content
        losses = page.get(f"/api/jobs/{id}").json()["losses"]
    given = {**QUICK, "iterations": "40", "optimizer": "lbfgs"}
    expected = stylecore.transfer(PHOTOGRAPH, PAINTING, **dials.settings(given))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made))), np.asarray(expected.image))
    np.testing.assert_allclose([row[4] for row in losses], [each.loss for each in expected.history], rtol=1e-5)
