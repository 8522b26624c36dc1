"""Optical flow between the frames of a film, and the weights of the pixels that it connects.

A flow (H, W, 2) holds, for each pixel of one frame, the displacement (x, y) in pixels to the same point of the scene in
another frame. OpenCV's DIS estimates it; `read_flow` reads flows that were estimated elsewhere.

References
----------
Kroeger, Timofte, Dai and Van Gool (2016), "Fast Optical Flow using Dense Inverse Search".
Ruder, Dosovitskiy and Brox (2016), "Artistic style transfer for videos", section 3.
Sundaram, Brox and Keutzer (2010), "Dense point trajectories by GPU-accelerated large displacement optical flow".
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import scipy

from stylecore.errors import DataError
from stylecore.extras import optional

# A pixel is disoccluded if the flow there and the flow back do not cancel, up to a fraction of their squared lengths
# and a constant in pixels^2; and it is at a motion edge if the flow's squared gradient exceeds similar limits.
OCCLUSION = 0.01, 0.5
MOTION_EDGE = 0.01, 0.002

# Value of a disoccluded pixel before smoothing, so that its neighbours count less as well; and the smoothing.
DISOCCLUDED = -1.0
SIGMA, RADIUS = 0.8, 2

# Identifies the Middlebury format, and the byte order of the file.
_MAGIC = 202021.25


def opencv() -> Any:
    """OpenCV's module; raises ParameterError if it is not installed."""
    return optional("cv2", "opencv-python-headless", "films")


def optical_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Estimate the flow from one frame to another, by dense inverse search.

    Parameters
    ----------
    first, second : ndarray, (H, W, 3) uint8
        sRGB.

    Returns
    -------
    ndarray, (H, W, 2) float32
        Displacement (x, y) in pixels of each pixel of the first frame; zero if a side is below `SMALLEST`.
    """
    cv2 = opencv()
    if min(first.shape[:2]) < SMALLEST:
        return np.zeros((*first.shape[:2], 2), np.float32)
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    grey = (cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second))
    return search.calc(*grey, None)


SMALLEST = 16
"""Side of the smallest frame in which dense inverse search, with patches of 8 pixels, can estimate a flow."""


def warp(image: np.ndarray, flow: np.ndarray, order: int = 1) -> np.ndarray:
    """Sample an image at the points to which a flow leads.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C) float32
    flow : ndarray, (H, W, 2) float32
        From the frame of the result to that of the image.
    order : int
        Of the interpolating splines: 1 is bilinear; 3 keeps texture sharp, and may exceed the image's range.

    Returns
    -------
    ndarray, as `image`
        Its edge is repeated beyond the border.
    """
    planes = image.reshape(*image.shape[:2], -1)
    # OpenCV's remap would round the coordinates to 1/32 pixel.
    channels, targets = np.moveaxis(planes, 2, 0), _targets(flow)
    sampled = [scipy.ndimage.map_coordinates(plane, targets, order=order, mode="nearest") for plane in channels]
    return np.stack(sampled, axis=2).reshape(*flow.shape[:2], *image.shape[2:])


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow along one flow and then another: first(p) + second(p + first(p)).

    Parameters
    ----------
    first, second : ndarray, (H, W, 2) float32
        From frame a to b, and from b to c.

    Returns
    -------
    ndarray, (H, W, 2) float32
        From frame a to c.
    """
    return first + warp(second, first)


def resize_flow(flow: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a flow, and scale its displacements to the new pixels.

    Parameters
    ----------
    flow : ndarray, (H, W, 2) float32
    shape : tuple of int
        (height, width) of the result.

    Returns
    -------
    ndarray, (height, width, 2) float32
    """
    height, width = flow.shape[:2]
    if (height, width) == shape:
        return flow
    cv2 = opencv()
    shrinks = shape[0] < height or shape[1] < width
    resized = cv2.resize(flow, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized * np.array([shape[1] / width, shape[0] / height], np.float32)


def consistency(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Weight of each pixel of a frame in the temporal loss: how reliably it is seen in the other frame.

    The weight is 0 where the flow leaves the frame, where the two flows contradict each other (disocclusions), and
    where the flow changes abruptly (motion edges); elsewhere it is 1. It is then smoothed.

    Parameters
    ----------
    flow : ndarray, (H, W, 2) float32
        From the frame to the other frame: w.
    back : ndarray, (H, W, 2) float32
        From the other frame: v, taken at p + w(p).

    Returns
    -------
    ndarray, (H, W) float32
        In [0, 1].

    References
    ----------
    Ruder, Dosovitskiy and Brox (2016), "Artistic style transfer for videos", equations 5 and 6, and their program.
    """
    height, width = flow.shape[:2]
    length, v = _squared(flow), warp(back, flow)
    disoccluded = _squared(v + flow) >= OCCLUSION[0] * (length + _squared(v)) + OCCLUSION[1]
    edge = _squared_gradient(flow) > MOTION_EDGE[0] * length + MOTION_EDGE[1]
    y, x = (np.floor(target) for target in _targets(flow))
    outside = (x < 0) | (x + 1 >= width) | (y < 0) | (y + 1 >= height)
    weight = np.where(outside, 0, np.where(disoccluded, DISOCCLUDED, np.where(edge, 0, 1))).astype(np.float32)
    return scipy.ndimage.gaussian_filter(weight, SIGMA, radius=RADIUS, mode="reflect").clip(0, 1)


def read_flow(path: str | os.PathLike) -> np.ndarray:
    """Read a flow in the Middlebury format (.flo).

    Parameters
    ----------
    path : str or path

    Returns
    -------
    ndarray, (H, W, 2) float32

    Raises
    ------
    DataError
        If the file cannot be read, is not of that format, or holds values that are not finite.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    if len(data) < 12 or data[:4].view("<f4")[0] != _MAGIC:
        raise DataError(f"{path} is not a flow in the Middlebury format (.flo).")
    width, height = (int(side) for side in data[4:12].view("<i4"))
    if min(width, height) < 1 or len(data) != 12 + 8 * width * height:
        raise DataError(f"{path} is damaged: it does not have as many values as its {width} x {height} pixels need.")
    flow = data[12:].view("<f4").reshape(height, width, 2).astype(np.float32)
    if not np.isfinite(flow).all():
        raise DataError(f"{path} holds values that are not finite (NaN or infinity).")
    return flow


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y and x of the points to which a flow leads."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return rows + flow[:, :, 1], columns + flow[:, :, 0]


def _squared(flow: np.ndarray) -> np.ndarray:
    """Squared length of each displacement, (H, W)."""
    return flow[:, :, 0] ** 2 + flow[:, :, 1] ** 2


def _squared_gradient(flow: np.ndarray) -> np.ndarray:
    """Sum of the squared gradients of both components, by the differences [-1/2, 0, 1/2] with the edge repeated."""
    padded = np.pad(flow, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    return (_squared(across) + _squared(down)) / 4
