import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
import requests

from stylecore import cli
from stylecore.samples import PAINTING, PHOTOGRAPH

pytest.importorskip("starlette", reason="the page needs Starlette and uvicorn")

from stylecore.web import server

pytestmark = pytest.mark.slow

SERVE = ["serve", "--no-browser", "--folder"]


def refused(capsys, *arguments):
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("stylecore: error: ") and output.err.count("\n") == 1
    return output.err


@contextmanager
def started(command, **options):
    """A process that is killed if it has not ended."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def taken():
    """A port that another program listens at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken(capsys, tmp_path, taken):
    assert f"port {taken} is taken" in refused(capsys, *SERVE, str(tmp_path), "--port", str(taken))


def test_the_next_port_is_tried(monkeypatch, taken):
    monkeypatch.setattr(server, "PORT", taken)
    with server.listen("127.0.0.1", None) as listening:
        assert listening.getsockname()[1] > taken


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "70000", "cannot listen"),
        ("--port", "x", "not a whole number"),
        ("--host", "192.0.2.1", "cannot listen at 192.0.2.1"),
    ],
)
def test_addresses_that_are_refused(capsys, tmp_path, option, value, words):
    assert words in refused(capsys, *SERVE, str(tmp_path), option, value)


def test_a_folder_that_cannot_be_used(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be used" in refused(capsys, *SERVE, str(tmp_path / "file"))


def test_without_the_packages(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install starlette uvicorn" in refused(capsys, *SERVE, str(tmp_path))
    command = ["transfer", str(PHOTOGRAPH), str(PAINTING), "-o", str(tmp_path / "out.png"), "--web"]
    assert "pip install starlette uvicorn" in refused(capsys, *command, "--network", "small")


def test_without_a_browser_the_address_is_printed(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(server, "run", lambda app, listening: None)
    monkeypatch.setattr(server.webbrowser, "_tryorder", [])
    server.serve(tmp_path, say=said.append)
    assert len(said) == 2 and "token=" in said[0] and "no browser could be opened" in said[1]


def test_other_machines_only_with_a_warning(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(server, "run", lambda app, listening: None)
    server.serve(tmp_path, host="0.0.0.0", browser=False, say=said.append)
    assert "warning: the page can be reached from other machines" in said[0] and "127.0.0.1" in said[1]


def test_the_names_of_this_machine():
    assert server.hosts_of("127.0.0.1") == ("127.0.0.1", "localhost", "[::1]", "127.0.0.1")
    assert "*" in server.hosts_of("0.0.0.0")


@pytest.mark.slow
def test_it_ends_at_ctrl_c_and_refuses_a_second_server(tmp_path):
    command = [sys.executable, "-m", "stylecore", *SERVE, str(tmp_path / "page")]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        assert requests.get(address, timeout=60).status_code == 200
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 2 and "is in use by stylecore, process" in second.stderr
        assert second.stderr.count("\n") == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""
    assert os.stat(tmp_path / "page").st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_run_is_watched_and_stopped(tmp_path):
    quick = ["--network", "small", "--size", "64", "--pyramid", "1", "--iterations", "1000000"]
    command = [sys.executable, "-m", "stylecore", "transfer", str(PHOTOGRAPH), str(PAINTING), "-o", "out.png", "--web"]
    environment = {**os.environ, "BROWSER": "true"}
    with started([*command, *quick], cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        address = next(line.strip() for line in process.stderr if line.startswith("http"))
        with requests.Session() as session:
            session.headers["x-stylecore"] = "1"
            session.get(address).raise_for_status()
            root = address.partition("?")[0]
            start = session.get(f"{root}api/start").json()
            ((id, job),) = start["jobs"].items()
            assert start["watching"] and job["given"]["size"] == "64"
            while not (job := session.get(f"{root}api/jobs/{id}").json())["picture"]:
                pass
            assert session.get(f"{root}jobs/{id}/now").headers["content-type"] == "image/jpeg"
            assert job["commands"]["shell"].startswith("stylecore transfer")
            assert session.post(f"{root}api/jobs/{id}/remove").status_code == 409
            assert session.post(f"{root}api/pictures", data=b"x").status_code == 409
            assert session.post(f"{root}api/jobs/{id}/pause").json()["state"] == "paused"
            assert session.post(f"{root}api/jobs/{id}/stop").status_code == 200
        process.stderr.read()
        assert process.wait(120) == 130
    assert (tmp_path / "out.png").is_file()
