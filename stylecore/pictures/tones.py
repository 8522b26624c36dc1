"""Style images that are mostly one dark tone, and the style weight that suits them (paper, section 6.4).

The Gram matrices of such an image require above all that tone, which comes out as dark patches that cover the
photograph. The paper's remedy is a lower style weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from stylecore.pictures.colour import grey
from stylecore.pictures.geometry import fit, resize

STYLE_WEIGHT = 20.0
"""The style weight for a style image with a range of tones; the default of `transfer`."""

MOST = 0.5
"""Share of dark pixels above which an image counts as mostly dark."""

_DARK, _NEAR, _SIDE = 0.25, 0.1, 256


def dark_share(picture: np.ndarray, alpha: np.ndarray | None = None) -> float:
    """Share of a picture that is nearly one dark tone.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3)
        sRGB in [0, 1].
    alpha : ndarray, shape (H, W), optional
        Opacity in [0, 1]; only what is visible counts.

    Returns
    -------
    float
        In [0, 1]: of the pixels that are darker than a quarter of the luminance's range and within a tenth of the
        range, in each channel, of the median of those that are so dark. Single pixels of grain do not count, since the
        picture is reduced to at most 256 pixels along its longer side.
    """
    shape = fit(picture.shape, min(_SIDE, max(picture.shape[:2])))
    pixels = resize(picture, shape, alpha).reshape(-1, 3)
    if alpha is not None:
        pixels = pixels[resize(alpha, shape).ravel() > 0.5]
    dark = pixels[grey(pixels[None])[0, :, 0] < _DARK]
    if not len(dark):
        return 0.0
    near = np.abs(dark - np.median(dark, axis=0)).max(axis=1) < _NEAR
    return float(np.count_nonzero(near) / len(pixels))


def suited_style_weight(
    style_weight: float | str, styles: Sequence[np.ndarray], alphas: Sequence[np.ndarray | None] | None = None
) -> float:
    """Resolve the style weight, and warn of one that is too high for dark style images.

    Parameters
    ----------
    style_weight : float or "auto"
    styles : sequence of ndarray, each of shape (H, W, 3)
    alphas : sequence of ndarray or None, optional
        Opacity of each style image.

    Returns
    -------
    float
        `style_weight` unchanged; for "auto", `auto_style_weight` of the images' mean share.

    Warns
    -----
    UserWarning
        If a number is higher than "auto" would choose for images that are mostly dark.
    """
    shares = [dark_share(*pair) for pair in zip(styles, alphas or [None] * len(styles), strict=True)]
    share = float(np.mean(shares))
    suited = auto_style_weight(share)
    if isinstance(style_weight, str):
        return suited
    if share > MOST and style_weight > suited:
        warnings.warn(
            f"{share:.0%} of the style image is nearly one dark tone, which will cover the picture in dark patches; "
            f'lower the style weight ("auto" chooses {suited:.2g} here), or crop the style image to what is lit.',
            stacklevel=3,
        )
    return style_weight


def auto_style_weight(share: float) -> float:
    """Style weight that suits a style image.

    Parameters
    ----------
    share : float
        As `dark_share` returns it.

    Returns
    -------
    float
        20, the default, while at most half of the image is nearly one dark tone. Above, it falls with the square of
        the rest of the image, as the distances of Gram matrices do: to 7.2 where the rest is 30 %, 3.2 at 20 %, and 1
        at the least.
    """
    return max(1.0, STYLE_WEIGHT * min(1.0, (1 - share) / (1 - MOST)) ** 2)
