"""The input images of a transfer: each is read once, then cropped and recoloured according to the settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from stylecore.pictures import colour as colours
from stylecore.pictures.geometry import crop, resize, shape_for
from stylecore.pictures.reading import read_image
from stylecore.regions import Region, crop_regions, read_regions, read_styles
from stylecore.settings import Settings


@dataclass(frozen=True)
class Inputs:
    """The input images of a transfer, at full size.

    Attributes
    ----------
    shape : tuple of int
        (height, width) of the result.
    content : ndarray, (H, W, 3)
        The content image, cropped to the result's aspect ratio.
    alpha : ndarray, (H, W), or None
        Its opacity.
    seen : ndarray, (H, W, 3)
        The content image that the network is given: grey if only luminance is transferred.
    styles : list of ndarray, (h, w, 3)
        The style images that the network is given.
    opacities : list of ndarray, (h, w), or None
        Opacity of each style image.
    regions : list of Region
    start : ndarray, (H, W, 3), or None
        The initial image; None for white noise, and for one that a painter makes.
    start_alpha : ndarray, (H, W), or None
        Its opacity.
    grey : bool
        Whether `seen`, `styles` and thus the result are all grey.
    sources : dict
        "content" and "style" in a form that can be read again: the caller's argument, or the array read from a stream.
    names : dict
        "content" and "style" as the record of a picture names them.
    """

    shape: tuple[int, int]
    content: np.ndarray
    alpha: np.ndarray | None
    seen: np.ndarray
    styles: list[np.ndarray]
    opacities: list[np.ndarray | None]
    regions: list[Region]
    start: np.ndarray | None
    start_alpha: np.ndarray | None
    grey: bool
    sources: dict[str, Any]
    names: dict[str, Any]

    def content_at(self, shape: tuple[int, int]) -> np.ndarray:
        """The content image, resized to (height, width, 3)."""
        return resize(self.content, shape, self.alpha)

    def seen_at(self, shape: tuple[int, int]) -> np.ndarray:
        """The content image that the network is given, resized to (height, width, 3)."""
        return resize(self.seen, shape, self.alpha)

    def alpha_at(self, shape: tuple[int, int]) -> np.ndarray | None:
        """The opacity of the content image, resized to (height, width), or None."""
        return None if self.alpha is None else resize(self.alpha, shape)

    def noise_at(self, shape: tuple[int, int], seed: int) -> np.ndarray:
        """White noise of shape (height, width, 3), uniform in [0, 1]; grey if the result is grey."""
        rng = np.random.default_rng(seed)
        if self.grey:
            return np.repeat(rng.random((*shape, 1), np.float32), 3, axis=2)
        return rng.random((*shape, 3), np.float32)


def read_inputs(content: Any, style: Any, settings: Settings) -> Inputs:
    """Read the images of a transfer, each once, and check that they fit together.

    Parameters
    ----------
    content : path, binary stream, PIL image or array
    style : path, binary stream, PIL image or array, or list or tuple of these
    settings : Settings

    Returns
    -------
    Inputs

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If the masks, the weights of the styles or the size do not fit the images.
    """
    picture, alpha = read_image(content, name="content image")
    styles, opacities = read_styles(style)
    settings.blend(len(styles))
    shape = shape_for(settings.size, picture.shape)
    regions = crop_regions(read_regions(settings.regions, settings.labels, picture, styles, opacities), shape)
    sources = {"content": _source(content, picture, alpha), "style": _sources(style, styles, opacities)}
    picture, alpha = crop(picture, shape), None if alpha is None else crop(alpha, shape)
    seen, painted = colours.prepare(settings.colour, picture, styles, content_alpha=alpha, style_alphas=opacities)
    start, start_alpha = _start(settings, seen, alpha, shape)
    visible = seen if alpha is None else seen[alpha > 0][None]
    grey = all(colours.is_grey(image) for image in (visible, *painted))
    if grey and start is not None:
        start = colours.grey(start)
    names = {"content": _name(content), "style": _name(style)}
    return Inputs(shape, picture, alpha, seen, painted, opacities, regions, start, start_alpha, grey, sources, names)


def _start(
    settings: Settings, seen: np.ndarray, alpha: np.ndarray | None, shape: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The initial image and its opacity."""
    if isinstance(settings.init, str) and settings.init in ("noise", "painter"):
        return None, None
    if isinstance(settings.init, str) and settings.init == "content":
        return seen, alpha
    start, start_alpha = read_image(settings.init, name="initial image")
    # It may be a finished picture in the content's colours, which must be prepared for the network like the content.
    start, _ = colours.prepare(settings.colour, crop(start, shape), [])
    return start, None if start_alpha is None else crop(start_alpha, shape)


def _sources(given: Any, styles: list, opacities: list) -> Any:
    if isinstance(given, list | tuple):
        return [_source(*each) for each in zip(given, styles, opacities, strict=True)]
    return _source(given, styles[0], opacities[0])


def _source(given: Any, picture: np.ndarray, alpha: np.ndarray | None) -> Any:
    """The caller's argument if it can be read again, else the array that was read."""
    if isinstance(given, np.ndarray | Image.Image):
        return given
    if isinstance(given, str | os.PathLike) and os.path.isfile(given):
        return given
    return picture if alpha is None else np.dstack([picture, alpha])


def _name(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return [_name(each) for each in given]
    return "-" if hasattr(given, "read") else given
