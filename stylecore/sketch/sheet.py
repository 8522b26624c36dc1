"""The sheet that shows the stages of colouring a sketch."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from stylecore.pictures.sheets import contact_sheet
from stylecore.sketch.drawing import Drawing
from stylecore.sketch.segmentation import BACKGROUND, Segmentation

HEIGHT = 256
"""Height of each picture on the sheet, in pixels."""

COLUMNS = 5


def stages_sheet(
    drawing: Drawing,
    photos: Sequence[np.ndarray],
    sketch: Segmentation,
    photo: Segmentation,
    matches: Mapping[int, int],
    result: np.ndarray,
    chosen: int = 0,
) -> np.ndarray:
    """Arrange the stages: the best photographs; then sketch, both segmentations and the result.

    Parameters
    ----------
    drawing : Drawing
    photos : sequence of ndarray, each of shape (H, W, 3)
        Best first.
    sketch, photo : Segmentation
    matches : mapping of int to int
        As from `match_regions`; matched regions have the same colour.
    result : ndarray, (H, W, 3)
    chosen : int
        Index of the photograph that the colours come from.

    Returns
    -------
    ndarray of float32, (H, W, 3)
    """
    pictures = [
        paper(drawing),
        painted(sketch, {label: matches[label] for label in sketch.regions}),
        painted(photo, {label: label for label in photo.regions}),
        result,
    ]
    labels = ["sketch", "regions of the sketch", "regions of the photograph", "result"]
    if len(photos) == 1:
        return contact_sheet([pictures[0], photos[0], *pictures[1:]], [labels[0], "photograph", *labels[1:]], HEIGHT)
    ranks = [f"{i}{' (used)' * (i == chosen + 1)}" for i in range(1, len(photos) + 1)]
    return contact_sheet([*photos, *pictures], [*ranks, *labels], HEIGHT, columns=min(COLUMNS, len(photos)))


def paper(drawing: Drawing) -> np.ndarray:
    """The drawing in black on white, (H, W, 3)."""
    return np.repeat(1 - drawing.ink[..., None], 3, axis=2)


def painted(segmentation: Segmentation, colours: Mapping[int, int]) -> np.ndarray:
    """A segmentation in flat colours, given the number of each region's colour; the background is light grey."""
    picture = np.full((*segmentation.labels.shape, 3), 0.9, np.float32)
    for label, number in colours.items():
        if label != BACKGROUND:
            picture[segmentation.mask(label)] = colorsys.hsv_to_rgb(0.618 * number % 1, 0.65, 0.9)
    return picture
