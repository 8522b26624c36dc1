"""The routes of the page's server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stylecore.errors import StylecoreError
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.version import __version__
from stylecore.web import dials, page
from stylecore.web.security import Guard
from stylecore.web.store import FILM, FORMATS, STAGES, Job, Picture, Session, Store
from stylecore.web.studio import MAX_JOBS, Studio
from stylecore.web.wanted import MAX_STYLES, Refused, distinct

MAX_UPLOAD = 64 * 2**20
"""The largest upload in bytes."""

MAX_FILM = 512 * 2**20
"""The largest upload of a film in bytes."""

MAX_JSON = 2**16
"""The longest other request in bytes."""

MAX_UPLOADS = 32
"""The largest number of uploads at a time, of all sessions."""

DAYS, GIGABYTES = 90.0, 10.0
"""How long finished pictures are kept, and how much space all files may take."""

# Seconds from one sweep to the next.
_SWEEP = 3600.0

_SAMPLES = {"photograph": PHOTOGRAPH, "painting": PAINTING}
_LARGEST = {"picture": MAX_UPLOAD, "film": MAX_FILM}
_ORDERS = ("pause", "go-on", "stop", "remove")

_log = logging.getLogger("stylecore.web")


def kinds() -> list[str]:
    """The kinds of jobs whose packages are installed."""
    packages = {"picture": (), "film": ("av", "cv2"), "sketch": ("skimage", "cv2")}
    return [kind for kind, names in packages.items() if all(find_spec(name) for name in names)]


class Routes:
    """The handlers of requests, whose session is in the scope.

    Parameters
    ----------
    studio : Studio
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._uploading = 0

    def table(self) -> list[Route]:
        """All routes."""
        return [
            Route("/", self.page),
            Route("/page/{name}", self.file),
            Route("/api/start", self.start),
            Route("/api/events", self.events),
            Route("/api/pictures", self.upload, methods=["POST"]),
            Route("/api/samples/{name}", self.sample, methods=["POST"]),
            Route("/api/pictures/{id}/remove", self.remove_picture, methods=["POST"]),
            Route("/api/predict", self.predict, methods=["POST"]),
            Route("/api/jobs", self.paint, methods=["POST"]),
            Route("/api/folders", self.paint_folder, methods=["POST"]),
            Route("/api/jobs/{id}", self.job),
            Route("/api/jobs/{id}/{what}", self.order, methods=["POST"]),
            Route("/pictures/{id}/{which}", self.picture),
            Route("/jobs/{id}/{which}", self.job_file),
            Route("/folders/{group}/zip", self.folder_file),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return page.response("index.html", request.headers.get("accept-encoding", ""))

    async def file(self, request: Request) -> Response:
        """One of the page's own files."""
        return page.response(request.path_params["name"], request.headers.get("accept-encoding", ""))

    async def start(self, request: Request) -> Response:
        """Everything that a page needs when it is opened."""
        session = _session(request)
        return JSONResponse(
            {
                "version": __version__,
                "watching": self._studio.watching,
                "kinds": kinds(),
                "dials": {kind: [dial._asdict() for dial in dials.dials(kind).values()] for kind in dials.KINDS},
                "looks": dials.looks(),
                "look_pictures": page.look_pictures(),
                "limits": {"bytes": MAX_UPLOAD, "film_bytes": MAX_FILM, "styles": MAX_STYLES, "jobs": MAX_JOBS},
                "pictures": {each.id: _shown(each) for each in session.pictures.values()},
                "jobs": {job.id: self._studio.summary(session, job) for job in session.jobs.values()},
            }
        )

    async def events(self, request: Request) -> Response:
        """What changes, as server-sent events."""

        async def stream() -> AsyncIterator[str]:
            async for message in self._studio.events(_session(request)):
                yield f"data: {json.dumps(message, separators=(',', ':'))}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def upload(self, request: Request) -> Response:
        """Take a picture, a film, or the mask of a region, as the body of the request."""
        session = _session(request)
        kind = request.query_params.get("kind", "picture")
        if kind not in _LARGEST or (kind == "film" and kind not in kinds()):
            raise Refused("this kind of file is not taken here.", 422)
        photograph = request.query_params.get("mask-of")
        belongs_to = None if photograph is None else _found(session.pictures, photograph)
        name = dials.file_name(unquote(request.headers.get("x-name", "")), "picture")
        if self._uploading >= MAX_UPLOADS:
            raise Refused("too many pictures are being uploaded at once; try again in a moment.", 429)
        self._uploading += 1
        try:
            descriptor, path = tempfile.mkstemp(dir=session.folder / "pictures", prefix="upload.")
            try:
                await _receive(request, descriptor, name, _LARGEST[kind])
                picture = await self._studio.add_picture(session, Path(path), name, belongs_to, kind)
            finally:
                os.unlink(path)
        finally:
            self._uploading -= 1
        return JSONResponse(_shown(picture))

    async def sample(self, request: Request) -> Response:
        """Add one of the program's own pictures to the session."""
        session, path = _session(request), _found(_SAMPLES, request.path_params["name"])
        for picture in session.pictures.values():
            if picture.name == path.name and picture.shown:
                return JSONResponse(_shown(picture))
        return JSONResponse(_shown(await self._studio.add_picture(session, path, path.name)))

    async def remove_picture(self, request: Request) -> Response:
        """Remove an upload."""
        session = _session(request)
        session.remove_picture(_found(session.pictures, request.path_params["id"]))
        return JSONResponse({})

    async def predict(self, request: Request) -> Response:
        """Say what a job would take."""
        return JSONResponse(await self._studio.predict(_session(request), await _json(request)))

    async def paint(self, request: Request) -> Response:
        """Put a job into the queue."""
        session = _session(request)
        job = await self._studio.submit(session, await _json(request))
        return JSONResponse(self._studio.summary(session, job))

    async def paint_folder(self, request: Request) -> Response:
        """Put a job for each of several photographs into the queue."""
        session = _session(request)
        jobs = await self._studio.submit_folder(session, await _json(request))
        return JSONResponse({"jobs": [self._studio.summary(session, job) for job in jobs]})

    async def folder_file(self, request: Request) -> Response:
        """The finished pictures of a folder, as a ZIP file."""
        session, group = _session(request), request.path_params["group"]
        jobs = [job for job in session.jobs.values() if job.group == group and job.state in ("done", "stopped")]
        if not jobs:
            raise HTTPException(404)
        path = await asyncio.to_thread(_zipped, session, jobs)
        return FileResponse(
            path, media_type="application/zip", filename="painted.zip", background=BackgroundTask(os.unlink, path)
        )

    async def job(self, request: Request) -> Response:
        """A job with its losses and the commands that repeat it."""
        session, job = _job(request)
        losses = await asyncio.to_thread(session.losses, job)
        shown = self._studio.summary(session, job)
        return JSONResponse({**shown, "losses": losses, "commands": self._studio.commands(session, job)})

    async def order(self, request: Request) -> Response:
        """Pause a job, go on, stop it, change its dials, continue it at a larger size, or remove it."""
        session, job = _job(request)
        what = request.path_params["what"]
        if what == "change":
            wanted = await _json(request)
            await self._studio.change(session, job, wanted.get("given"), wanted.get("look"))
        elif what == "larger":
            job = await self._studio.larger(session, job)
        elif what in _ORDERS:
            self._studio.order(session, job, what)
        else:
            raise HTTPException(404)
        return JSONResponse(self._studio.summary(session, job))

    async def picture(self, request: Request) -> Response:
        """A picture as it was decoded ("file"), or one of its copies."""
        session, which = _session(request), request.path_params["which"]
        picture = _found(session.pictures, request.path_params["id"])
        if which == "file":
            return _download(session.picture_file(picture), f"image/{picture.suffix}", picture.name)
        if which not in ("view", "small"):
            raise HTTPException(404)
        return _file(session.copy_file(picture, which), is_final=True)

    async def job_file(self, request: Request) -> Response:
        """A file of a job: one that the page shows, or a download."""
        session, job = _job(request)
        which, folder = request.path_params["which"], session.job_folder(job)
        name = Path(session.pictures[job.content].name).stem
        if which in ("now", "before", "small"):
            return _file(folder / f"{which}.jpg")
        if which == "start" and job.start:
            return _download(folder / job.start, "image/png", "start.png")
        if which in FORMATS:
            return _download(folder / f"picture.{which}", FORMATS[which], f"{name}-{job.id[:4]}.{which}")
        if which == "stages":
            return _download(folder / STAGES, "image/png", f"{name}-{job.id[:4]}-stages.png")
        if which in ("mp4", "film"):
            as_name = f"{name}-{job.id[:4]}.mp4" if which == "mp4" else None
            return _download(folder / FILM, "video/mp4", as_name)
        raise HTTPException(404)


def make_app(
    studio: Studio, token: str, hosts: tuple[str, ...], port: int, days: float = DAYS, gigabytes: float = GIGABYTES
) -> Starlette:
    """Make the application.

    Parameters
    ----------
    studio : Studio
    token : str
        As for `Guard`.
    hosts : tuple of str
        As for `Guard`.
    port : int
    days, gigabytes : float
        As for `Store.sweep`.

    Returns
    -------
    Starlette
        With the `Studio` as ``state.studio``.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        studio.start()
        sweeping = asyncio.create_task(_sweep(studio.store, days, gigabytes))
        yield
        sweeping.cancel()
        await studio.close()

    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        StylecoreError: _on_error,
        OSError: _on_os_error,
        ClientDisconnect: _on_disconnect,
        HTTPException: _on_http_error,
    }
    guard = Middleware(Guard, store=studio.store, token=token, hosts=hosts, port=port)
    app = Starlette(routes=Routes(studio).table(), lifespan=lifespan, middleware=[guard], exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.studio = studio
    return app


async def _sweep(store: Store, days: float, gigabytes: float) -> None:
    while True:
        with suppress(OSError):
            store.sweep(days, gigabytes)
        await asyncio.sleep(_SWEEP)


# Requests


def _session(request: Request) -> Session:
    return request.scope["session"]


def _job(request: Request) -> tuple[Session, Job]:
    session = _session(request)
    return session, _found(session.jobs, request.path_params["id"])


def _found(table: dict[str, Any], name: str) -> Any:
    if name not in table:
        raise HTTPException(404)
    return table[name]


async def _receive(request: Request, descriptor: int, name: str, most: int) -> None:
    """Write the body of a request to a file, up to the limit."""
    size = 0
    with open(descriptor, "wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise Refused(f"{name} has over {most >> 20} MB; save it smaller first.", 413)
            file.write(chunk)
    if not size:
        raise Refused(f"{name} is empty.", 422)


async def _json(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON:
            raise Refused("this request is too long.", 413)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refused("this request is not a JSON object.", 422)
    return content


# Responses


def _shown(picture: Picture) -> dict[str, Any]:
    return {name: getattr(picture, name) for name in ("id", "name", "kind", "width", "height", "note", "shown")}


def _file(path: Path, *, is_final: bool = False) -> Response:
    """A JPEG that the page shows. It is read at once, since a picture that is being painted may be replaced."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise HTTPException(404) from None
    caching = {"cache-control": "private, max-age=86400, immutable"} if is_final else None
    return Response(content, media_type="image/jpeg", headers=caching)


def _download(path: Path, media_type: str, name: str | None) -> Response:
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type=media_type, filename=name)


def _zipped(session: Session, jobs: list[Job]) -> str:
    """A temporary ZIP file with the pictures of some jobs, under the names of their photographs."""
    taken: set[str] = set()
    descriptor, path = tempfile.mkstemp(prefix="stylecore.", suffix=".zip")
    with open(descriptor, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for job in jobs:
            stem = Path(session.pictures[job.content].name).stem
            archive.write(session.job_folder(job) / "picture.png", distinct(f"{stem}.png", taken))
    return path


async def _on_error(request: Request, error: StylecoreError) -> Response:
    status = error.status if isinstance(error, Refused) else 422
    _log.warning("answered with %d: %s %.200r: %.300s", status, request.method, request.url.path, error)
    return JSONResponse({"error": str(error)}, status)


async def _on_os_error(request: Request, error: OSError) -> Response:
    _log.warning("answered with 507: %s %.200r: %s", request.method, request.url.path, error)
    reason = error.strerror or type(error).__name__
    return JSONResponse({"error": f"a file cannot be written ({reason}); free some space on the disk."}, 507)


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    _log.warning("answered with %d: %s %.200r", error.status_code, request.method, request.url.path)
    return JSONResponse({"error": "there is nothing under this address."}, error.status_code)


async def _on_disconnect(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)
