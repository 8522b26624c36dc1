"""The queue of jobs, the two processes that work for it, and the events for the open pages."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stylecore.video.settings import FilmSettings
from stylecore.web import dials, painting, reading
from stylecore.web.processes import Helper, Message
from stylecore.web.store import ACTIVE, Job, Picture, Session, Store, new_id
from stylecore.web.wanted import (
    Refused,
    check_is_picture,
    distinct,
    job_of,
    pixels_of,
    regions_of,
    rest_of,
    without_init,
    work_of,
)

MAX_JOBS = 100
"""The largest number of jobs that wait or are painted, of all sessions."""

MAX_PICTURES = 200
"""The largest number of pictures and masks of a session."""

READING_SECONDS = 120.0
"""After this time, a picture that is still being read is given up."""

# A job that ends the process this many times without a step in between is given up.
_MAX_DEATHS = 5

# Seconds between two messages to a page.
_PAUSE = 0.1

# Fields of a job that are sent to a page unchanged.
_SHOWN = (
    *("id", "look", "given", "content", "styles", "shares", "regions", "part", "state", "ending", "message", "notes"),
    *("created", "scales", "step", "seconds", "picture", "size", "kind", "group"),
)

# Steps of a picture that is continued at twice its size.
_STEPS_WHEN_LARGER = 60


class Studio:
    """Everything behind the page of one server; used in its event loop only.

    Parameters
    ----------
    store : Store

    Attributes
    ----------
    notice : str
        What the painting process is doing before its first job.
    streams : int
        Number of open streams of events.
    """

    watching = False
    """Whether the page only watches a run that was started elsewhere."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notice = "starting"
        self.streams = 0
        self._painter = Helper(painting.main, self._on_painter, self._on_painter_end)
        self._reader = Helper(reading.main, self._on_reader, self._on_reader_end)
        self._reading = asyncio.Lock()
        self._answer: asyncio.Future[Message] | None = None
        self._queue: list[tuple[Session, Job]] = []
        self._current: tuple[Session, Job] | None = None
        self._rows: list[list[float]] = []
        self._first: tuple[int, float] | None = None  # step and seconds of the current job's first step here
        self._deaths = 0
        self._version = 0
        self._versions: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def start(self) -> None:
        """Start the processes, and continue the jobs that were not finished when the server ended."""
        self._painter.start()
        self._reader.start()
        jobs = [(session, job) for session in self.store.sessions.values() for job in session.jobs.values()]
        unfinished = [(session, job) for session, job in jobs if job.state in ACTIVE]
        for session, job in sorted(unfinished, key=lambda item: (item[1].state == "waiting", item[1].created)):
            self._enqueue(session, job)

    def end_streams(self) -> None:
        """End the streams of events, for which the server would wait."""
        self._closed = True
        self._changed.set()

    async def close(self) -> None:
        """Save the state of the current job and end the processes."""
        self.end_streams()
        await asyncio.gather(self._painter.close(20.0), self._reader.close(1.0))

    # Requests of the page

    async def add_picture(
        self, session: Session, upload: Path, name: str, photograph: Picture | None = None, kind: str = "picture"
    ) -> Picture:
        """Decode an upload and add it to a session.

        Parameters
        ----------
        session : Session
        upload : Path
            The uploaded bytes.
        name : str
            Of the user's file.
        photograph : Picture, optional
            If the upload is the mask of a region, the photograph that it belongs to.
        kind : {"picture", "film"}
            What it is, if it is no mask.

        Returns
        -------
        Picture

        Raises
        ------
        StylecoreError
            If it cannot be read, or the session has too many pictures.
        """
        if len(session.pictures) >= MAX_PICTURES:
            raise Refused(f"there are {MAX_PICTURES} pictures already; remove some of them first.")
        id = new_id()
        arguments: dict[str, Any] = {"source": str(upload), "folder": str(session.folder / "pictures"), "id": id}
        if photograph is not None:
            kind = "mask"
            sizes = {"width": photograph.width, "height": photograph.height}
            read = await self._ask("read_mask", {**arguments, **sizes})
        else:
            read = await self._ask("read" if kind == "picture" else "read_film", {**arguments, "name": name})
        picture = Picture(id, name, kind, **read, created=time.time())
        session.add_picture(picture)
        return picture

    async def predict(self, session: Session, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Say what a job would take, or raise what is wrong with it.

        Parameters
        ----------
        session : Session
        wanted : mapping
            As for `submit`.

        Returns
        -------
        dict
            As of `stylecore.web.reading.predict`; with the "seconds", if a rate has been measured.
        """
        return await self._predict(session, job_of(session, wanted))

    async def submit(self, session: Session, wanted: Mapping[str, Any]) -> Job:
        """Check a job and put it into the queue.

        Parameters
        ----------
        session : Session
        wanted : mapping
            As the page sends it: "kind", "content", "styles", "shares", "regions", "given" and "look", as in `Job`.

        Returns
        -------
        Job

        Raises
        ------
        StylecoreError
            If it cannot be painted, or the queue is full.
        """
        job = job_of(session, wanted)
        await self._predict(session, job)
        self._add(session, [job])
        return job

    async def submit_folder(self, session: Session, wanted: Mapping[str, Any]) -> list[Job]:
        """Put a job for each of several photographs into the queue; nothing if one of them cannot be painted.

        Parameters
        ----------
        session : Session
        wanted : mapping
            As for `submit`, with the photographs as "contents".

        Returns
        -------
        list of Job

        Raises
        ------
        StylecoreError
            As for `submit`.
        """
        contents = wanted.get("contents")
        if not isinstance(contents, list) or not 0 < len(contents) <= MAX_JOBS:
            raise Refused(f"choose one to {MAX_JOBS} photographs.", 422)
        group = new_id()
        jobs = [replace(job_of(session, {**wanted, "content": id}), group=group) for id in contents]
        for job in jobs:
            await self._predict(session, job)
        self._add(session, jobs)
        return jobs

    async def larger(self, session: Session, finished: Job) -> Job:
        """Continue a finished picture at twice its size.

        Parameters
        ----------
        session : Session
        finished : Job

        Returns
        -------
        Job

        Raises
        ------
        StylecoreError
            If it is not finished, too large, or the queue is full.
        """
        check_is_picture(finished)
        if not finished.size or finished.state not in ("done", "stopped"):
            raise Refused("this picture is not finished.")
        width, height = (2 * side for side in finished.size)
        given = {**finished.given, "size": str(max(width, height))}
        if "x" in finished.given.get("size", "").rstrip("x"):
            given["size"] = f"{width}x{height}"
        steps = {"pyramid": "1", "iterations": str(_STEPS_WHEN_LARGER)}
        job = Job(
            new_id(),
            finished.content,
            finished.styles,
            finished.shares,
            finished.regions,
            given,
            {**without_init(given), **steps},
            finished.look,
            "start-0.png",
            created=time.time(),
        )
        await self._predict(session, job)
        folder = session.job_folder(job)
        folder.mkdir()
        shutil.copyfile(session.job_folder(finished) / "picture.png", folder / "start-0.png")
        self._add(session, [job])
        return job

    def order(self, session: Session, job: Job, what: str) -> None:
        """Pause a job, go on with it, stop it and keep its picture, or remove it.

        Parameters
        ----------
        session : Session
        job : Job
        what : {"pause", "go-on", "stop", "remove"}

        Raises
        ------
        Refused
            If the job is not in a state for that.
        """
        is_current = self._current is not None and self._current[1] is job
        if what == "go-on" and job.state in ("paused", "failed"):
            job.message = ""
            self._deaths = 0
            self._enqueue(session, job)
        elif what == "pause" and job.state in ACTIVE:
            if is_current:
                self._painter.send({"do": "pause"})
            else:
                self._leave_queue(session, job, "paused")
        elif what == "stop" and job.kind != "film" and job.state in (*ACTIVE, "paused", "failed") and job.step:
            job.ending = "stop"
            if is_current:
                session.save_job(job)
                self._painter.send({"do": "stop"})
            elif job.state != "waiting":
                self._enqueue(session, job)
        elif what == "remove" and not is_current:
            self._queue = [each for each in self._queue if each[1] is not job]
            session.remove_job(job)
            self._tell(job)
        else:
            raise Refused(f"this picture is {job.state}, so it cannot be changed in this way now.")

    async def change(self, session: Session, job: Job, given: object, look: object) -> None:
        """Change the dials of a job that is being painted; it goes on from the current picture.

        Parameters
        ----------
        session : Session
        job : Job
        given : object
            Words of the dials.
        look : object
            Name of a preset, or None.

        Raises
        ------
        StylecoreError
            If a dial is out of its range, or the job has ended.
        """
        check_is_picture(job)
        wanted = {name: getattr(job, name) for name in ("content", "styles", "shares", "regions")}
        changed = job_of(session, {**wanted, "given": given, "look": look})
        prediction = await self._predict(session, changed)
        if job.state not in (*ACTIVE, "paused"):
            raise Refused(f"this picture is {job.state}; paint another one with these settings.")
        if not job.step:  # There is no picture yet to go on from.
            if self._current is not None and self._current[1] is job:
                raise Refused("the first step is not finished yet; try again in a moment.")
            job.given, job.actual, job.look = changed.given, changed.actual, changed.look
            session.save_job(job)
            self._tell(job)
            return
        job.change = {"given": changed.given, "look": changed.look, "scales": prediction.get("scales", [])}
        session.save_job(job)
        if self._current is not None and self._current[1] is job:
            self._painter.send({"do": "change"})
        elif job.state == "paused":
            self._enqueue(session, job)

    def seconds_of(self, named: Mapping[str, Any], scales: list[Any]) -> float | None:
        """Predicted time of some scales; None if no rate has been measured."""
        rate = self.store.rates().get(painting.rate_key(named))
        return None if rate is None else rate * work_of(scales)

    def commands(self, session: Session, job: Job) -> dict[str, Any]:
        """The commands that make the same picture, and the files that they need.

        Parameters
        ----------
        session : Session
        job : Job

        Returns
        -------
        dict
            "shell", "python", and "files": the address of each file by its name.
        """
        names = self.names(session, job)
        files = {names["content"]: f"pictures/{job.content}/file"}
        folder = f"{dials.PHOTOGRAPHS}/" if job.kind == "sketch" and len(job.styles) > 1 else ""
        files |= {folder + name: f"pictures/{id}/file" for name, id in zip(names["style"], job.styles, strict=True)}
        masks = {region["mask"]: f"region-{i}.png" for i, region in enumerate(job.regions, 1)}
        regions = regions_of(job, masks.__getitem__)
        files |= {name: f"pictures/{id}/file" for id, name in masks.items() if id != "rest"}
        start = "start.png" if job.start else None
        if start:
            files[start] = f"jobs/{job.id}/start"
        return {
            **dials.commands(names["content"], names["style"], job.actual, job.shares, regions, start, job.kind),
            "files": files,
        }

    def names(self, session: Session, job: Job) -> dict[str, Any]:
        """Names of the user's files, "content" and "style", made different from one another."""
        taken: set[str] = set()
        names = [distinct(session.pictures[id].name, taken) for id in (job.content, *job.styles)]
        return {"content": names[0], "style": names[1:]}

    # Events

    def summary(self, session: Session, job: Job) -> dict[str, Any]:
        """A job as the page shows it."""
        shown = {name: getattr(job, name) for name in _SHOWN}
        steps = sum(count for _, count in job.scales)
        place = next((i for i, (_, each) in enumerate(self._queue, 1) if each is job), 0)
        return {**shown, "steps": steps, "left": self._left(job), "place": place}

    async def events(self, session: Session) -> AsyncIterator[dict[str, Any]]:
        """Yield what changes in a session, for one page: first all unfinished jobs, then every change.

        Parameters
        ----------
        session : Session

        Yields
        ------
        dict
            "jobs", of which removed ones are None; the new "losses" of the current job; and the "notice".
        """
        self.streams += 1
        try:
            async for message in self._events(session):
                yield message
        finally:
            self.streams -= 1

    async def _events(self, session: Session) -> AsyncIterator[dict[str, Any]]:
        seen, rows, current = 0, 0, None
        sent: dict[str, Any] = {}
        while not self._closed:
            jobs = session.jobs
            changed = [id for id, version in self._versions.items() if version > seen and (id in jobs or id in sent)]
            if not seen:
                changed = list(jobs)
            seen = self._version
            message: dict[str, Any] = {
                "jobs": {id: self.summary(session, jobs[id]) if id in jobs else None for id in changed},
                "notice": self.notice,
            }
            sent.update(message["jobs"])
            if self._current is not None and self._current[0] is session:
                id = self._current[1].id
                rows = rows if id == current and rows <= len(self._rows) else 0
                message["losses"] = {"job": id, "from": rows, "rows": self._rows[rows:]}
                rows, current = len(self._rows), id
            yield message
            await asyncio.sleep(_PAUSE)
            while self._version == seen and not self._closed:
                changing = self._changed
                await changing.wait()

    def _tell(self, job: Job | None = None) -> None:
        """Wake the streams of events."""
        self._version += 1
        if job is not None:
            self._versions[job.id] = self._version
        self._changed.set()
        self._changed = asyncio.Event()

    def _left(self, job: Job) -> float | None:
        """Seconds that the rest of a job takes, at the rate of its own steps or that of earlier jobs."""
        rest = work_of(job.scales) - pixels_of(job.scales, job.step)
        if not job.scales or rest <= 0:
            return None
        rate = self._rate(job) if self._current is not None and self._current[1] is job else None
        if rate is None and job.kind == "picture":
            rate = self.store.rates().get(painting.rate_key(dials.settings(job.actual)))
        return None if rate is None else rate * rest

    def _rate(self, job: Job) -> float | None:
        """Seconds per megapixel and step of the current job, without its start; None before it has made some steps."""
        if self._first is None or job.step < self._first[0] + 3:
            return None
        step, seconds = self._first
        return (job.seconds - seconds) / (pixels_of(job.scales, job.step) - pixels_of(job.scales, step))

    # The queue

    async def _predict(self, session: Session, job: Job) -> dict[str, Any]:
        content, *styles = (session.pictures[id] for id in (job.content, *job.styles))
        named = painting.picture_settings(dials.settings(job.actual, job.shares, job.kind), job.kind)
        arguments = {
            "named": named,
            "content": (content.height, content.width),
            "styles": [(style.height, style.width) for style in styles],
            "regions": max(1, len(job.regions)),
        }
        prediction = await self._ask("predict", arguments)
        if job.kind == "sketch":  # How much its regions take is known only when the drawing has been divided.
            return {name: prediction[name] for name in ("size", "download") if name in prediction}
        scales = prediction.get("scales", [])
        if job.kind == "film":
            given = {**FilmSettings.defaults(), **dials.settings(job.actual, kind="film")}
            prediction["frames"] = frames = -(-content.frames // given["every"])
            scales = [*scales, *([[scales[-1][0], max(0, frames - 1) * given["frame_iterations"]]] if scales else [])]
        return {**prediction, "seconds": self.seconds_of(named, scales)}

    def _add(self, session: Session, jobs: list[Job]) -> None:
        if len(self._queue) + (self._current is not None) + len(jobs) > MAX_JOBS:
            raise Refused(f"{MAX_JOBS} pictures are waiting already; wait until some are finished.", 429)
        for job in jobs:
            session.save_job(job)
        for job in jobs:
            self._enqueue(session, job)

    def _enqueue(self, session: Session, job: Job) -> None:
        if job.state != "waiting":
            job.state = "waiting"
            session.save_job(job)
        self._queue.append((session, job))
        self._tell(job)
        self._next()

    def _leave_queue(self, session: Session, job: Job, state: str) -> None:
        self._queue = [each for each in self._queue if each[1] is not job]
        job.state = state
        session.save_job(job)
        self._tell(job)

    def _next(self) -> None:
        """Begin the next job if none is being painted."""
        if self._current is not None or not self._queue or self._closed:
            return
        session, job = self._current = self._queue.pop(0)
        self._rows, self._first = session.losses(job), None
        if self._rows and self._rows[-1][0] == job.part:  # It is being resumed.
            job.step = int(self._rows[-1][1])
        job.state = "painting"
        session.save_job(job)
        self._painter.send({"do": "paint", "job": self._for_painter(session, job)})
        self._tell(job)

    def _for_painter(self, session: Session, job: Job) -> dict[str, Any]:
        folder = session.job_folder(job)
        content, *styles = (session.pictures[id] for id in (job.content, *job.styles))
        named = dials.settings(job.actual, job.shares, job.kind)
        if job.regions:
            named["regions"] = regions_of(job, lambda id: str(session.picture_file(session.pictures[id])))
        if job.start:
            named["init"] = str(folder / job.start)
        return {
            "id": job.id,
            "kind": job.kind,
            "folder": str(folder),
            "part": job.part,
            "content": str(session.picture_file(content)),
            "styles": [str(session.picture_file(style)) for style in styles],
            "style_shapes": [(style.height, style.width) for style in styles],
            "names": self.names(session, job),
            "settings": named,
            "ending": "change" if job.change else job.ending,
        }

    # Messages of the painting process

    def _on_painter(self, message: Message) -> None:
        if message["is"] == "rate":
            if not (message["is_first"] and message["key"] in self.store.rates()):
                self.store.save_rate(message["key"], message["rate"])
        elif message["is"] == "ready":
            self.notice = ""
        elif "job" not in message:
            self.notice = message["text"]
        elif self._current is not None and self._current[1].id == message["job"]:
            session, job = self._current
            getattr(self, f"_on_{message['is']}")(session, job, message)
            self._tell(job)
        self._tell()

    def _on_note(self, session: Session, job: Job, message: Message) -> None:
        if message["text"] not in job.notes:
            job.notes.append(message["text"])

    def _on_started(self, session: Session, job: Job, message: Message) -> None:
        self.notice = ""
        job.scales, job.size = message["scales"], message["size"]
        session.save_job(job)

    def _on_step(self, session: Session, job: Job, message: Message) -> None:
        self._deaths = 0
        job.step, job.seconds = int(message["row"][1]), message["seconds"]
        self._first = self._first or (job.step, job.seconds)
        while self._rows and self._rows[-1][:2] >= message["row"][:2]:
            self._rows.pop()
        self._rows.append(message["row"])
        job.picture += message["shows"]

    def _on_ended(self, session: Session, job: Job, message: Message) -> None:
        if self._closed and message["how"] == "paused":  # The next server goes on with it.
            return
        job.picture += 1
        if message["how"] == "done":
            self._learn_rate(job)
        self._current = None
        if message["how"] == "changed":
            self._begin_part(session, job, message["start"])
        else:
            job.state, job.message = message["how"], message.get("message", "")
            if job.state in ("done", "stopped"):
                job.ending = job.change = None
            session.save_job(job)
        self._next()

    def _begin_part(self, session: Session, job: Job, start: str) -> None:
        """Continue with other dials from the current picture."""
        change, job.change = job.change or {}, None
        former = session.job_folder(job) / f"run-{job.part}.ckpt"
        job.given, job.look, job.start, job.part = change["given"], change["look"], start, job.part + 1
        job.actual = {**without_init(job.given), **rest_of(change["scales"], job.scales, job.step)}
        job.step, job.seconds = 0, 0.0
        job.state = "waiting"
        session.save_job(job)
        former.unlink(missing_ok=True)
        self._queue.insert(0, (session, job))

    def _learn_rate(self, job: Job) -> None:
        rate = self._rate(job) if job.kind == "picture" else None
        if rate is not None:
            self.store.save_rate(painting.rate_key(dials.settings(job.actual)), rate)

    def _on_painter_end(self) -> None:
        """Start the process again, with the job that it had."""
        self._deaths += 1
        if self._current is not None:
            session, job = self._current
            self._current = None
            if self._deaths < _MAX_DEATHS:
                job.state = "waiting"
                self._queue.insert(0, (session, job))
            else:
                job.state = "failed"
                job.message = "the program ended several times at this point, perhaps for lack of memory; go on later."
                session.save_job(job)
            self._tell(job)
        if not self._closed:
            self.notice = "starting again"
            self._painter.start()
            self._next()

    # Questions to the reading process

    async def _ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have a function of the reading process called."""
        async with self._reading:
            self._answer = answer = asyncio.get_running_loop().create_future()
            self._reader.send({"do": what, "arguments": arguments})
            try:
                message = await asyncio.wait_for(asyncio.shield(answer), READING_SECONDS)
            except (asyncio.TimeoutError, TimeoutError):
                self._reader.kill()
                await answer  # The process has been started again.
                raise Refused("this picture takes too long to read; save it in another format.", 422) from None
        if "error" in message:
            raise Refused(message["error"], 422)
        return message["result"]

    def _on_reader(self, message: Message) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _on_reader_end(self) -> None:
        if not self._closed:
            self._reader.start()
        self._on_reader({"error": "this picture crashes its decoder, so it may be damaged; export it again."})
