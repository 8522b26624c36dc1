"""What a page asks for, checked and made a job, and the work that the job takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from stylecore.errors import StylecoreError
from stylecore.web import dials
from stylecore.web.store import Job, Picture, Session, new_id

MAX_STYLES, MAX_REGIONS = 8, 16

# What the content and the styles of each kind of job are called.
_ROLES = {"picture": ("photograph", "painting"), "film": ("film", "painting"), "sketch": ("drawing", "photograph")}


class Refused(StylecoreError):
    """A request that cannot be met now, because something is full or has ended.

    Parameters
    ----------
    message : str
    status : int
        Of the HTTP response.
    """

    def __init__(self, message: str, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


def job_of(session: Session, wanted: Mapping[str, Any]) -> Job:
    """A new job, all of whose parts have been checked but for what only the reading process can.

    Parameters
    ----------
    session : Session
    wanted : mapping
        As for `Studio.submit`.

    Returns
    -------
    Job

    Raises
    ------
    StylecoreError
        If something is missing or out of its range.
    """
    styles, shares, regions = wanted.get("styles"), wanted.get("shares", []), wanted.get("regions", [])
    kind = wanted.get("kind", "picture")
    if kind not in _ROLES:
        raise Refused("there is no such kind of work.", 422)
    role, style_role = _ROLES[kind]
    content = _picture(session, wanted.get("content"), role, "film" if kind == "film" else "picture")
    if not isinstance(styles, list) or not 0 < len(styles) <= MAX_STYLES:
        raise Refused(f"choose one to {MAX_STYLES} {style_role}s.", 422)
    pictures = [_picture(session, id, style_role) for id in styles]
    if not isinstance(shares, list) or not all(isinstance(share, int | float) for share in shares):
        raise Refused("the shares of the paintings are not numbers.", 422)
    can_mix = len(shares) == len(styles) > 1 and kind != "sketch"
    shares = [float(share) for share in shares] if can_mix else []
    given = dials.checked(wanted.get("given"), kind)
    dials.settings(given, shares, kind)
    look = wanted.get("look")
    return Job(
        new_id(),
        content.id,
        [picture.id for picture in pictures],
        shares,
        _checked_regions(session, regions if kind == "picture" else [], len(styles)),
        given,
        given,
        look if isinstance(look, str) and look in dials.looks() else None,
        created=time.time(),
        kind=kind,
    )


def _picture(session: Session, id: object, role: str, kind: str = "picture") -> Picture:
    picture = session.pictures.get(id) if isinstance(id, str) else None
    if picture is None or picture.kind != kind:
        raise Refused(f"choose a {role} first.", 422)
    return picture


def _checked_regions(session: Session, regions: object, styles: int) -> list[dict[str, Any]]:
    if not isinstance(regions, list) or len(regions) > MAX_REGIONS:
        raise Refused(f"there can be at most {MAX_REGIONS} regions.", 422)
    checked = []
    for region in regions:
        mask, indices = (region.get(name) for name in ("mask", "styles")) if isinstance(region, dict) else (None, None)
        picture = session.pictures.get(mask) if isinstance(mask, str) else None
        is_mask = mask == "rest" or (picture is not None and picture.kind == "mask")
        is_list = isinstance(indices, list) and all(isinstance(i, int) and 0 <= i < styles for i in indices)
        if not is_mask or not is_list or not indices:
            raise Refused("a region needs a mask and at least one painting.", 422)
        checked.append({"mask": mask, "styles": sorted(set(indices))})
    return checked


def check_is_picture(job: Job) -> None:
    """Raise Refused if a job is not a picture, which alone can be changed and continued."""
    if job.kind != "picture":
        raise Refused(f"a {job.kind} cannot be changed; make another one with these settings.")


def regions_of(job: Job, mask: Callable[[str], str]) -> list[list[str]]:
    """The regions as ``--region`` takes them."""
    return [
        [
            "rest" if region["mask"] == "rest" else mask(region["mask"]),
            *("all" if i in region["styles"] else "none" for i in range(len(job.styles))),
        ]
        for region in job.regions
    ]


def distinct(name: str, taken: set[str]) -> str:
    """A name that is not among those taken, and is then: the name itself, or with a number before its suffix."""
    stem, dot, suffix = name.rpartition(".")
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = (f"{stem}-{i}.{suffix}" if dot else f"{name}-{i}"), i + 1
    taken.add(candidate)
    return candidate


def work_of(scales: list[Any]) -> float:
    """Megapixels that all steps of some scales evaluate."""
    return sum(height * width * steps for (height, width), steps in scales) / 1e6


def pixels_of(scales: list[Any], step: int) -> float:
    """Megapixels that the first steps evaluate."""
    work = 0.0
    for (height, width), steps in scales:
        work += height * width * min(steps, max(step, 0)) / 1e6
        step -= steps
    return work


def without_init(given: Mapping[str, str]) -> dict[str, str]:
    """The words of the dials for a run that starts from a picture."""
    return {name: words for name, words in given.items() if name != "init"}


def rest_of(wanted: list[Any], scales: list[Any], step: int) -> dict[str, str]:
    """The words of the dials for the sizes and steps that are left when dials are changed in the middle of a run.

    Parameters
    ----------
    wanted : list of ((height, width), steps)
        All scales with the changed dials.
    scales : list of ((height, width), steps)
        Those of the run so far.
    step : int
        Steps made.

    Returns
    -------
    dict of str to str
        "pyramid" and "iterations": smaller sizes are not painted again, and at the same size only the steps that are
        left.
    """
    side = 0
    for (height, width), steps in scales:
        side = max(height, width)
        if step <= steps:
            break
        step -= steps
    rest = [
        [max(shape), max(1, steps - step) if max(shape) == side else steps]
        for shape, steps in wanted
        if max(shape) >= side
    ] or [[max(shape), steps] for shape, steps in wanted[-1:]]
    if not rest:  # The network has not been downloaded yet.
        return {}
    sides = " ".join(str(side) for side, _ in rest[:-1])
    return {"pyramid": sides or "1", "iterations": " ".join(str(steps) for _, steps in rest)}
