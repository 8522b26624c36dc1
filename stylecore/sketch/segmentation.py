"""Pictures split at two levels: into foreground and background, and the foreground into regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

BACKGROUND = 0
"""Label of the background."""

LEAST_REGION = 0.02
"""Share of the foreground below which a region is merged into its neighbours."""


@dataclass(frozen=True)
class Segmentation:
    """A picture split into regions.

    Attributes
    ----------
    labels : ndarray of int32, (H, W)
        Region of each pixel: 0 is the background; 1, 2 and so on are the regions of the foreground.
    """

    labels: np.ndarray

    @property
    def foreground(self) -> np.ndarray:
        """Mask of the foreground, (H, W) of bool."""
        return self.labels != BACKGROUND

    @property
    def regions(self) -> list[int]:
        """Labels of the regions of the foreground, in increasing order."""
        return [int(label) for label in np.unique(self.labels) if label != BACKGROUND]

    def mask(self, label: int) -> np.ndarray:
        """Mask of a region, (H, W) of bool."""
        return self.labels == label

    def at(self, shape: tuple[int, int]) -> Segmentation:
        """The segmentation, resized to (height, width) by the nearest pixel."""
        rows, columns = (
            np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
            for new, old in zip(shape, self.labels.shape, strict=True)
        )
        return Segmentation(self.labels[rows[:, None], columns])


def merged(labels: np.ndarray, least: float, most: int) -> np.ndarray:
    """Merge small regions of the foreground into their neighbours.

    Parameters
    ----------
    labels : ndarray of int, (H, W)
        0 is the background.
    least : float
        Share of the foreground below which a region is merged.
    most : int
        Maximum number of regions.

    Returns
    -------
    ndarray of int32, (H, W)
        With the regions that are left numbered from 1, largest first. Each pixel of a merged region goes to the
        nearest region that is left.
    """
    found, counts = np.unique(labels[labels != BACKGROUND], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    kept = [found[i] for i in order if counts[i] >= least * counts.sum()] or list(found[order[:1]])
    numbers = np.zeros(labels.shape, np.int32)
    for number, label in enumerate(kept, start=1):
        numbers[labels == label] = number
    return grown(numbers, labels != BACKGROUND)


def grown(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give each pixel of a mask that has no label that of the nearest pixel with one; (H, W) of int32."""
    if not labels.any():
        return mask.astype(np.int32)
    nearest = scipy.ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(mask, labels[tuple(nearest)], BACKGROUND).astype(np.int32)
