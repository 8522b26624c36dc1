"""Batches of a training, prepared in a background thread: selected, augmented and normalised ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import sqrt

import numpy as np

from stylecore.errors import DataError
from stylecore.training.data import ImageSet, PictureSet
from stylecore.weights import Preprocessing

# Batches that are prepared ahead of their use.
PREFETCHED = 2

# Mean and standard deviation are measured on about this many pictures, evenly spaced in the set.
MEASURED = 5000


def measure(data: ImageSet | PictureSet) -> Preprocessing:
    """Preprocessing that normalises the pictures of a set; see `preprocessing`."""
    every = max(1, len(data.labels) // MEASURED)
    return preprocessing(data.batch(np.array([i]))[0] for i in range(0, len(data.labels), every))


def preprocessing(images: Iterable[np.ndarray]) -> Preprocessing:
    """Preprocessing that gives images mean zero in each channel and standard deviation one over all channels.

    Parameters
    ----------
    images : iterable of ndarray of uint8, (side, side, 3)
        All of one size, at least one.

    Returns
    -------
    Preprocessing

    Raises
    ------
    DataError
        If all pixels have the same colour.
    """
    count, sums, squares = 0, np.zeros(3, np.int64), 0
    for image in images:
        pixels = image.astype(np.int64)  # Sums of integers are exact.
        count += pixels.size
        sums += pixels.sum((0, 1))
        squares += int(np.square(pixels).sum())
    red, green, blue = (float(value) for value in sums / (count / 3) / 255)
    variance = squares / count - (int(sums.sum()) / count) ** 2
    if variance <= 0:
        raise DataError("all pictures to train on have one and the same colour; add others.")
    std = sqrt(variance) / 255
    return Preprocessing("RGB", 1.0, (red, green, blue), (std, std, std))


def prepare(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Normalise images.

    Parameters
    ----------
    images : ndarray of uint8, (N, side, side, 3)
    preprocessing : Preprocessing

    Returns
    -------
    ndarray of float32, (N, side, side, 3)
    """
    mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
    return images * (1 / (255 * std)) - mean / std


def batches(
    data: ImageSet | PictureSet, size: int, preprocessing: Preprocessing, rng: np.random.Generator | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pictures and labels of a set in batches.

    Parameters
    ----------
    data : ImageSet or PictureSet
    size : int
        Number of pictures in a batch.
    preprocessing : Preprocessing
    rng : numpy.random.Generator, optional
        With it, pictures are shuffled and augmented, and a last batch that is not full is dropped. Without it, all
        pictures come unchanged and in order.

    Yields
    ------
    x : ndarray of float32, (n, side, side, 3)
    labels : ndarray of int, (n,)
    """
    count = len(data.labels)
    order = np.arange(count) if rng is None else rng.permutation(count)
    starts = range(0, count if rng is None else count - size + 1, size)

    def make(start: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = order[start : start + size]
        return prepare(data.batch(chosen, rng), preprocessing), data.labels[chosen]

    with ThreadPoolExecutor(1) as worker:
        pending = deque(worker.submit(make, start) for start in starts[:PREFETCHED])
        try:
            for start in starts[PREFETCHED:]:
                ready = pending.popleft().result()
                pending.append(worker.submit(make, start))
                yield ready
            while pending:
                yield pending.popleft().result()
        finally:
            worker.shutdown(cancel_futures=True)
