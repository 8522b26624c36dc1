"""Colours of films beyond sRGB: high dynamic range (PQ, HLG) and wide gamut (BT.2020, Display P3).

References
----------
ITU-R BT.2100-2 (2018), "Image parameter values for high dynamic range television", tables 4 and 5.
ITU-R BT.2408-7 (2023), "Guidance for operational practices in HDR television production", section 2 (203 cd/m^2).
Reinhard, Stark, Shirley and Ferwerda (2002), "Photographic Tone Reproduction for Digital Images", equation 4.
"""

from __future__ import annotations

import numpy as np

# The values of FFmpeg's AVColorTransferCharacteristic and AVColorPrimaries.
PQ, HLG = 16, 18
BT2020, DISPLAY_P3 = 9, 12

HDR_TRANSFERS = (PQ, HLG)
WIDE_PRIMARIES = (BT2020, DISPLAY_P3)

# Luminance of white paper and of the brightest highlight, in cd/m^2.
REFERENCE_WHITE, PEAK = 203.0, 1000.0

# From linear RGB of each set of primaries to that of BT.709, whose primaries are those of sRGB; all with white D65.
_TO_BT709 = {
    BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    DISPLAY_P3: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}

_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def to_srgb(values: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert the values of a frame to sRGB; highlights above white are compressed.

    Parameters
    ----------
    values : ndarray of float32, (H, W, 3)
        Non-linear R'G'B' in [0, 1].
    transfer : int
        `PQ`, `HLG`, or another value for the usual transfer function of television.
    primaries : int
        `BT2020`, `DISPLAY_P3`, or another value for those of sRGB.

    Returns
    -------
    ndarray of float32, (H, W, 3)
        sRGB in [0, 1].
    """
    if transfer == PQ:
        linear = pq_to_linear(values) / REFERENCE_WHITE
    elif transfer == HLG:
        linear = hlg_to_linear(values) / REFERENCE_WHITE
    else:
        # Players show television's values on sRGB screens unchanged.
        linear = _srgb_to_linear(values)
    if transfer in HDR_TRANSFERS:
        linear = _compress(linear)
    if primaries in _TO_BT709:
        linear = linear @ _TO_BT709[primaries].T
    return _linear_to_srgb(linear.clip(0, 1))


def pq_to_linear(values: np.ndarray) -> np.ndarray:
    """Luminance in cd/m^2, up to 10000, of PQ values in [0, 1] (BT.2100, table 4)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = values ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def hlg_to_linear(values: np.ndarray) -> np.ndarray:
    """Luminance in cd/m^2, on a screen of `PEAK`, of HLG values in [0, 1] (BT.2100, table 5)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ _LUMINANCE_2020.astype(scene.dtype)
    return PEAK * np.maximum(luminance, 1e-6)[:, :, None] ** 0.2 * scene


def _compress(linear: np.ndarray) -> np.ndarray:
    """Compress values up to `PEAK` into [0, 1] by Reinhard's curve of the largest channel, which keeps the hue."""
    largest = linear.max(axis=2, keepdims=True)
    peak = PEAK / REFERENCE_WHITE
    return linear * ((1 + largest / peak**2) / (1 + largest))


def _srgb_to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)
