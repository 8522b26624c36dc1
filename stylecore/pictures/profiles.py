"""Conversion to sRGB, from the colours that an ICC profile or a PNG's gamma describes."""

from __future__ import annotations

import functools
import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from stylecore.pictures.arrays import quantise, scaled
from stylecore.pictures.colour import is_grey

# Chromaticities x, y of sRGB (IEC 61966-2-1): the white point D65, red, green, blue; in the order of PNG's cHRM.
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)

# Cone responses in which white points are adapted (K. M. Lam's "Bradford" matrix).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@functools.cache
def profile_of(space: Literal["sRGB", "LAB"]) -> bytes:
    """ICC profile of "sRGB" or "LAB", with a fixed date so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")
    return bytes(profile)


# ICC profiles


def to_srgb(pixels: np.ndarray, mode: str, profile: bytes | None, name: str) -> np.ndarray:
    """Convert pixels to sRGB by their ICC profile.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or floats in [0, 1]
        Of shape (H, W) for mode "L", (H, W, 3) for "RGB" and "LAB", (H, W, 4) for "CMYK".
    mode : {"L", "RGB", "LAB", "CMYK"}
        As Pillow names it.
    profile : bytes or None
        None for the usual colours of the mode.
    name : str
        The picture's name in messages.

    Returns
    -------
    ndarray
        Grey, shape (H, W), or RGB, shape (H, W, 3): the pixels themselves where there is nothing to convert, else
        uint8, which is all that Pillow's interface to Little CMS offers.

    Warns
    -----
    UserWarning
        If the profile is broken or does not fit the pixels; it is ignored.
    """
    if mode == "LAB":
        profile = profile_of("LAB")
    source = _parsed(profile, name) if profile and profile != profile_of("sRGB") else None
    if source and mode == "RGB" and _colour_space(source) == "GRAY" and is_grey(pixels):
        pixels, mode = pixels[:, :, 0], "L"
    conversion = _conversion(source, mode, name) if source else None
    if conversion is None and mode in ("L", "RGB"):
        return pixels
    image = _image(pixels, mode)
    if conversion is not None:
        converted = ImageCms.applyTransform(image.convert(conversion.input_mode), conversion)
        assert converted is not None  # it is None only for a conversion in place
        image = converted
    return np.asarray(image.convert("RGB"))


def _parsed(profile: bytes, name: str) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except OSError:
        _warn_of_profile(name)
        return None


def _conversion(source: ImageCms.ImageCmsProfile, mode: str, name: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from a profile to sRGB; None where there is nothing to convert.

    Its ``input_mode`` is `mode`, or RGB for a grey image that carries an RGB profile.
    """
    if mode == "L" and _colour_space(source) == "RGB":
        mode = "RGB"
    try:
        conversion = ImageCms.buildTransform(
            source,
            ImageCms.ImageCmsProfile(io.BytesIO(profile_of("sRGB"))),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        _warn_of_profile(name)
        return None
    return None if _changes_nothing(conversion) else conversion


def _warn_of_profile(name: str) -> None:
    warnings.warn(f"{name} has a broken colour profile, or one for other colours; it is ignored.", stacklevel=2)


def _colour_space(profile: ImageCms.ImageCmsProfile) -> str:
    return profile.profile.xcolor_space.strip()


def _changes_nothing(conversion: ImageCms.ImageCmsTransform) -> bool:
    """Whether the profile is sRGB under another name, so that the pixels can be left exactly as they are."""
    if conversion.input_mode not in ("L", "RGB"):
        return False
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps) ** 2, len(steps), 3)
    sample = Image.fromarray(colours).convert(conversion.input_mode)
    before, after = sample.convert("RGB"), ImageCms.applyTransform(sample, conversion)
    difference = np.asarray(before, int) - np.asarray(after, int)
    return bool(np.abs(difference).max() <= 1)


def _image(pixels: np.ndarray, mode: str) -> Image.Image:
    """8-bit image of pixels of any depth."""
    if pixels.dtype != np.uint8:
        pixels = quantise(scaled(pixels, "image"), np.uint8)
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


# Gamma and chromaticities


def from_gamma(
    pixels: np.ndarray, gamma: float | None, chromaticities: tuple[float, ...] | None, name: str
) -> np.ndarray:
    """Convert pixels to sRGB by a PNG's gAMA and cHRM, which describe colours where there is no profile.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or floats in [0, 1], shape (H, W) or (H, W, 3)
    gamma : float or None
        Exponent by which light was encoded, such as 0.45455; None for the curve of sRGB.
    chromaticities : tuple of 8 floats, or None
        x and y of white, red, green and blue; None for those of sRGB.
    name : str
        The picture's name in messages.

    Returns
    -------
    ndarray, of the same shape
        The pixels themselves where gamma and chromaticities are those of sRGB (within 5 % and 0.005), else float32
        in [0, 1].

    Warns
    -----
    UserWarning
        If the values cannot describe colours; they are ignored.

    References
    ----------
    Portable Network Graphics (PNG) Specification, third edition, 11.3.2 and 13.13 to 13.14.
    """
    curve = None if gamma is None or abs(gamma * 2.2 - 1) < 0.05 else gamma  # libpng's threshold
    matrix = None
    if pixels.ndim == 3 and chromaticities and not np.allclose(chromaticities, SRGB_CHROMATICITIES, rtol=0, atol=5e-3):
        matrix = _to_srgb_primaries(chromaticities)
    if curve is None and matrix is None:
        return pixels
    if not (curve is None or 0.01 < curve < 100) or not (matrix is None or np.isfinite(matrix).all()):
        warnings.warn(f"{name} states a gamma or primary colours that are impossible; they are ignored.", stacklevel=2)
        return pixels
    converted = np.empty(pixels.shape, np.float32)
    for top in range(0, len(pixels), 64):  # a few rows at a time, so that temporary arrays stay small
        rows = slice(top, top + 64)
        encoded = scaled(pixels[rows], name)
        light = _decoded(encoded) if gamma is None else encoded ** (1 / gamma)
        converted[rows] = _encoded(light if matrix is None else light @ matrix.T)
    return converted


def _to_srgb_primaries(chromaticities: tuple[float, ...]) -> np.ndarray:
    """Matrix from linear light of given primaries to that of sRGB's; not finite if the primaries are impossible."""
    with np.errstate(all="ignore"):
        try:
            white, source = _xyz_of(chromaticities)
            srgb_white, srgb = _xyz_of(SRGB_CHROMATICITIES)
            cones = np.diag((_BRADFORD @ srgb_white) / (_BRADFORD @ white))
            return np.linalg.inv(srgb) @ np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ source
        except np.linalg.LinAlgError:
            return np.full((3, 3), np.nan)


def _xyz_of(chromaticities: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """XYZ of the white point, and the matrix from linear RGB to XYZ."""
    x, y = np.array(chromaticities).reshape(4, 2).T
    corners = np.array([x / y, np.ones(4), (1 - x - y) / y])
    white, primaries = corners[:, 0], corners[:, 1:]
    return white, primaries * np.linalg.solve(primaries, white)


def _decoded(values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: np.ndarray) -> np.ndarray:
    """SRGB values of linear light, clipped to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
