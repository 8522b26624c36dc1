"""Whose colours a picture gets: the style image's, or in three ways the content image's.

Each way is a step before the transfer (`prepare`), and one after it (`restore`).

- "content": the network sees only the luminance, in which the style image is brought to the content image's mean and
  contrast, and the finished luminance takes on the content image's own chrominance: every place keeps its colour, as
  if the photograph had been tinted by hand. Recolouring the result of a transfer in colours instead was looked at: it
  stays as dark as the style image, and light and dark lie where the colours of that wanted them.
- "match": the style image's colours are changed beforehand, by the one linear map that gives them the content image's
  mean and covariance and moves them least, so that strokes may still differ in colour from what they lie on.
- "histogram": the same channel by channel, which also follows colours that lie in several heaps, and mixes them where
  the channels depend on each other.

References
----------
Gatys, Bethge, Hertzmann and Shechtman (2016), "Preserving Color in Neural Artistic Style Transfer".
Pitié and Kokaram (2007), "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer".
"""

import numpy as np

from stylecore.errors import ParameterError
from stylecore.messages import near_matches

COLOURS = ("style", "content", "match", "histogram")

# Luminance of sRGB values as television counts it (ITU-R BT.601), which is the Y of YIQ.
_LUMINANCE = np.float32([0.299, 0.587, 0.114])


def check(colour):
    """Find out before the work whether a way is known, and what it needs installed.

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


def _match_histograms():
    try:
        from skimage.exposure import match_histograms
    except ImportError as error:
        raise ParameterError(
            'colour "histogram" needs scikit-image; install it with: pip install scikit-image.'
        ) from error
    return match_histograms


def prepare(colour, content, styles):
    """The images as the network is to see them.

    Parameters
    ----------
    colour : {"style", "content", "match", "histogram"}
    content : ndarray, (H, W, 3)
        sRGB in [0, 1].
    styles : sequence of ndarray, (H, W, 3)

    Returns
    -------
    content : ndarray, (H, W, 3)
        Grey for "content", else as it was.
    styles : list of ndarray, (H, W, 3)
    """
    if colour == "content":
        content = grey(content)
        return content, [_match_luminance(style, content) for style in styles]
    change = {"style": lambda style, content: style, "match": match, "histogram": _histogram}[colour]
    return content, [change(style, content) for style in styles]


def restore(colour, picture, content):
    """The finished picture, with the content image's chrominance if that is wanted.

    Where the luminance leaves no room for the chrominance within [0, 1], the colour is paled as far as it must be:
    luminance and hue stay exact.

    Parameters
    ----------
    colour : {"style", "content", "match", "histogram"}
    picture, content : ndarray, (H, W, 3)
        What the transfer made, and the content image at that size.

    Returns
    -------
    ndarray, (H, W, 3)
    """
    if colour != "content":
        return picture
    luminance = grey(picture)
    chrominance = content - grey(content)
    # How often each channel's chrominance fits between the luminance and the end of the range that it moves towards.
    room = np.where(chrominance > 0, 1 - luminance, luminance)
    paling = np.min(room / np.maximum(np.abs(chrominance), 1e-6), axis=2, keepdims=True)
    return np.clip(luminance + np.minimum(paling, 1) * chrominance, 0, 1)


def is_grey(p):
    return bool(np.ptp(p, axis=2).max() < 1e-6)


def grey(picture):
    """The luminance of a picture, as a picture.

    Parameters
    ----------
    picture : ndarray, (H, W, 3)

    Returns
    -------
    ndarray, (H, W, 3)
        Three equal channels.
    """
    return np.repeat((picture @ _LUMINANCE.astype(picture.dtype))[:, :, None], 3, axis=2)


def match(style, content):
    """Change a style image's colours by a linear map, to the content image's mean and covariance.

    Parameters
    ----------
    style, content : ndarray, (H, W, 3)
        sRGB in [0, 1].

    Returns
    -------
    ndarray, (H, W, 3)
        Cut off at 0 and 1, so that mean and covariance may miss their aim by a little.
    """
    mean, covariance = _moments(style)
    wanted_mean, wanted_covariance = _moments(content)
    # S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2 takes covariance S to C, and is the map that does so with the least movement.
    root = _power(covariance, 0.5)
    inverse = _power(covariance, -0.5)
    change = inverse @ _power(root @ wanted_covariance @ root, 0.5) @ inverse
    return np.clip((style - mean) @ change + wanted_mean, 0, 1).astype(style.dtype)


def _moments(picture):
    colours = picture.reshape(-1, 3).astype(np.float64)
    # A picture of one colour, or of greys, does not spread in all directions; an 8-bit step keeps it invertible.
    return colours.mean(axis=0), np.cov(colours, rowvar=False) + np.eye(3) / 255**2


def _power(matrix, exponent):
    """Power of a symmetric matrix with eigenvalues above zero."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(1e-12) ** exponent) @ vectors.T


def _histogram(style, content):
    matched = _match_histograms()(style, content, channel_axis=2)
    return np.clip(matched, 0, 1).astype(style.dtype)


def _match_luminance(style, content):
    """Grey style image with the grey content image's mean and standard deviation."""
    style = grey(style)
    contrast = content.std() / max(style.std(), 1 / 255)
    return np.clip((style - style.mean()) * contrast + content.mean(), 0, 1)
