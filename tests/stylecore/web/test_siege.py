"""Hostile requests, a crowd, and sudden deaths, with a server in a process of its own."""

import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import numpy as np
import psutil
import pytest
import requests
from pages import QUICK, Serving
from PIL import Image
from test_app import bomb, encoded, noise

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.web import dials

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("STYLECORE_KILLS", "2"))
"""How often the server is killed."""

TABS, UPLOADS = 50, 20


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    serving = Serving(tmp_path_factory.mktemp("siege") / "served")
    serving.start()
    yield serving
    serving.end()


class Browser:
    """A browser with a session of its own."""

    def __init__(self, serving):
        self.root = f"http://127.0.0.1:{serving.port}/"
        self.requests = requests.Session()
        self.requests.headers["x-stylecore"] = "1"
        self.requests.get(serving.address, timeout=60).raise_for_status()
        self.cookie = self.requests.cookies["stylecore"]

    def get(self, path, **options):
        return self.requests.get(self.root + path, timeout=120, **options)

    def post(self, path, body=None, **options):
        return self.requests.post(self.root + path, json=body, timeout=120, **options)

    def upload(self, content, name="photo.png"):
        return self.requests.post(
            self.root + "api/pictures", data=content, headers={"x-name": quote(name)}, timeout=120
        )

    def samples(self):
        return [self.post(f"api/samples/{name}").json()["id"] for name in ("photograph", "painting")]

    def paint(self, content, style, **given):
        wanted = {"content": content, "styles": [style], "given": {**QUICK, **given}}
        return self.post("api/jobs", wanted).json()["id"]

    def job(self, id):
        return self.get(f"api/jobs/{id}").json()

    def wait(self, id, until, seconds=240):
        end = time.monotonic() + seconds
        while not until(job := self.job(id)):
            assert job["state"] != "failed", job["message"]
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job


# Hostile requests

ROOTS = ("", "page/", "api/", "api/jobs/", "api/samples/", "pictures/", "jobs/", "folders/")
CLIMBS = (
    *("../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/rates.json", "....//....//rates.json"),
    *("..%5c..%5crates.json", "%252e%252e%252frates.json", "..%c0%afrates.json", "rates.json%00.png", "server.lock"),
    *("/etc/passwd", "file:///etc/passwd", "sessions/", "__init__.py", "..%u2215rates.json"),
)
HOSTS = (
    *("example.com", "127.0.0.1.example.com", "localhost.example.com", "127.0.0.1:1", "[::1].example.com", "0.0.0.0"),
    *("127.0.0.1@example.com", "2130706433", "0x7f.1", "127.1", "169.254.169.254", "xn--a", "*", "", "localhost:99999"),
)
ORIGINS = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://example.com"},
    {"origin": "null"},
    {"x-stylecore": "0"},
    {"x-stylecore": ""},
)
COOKIES = (
    "",
    "stylecore=",
    "stylecore=x",
    "stylecore=../..",
    "stylecore=%00",
    f"stylecore={'x' * 4000}",
    "a=b;;;=",
    "\x01",
)
VALUES = (None, 3, -1, 1e308, "", "x" * 20000, "../../x", [], {}, [[[[]]]], True, "\x00", "0" * 16, ["0" * 16], "NaN")
FIELDS = ("content", "styles", "given", "regions", "contents")
WORDS = (
    *({"size": size} for size in ("-1", "0", "1e9", "999999x999999", "nan", "../x", "5" * 5000)),
    *({"iterations": steps} for steps in ("-1", "nan", "1 2 3 4 5 6 7 8 9", "1e400", "x")),
    *({"network": network} for network in ("../../x.h5", "/etc/passwd", "http://example.com/x.h5", "\x00")),
    *({name: "../x"} for name in ("optimizer", "device", "style_loss", "dtype", "pooling", "init")),
    *({name: "x"} for name in ("checkpoint", "__class__", "output", "metadata", "folder", "regions", "progress")),
)
BODIES = (b"", b"[]", b"{", b"[" * 60000, b"\xff\xfe", b"null", b'"x"', b"{}" * 3, b'{"a": ' + b"9" * 5000 + b"}")


def a_png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def hostile_files():
    """Uploads that are no pictures, or pictures that harm."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0))
    png, jpeg = encoded(noise()), encoded(noise(), "JPEG")
    yield from (b"", b"\x00", b"MZ" + bytes(500), b"<svg xmlns='x'><script/></svg>", b"<?php ?>", b"%PDF-1.7\n")
    yield from (bomb(60000, 60000), bomb(9000, 9000), bomb(2**31 - 1, 1), bomb(0, 0))
    yield a_png(header, (b"IDAT", b"not compressed"), (b"IEND", b""))
    yield a_png(header, (b"zTXt", b"a\x00\x00" + zlib.compress(bytes(10**8))), (b"IEND", b""))
    yield a_png(header, (b"iCCP", b"a\x00\x00" + zlib.compress(bytes(10**8))), (b"IEND", b""))
    yield from (content[:length] for content in (png, jpeg) for length in (10, 60, len(content) // 2))
    yield b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20)
    yield b"II*\x00" + struct.pack("<I", 8) + bytes(64)
    yield b"RIFF" + struct.pack("<I", 2**31) + b"WEBPVP8 " + bytes(40)
    yield b"BM" + struct.pack("<IHHIIiiHH", 2**31, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24) + bytes(24)
    yield b"P6 99999 99999 255\n" + bytes(100)
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n(/etc/passwd) run\n"


def raw(serving, request, seconds=3):
    """Send bytes; returns the status of the answer, or 0 if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", serving.port), timeout=seconds) as connection:
            connection.sendall(request)
            answer = connection.recv(2**16)
    except OSError:
        return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def http(serving, method, path, headers, body=b""):
    """The bytes of a request, of which nothing is checked or normalised."""
    lines = {"host": f"127.0.0.1:{serving.port}", "content-length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def hostile_requests(serving, cookie, job):
    """Yield (what it is, request)."""
    own = {"cookie": f"stylecore={cookie}"}
    page = {**own, "x-stylecore": "1"}
    for root, climb in itertools.product(ROOTS, CLIMBS):
        yield "path", http(serving, "GET", f"/{root}{climb}", own)
    for which in ("../picture", "%2e%2e%2fjob.json", "job.json", "run-0.ckpt", "losses.csv", "png%00"):
        yield "file of a job", http(serving, "GET", f"/jobs/{job}/{which}", own)
    for host in HOSTS:
        yield "host", http(serving, "GET", "/api/start", {**own, "host": host})
    for origin in ORIGINS:
        yield "origin", http(serving, "POST", "/api/samples/painting", {**page, **origin})
    for forged in COOKIES:
        yield "cookie", http(serving, "GET", "/api/start", {"cookie": forged})
    for token in ("", "x", "%00", "x" * 5000, "\u00e4", "a&token=b"):
        yield "token", http(serving, "GET", f"/?token={token}", {})
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X" * 100):
        yield "method", http(serving, method, f"/jobs/{job}/png", page)
    for body in BODIES:
        yield "body", http(serving, "POST", "/api/jobs", page, body)
    for name, value in itertools.product(FIELDS, VALUES):
        path = "/api/folders" if name == "contents" else "/api/jobs"
        yield "field", http(serving, "POST", path, page, json.dumps({name: value}).encode())
    for what in ("start", "explode", "..", "remove%00", "change", "larger"):
        yield "order", http(serving, "POST", f"/api/jobs/{'0' * 16}/{what}", page, b"{}")
    for content in hostile_files():
        yield "file", http(serving, "POST", "/api/pictures", {**page, "x-name": "x.png"}, content)
    for query in ("?kind=film", "?kind=x", "?mask-of=x", f"?mask-of={'0' * 16}"):
        yield "kind of file", http(serving, "POST", f"/api/pictures{query}", {**page, "x-name": "x.mp4"}, b"no film")
    yield "size", http(serving, "POST", "/api/pictures", {**page, "content-length": str(10**12)}, bytes(1000))
    yield "size", http(serving, "POST", "/api/pictures", {**page, "content-length": "-1"}, bytes(1000))
    yield "size", http(serving, "GET", "/" + "x" * 10**6, own)
    yield "size", http(serving, "GET", "/api/start", {**own, "x": "y" * 10**6})
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "no HTTP", b"GET /api/start\r\n\r\n"
    yield "no HTTP", b"\r\n" * 1000
    twice = {**page, "transfer-encoding": "chunked"}
    yield "smuggled", http(serving, "POST", "/api/jobs", twice, b"0\r\n\r\nGET /api/start HTTP/1.1\r\n\r\n")


def test_hostile_requests_are_not_served(serving):
    browser = Browser(serving)
    content, style = browser.samples()
    job = browser.paint(content, style)
    browser.wait(job, lambda job: job["state"] == "done")
    before = browser.get("api/start").json()
    answers = [
        (what, request, raw(serving, request)) for what, request in hostile_requests(serving, browser.cookie, job)
    ]
    for words in WORDS:
        wanted = {"content": content, "styles": [style], "given": {**QUICK, **words}}
        answers.append(("words", words, browser.post("api/jobs", wanted).status_code))
    assert len(answers) > 200
    assert [(what, str(request)[:300], status) for what, request, status in answers if 0 < status < 400] == []
    assert [status for _, _, status in answers if status >= 500] == []
    assert serving.process.poll() is None
    assert browser.get("api/start").json() == before
    logged = serving.log.read_text()
    assert "Traceback" not in logged
    answered = sum(status > 0 for _, _, status in answers)
    assert len(re.findall(r"(refused|answered) with \d", logged)) > 0.9 * answered


def test_requests_that_race(serving):
    """Pictures are removed while they are uploaded, painted, changed and downloaded."""
    browser = Browser(serving)
    content, style = browser.samples()
    picked = random.Random(0)

    def act(i):
        with suppress(IndexError):  # Nothing is left to choose from.
            what = picked.choice(["upload", "paint", "remove", "order", "file"])
            if what == "upload":
                return browser.upload(encoded(noise(seed=i))).status_code
            if what == "paint":
                wanted = {"content": content, "styles": [style], "given": QUICK}
                return browser.post("api/jobs", wanted).status_code
            start = browser.get("api/start").json()
            if what == "remove":
                id = picked.choice([id for id in start["pictures"] if id not in (content, style)])
                return browser.post(f"api/pictures/{id}/remove").status_code
            id = picked.choice(list(start["jobs"]))
            if what == "order":
                order = picked.choice(["pause", "go-on", "stop", "remove", "larger"])
                return browser.post(f"api/jobs/{id}/{order}").status_code
            return browser.get(f"jobs/{id}/now").status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = [status for status in pool.map(act, range(120)) if status]
    assert set(statuses) <= {200, 404, 409, 422, 429}
    for id in browser.get("api/start").json()["jobs"]:
        browser.post(f"api/jobs/{id}/pause")
    assert browser.get("api/start").status_code == 200 and "Traceback" not in serving.log.read_text()


# A crowd


def test_a_crowd_is_served_in_bounded_memory(serving):
    browser = Browser(serving)
    content, style = browser.samples()
    server = psutil.Process(serving.process.pid)
    before = server.memory_info().rss
    job = browser.paint(content, style, iterations="100000")
    events = [0] * TABS

    def watch(i):
        with suppress(requests.RequestException):  # At the end of the server.
            for line in browser.get("api/events", stream=True).iter_lines():
                events[i] += bool(line)

    tabs = [threading.Thread(target=watch, args=(i,), daemon=True) for i in range(TABS)]
    for tab in tabs:
        tab.start()
    photograph = encoded(Image.open(PHOTOGRAPH).resize((1600, 1200)), "JPEG")
    with ThreadPoolExecutor(UPLOADS) as pool:
        uploads = list(pool.map(lambda i: browser.upload(photograph, f"{i}.jpg"), range(UPLOADS)))
    assert [upload.status_code for upload in uploads] == [200] * UPLOADS
    browser.wait(job, lambda job: job["step"] > 2)
    end = time.monotonic() + 60
    while min(events) < 3:
        assert time.monotonic() < end, events
        time.sleep(0.1)
    assert server.memory_info().rss - before < 200 * 2**20
    browser.post(f"api/jobs/{job}/stop")
    browser.wait(job, lambda job: job["state"] == "stopped")


# Sudden deaths


def test_nothing_is_lost_when_the_machine_goes_down(tmp_path):
    """All processes of the server are killed at random moments of a run, whose picture stays the same bit for bit."""
    moments = np.random.default_rng(0).uniform(0, 1.5, KILLS)
    steps = 40 * (KILLS + 1)
    serving = Serving(tmp_path / "served")
    serving.start()
    browser = Browser(serving)
    content, style = browser.samples()
    painted = browser.paint(content, style)
    browser.wait(painted, lambda job: job["state"] == "done")
    job = browser.paint(content, style, iterations=str(steps))
    queued = browser.paint(content, style, style_weight="7")
    for moment in moments:
        time.sleep(moment)
        processes = psutil.Process(serving.process.pid).children(recursive=True)
        serving.end(signal.SIGKILL)
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 10)
        serving.start()
        assert browser.get("api/start").json()["jobs"].keys() == {painted, job, queued}
        assert browser.job(painted)["state"] == "done"
        assert browser.job(job)["given"] == {**QUICK, "optimizer": "lbfgs", "iterations": str(steps)}
    for id in (job, queued):
        browser.wait(id, lambda job: job["state"] == "done")
    for id, given in ((job, {"iterations": str(steps)}), (queued, {"style_weight": "7"})):
        expected = stylecore.transfer(PHOTOGRAPH, PAINTING, **dials.settings({**QUICK, "optimizer": "lbfgs", **given}))
        made = Image.open(browser.get(f"jobs/{id}/png", stream=True).raw)
        np.testing.assert_array_equal(np.asarray(made), np.asarray(expected.image))
    serving.end()
