"""Cuts between the shots of a film."""

from __future__ import annotations

import numpy as np

from stylecore.pictures.arrays import quantise
from stylecore.pictures.geometry import fit, resize
from stylecore.video.flow import consistency, optical_flow, warp

# Longer side at which frames are compared, in pixels.
SIDE = 160

# At a cut, hardly any pixel is seen in both frames, and the warped frame does not resemble the next one. In the clips
# that were measured, these were 0.00 and 0.29 at a cut, and at least 0.55 and at most 0.02 in motion. A frame of one
# colour is consistent with any other, so a large difference suffices.
VISIBLE = 0.3
DIFFERENCE = 0.04
LARGE_DIFFERENCE = 0.15


def small(picture: np.ndarray) -> np.ndarray:
    """Reduce a frame to the size at which `is_cut` compares frames.

    Parameters
    ----------
    picture : ndarray, (H, W, 3)
        sRGB in [0, 1].

    Returns
    -------
    ndarray, (h, w, 3) uint8
    """
    return quantise(resize(picture, fit(picture.shape, min(SIDE, max(picture.shape[:2])))), np.uint8)


def is_cut(previous: np.ndarray, frame: np.ndarray) -> bool:
    """Whether a frame begins a new shot.

    Parameters
    ----------
    previous, frame : ndarray, (h, w, 3) uint8
        Two consecutive frames, as from `small`.

    Returns
    -------
    bool
    """
    flow, back = optical_flow(frame, previous), optical_flow(previous, frame)
    warped = warp(previous.astype(np.float32), flow)
    difference = np.abs(warped - frame).mean() / 255
    visible = consistency(flow, back).mean()
    return bool(difference > LARGE_DIFFERENCE or (visible < VISIBLE and difference > DIFFERENCE))
