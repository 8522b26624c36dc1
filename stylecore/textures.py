"""Textures: pictures with the style of a painting and no content (Gatys, Ecker and Bethge 2015)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stylecore._transfer import Result, transfer
from stylecore.errors import ParameterError
from stylecore.network import load_network
from stylecore.pictures.geometry import shape_for
from stylecore.runs.history import Evaluation
from stylecore.settings import Settings
from stylecore.tiles import reaches

# As many scales as the network allows: large forms emerge at the smallest.
TEXTURE: dict[str, Any] = {"iterations": 400, "pyramid": 8, "tv_weight": 5.0, "edges": "reflect", "style_growth": 0.0}
"""Settings whose defaults differ from those of `Settings`."""

_FIXED = ("content_layers", "content_weight", "init", "regions", "labels", "colour")


def texture(
    style: Any,
    *,
    size: int | tuple[int, int] | str = 512,
    tileable: bool = False,
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
    checkpoint: Any = None,
    **settings: Any,
) -> Result:
    """Make a texture from a painting, starting from white noise.

    Only the style terms are minimised: the picture gets the statistics of the painting at every layer, but nothing of
    its layout. The coarse-to-fine scales let large forms emerge as well, which the network's features alone would not
    see at the full size.

    Parameters
    ----------
    style : path, binary stream, PIL image or array, or list or tuple of these
        One painting, or several, which are blended.
    size : int, (int, int) or str
        Side of a square picture in pixels; or width and height, such as (640, 480) or "640x480".
    tileable : bool
        Whether the picture repeats without seams: what the network sees beyond an edge is the opposite side. Both sides
        must then be multiples of the network's stride, which is 16 for VGG-19.
    callback, progress, checkpoint
        As in `stylecore.transfer`.
    **settings
        The fields of `stylecore.Settings` that do not concern the content: ``iterations``, ``seed``, ``style_scale``,
        ``style_layers``, ``style_loss`` and so on. The defaults that differ are in `TEXTURE`.

    Returns
    -------
    Result

    Raises
    ------
    ParameterError
        If a setting concerns the content or is out of its range, or the size cannot be repeated.
    StylecoreError
        As in `stylecore.transfer`.

    References
    ----------
    Gatys, Ecker and Bethge (2015), "Texture Synthesis Using Convolutional Neural Networks", NIPS; equation 5 is the sum
    of the style terms.

    Examples
    --------
    >>> import stylecore
    >>> from stylecore.samples import PAINTING
    >>> result = stylecore.texture(PAINTING, size=64, iterations=5, network="small", tileable=True)
    >>> result.image.size
    (64, 64)
    """
    for name in settings:
        if name in _FIXED:
            raise ParameterError(f"a texture has no content, so {name} has no effect on it; leave it out.")
    if tileable and "edges" in settings:
        raise ParameterError("edges and tileable cannot both be given; tileable continues the picture by itself.")
    given = {**TEXTURE, **settings, **({"edges": "wrap"} if tileable else {})}
    height, width = _shape(size)
    chosen = Settings.of({**given, "size": (width, height)}).with_layers()
    if tileable:
        _check_repeats((height, width), chosen)
    blank = np.full((height, width, 3), 0.5, np.float32)
    result = transfer(
        blank,
        style,
        size=(width, height),
        content_layers=[],
        content_weight=0.0,
        init="noise",
        **given,
        callback=callback,
        progress=progress,
        checkpoint=checkpoint,
    )
    result.settings["content"] = None
    return result


def _shape(size: int | tuple[int, int] | str) -> tuple[int, int]:
    """(height, width); a single number is the side of a square."""
    if isinstance(size, str) and size.endswith("x"):
        raise ParameterError(f"size is {size!r}, but a texture has no photograph to enlarge; give it in pixels.")
    return shape_for(size, (1, 1))


def _check_repeats(shape: tuple[int, int], settings: Settings) -> None:
    """Raise ParameterError unless both sides are multiples of the stride of the deepest style layer."""
    network = load_network(settings.network, settings.device, settings.pooling, settings.dtype, settings.style_layers)
    stride = max(reach.stride for reach in reaches(network, settings.style_layers or ()).values())
    if any(side % stride for side in shape):
        nearest = "x".join(str(max(1, round(side / stride)) * stride) for side in reversed(shape))
        raise ParameterError(
            f"a picture of {shape[1]} x {shape[0]} pixels cannot repeat without seams, since {network.name} sees it in "
            f"steps of {stride} px; choose multiples of {stride}, such as {nearest}."
        )
