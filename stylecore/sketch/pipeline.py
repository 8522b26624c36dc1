"""Colouring a sketch from a photograph of the same thing: all stages in one function."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylecore.errors import ParameterError
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import fit
from stylecore.pictures.reading import Source, read_image
from stylecore.pictures.writing import write_image
from stylecore.runs.history import Evaluation
from stylecore.sketch.colouring import colour
from stylecore.sketch.drawing import Drawing, read_drawing
from stylecore.sketch.indexing import PhotoIndex, index
from stylecore.sketch.ink import check_strength, overlay
from stylecore.sketch.libraries import opencv, skimage
from stylecore.sketch.matching import match_regions
from stylecore.sketch.photo_segmentation import segment_photo
from stylecore.sketch.retrieval import Match, retrieve
from stylecore.sketch.segmentation import Segmentation
from stylecore.sketch.sheet import stages_sheet
from stylecore.sketch.sketch_segmentation import segment_sketch

SHOWN = 5
"""Number of the best photographs on the sheet of stages."""

DEFAULTS: dict[str, Any] = {"iterations": 90, "style_weight": 20.0}
"""Settings of the transfer that differ from its own defaults, or that are named here for the command line."""


@dataclass(frozen=True)
class ColouredSketch:
    """A coloured sketch, with the stages that led to it.

    Attributes
    ----------
    array : ndarray, (H, W, 3)
        The result, sRGB in [0, 1], with the lines.
    colours : ndarray, (H, W, 3)
        The same without the lines.
    drawing : Drawing
        At the size of the result.
    photo : ndarray, (h, w, 3)
        The photograph that the colours come from.
    sketch_regions, photo_regions : Segmentation
        Of the drawing, at the size of the result, and of the photograph.
    matches : dict of int to int
        Region of the photograph for each region of the drawing.
    retrieved : list of Match
        The best photographs of the folder, best first; empty if the photograph was given.
    chosen : int
        Index in `retrieved` of the photograph that was used.
    stopped : bool
        Whether the callback ended the transfer early.
    """

    array: np.ndarray
    colours: np.ndarray
    drawing: Drawing
    photo: np.ndarray
    sketch_regions: Segmentation
    photo_regions: Segmentation
    matches: dict[int, int]
    retrieved: list[Match]
    chosen: int
    stopped: bool

    @property
    def image(self) -> Image.Image:
        """The result as a PIL image."""
        return to_pil(self.array)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result; raises ImageError if that is not possible."""
        write_image(path, self.array)

    def sheet(self) -> np.ndarray:
        """The stages on one sheet: photographs, sketch, both segmentations and the result; (H, W, 3)."""
        photos = [read_image(match.path)[0] for match in self.retrieved[:SHOWN]] or [self.photo]
        return stages_sheet(
            self.drawing, photos, self.sketch_regions, self.photo_regions, self.matches, self.array, self.chosen
        )


def colour_sketch(
    sketch: Source | Drawing,
    *,
    photos: str | os.PathLike[str] | PhotoIndex | None = None,
    photo: Source | None = None,
    pick: int = 1,
    line_art: bool = False,
    ink: float = 1.0,
    size: int = 512,
    network: Any = "vgg19",
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
    **settings: Any,
) -> ColouredSketch:
    """Colour a line drawing with the colours and textures of a photograph of the same thing.

    Parameters
    ----------
    sketch : path, binary stream, PIL image, array or Drawing
        Dark lines on light paper.
    photos : str, path or PhotoIndex, optional
        A folder of photographs, from which the most similar one is taken, or its index.
    photo : path, binary stream, PIL image or array, optional
        The photograph, in place of `photos`.
    pick : int
        Which of the most similar photographs to take, from 1.
    line_art : bool
        Whether to take the edges of a photograph as the drawing.
    ink : float
        Darkness of the lines in the result, in [0, 1].
    size : int
        Longer side of the result, in pixels.
    network : str, path, Weights or Network
        A network with the layers of VGG-19.
    callback, progress
        As in `stylecore.transfer`.
    **settings
        Of `stylecore.transfer`; the number of iterations is 90 by default.

    Returns
    -------
    ColouredSketch

    Raises
    ------
    StylecoreError
        If an input cannot be used, or as in `stylecore.transfer`.

    References
    ----------
    The stages are described in `stylecore.sketch`.
    """
    check_options(photos, photo, pick, ink)
    drawing = read_drawing(sketch, line_art=line_art)
    drawing = drawing.at(fit(drawing.ink.shape, size))
    retrieved = _retrieved(drawing, photos, pick, network)
    picture = read_image(photo if photo is not None else retrieved[pick - 1].path, name="photograph")[0]
    sketch_regions = segment_sketch(drawing)
    photo_regions = segment_photo(picture, len(sketch_regions.regions), network=network)
    matches = match_regions(sketch_regions, photo_regions)
    result = colour(
        sketch_regions,
        picture,
        photo_regions,
        matches,
        size=size,
        network=network,
        callback=callback,
        progress=progress,
        **{**DEFAULTS, **settings},
    )
    return ColouredSketch(
        array=overlay(result.array, drawing, ink),
        colours=result.array,
        drawing=drawing,
        photo=picture,
        sketch_regions=sketch_regions,
        photo_regions=photo_regions,
        matches=matches,
        retrieved=retrieved,
        chosen=pick - 1,
        stopped=result.stopped,
    )


def check_options(photos: Any, photo: Any, pick: int, ink: float) -> None:
    """Raise ParameterError unless the options of `colour_sketch` can be used, and the libraries are installed."""
    if (photos is None) == (photo is None):
        raise ParameterError("give either a folder of photographs (--photos) or one photograph (--photo).")
    if isinstance(pick, bool) or not isinstance(pick, int) or pick < 1:
        raise ParameterError(f"pick is {pick!r}; it must be a whole number of one or more.")
    check_strength(ink)
    skimage("feature")
    opencv()


def _retrieved(drawing: Drawing, photos: Any, pick: int, network: Any) -> list[Match]:
    """The best photographs of a folder or an index; none if there is no folder."""
    if photos is None:
        return []
    found = photos if isinstance(photos, PhotoIndex) else index(photos, network=network)
    warn_unreadable(found)
    if pick > len(found.names):
        raise ParameterError(f"pick is {pick}, but {found.folder} has only {len(found.names)} photographs.")
    return retrieve(drawing, found, max(pick, SHOWN), network=network)


def warn_unreadable(photos: PhotoIndex) -> None:
    """Warn of the pictures of a folder that could not be read."""
    if photos.unreadable:
        names = [str(Path(photos.folder, name)) for name in photos.unreadable]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        count = f"{len(names)} picture{'s' * (len(names) > 1)}"
        warnings.warn(
            f"{count} cannot be read and {'are' if len(names) > 1 else 'is'} skipped: {', '.join(names[:3])}{more}.",
            stacklevel=4,
        )
