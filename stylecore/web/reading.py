"""The process that reads uploads, and predicts the memory and the steps of a job.

A decoder is where a hostile file does harm, so none runs in the server: here the memory is limited, and the server ends
the process if an upload takes too long.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylecore import weights
from stylecore.budget import DISK, Budget, predicted_bytes
from stylecore.errors import DataError, ImageError, ParameterError, StylecoreError
from stylecore.network import Network, load_network
from stylecore.pictures.arrays import quantise, to_pil
from stylecore.pictures.geometry import fit, resize, shape_for
from stylecore.pictures.pillow import limits
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import write_image
from stylecore.schedule import schedule, style_shape
from stylecore.settings import Settings

MAX_PIXELS = 50_000_000
"""The largest picture that is read."""

MEMORY = 4 * 2**30
"""Bytes of address space that the process may use beyond what it has at its start."""

VIEW, SMALL = 1280, 256
"""Longer sides of the JPEG copies, in pixels."""


FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
"""Suffixes of the films that are taken."""


def main(connection: Connection) -> None:
    """Answer requests until the pipe is closed.

    Parameters
    ----------
    connection : Connection
        Each request names one of the functions below and its arguments; the answer has its result or an error.
    """
    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "read": read,
        "read_mask": read_mask,
        "read_film": read_film,
        "predict": predict,
    }
    _limit_memory()
    while (request := connection.recv())["do"] != "quit":
        try:
            answer: dict[str, Any] = {"result": functions[request["do"]](**request["arguments"])}
        except StylecoreError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "this takes more memory than is free; use a smaller picture."}
        except OSError as error:
            answer = {"error": f"a file cannot be written ({error.strerror or error}); free some space on the disk."}
        connection.send(answer)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError), open("/proc/self/statm") as file:  # Other systems do not say.
        mapped = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))


def read(source: str, folder: str, id: str, name: str) -> dict[str, Any]:
    """Decode an upload and encode it again: without loss, and as two small copies.

    Parameters
    ----------
    source : str
        The uploaded bytes.
    folder : str
        Where the pictures of the session are.
    id : str
        Of the new picture.
    name : str
        Of the user's file, for messages.

    Returns
    -------
    dict
        "width", "height", "suffix" and "note".

    Raises
    ------
    ImageError
        If it is not a picture, or a damaged or too large one.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rgb, alpha = _decoded(source, name)
    target = Path(folder, id)
    levels = [quantise(plane, np.uint8) for plane in (rgb, alpha) if plane is not None]
    planes = [plane for plane in (rgb, alpha) if plane is not None]
    has_8_bits = all((level / np.float32(255) == plane).all() for level, plane in zip(levels, planes, strict=True))
    if has_8_bits:  # At Pillow's default level, compression would take seconds for a photograph.
        to_pil(rgb, alpha).save(f"{target}.png", compress_level=1)
    else:
        write_image(f"{target}.tif", rgb, alpha=alpha)
    for which, side in (("view", VIEW), ("small", SMALL)):
        write_copy(f"{target}.{which}.jpg", rgb, alpha, side)
    height, width = rgb.shape[:2]
    note = " ".join(str(warning.message) for warning in caught)
    return {"width": width, "height": height, "suffix": "png" if has_8_bits else "tif", "note": note}


def read_film(source: str, folder: str, id: str, name: str) -> dict[str, Any]:
    """Check that an upload is a film, keep it as it is, and write two small copies of its first frame.

    Parameters
    ----------
    source, folder, id, name : str
        As for `read`.

    Returns
    -------
    dict
        "width", "height", "suffix", "note" and "frames".

    Raises
    ------
    DataError
        If it is not a film, or a damaged one.
    ParameterError
        If a package that it needs is not installed.
    """
    from stylecore.video.sources import open_source

    suffix = Path(name).suffix.lower()
    if suffix not in FILMS:
        raise ParameterError(f"{name} is not a film of a known kind ({', '.join(FILMS)}).")
    target = Path(folder, f"{id}{suffix}")
    os.link(source, target)
    try:
        film = open_source(target)
        first = next(film.frames()).pixels
        height, width = first.shape[:2]
        _check_pixels(height, width, name)
    except BaseException as error:
        target.unlink()
        if isinstance(error, DataError):  # It names the file as the user does not know it.
            raise DataError(str(error).replace(str(target), name)) from None
        raise
    for which, side in (("view", VIEW), ("small", SMALL)):
        write_copy(str(target.with_suffix(f".{which}.jpg")), first / np.float32(255), None, side)
    return {"width": width, "height": height, "suffix": suffix[1:], "note": "", "frames": film.count or 0}


def read_mask(source: str, folder: str, id: str, width: int, height: int) -> dict[str, Any]:
    """Decode the mask of a region and store it in grey, at the size of its photograph.

    Parameters
    ----------
    source, folder, id : str
        As for `read`.
    width, height : int
        Of the photograph.

    Returns
    -------
    dict
        As of `read`.
    """
    rgb, _ = _decoded(source, "the mask")
    levels = Image.fromarray(quantise(rgb[:, :, 0], np.uint8))
    levels.resize((width, height), Image.Resampling.BILINEAR).save(Path(folder, f"{id}.png"), compress_level=1)
    return {"width": width, "height": height, "suffix": "png", "note": ""}


def _decoded(source: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an upload, whose size is checked before its pixels are decoded."""
    with limits(), warnings.catch_warnings(), suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        warnings.simplefilter("ignore")
        with Image.open(source) as image:
            _check_pixels(image.height, image.width, name)
    with open(source, "rb") as file:
        rgb, alpha = read_image(file, name=name)
    height, width = rgb.shape[:2]
    _check_pixels(height, width, name)
    return rgb, alpha


def _check_pixels(height: int, width: int, name: str) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels; the page takes at most {MAX_PIXELS // 10**6} megapixels, so scale "
            "it down first."
        )


def write_copy(path: str | os.PathLike[str], rgb: np.ndarray, alpha: np.ndarray | None, side: int) -> None:
    """Write a JPEG copy of a picture, for the page; it replaces an older one at once.

    Parameters
    ----------
    path : str or path
    rgb : ndarray, (H, W, 3)
        sRGB in [0, 1].
    alpha : ndarray, (H, W), or None
        The picture is composited on white.
    side : int
        Largest longer side, in pixels.
    """
    if max(rgb.shape[:2]) > side:
        shape = fit(rgb.shape, side)
        rgb, alpha = resize(rgb, shape, alpha), None if alpha is None else resize(alpha, shape)
    if alpha is not None:
        rgb = 1 - alpha[:, :, None] * (1 - rgb)
    # Not `replacing`, which waits for the disk: a copy that is lost in a power failure is made again.
    to_pil(rgb).save(f"{path}.new", "JPEG", quality=85)
    os.replace(f"{path}.new", path)


def predict(
    named: dict[str, Any], content: tuple[int, int], styles: Sequence[tuple[int, int]], regions: int
) -> dict[str, Any]:
    """Predict a job: its scales and its memory.

    Parameters
    ----------
    named : dict
        Settings of `transfer`.
    content : tuple of int
        (height, width) of the photograph.
    styles : sequence of tuple of int
        Of each painting.
    regions : int
        Number of regions; 1 without any.

    Returns
    -------
    dict
        "size" (width, height); and "scales", as `stylecore.schedule.schedule` returns them, and "bytes" - or, if the
        network must be downloaded before, the megabytes of the "download".

    Raises
    ------
    StylecoreError
        If a setting is out of its range, the size is too small for the network, or it does not fit into memory.
    """
    settings = Settings.of(named).with_layers()
    shape = shape_for(settings.size, content)
    size = [shape[1], shape[0]]
    if settings.network in weights.CATALOGUE and not os.path.isfile(weights.cached_file(settings.network)):
        return {"size": size, "download": weights.CATALOGUE[settings.network].megabytes}
    network = _network(settings.network, settings.device, settings.pooling, settings.dtype, tuple(settings.layers))
    content_layers, style_layers = settings.content_layers or (), settings.style_layers or ()
    network.check_size(*shape, settings.layers)
    smallest = network.smallest_size(style_layers) if style_layers else 1

    def style_shapes(longer_side: float) -> list[tuple[int, int]]:
        side, enlarges = settings.style_side(longer_side, longer_side), settings.stroke is not None
        return [style_shape(style, side, smallest, enlarges=enlarges) for style in styles]

    budget, optimizer = Budget(network, settings, style_shapes, regions), settings.optimizer
    budget.optimizer(shape, [optimizer])
    given = optimizer, settings.style_loss, regions, budget.tile(shape, optimizer), settings.edges
    kinds = [
        predicted_bytes(network, content_layers, style_layers, shape, style, *given)
        for style in style_shapes(max(shape))
    ]
    scales = schedule(shape, settings.iterations, settings.pyramid, network.smallest_size(settings.layers))
    return {"size": size, "scales": scales, "bytes": max(sum(kind.values()) - kind.get(DISK, 0) for kind in kinds)}


@lru_cache(maxsize=1)
def _network(network: str, device: str, pooling: str, dtype: str, layers: tuple[str, ...]) -> Network:
    """A loaded network; the page asks for a prediction at every change of a dial."""
    return load_network(network, device, pooling, dtype, layers)
