"""Segmentation of a line drawing: what its lines enclose, although they may leave gaps."""

from __future__ import annotations

import warnings

import numpy as np
import scipy

from stylecore.pictures.geometry import fit
from stylecore.sketch.drawing import Drawing
from stylecore.sketch.libraries import opencv, skimage
from stylecore.sketch.segmentation import LEAST_REGION, Segmentation, grown, merged

SIDE = 256
"""Longer side, in pixels, at which a drawing is segmented."""

THIN_INK = 0.4
"""Ink above which a pixel of the resized drawing belongs to a line; thin lines get paler when they are resized."""

RADII = (*range(1, 12), *range(12, 24, 2), *range(24, 46, 3))
"""Radii of the balls that are rolled around the lines, in pixels."""

ENCLOSED = 1.6
"""How much larger than the rolled ball the largest ball inside an area must be, for the area to count as enclosed."""

LEAST_FILLED = 0.2
"""Share of the hull of the lines below which they count as enclosing nothing."""

GAP = 2
"""Radius of the gaps that are closed between the regions of the foreground, in pixels."""

MOST_REGIONS = 8
"""Maximum number of regions of the foreground."""


def segment_sketch(drawing: Drawing) -> Segmentation:
    """Split a drawing into background and foreground, and the foreground into the areas between its lines.

    First level: balls of growing radius are rolled around the lines from outside (trapped-ball filling). What a ball
    cannot reach is enclosed, if a considerably larger ball fits inside: a notch of the outline is narrower inside than
    at its opening, a figure whose outline has a gap is wider. If the lines enclose next to nothing, the foreground is
    their convex hull. Second level: the connected areas of the foreground without the lines, the small ones merged
    into their neighbours.

    Parameters
    ----------
    drawing : Drawing

    Returns
    -------
    Segmentation
        Of the size of the drawing.

    Warns
    -----
    UserWarning
        If the lines enclose nothing.

    References
    ----------
    Zhang, Chen, Zhang, Wu and Hu (2009), "Vectorizing Cartoon Animations", IEEE TVCG 15 (4), for trapped balls.
    """
    shape = drawing.ink.shape
    ink = drawing.at(fit(shape, SIDE)).ink
    lines = ink > min(THIN_INK, 0.5 * float(ink.max()))
    foreground = _enclosed(lines)
    hull = skimage("morphology").convex_hull_image(lines)
    if (foreground & ~lines).sum() < LEAST_FILLED * hull.sum():
        warnings.warn("the lines enclose almost nothing, so their convex hull is the foreground.", stacklevel=2)
        foreground = hull
    return Segmentation(_areas(lines, foreground)).at(shape)


def _enclosed(lines: np.ndarray) -> np.ndarray:
    """Mask of the lines and of what they enclose."""
    margin = max(RADII) + 2
    lines = np.pad(lines, margin)
    distance = _distance_to(lines)
    enclosed = lines.copy()
    for radius in RADII:
        areas, count = scipy.ndimage.label(distance > radius)
        outside = areas == areas[0, 0]
        largest = scipy.ndimage.maximum(distance, areas, np.arange(count + 1))
        inside = np.isin(areas, np.flatnonzero(largest > ENCLOSED * radius)) & (areas > 0) & ~outside
        if inside.any():
            reached = _distance_to(outside) <= radius
            enclosed |= (_distance_to(inside) <= radius + 1) & ~reached
    return scipy.ndimage.binary_fill_holes(enclosed)[margin:-margin, margin:-margin]


def _areas(lines: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Label the areas of the foreground between the lines, as if gaps up to `GAP` were closed."""
    distance = _distance_to(lines)
    areas, _ = scipy.ndimage.label(foreground & (distance > GAP))
    labels = skimage("segmentation").watershed(-distance, areas, mask=foreground & ~lines)
    return merged(grown(labels, foreground), LEAST_REGION, MOST_REGIONS)


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one of a mask."""
    cv2 = opencv()
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
