"""The page's own files: HTML, style sheet, JavaScript modules, and a small picture of each preset.

They are read once; no name that a browser sends is ever part of a path.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.responses import Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}


@cache
def contents() -> dict[str, bytes]:
    """Content of each file, by its name.

    Returns
    -------
    dict of str to bytes
    """
    return {path.name: path.read_bytes() for path in files(__name__).iterdir() if _suffix(path.name) in _TYPES}


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(contents()[name], mtime=0)


def look_pictures() -> list[str]:
    """Names of the presets that have a picture."""
    return [name.removeprefix("look-").removesuffix(".webp") for name in contents() if name.startswith("look-")]


def response(name: str, accepted: str) -> Response:
    """A file as a response; raises HTTPException if there is none of that name.

    Parameters
    ----------
    name : str
    accepted : str
        The encodings that the browser accepts.

    Returns
    -------
    Response
    """
    if name not in contents():
        raise HTTPException(404)
    headers = {"cache-control": "no-cache", "vary": "accept-encoding"}
    content = contents()[name]
    if _suffix(name) != "webp" and "gzip" in accepted:
        content = _compressed(name)
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=_TYPES[_suffix(name)], headers=headers)


def _suffix(name: str) -> str:
    return name.rpartition(".")[2]
