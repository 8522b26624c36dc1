"""Colouring a sketch: local style transfer from each region of a photograph to its match in the sketch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy

from stylecore._transfer import Result, transfer
from stylecore.pictures.geometry import fit
from stylecore.runs.history import Evaluation
from stylecore.sketch.segmentation import BACKGROUND, Segmentation

SOFTNESS = 1 / 128
"""Standard deviation of the blur between the filled regions, relative to the longer side."""

LEAST_SHARE = 1e-3
"""Share of a photograph below which its background is not used alone."""


def colour(
    sketch: Segmentation,
    photo: np.ndarray,
    photo_regions: Segmentation,
    matches: Mapping[int, int],
    *,
    size: int = 512,
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
    **settings: Any,
) -> Result:
    """Colour the regions of a sketch from the matched regions of a photograph.

    A white sheet has no features that a content loss could preserve. The content image is therefore the sketch with
    each region filled with the mean colour of its match, softened at the edges; the style terms, one for each pair of
    regions and one for the backgrounds, add the texture.

    Parameters
    ----------
    sketch : Segmentation
    photo : ndarray, (H, W, 3)
        sRGB in [0, 1].
    photo_regions : Segmentation
        Of the photograph.
    matches : mapping of int to int
        As from `match_regions`.
    size : int
        Longer side of the result, in pixels.
    callback, progress
        As in `stylecore.transfer`.
    **settings
        Of `stylecore.transfer`.

    Returns
    -------
    Result
        The picture without the lines is its `array`, (H, W, 3).

    Raises
    ------
    StylecoreError
        As in `stylecore.transfer`.
    """
    shape = fit(sketch.labels.shape, size)
    pairs = region_pairs(sketch.at(shape), photo_regions.at(photo.shape[:2]), matches)
    return transfer(
        filled(photo, pairs),
        photo,
        regions=[[ours.astype(np.float32), theirs.astype(np.float32)] for ours, theirs in pairs],
        size=size,
        callback=callback,
        progress=progress,
        **settings,
    )


def region_pairs(
    sketch: Segmentation, photo: Segmentation, matches: Mapping[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks of the matched regions in the sketch and in the photograph, one pair for each region of the photograph.

    Where the photograph has no background, the whole photograph takes its place.

    Parameters
    ----------
    sketch, photo : Segmentation
    matches : mapping of int to int

    Returns
    -------
    list of (ndarray, ndarray)
        (H, W) of bool each; the masks of the sketch add up to the whole sheet.
    """
    pairs = []
    for label in sorted(set(matches.values())):
        ours = np.isin(sketch.labels, [mine for mine, match in matches.items() if match == label])
        if ours.any():
            pairs.append((ours, photo.mask(label)))
    if (ours := sketch.mask(BACKGROUND)).any():
        theirs = photo.mask(BACKGROUND)
        pairs.append((ours, theirs if theirs.mean() > LEAST_SHARE else np.ones_like(theirs)))
    return pairs


def filled(photo: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Fill each region of a sketch with the mean colour of its match.

    Parameters
    ----------
    photo : ndarray, (h, w, 3)
        sRGB in [0, 1].
    pairs : list of (ndarray, ndarray)
        As from `region_pairs`.

    Returns
    -------
    ndarray of float32, (H, W, 3)
        Softened at the edges of the regions.
    """
    content = np.zeros((*pairs[0][0].shape, 3), np.float32)
    for ours, theirs in pairs:
        content[ours] = photo[theirs].mean(axis=0)
    deviation = SOFTNESS * max(content.shape)
    return scipy.ndimage.gaussian_filter(content, (deviation, deviation, 0), mode="nearest")
