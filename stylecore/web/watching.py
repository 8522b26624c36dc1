"""The page of one run of ``stylecore transfer --web``: it shows the run, pauses it and stops it."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stylecore._transfer import Result
from stylecore.inputs import Inputs
from stylecore.runs.history import Evaluation
from stylecore.settings import Settings
from stylecore.web import dials
from stylecore.web.app import make_app
from stylecore.web.painting import Watcher, save
from stylecore.web.processes import Message
from stylecore.web.reading import SMALL, VIEW, predict, write_copy
from stylecore.web.server import Server, hosts_of, listen, opened
from stylecore.web.store import Job, Picture, Session, Store, new_id
from stylecore.web.studio import Studio
from stylecore.web.wanted import Refused

# Seconds for which the server waits at the end for open pages to show the finished picture.
_LINGERING = 3.0


class _OneSession(Store):
    """A store whose only session is that of every browser with the token."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._only = super().new_session()

    def new_session(self) -> tuple[str, Session]:
        return self._only


class _Watching(Studio):
    """A studio whose only job is painted by this process, and not by one of its own."""

    watching = True

    def __init__(self, store: _OneSession, command: Sequence[str]) -> None:
        super().__init__(store)
        self.notice = ""
        self.is_paused = threading.Event()
        self.is_stopped = threading.Event()
        self._command = command

    def start(self) -> None:
        pass

    async def close(self) -> None:
        self.end_streams()

    def begin(self, session: Session, job: Job) -> None:
        session.save_job(job)
        self._current = session, job

    def receive(self, message: Message) -> None:
        self._on_painter(message)

    def order(self, session: Session, job: Job, what: str) -> None:
        if what not in ("pause", "go-on", "stop") or job.state not in ("painting", "paused"):
            raise Refused("this page only watches a run; `stylecore serve` opens one to paint on.")
        if what == "stop":
            job.ending = "stop"
            self.is_stopped.set()
        if what == "pause":
            self.is_paused.set()
        else:
            self.is_paused.clear()
        job.state = "paused" if what == "pause" else "painting"
        self._tell(job)

    def commands(self, session: Session, job: Job) -> dict[str, Any]:
        return {"shell": shlex.join(["stylecore", *self._command]), "files": {}}

    async def _ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise Refused("this page only watches a run; `stylecore serve` opens one to paint on.")


class RunPage:
    """A callback of `transfer` that shows the run on a page; a context manager, in which the page is served.

    Parameters
    ----------
    inputs : Inputs
    settings : Settings
        With layers.
    names : mapping
        "content" and "style": the names of the files.
    command : sequence of str
        The arguments of the command line.
    say : callable
        Called with the address of the page.
    interrupted : callable
        Returns whether a signal has asked the run to end, even while it is paused.
    """

    def __init__(
        self,
        inputs: Inputs,
        settings: Settings,
        names: Mapping[str, Any],
        command: Sequence[str],
        say: Callable[[str], object],
        interrupted: Callable[[], bool],
    ) -> None:
        self._inputs = inputs
        self._settings = settings
        self._names = names
        self._command = command
        self._say = say
        self._interrupted = interrupted

    def __enter__(self) -> RunPage:
        self._folder = tempfile.TemporaryDirectory()
        store = _OneSession(Path(self._folder.name))
        self._studio = _Watching(store, self._command)
        _, session = store.new_session()
        self._job = self._make_job(session)
        self._studio.begin(session, self._job)
        self._watcher = Watcher(session.job_folder(self._job), 0, self._report)
        self._job_folder = session.job_folder(self._job)
        self._serve(store)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._studio.streams:
            time.sleep(_LINGERING)
        self._server.should_exit = True
        self._thread.join()
        self._watcher.close()
        self._listening.close()
        self._folder.cleanup()

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> bool:
        """Show an evaluation; waits while the run is paused."""
        self._watcher(evaluation, image)
        while self._studio.is_paused.is_set() and not self._interrupted():
            time.sleep(0.1)
        return self._studio.is_stopped.is_set()

    def finish(self, result: Result, output: str) -> None:
        """Show the finished picture.

        Parameters
        ----------
        result : Result
        output : str
            Where it has been written.
        """
        save(result, self._job_folder, {})
        self._report({"is": "note", "text": f"The picture is {output}."})
        how = "stopped" if result.stopped else "done"
        self._report({"is": "ended", "how": how, "seconds": result.history[-1].seconds})

    def _report(self, message: Message) -> None:
        with suppress(RuntimeError):  # The server has ended.
            self._loop.call_soon_threadsafe(self._studio.receive, {**message, "job": self._job.id})

    def _make_job(self, session: Session) -> Job:
        """The record of the run, with small copies of its pictures."""
        inputs, names = self._inputs, self._names
        ids = []
        pictures = [inputs.content, *inputs.styles]
        alphas = [inputs.alpha, *inputs.opacities]
        for picture, alpha, name in zip(pictures, alphas, [names["content"], *names["style"]], strict=True):
            height, width = picture.shape[:2]
            record = Picture(new_id(), dials.file_name(name, "picture"), "picture", width, height, "png")
            for which, side in (("view", VIEW), ("small", SMALL)):
                write_copy(session.copy_file(record, which), picture, alpha, side)
            session.add_picture(record)
            ids.append(record.id)
        given = {
            name: words
            for name, words in ((name, dials.words_of(name, value)) for name, value in self._settings.to_json().items())
            if name in dials.dials() and not name.endswith("_layers") and words != dials.dials()[name].default
        }
        job = Job(new_id(), ids[0], ids[1:], [], [], given, given, state="painting", created=time.time())
        session.save_job(job)
        write_copy(session.job_folder(job) / "before.jpg", inputs.content_at(inputs.shape), None, 2048)
        settings = {**self._settings.as_given(), "regions": None, "labels": None, "init": "content"}
        styles = [style.shape[:2] for style in inputs.styles]
        prediction = predict(settings, inputs.content.shape[:2], styles, len(inputs.regions))
        job.scales, job.size = prediction.get("scales", []), prediction["size"]
        return job

    def _serve(self, store: Store) -> None:
        self._listening = listen("127.0.0.1", None)
        port, token = self._listening.getsockname()[1], secrets.token_urlsafe(24)
        app = make_app(self._studio, token, hosts_of("127.0.0.1"), port)
        self._server = Server(app)
        started = threading.Event()

        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            started.set()
            await self._server.serve(sockets=[self._listening])

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self._thread.start()
        started.wait()
        address = f"http://127.0.0.1:{port}/?token={token}"
        self._say(address)
        opened(address)
