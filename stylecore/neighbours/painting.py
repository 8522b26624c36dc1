"""The painting of a picture by neural neighbours, from coarse to fine.

At each of four scales, targets are found once: each feature of the photograph, mixed with those of the picture so far,
is replaced by the nearest feature of the painting, which is also turned by 90, 180 and 270 degrees. Then the picture is
optimised such that its features agree with their targets. At the largest scale this is done a second time, layer by
layer: each layer's features have their own nearest ones, of the picture alone. At the end the picture gets the
painting's colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from stylecore import memory
from stylecore.errors import ParameterError, TooLargeError
from stylecore.inputs import Inputs
from stylecore.neighbours.hypercolumns import MULTIPLE, Features, Hypercolumns, check_network
from stylecore.neighbours.objective import CosineLoss, Objective
from stylecore.neighbours.pyramid import PyramidAdam
from stylecore.neighbours.search import Search
from stylecore.network import Network, load_network
from stylecore.pictures import colour as colours
from stylecore.pictures.geometry import fit, resize
from stylecore.runs.run import Run
from stylecore.settings import Settings

SCALES = 4
ALPHA = {"objects": 0.5, "shapes": 0.75, "edges": 0.9}
"""Share of the photograph's features in the mixture whose nearest ones are searched, by what is held of the content.

It is 1 in the first pass, and 0 in the last. The share of the paper is 0.75.
"""

SMALLEST = 32
"""Shorter side of the smallest scale in pixels, at least: smaller pictures have hardly any features to choose from."""


def check(settings: Settings, styles: int) -> None:
    """Refuse settings that this method does not know.

    Parameters
    ----------
    settings : Settings
    styles : int
        Number of style images.

    Raises
    ------
    ParameterError
    """
    if settings.regions is not None or settings.labels is not None:
        raise ParameterError('method "neighbours" has no regions; leave regions and labels out.')
    if styles > 1:
        raise ParameterError(f'method "neighbours" takes a single style image; choose one of the {styles}.')
    if settings.averaging:
        raise ParameterError('method "neighbours" has no averaging; leave it out.')


def paint(inputs: Inputs, settings: Settings, run: Run) -> np.ndarray:
    """Paint a picture.

    Parameters
    ----------
    inputs : Inputs
    settings : Settings
        ``iterations`` are the steps at each scale, and in the pass layer by layer: one number for all or one for each.
    run : Run

    Returns
    -------
    ndarray, (H, W, 3)
        Of the size of the result.

    Raises
    ------
    ParameterError
        If the settings or the network do not fit the method.
    """
    check(settings, len(inputs.styles))
    network = load_network(settings.network, settings.device, settings.pooling, settings.dtype)
    check_network(network)
    _check_memory(inputs.shape, network)
    passes = _passes(inputs.shape, settings.iterations)
    alphas = [1.0, *[ALPHA[settings.content_detail]] * (len(passes) - 2), 0.0]
    x = inputs.noise_at(passes[0][0], settings.seed) if inputs.start is None else inputs.start
    with run.over(passes):
        for (shape, count), alpha in zip(passes, alphas, strict=True):
            x = _painted(_padded(resize(x, shape)), shape, count, alpha, inputs, settings, network, run)
            if run.stopped:
                break
    return _coloured(resize(x, inputs.shape), inputs, settings)


def _painted(
    x: np.ndarray,
    shape: tuple[int, int],
    count: int,
    alpha: float,
    inputs: Inputs,
    settings: Settings,
    network: Network,
    run: Run,
) -> np.ndarray:
    """The picture after one more pass, of which nothing else is kept: the next one needs its memory."""
    objective = _objective(x, shape, alpha, inputs, settings, network)

    def finish(picture: np.ndarray) -> np.ndarray:
        return _coloured(picture[: shape[0], : shape[1]].clip(0, 1), inputs, settings)

    return run.minimize(objective, PyramidAdam(x, count), finish)[: shape[0], : shape[1]]


def predicted_bytes(network: Network, shape: tuple[int, int]) -> int:
    """Predict the memory that a picture needs besides the network.

    During the search there are the features of the picture and of the painting, and the nearest of them as a matrix;
    then, the gradient's passes through the network.

    Parameters
    ----------
    network : Network
    shape : tuple of int
        (height, width) of the picture.

    Returns
    -------
    int
    """
    columns = Hypercolumns(network, (shape[0] + -shape[0] % MULTIPLE, shape[1] + -shape[1] % MULTIPLE))
    return columns.bytes + 2 * columns.features_bytes + prod(columns.shape) * network.dtype.itemsize


def _check_memory(shape: tuple[int, int], network: Network) -> None:
    needed, free = predicted_bytes(network, shape), memory.available()
    if free is not None and needed > free:
        size = int(max(shape) * (free / needed) ** 0.5)
        raise TooLargeError(
            f"a picture of {shape[1]} x {shape[0]} pixels needs {needed / 2**30:.1f} GB of memory with method "
            f'"neighbours" and {free / 2**30:.1f} GB are free; a size of {size} would fit.'
        )


def _passes(shape: tuple[int, int], iterations: int | Sequence[int]) -> list[tuple[tuple[int, int], int]]:
    """Size and steps of each pass: the scales from coarse to fine, and once more the largest."""
    sizes = [fit(shape, max(1, round(max(shape) / 2**i))) for i in reversed(range(SCALES))]
    sizes = [size for size in sizes if min(size) >= SMALLEST] or [shape]
    sizes.append(shape)
    if not isinstance(iterations, Sequence):
        return [(size, int(iterations)) for size in sizes]
    if len(iterations) != len(sizes):
        raise ParameterError(
            f'iterations has {len(iterations)} numbers; method "neighbours" needs one number, or {len(sizes)} for a '
            "picture of this size: one for each scale, and one for the pass layer by layer."
        )
    return list(zip(sizes, map(int, iterations), strict=True))


def _objective(
    x: np.ndarray, shape: tuple[int, int], alpha: float, inputs: Inputs, settings: Settings, network: Network
) -> Objective:
    """The objective of a pass; that without the photograph, the last, compares layer by layer."""
    columns = Hypercolumns(network, x.shape[:2])
    parts = [slice(0, columns.shape[1])] if alpha else list(columns.columns.values())
    search = Search(_features(x, shape, alpha, inputs, network), parts)
    side = max(shape) * settings.style_scale
    style = inputs.styles[0]
    style = _padded(resize(style, fit(style.shape, int(min(max(round(side), MULTIPLE), max(style.shape))))))
    mean = None
    for turn in range(4):
        features = _features_of(np.ascontiguousarray(np.rot90(style, turn)), network)
        mean = features.mean() if mean is None else mean
        search.add(features, mean)
        del features  # Before those of the next turn are computed.
    return Objective(columns, CosineLoss(search.nearest, parts))


def _features(x: np.ndarray, shape: tuple[int, int], alpha: float, inputs: Inputs, network: Network) -> Features:
    """The features whose nearest are searched: those of the photograph, with this share, and of the picture."""
    if alpha == 0:
        return _features_of(x, network)
    features = _features_of(_padded(inputs.seen_at(shape)), network)
    if alpha < 1:
        for own, others in zip(features, _features_of(x, network), strict=True):
            own *= alpha
            others *= 1 - alpha
            own += others
    return features


def _features_of(picture: np.ndarray, network: Network) -> Features:
    return Hypercolumns(network, picture.shape[:2], gradient=False).forward(picture)


def _padded(picture: np.ndarray) -> np.ndarray:
    """A picture whose sides are multiples of `MULTIPLE`, by repetition of its last row and column."""
    rows, columns = (-side % MULTIPLE for side in picture.shape[:2])
    return np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")


def _coloured(picture: np.ndarray, inputs: Inputs, settings: Settings) -> np.ndarray:
    """The picture in the mean and covariance of the painting's colours, or as the setting ``colour`` requires."""
    matched = colours.match(picture, inputs.styles[0], None, inputs.opacities[0])
    return colours.restore(settings.colour, matched, inputs.content_at(picture.shape[:2]))
