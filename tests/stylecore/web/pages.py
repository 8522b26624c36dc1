"""Servers of the page, in this process or in one of their own, and what a browser would send them."""

import re
import signal
import subprocess
import sys
import time
import warnings

from stylecore.web.app import make_app
from stylecore.web.store import Store
from stylecore.web.studio import Studio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Later versions of Starlette prefer a successor of httpx.
    from starlette.testclient import TestClient

TOKEN = "a-token-for-tests"
QUICK = {"size": "64", "network": "small", "iterations": "6", "pyramid": "1"}


class Page:
    """What a browser does: requests with the cookie of a session and the page's own header."""

    def __init__(self, client):
        self.client = client
        self.studio = client.app.state.studio

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, body=None):
        return self.client.post(path, json=body or {})

    def upload(self, content, name="photo.png", **query):
        return self.client.post("/api/pictures", content=content, params=query, headers={"x-name": name})

    def samples(self):
        return [self.post(f"/api/samples/{name}").json()["id"] for name in ("photograph", "painting")]

    def paint(self, content, styles, given=None, **more):
        wanted = {"content": content, "styles": styles, "given": {**QUICK, **(given or {})}, **more}
        return self.post("/api/jobs", wanted)

    def wait(self, id, *states, seconds=240, until=None):
        """Wait until a job is in one of some states, or fulfils a condition."""
        until = until or (lambda job: job["state"] in (states or ("done",)))
        end = time.monotonic() + seconds
        while not until(job := self.get(f"/api/jobs/{id}").json()):
            assert job["state"] != "failed" or "failed" in states, job["message"]
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job


def client_of(folder):
    """A client of a server on this folder, which begins and ends with a ``with`` block."""
    app = make_app(Studio(Store(folder)), TOKEN, ("127.0.0.1",), 80)
    return TestClient(app, base_url="http://127.0.0.1", headers={"x-stylecore": "1"})


def opened(client):
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    return Page(client)


class Serving:
    """A server in a process of its own, which can be killed and started again; its log is a file beside its folder."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.port = None

    def start(self):
        port = [] if self.port is None else ["--port", str(self.port)]
        command = [sys.executable, "-m", "stylecore", "serve", "--no-browser", "--folder", str(self.folder), *port]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self.process.stdout.readline().strip()
        self.port = int(re.search(r":(\d+)/", self.address)[1])

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()
