"""Style images that are mostly one dark tone, and the style weight that they bear (paper, section 6.4).

The Gram matrices of such an image ask above all for that tone, which comes out as dark patches that swallow the
photograph. The paper's remedy is a lower style weight.
"""

import warnings
from numbers import Real

import numpy as np

from stylecore.pictures.colour import grey
from stylecore.pictures.geometry import fit, resize

STYLE_WEIGHT = 20.0
"""The style weight for a style image with tones enough; the default of `transfer`."""

MOST = 0.5
"""Share of dark pixels above which an image counts as mostly dark."""

_DARK, _NEAR, _SIDE = 0.25, 0.1, 256


def dark_share(picture):
    """Share of a picture that is nearly one dark tone.

    Parameters
    ----------
    picture : ndarray, (H, W, 3)
        sRGB in [0, 1].

    Returns
    -------
    float
        In [0, 1]: of the pixels that are darker than a quarter of the luminance's range and within a tenth of the
        range, in each channel, of the median of those that are so dark. Single pixels of grain do not count, since the
        picture is looked at with a longer side of 256 pixels at most.
    """
    pixels = resize(picture, fit(picture.shape, min(_SIDE, max(picture.shape)))).reshape(-1, 3)
    dark = pixels[grey(pixels[None])[0, :, 0] < _DARK]
    if not len(dark):
        return 0.0
    near = np.abs(dark - np.median(dark, axis=0)).max(axis=1) < _NEAR
    return float(np.count_nonzero(near) / len(pixels))


def suited_style_weight(style_weight, styles, opacities=None):
    """The style weight to work with; warns of one that is too high for dark style images.

    Parameters
    ----------
    style_weight : float or "auto"
    styles : sequence of ndarray, (H, W, 3)

    Returns
    -------
    float
        `style_weight` as it is; for "auto", `auto_style_weight` of the images' mean share.
    """
    share = float(np.mean([dark_share(style) for style in styles]))
    suited = auto_style_weight(share)
    if isinstance(style_weight, str) and style_weight == "auto":
        return suited
    if share > MOST and isinstance(style_weight, Real) and style_weight > suited:
        warnings.warn(
            f"{share:.0%} of the style image is nearly one dark tone, which will cover the picture in dark patches; "
            f'lower the style weight ("auto" takes {suited:.2g} here), or crop the style image to what is lit.',
            stacklevel=3,
        )
    return style_weight


def auto_style_weight(share):
    """Style weight that suits a style image.

    Parameters
    ----------
    share : float
        As `dark_share` gives it.

    Returns
    -------
    float
        20, the default, while at most half of the image is nearly one dark tone. Above, it falls with the square of
        the rest of the image, as the Gram matrices' distances do: to 7.2 where the rest is 30 %, 3.2 at 20 %, and 1 at
        the least.
    """
    return max(1.0, STYLE_WEIGHT * min(1.0, (1 - share) / (1 - MOST)) ** 2)
