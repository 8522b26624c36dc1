"""The files behind the page: sessions with their pictures and jobs, each under a name that the server made.

    FOLDER/rates.json                       seconds per megapixel and step, measured on this machine
    FOLDER/sessions/DIGEST/pictures/ID.*    an upload, decoded and encoded again; two small copies; what it is (JSON)
    FOLDER/sessions/DIGEST/jobs/ID/         settings (job.json), checkpoint, losses, the picture in all formats

A browser is recognised by a random key in its cookie, and the session's folder is named by the digest of that key. No
part of any path comes from a browser: identifiers are looked up in the tables below. All JSON files are replaced
atomically; a file that cannot be read is ignored.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from stylecore.files import replacing

ACTIVE = ("waiting", "painting")
"""States of a job that is still to be painted."""

FORMATS = {"png": "image/png", "jpg": "image/jpeg", "tif": "image/tiff"}
"""The formats of a picture that is downloaded, with their media types."""

FILM, STAGES = "film.mp4", "stages.png"
"""Files of a job: a painted film, and the stages of a coloured sketch."""

_DAY = 24 * 3600.0

# An upload that no job uses is kept this long.
_UNUSED = 2 * _DAY


@dataclass
class Picture:
    """An uploaded picture, mask or film.

    Attributes
    ----------
    id : str
    name : str
        Of the user's file, for display and for commands.
    kind : {"picture", "mask", "film"}
    width, height : int
    suffix : str
        Format in which it is stored: "png" or "tif", or that of a film.
    note : str
        Warnings of its decoder.
    created : float
        Seconds since 1970.
    shown : bool
        Whether it is offered to be used again.
    frames : int
        Of a film; 0 if its header does not tell.
    """

    id: str
    name: str
    kind: str
    width: int
    height: int
    suffix: str
    note: str = ""
    created: float = 0.0
    shown: bool = True
    frames: int = 0


@dataclass
class Job:
    """A picture or film in the queue, in progress or finished.

    Attributes
    ----------
    id : str
    content : str
        Identifier of the photograph, film or drawing.
    styles : list of str
        Identifiers of the paintings; of the photographs, for a sketch.
    shares : list of float
        Weight of each painting.
    regions : list of dict
        "mask", the identifier of a mask or "rest"; and "styles", the indices of the paintings it is painted from.
    given : dict of str to str
        The words of the dials as the user set them.
    actual : dict of str to str
        The words for the current part of the run: after a dial was changed, the sizes and steps that were left.
    look : str or None
        Name of the preset that was chosen last.
    start : str or None
        File from which the current part starts.
    part : int
        How often a dial was changed.
    state : {"waiting", "painting", "paused", "done", "stopped", "failed"}
    ending : {"stop", None}
        "stop" if the run should end at its next step.
    change : dict or None
        "given", "look" and "scales" with which the run continues from its current picture.
    message : str
        Why it failed.
    notes : list of str
        Warnings and what is done before the first step.
    created : float
        Seconds since 1970.
    scales : list of ((height, width), steps)
        Of the current part.
    step : int
        Steps made in the current part.
    seconds : float
        Time they took.
    picture : int
        Number of pictures shown so far, in all parts.
    size : list of int
        Width and height of the finished picture.
    kind : {"picture", "film", "sketch"}
    group : str
        Common to the pictures of a folder; empty for others.
    """

    id: str
    content: str
    styles: list[str]
    shares: list[float]
    regions: list[dict[str, Any]]
    given: dict[str, str]
    actual: dict[str, str]
    look: str | None = None
    start: str | None = None
    part: int = 0
    state: str = "waiting"
    ending: str | None = None
    change: dict[str, Any] | None = None
    message: str = ""
    notes: list[str] = field(default_factory=list)
    created: float = 0.0
    scales: list[list[Any]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    picture: int = 0
    size: list[int] = field(default_factory=list)
    kind: str = "picture"
    group: str = ""

    @property
    def pictures(self) -> list[str]:
        """Identifiers of all pictures and masks that the job uses."""
        masks = [region["mask"] for region in self.regions if region["mask"] != "rest"]
        return [self.content, *self.styles, *masks]


_Record = TypeVar("_Record", Picture, Job)


class Session:
    """The pictures and jobs of one browser.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    pictures : dict of str to Picture
    jobs : dict of str to Job
        The oldest first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pictures", "jobs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.pictures = {each.id: each for each in _read_all((folder / "pictures").glob("*.json"), Picture)}
        jobs = sorted(_read_all((folder / "jobs").glob("*/job.json"), Job), key=lambda job: job.created)
        known = self.pictures.keys()
        self.jobs = {job.id: job for job in jobs if known >= set(job.pictures)}

    def picture_file(self, picture: Picture) -> Path:
        """The decoded upload."""
        return self.folder / "pictures" / f"{picture.id}.{picture.suffix}"

    def copy_file(self, picture: Picture, which: str) -> Path:
        """A JPEG copy of an upload: "view", as large as the page shows it, or "small"."""
        return self.folder / "pictures" / f"{picture.id}.{which}.jpg"

    def job_folder(self, job: Job) -> Path:
        """The folder of a job."""
        return self.folder / "jobs" / job.id

    def add_picture(self, picture: Picture) -> None:
        """Record a picture whose files have been written."""
        _write_json(self.folder / "pictures" / f"{picture.id}.json", asdict(picture))
        self.pictures[picture.id] = picture

    def save_job(self, job: Job) -> None:
        """Write the state of a job; its folder is created first if need be."""
        self.job_folder(job).mkdir(exist_ok=True)
        _write_json(self.job_folder(job) / "job.json", asdict(job))
        self.jobs[job.id] = job

    def remove_job(self, job: Job) -> None:
        """Delete a job with all its files."""
        self.jobs.pop(job.id, None)
        shutil.rmtree(self.job_folder(job), ignore_errors=True)

    def remove_picture(self, picture: Picture) -> None:
        """Delete a picture; if a job uses it, it is only no longer shown."""
        if any(picture.id in job.pictures for job in self.jobs.values()):
            picture.shown = False
            self.add_picture(picture)
            return
        self.pictures.pop(picture.id, None)
        for path in (self.folder / "pictures").glob(f"{picture.id}.*"):
            path.unlink(missing_ok=True)

    def losses(self, job: Job) -> list[list[float]]:
        """The losses of a job so far: rows of part, step, width, height, loss, content, style and other terms."""
        rows: list[list[float]] = []
        with suppress(OSError, ValueError), open(self.job_folder(job) / "losses.csv", newline="") as file:
            for words in csv.reader(file):
                row = [float(word) for word in words]
                if len(row) != 8:
                    continue
                # After the program was killed, some steps are made a second time.
                while rows and rows[-1][:2] >= row[:2]:
                    rows.pop()
                rows.append(row)
        return rows


class Store:
    """All sessions of a folder.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    sessions : dict of str to Session
        By the digest of their key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = folder / "sessions"
        self._root.mkdir(parents=True, exist_ok=True)
        folders = (path for path in self._root.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name))
        self.sessions = {path.name: Session(path) for path in folders}

    def new_session(self) -> tuple[str, Session]:
        """Create a session; returns its key, which only the browser keeps."""
        key = secrets.token_urlsafe(32)
        digest = _digest(key)
        session = self.sessions[digest] = Session(self._root / digest)
        return key, session

    def session(self, key: str) -> Session | None:
        """The session of a key; None if there is none."""
        return self.sessions.get(_digest(key))

    def rates(self) -> dict[str, float]:
        """Measured seconds per megapixel and step, by network and device."""
        stored = _read_json(self.folder / "rates.json")
        return {str(key): float(rate) for key, rate in stored.items() if isinstance(rate, int | float)}

    def save_rate(self, key: str, rate: float) -> None:
        """Record a measured rate."""
        with suppress(OSError):  # On a full disk, a prediction is not worth an error.
            _write_json(self.folder / "rates.json", {**self.rates(), key: rate})

    def sweep(self, days: float, gigabytes: float) -> None:
        """Delete what is old, and the oldest finished jobs until the rest is within a size.

        Parameters
        ----------
        days : float
            Age from which finished jobs are deleted.
        gigabytes : float
            Size of all files together.
        """
        now = time.time()
        finished = [
            (job.created, session, job)
            for session in self.sessions.values()
            for job in list(session.jobs.values())
            if job.state not in (*ACTIVE, "paused")
        ]
        excess = _bytes(self._root) - gigabytes * 1e9
        for created, session, job in sorted(finished, key=lambda item: item[0]):
            if now - created > days * _DAY or excess > 0:
                excess -= _bytes(session.job_folder(job))
                session.remove_job(job)
        for digest, session in list(self.sessions.items()):
            self._sweep_session(session, now)
            is_empty = not session.jobs and not session.pictures
            if is_empty and now - session.folder.stat().st_mtime > days * _DAY:
                del self.sessions[digest]
                shutil.rmtree(session.folder, ignore_errors=True)

    def _sweep_session(self, session: Session, now: float) -> None:
        used = {picture for job in session.jobs.values() for picture in job.pictures}
        for picture in list(session.pictures.values()):
            if picture.id not in used and now - picture.created > _UNUSED:
                session.remove_picture(picture)
        # Files of uploads and jobs that were never recorded, because the program was killed.
        for path in (session.folder / "pictures").iterdir():
            if path.name.split(".")[0] not in session.pictures and now - path.stat().st_mtime > _UNUSED:
                path.unlink(missing_ok=True)
        for path in (session.folder / "jobs").iterdir():
            if path.name not in session.jobs and now - path.stat().st_mtime > _UNUSED:
                shutil.rmtree(path, ignore_errors=True)


def new_id() -> str:
    """A random identifier of a picture or job."""
    return secrets.token_hex(8)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # It has just been replaced or deleted.
            total += path.stat().st_size
    return total


def _read_all(paths: Iterator[Path], record: type[_Record]) -> Iterator[_Record]:
    known = {each.name for each in fields(record)}
    for path in paths:
        stored = _read_json(path)
        with suppress(TypeError):  # A field is missing.
            yield record(**{name: value for name, value in stored.items() if name in known})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content).encode())
