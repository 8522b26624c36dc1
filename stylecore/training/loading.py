"""Batches made ready beside the training: chosen, cropped, mirrored and scaled by a thread of their own."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stylecore.weights import Preprocessing

# Batches that are made ready before they are asked for.
AHEAD = 2


def preprocessing(images):
    """What centres the images of a set on zero and gives them a deviation of one, the same for all colours.

    Parameters
    ----------
    images : ndarray of uint8, (N, side, side, 3)

    Returns
    -------
    Preprocessing
    """
    mean = tuple(float(value) for value in images.mean((0, 1, 2)) / 255)
    return Preprocessing("RGB", 1.0, mean, (float(images.std() / 255),) * 3)


def prepare(images, preprocessing):
    """A network's input (N, side, side, 3), float32, of images of bytes."""
    mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
    return images * (1 / (255 * std)) - mean / std


def batches(data, size, preprocessing, rng=None):
    """Yield a set's pictures and labels in batches.

    Parameters
    ----------
    data : ImageSet or PictureSet
    size : int
        Of a batch.
    preprocessing : Preprocessing
    rng : numpy.random.Generator, optional
        With it the pictures come in an order by chance and changed by chance, and those that do not fill a batch are
        left for another time; without, all come as they are.

    Yields
    ------
    x : ndarray of float32, (n, side, side, 3)
    labels : ndarray of int, (n,)
    """
    count = len(data.labels)
    order = np.arange(count) if rng is None else rng.permutation(count)
    starts = range(0, count if rng is None else count - size + 1, size)

    def make(start):
        chosen = order[start : start + size]
        return prepare(data.batch(chosen, rng), preprocessing), data.labels[chosen]

    with ThreadPoolExecutor(1) as worker:
        pending = deque(worker.submit(make, start) for start in starts[:AHEAD])
        try:
            for start in starts[AHEAD:]:
                ready = pending.popleft().result()
                pending.append(worker.submit(make, start))
                yield ready
            while pending:
                yield pending.popleft().result()
        finally:
            worker.shutdown(cancel_futures=True)
