"""Whose colours a result has: the style image's, or in three ways the content image's.

Each way is a step before the transfer (`prepare`), and one after it (`restore`).

- "content": the network sees only luminance, in which the style image is given the content image's mean and contrast,
  and the resulting luminance is combined with the content image's own chrominance: every place keeps its colour, like
  a hand-tinted photograph. Recolouring the result of a transfer in colour was tried instead: it stays as dark as the
  style image, and is light and dark where the style image's colours required it.
- "match": the style image's colours are transformed beforehand, by the one linear map that gives them the content
  image's mean and covariance and moves them least, so that strokes may still differ in colour from what is below them.
- "histogram": the same with the histogram of each channel, which also follows colours of several clusters, and mixes
  them where the channels depend on each other.

Where an image is partly transparent, only the colours of its visible pixels count.

References
----------
Gatys, Bethge, Hertzmann and Shechtman (2016), "Preserving Color in Neural Artistic Style Transfer".
Pitié and Kokaram (2007), "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stylecore.errors import ParameterError
from stylecore.messages import near_matches

COLOURS = ("style", "content", "match", "histogram")

# Luma of sRGB values (ITU-R BT.601), which is the Y of YIQ.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def check(colour: str) -> None:
    """Check, before the work, that a way is known and what it needs is installed.

    Parameters
    ----------
    colour : str

    Raises
    ------
    ParameterError
        If it is not one of `COLOURS`, or is "histogram" and scikit-image is missing.
    """
    if colour not in COLOURS:
        raise ParameterError(f'colour "{colour}" is not known{near_matches(colour, COLOURS)}.')
    if colour == "histogram":
        _match_histograms()


def _match_histograms() -> Callable[..., np.ndarray]:
    try:
        from skimage.exposure import match_histograms
    except ImportError as error:
        raise ParameterError(
            'colour "histogram" needs scikit-image; install it with: pip install scikit-image.'
        ) from error
    return match_histograms


def prepare(
    colour: str,
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    *,
    content_alpha: np.ndarray | None = None,
    style_alphas: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Recolour the images for the network.

    Parameters
    ----------
    colour : {"style", "content", "match", "histogram"}
    content : ndarray, shape (H, W, 3)
        sRGB in [0, 1].
    styles : sequence of ndarray, each of shape (H, W, 3)
    content_alpha : ndarray, shape (H, W), optional
        Opacity of the content image, in [0, 1].
    style_alphas : sequence of ndarray or None, optional
        Opacity of each style image.

    Returns
    -------
    content : ndarray, shape (H, W, 3)
        Grey for "content", else unchanged.
    styles : list of ndarray, each of shape (H, W, 3)
    """
    alphas = [None] * len(styles) if style_alphas is None else style_alphas
    if colour == "style":
        return content, list(styles)
    if colour == "content":
        content = grey(content)
    change = {"content": _match_luminance, "match": match, "histogram": _histogram}[colour]
    return content, [change(style, content, alpha, content_alpha) for style, alpha in zip(styles, alphas, strict=True)]


def restore(colour: str, picture: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Give the result of a transfer the content image's chrominance, if `colour` is "content".

    Where the luminance leaves no room for the chrominance within [0, 1], saturation is reduced as far as necessary:
    luminance and hue stay exact.

    Parameters
    ----------
    colour : {"style", "content", "match", "histogram"}
    picture, content : ndarray, shape (H, W, 3)
        What the transfer made, and the content image at that size.

    Returns
    -------
    ndarray, shape (H, W, 3)
    """
    if colour != "content":
        return picture
    luminance = grey(picture)
    chrominance = content - grey(content)
    # How often each channel's chrominance fits between the luminance and the end of the range that it moves towards.
    room = np.where(chrominance > 0, 1 - luminance, luminance)
    saturation = np.min(room / np.maximum(np.abs(chrominance), 1e-6), axis=2, keepdims=True)
    return np.clip(luminance + np.minimum(saturation, 1) * chrominance, 0, 1)


def grey(picture: np.ndarray) -> np.ndarray:
    """Luminance of a picture, as a picture.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3)

    Returns
    -------
    ndarray, shape (H, W, 3)
        Three equal channels.
    """
    return np.repeat((picture @ _LUMINANCE.astype(picture.dtype))[:, :, None], 3, axis=2)


def is_grey(picture: np.ndarray) -> bool:
    """Whether a picture has no colours.

    Parameters
    ----------
    picture : ndarray of float in [0, 1], or of unsigned integers, shape (H, W, 3)

    Returns
    -------
    bool
        True if the channels of every pixel are equal, up to one 8-bit step, which conversions by rounding may cause.
    """
    step = (1.01 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max) / 255
    for top in range(0, len(picture), 64):  # a few rows at a time: most pictures show a colour in the first
        rows = picture[top : top + 64]
        if (rows.max(axis=2) - rows.min(axis=2)).max(initial=0) > step:
            return False
    return True


def match(
    style: np.ndarray,
    content: np.ndarray,
    style_alpha: np.ndarray | None = None,
    content_alpha: np.ndarray | None = None,
) -> np.ndarray:
    """Transform a style image's colours by a linear map, to the content image's mean and covariance.

    Parameters
    ----------
    style, content : ndarray, shape (H, W, 3)
        sRGB in [0, 1].
    style_alpha, content_alpha : ndarray, shape (H, W), optional
        Their opacity, in [0, 1].

    Returns
    -------
    ndarray, shape (H, W, 3)
        Clipped to [0, 1], so that mean and covariance may differ slightly from the content image's.
    """
    mean, covariance = _moments(style[_visible(style, style_alpha)])
    target_mean, target_covariance = _moments(content[_visible(content, content_alpha)])
    # S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2 maps covariance S to C, with the least movement of all maps that do so.
    root = _power(covariance, 0.5)
    inverse = _power(covariance, -0.5)
    change = inverse @ _power(root @ target_covariance @ root, 0.5) @ inverse
    return np.clip((style - mean) @ change + target_mean, 0, 1).astype(style.dtype)


def _moments(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of colours, shape (N, 3)."""
    colours = colours.astype(np.float64)
    # The covariance of a single colour, or of greys, is singular; an 8-bit step makes it invertible.
    return colours.mean(axis=0), np.cov(colours, rowvar=False) + np.eye(3) / 255**2


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Power of a symmetric matrix with positive eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(1e-12) ** exponent) @ vectors.T


def _histogram(
    style: np.ndarray, content: np.ndarray, style_alpha: np.ndarray | None, content_alpha: np.ndarray | None
) -> np.ndarray:
    seen, target = _visible(style, style_alpha), content[_visible(content, content_alpha)]
    matched = style.copy()
    matched[seen] = np.clip(_match_histograms()(style[seen], target, channel_axis=1), 0, 1)
    return matched


def _visible(picture: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Mask of the pixels that are more opaque than transparent; of all if fewer than two are."""
    if alpha is None or np.count_nonzero(alpha > 0.5) < 2:
        return np.ones(picture.shape[:2], bool)
    return alpha > 0.5


def _match_luminance(
    style: np.ndarray, content: np.ndarray, style_alpha: np.ndarray | None, content_alpha: np.ndarray | None
) -> np.ndarray:
    """Grey style image with the grey content image's mean and standard deviation."""
    style = grey(style)
    seen, target = style[_visible(style, style_alpha)], content[_visible(content, content_alpha)]
    contrast = target.std() / max(seen.std(), 1 / 255)
    return np.clip((style - seen.mean()) * contrast + target.mean(), 0, 1)
