"""The nearest of many features, by the cosine between them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stylecore.kernels.cpu.runtime import one_blas_thread, threads

BLOCK = 1024
"""Rows of the picture and of the style whose cosines are computed at a time: 4 MB of them, and never all."""


class Search:
    """Finds, for each feature of a picture, the nearest of several images' features, given one image after the other.

    The nearest is that with the largest cosine, after the mean of the picture's features is subtracted from these, and
    that of the style's from those.

    Parameters
    ----------
    features : ndarray, (M, D)
        Of the picture.
    parts : sequence of slice
        Columns that are compared together; each part has a nearest feature of its own. One slice compares all columns.

    Attributes
    ----------
    nearest : ndarray, (M, D)
        The nearest feature of each, part by part.
    cosines : ndarray, (parts, M)
        How near they are, in [-1, 1].

    References
    ----------
    Kolkin et al. (2022), section 3.2.
    """

    def __init__(self, features: np.ndarray, parts: Sequence[slice]) -> None:
        self._parts = parts
        self._queries = [_directions(features[:, part], features[:, part].mean(axis=0)) for part in parts]
        self.nearest = np.empty_like(features)
        self.cosines = np.full((len(parts), len(features)), -np.inf, features.dtype)

    def add(self, style: np.ndarray, mean: np.ndarray) -> None:
        """Search the features of another image of the style as well.

        Parameters
        ----------
        style : ndarray, (N, D)
        mean : ndarray, (D,)
            Of the whole style.
        """
        for part, query, cosines in zip(self._parts, self._queries, self.cosines, strict=True):
            own = style[:, part]
            found, at = best_cosines(query, own, mean[part])
            better = found > cosines
            cosines[better] = found[better]
            self.nearest[better, part] = own[at[better]]


def best_cosines(query: np.ndarray, style: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest cosine of each row of a matrix with the rows of another, and which row that is.

    The cosines are matrix products, computed block by block, of which only the maxima are kept. Each thread searches
    for other rows of the query; so the result does not depend on their number.

    Parameters
    ----------
    query : ndarray, (M, D)
        Of length one.
    style : ndarray, (N, D)
    mean : ndarray, (D,)
        To subtract from the rows of `style`.

    Returns
    -------
    cosines : ndarray, (M,)
    rows : ndarray of int, (M,)
        The first, if several are equally near.
    """
    cosines = np.full(len(query), -np.inf, query.dtype)
    rows = np.zeros(len(query), np.intp)

    def compare(begin: int) -> None:
        own = slice(begin, begin + BLOCK)
        products = query[own] @ directions.T
        at = products.argmax(axis=1)
        found = np.take_along_axis(products, at[:, None], axis=1)[:, 0]
        better = found > cosines[own]
        cosines[own][better] = found[better]
        rows[own][better] = at[better] + first

    with one_blas_thread(), ThreadPoolExecutor(threads()) as pool:
        for first in range(0, len(style), BLOCK):
            directions = _directions(style[first : first + BLOCK], mean)
            list(pool.map(compare, range(0, len(query), BLOCK)))
    return cosines, rows


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Features from which a mean is subtracted, at length one; zero where there is no direction."""
    centred = features - mean
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))[:, None]
    centred /= np.where(norms > 0, norms, 1)
    return centred
