"""The nearest of many features, by the cosine between them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stylecore.kernels.cpu.runtime import one_blas_thread, threads
from stylecore.neighbours.hypercolumns import Features

BLOCK = 1024
"""Hypercolumns of the picture and of the style that are compared at a time, a multiple of 4: 4 MB of products."""


class Search:
    """Finds, for each hypercolumn of a picture, the nearest of several images, given one image after the other.

    The nearest is that with the largest cosine, after the mean of the picture's features is subtracted from these, and
    that of the style's from those.

    Parameters
    ----------
    features : Features
        Of the picture; overwritten.
    parts : sequence of slice
        Columns that are compared together; each part has a nearest feature of its own. One slice compares all columns.

    Attributes
    ----------
    nearest : ndarray, (M, D)
        The nearest hypercolumn of each, part by part.
    products : ndarray, (parts, M)
        How near they are: the cosine, times the length of the picture's feature.

    References
    ----------
    Kolkin et al. (2022), section 3.2.
    """

    def __init__(self, features: Features, parts: Sequence[slice]) -> None:
        self._parts, self._query = parts, features
        for own, mean in zip(features, features.mean(), strict=True):
            own -= mean
        dtype = features.fine.dtype
        self.nearest = np.empty(features.shape, dtype)
        self.products = np.full((len(parts), len(self.nearest)), -np.inf, dtype)

    def add(self, style: Features, mean: Features) -> None:
        """Search another image of the style as well.

        Parameters
        ----------
        style : Features
        mean : Features
            Of the whole style, as `Features.mean` returns it.
        """
        for part, products in zip(self._parts, self.products, strict=True):
            own = style.part(part)
            found, at = nearest_rows(self._query.part(part), own, mean.part(part))
            better = np.flatnonzero(found > products)
            products[better] = found[better]
            for some in np.split(better, range(BLOCK, len(better), BLOCK)):
                self.nearest[some, part] = own.rows(at[some])


def nearest_rows(query: Features, style: Features, mean: Features) -> tuple[np.ndarray, np.ndarray]:
    """Largest product of each hypercolumn with the directions of others, and which of them that is.

    The products are those of matrices, computed block by block, of which only the maxima are kept. Those of the coarse
    features are the same for all squares of a cell, and so are a sixteenth of the work. Each thread searches for other
    rows of the query; so the result does not depend on their number.

    Parameters
    ----------
    query : Features
    style : Features
    mean : Features
        To subtract from the style.

    Returns
    -------
    products : ndarray, (M,)
    rows : ndarray of int, (M,)
        The first, if several are equally near.
    """
    if not query.fine.shape[1]:
        # Whole cells are compared, and all squares of a cell are alike.
        nothing = np.empty((0, 0))
        products, rows = nearest_rows(*(Features(each.coarse, nothing) for each in (query, style, mean)))
        return products.repeat(4), 4 * rows.repeat(4)
    products = np.full(len(query.fine), -np.inf, query.fine.dtype)
    rows = np.zeros(len(query.fine), np.intp)

    def compare(begin: int) -> None:
        own = slice(begin, begin + BLOCK)
        some = _products(_block(query, begin), directions)
        at = some.argmax(axis=1)
        found = np.take_along_axis(some, at[:, None], axis=1)[:, 0]
        better = found > products[own]
        products[own][better] = found[better]
        rows[own][better] = at[better] + first

    with one_blas_thread(), ThreadPoolExecutor(threads()) as pool:
        for first in range(0, len(style.fine), BLOCK):
            directions = _directions(_block(style, first), mean)
            list(pool.map(compare, range(0, len(query.fine), BLOCK)))
    return products, rows


def _block(features: Features, begin: int) -> Features:
    return Features(features.fine[begin : begin + BLOCK], features.coarse[begin // 4 : (begin + BLOCK) // 4])


def _directions(features: Features, mean: Features) -> tuple[Features, np.ndarray]:
    """Features from which a mean is subtracted, and one over their lengths (M,); zero where there is no direction."""
    fine, coarse = (own - its_mean for own, its_mean in zip(features, mean, strict=True))
    squares = np.einsum("ij,ij->i", fine, fine)
    if coarse.size:
        squares += np.einsum("ij,ij->i", coarse, coarse).repeat(4)
    return Features(fine, coarse), 1 / np.sqrt(np.where(squares > 0, squares, np.inf))


def _products(query: Features, directions: tuple[Features, np.ndarray]) -> np.ndarray:
    """Products of some hypercolumns with some directions."""
    style, factors = directions
    products = query.fine @ style.fine.T
    if query.coarse.size:
        products.reshape(-1, 4, len(factors))[...] += (query.coarse @ style.coarse.T).repeat(4, axis=1)[:, None]
    products *= factors
    return products
