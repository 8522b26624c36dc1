"""The page: its weight, the time until its first picture, and what watching costs, as a share of the evaluation's time.

The server runs in a process of its own and is used as a browser would: one tab reads the stream of events and fetches
each picture.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.measuring import ROOT, progress, summary
from benchmarks.record import spread, table
from benchmarks.setting import Setting
from stylecore import transfer
from stylecore.web.painting import Watcher

STEPS = 40


class Tab:
    """A page that is open in a browser.

    Parameters
    ----------
    address : str
        With the token.

    Attributes
    ----------
    jobs : dict
        The latest state of each job.
    shown : dict of str to float
        When the first picture of each job had arrived.
    """

    def __init__(self, address: str) -> None:
        self._root = address.partition("?")[0]
        self._session = requests.Session()
        self._session.headers["x-stylecore"] = "1"
        self._session.get(address).raise_for_status()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, float] = {}
        self.notice = "starting"
        threading.Thread(target=self._watch, daemon=True).start()

    def post(self, path: str, **wanted: Any) -> dict[str, Any]:
        """Send a request."""
        response = self._session.post(self._root + path, json=wanted)
        response.raise_for_status()
        return response.json()

    def _watch(self) -> None:
        cookies = self._session.cookies
        with suppress(requests.RequestException), requests.Session() as session:
            for line in session.get(f"{self._root}api/events", cookies=cookies, stream=True).iter_lines():
                if line:
                    self._receive(json.loads(line.removeprefix(b"data: ")), session, cookies)

    def _receive(self, message: dict[str, Any], session: requests.Session, cookies: Any) -> None:
        self.notice = message["notice"]
        for id, job in message["jobs"].items():
            if job and job["picture"] > self.jobs.get(id, {}).get("picture", 0):
                requests.get(f"{self._root}jobs/{id}/now", cookies=cookies).raise_for_status()
                self.shown.setdefault(id, time.perf_counter())
            self.jobs[id] = job or {}

    def wait(self, *states: str) -> None:
        """Wait until all jobs are in one of some states."""
        while any(job.get("state", "removed") not in (*states, "removed") for job in self.jobs.values()):
            time.sleep(0.02)


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own; yields the page's address and the process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stylecore", "serve", "--no-browser", "--folder", folder]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def measure(setting: Setting) -> dict[str, Any]:
    """Measure the page at the size of the section `transfer`.

    Returns
    -------
    dict
        "bytes" of the page's files; seconds until the "first picture"; the share of a run's time that its "callback"
        takes, and the share of a core that the "server" takes.
    """
    from stylecore.web import page

    files = page.contents()
    size = str(setting.transfer_size)
    first, server = [], []
    with serving() as (address, process):
        tab = Tab(address)
        content, style = (tab.post(f"api/samples/{name}")["id"] for name in ("photograph", "painting"))
        while tab.notice:
            time.sleep(0.1)
        for repetition in range(setting.repetitions):
            progress(f"the page, {repetition + 1} of {setting.repetitions}")
            wanted = {"size": size, "iterations": str(STEPS)}
            used, began = sum(process.cpu_times()[:2]), time.perf_counter()
            job = tab.post("api/jobs", content=content, styles=[style], given=wanted)
            tab.jobs.setdefault(job["id"], job)
            tab.wait("done", "failed", "stopped")
            server.append((sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - began))
            first.append(tab.shown[job["id"]] - began)
    return {
        "page": {
            "files": len(files),
            "bytes": sum(map(len, files.values())),
            "compressed": sum(len(gzip.compress(content)) for content in files.values()),
            "size": setting.transfer_size,
            "first picture": summary(first),
            "callback": summary([_callback_share(setting) for _ in range(setting.repetitions)]),
            "server": summary(server),
        }
    }


def _callback_share(setting: Setting) -> float:
    """Share of a run's time that its callback takes."""
    taken = 0.0
    with tempfile.TemporaryDirectory() as folder:
        watcher = Watcher(Path(folder), 0, lambda message: None)

        def callback(*given: Any) -> None:
            nonlocal taken
            began = time.perf_counter()
            watcher(*given)
            taken += time.perf_counter() - began

        settings = {"size": setting.transfer_size, "iterations": STEPS, "optimizer": "lbfgs"}
        result = transfer(setting.content, setting.style, **settings, callback=callback)
        watcher.close()
    return taken / result.history[-1].seconds


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    row = section["page"]
    yield table(
        f"The page, at {row['size']} px",
        ["files", "kB", "kB compressed", "first picture, s", "callback, % of a step", "server, % of a core"],
        [
            [
                row["files"],
                f"{row['bytes'] / 1000:.0f}",
                f"{row['compressed'] / 1000:.0f}",
                spread(row["first picture"], "{:.2f}"),
                spread(row["callback"], "{:.2f}", 100),
                spread(row["server"], "{:.2f}", 100),
            ]
        ],
    )
