"""Matching the regions of a sketch with those of a photograph by their statistics."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from stylecore.errors import ParameterError
from stylecore.sketch.libraries import skimage
from stylecore.sketch.segmentation import Segmentation

POSITION_WEIGHT = 2.0
"""Weight of the distance between centroids, in units of the foreground's bounding box."""


class Statistics(NamedTuple):
    """What regions are compared by.

    Attributes
    ----------
    area : float
        Share of the foreground.
    roundness : float
        Perimeter squared over area: 4 pi for a disc, more for other shapes.
    centroid : ndarray, (2,)
        Row and column as fractions of the foreground's bounding box.
    """

    area: float
    roundness: float
    centroid: np.ndarray


def match_regions(
    sketch: Segmentation, photo: Segmentation, *, position_weight: float = POSITION_WEIGHT
) -> dict[int, int]:
    """Match each region of a sketch with a region of a photograph.

    The cost of a pair is |log ratio of the area shares| + |log ratio of perimeter^2 / area| + `position_weight` times
    the distance of the centroids, and the sum of the costs is minimal. Each region of the photograph is used once; if
    the sketch has more regions, those left over take the match of the region next to them.

    Parameters
    ----------
    sketch, photo : Segmentation
    position_weight : float

    Returns
    -------
    dict of int to int
        Label of the photograph's region for each label of the sketch's.

    Raises
    ------
    ParameterError
        If one of the two has no foreground.
    """
    for name, segmentation in (("sketch", sketch), ("photograph", photo)):
        if not segmentation.regions:
            raise ParameterError(f"the {name} has no foreground, so its regions cannot be matched.")
    ours, theirs = region_statistics(sketch), region_statistics(photo)
    costs = np.array([[_cost(a, b, position_weight) for b in theirs.values()] for a in ours.values()])
    rows, columns = scipy.optimize.linear_sum_assignment(costs)
    labels, photo_labels = list(ours), list(theirs)
    matches = {labels[i]: photo_labels[j] for i, j in zip(rows, columns, strict=True)}
    left_over = {label: _neighbour(sketch.labels, label, list(matches)) for label in labels if label not in matches}
    matches.update({label: matches[neighbour] for label, neighbour in left_over.items()})
    return matches


def region_statistics(segmentation: Segmentation) -> dict[int, Statistics]:
    """Compute the statistics of each region of the foreground, by its label."""
    rows, columns = np.nonzero(segmentation.foreground)
    corner = np.array([rows.min(), columns.min()])
    extent = np.array([rows.max(), columns.max()]) - corner + 1
    statistics = {}
    for label in segmentation.regions:
        mask = segmentation.mask(label)
        perimeter = max(float(skimage("measure").perimeter(np.pad(mask, 1))), 1.0)
        centroid = (np.array(scipy.ndimage.center_of_mass(mask)) - corner) / extent
        statistics[label] = Statistics(mask.sum() / len(rows), perimeter**2 / mask.sum(), centroid)
    return statistics


def _cost(a: Statistics, b: Statistics, position_weight: float) -> float:
    ratios = abs(np.log(a.area / b.area)) + abs(np.log(a.roundness / b.roundness))
    return float(ratios + position_weight * np.linalg.norm(a.centroid - b.centroid))


def _neighbour(labels: np.ndarray, label: int, others: list[int]) -> int:
    """The one of the other regions that has most pixels next to a region, or else is nearest to it."""
    mask = labels == label
    distance = scipy.ndimage.distance_transform_edt(~mask)
    candidates = np.isin(labels, others)
    nearest = distance[candidates].min()
    values, counts = np.unique(labels[candidates & (distance < nearest + 1)], return_counts=True)
    return int(values[np.argmax(counts)])
