"""Sketch-based image retrieval: the photographs of an index that show what a sketch shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from stylecore.sketch.descriptors import HOG_CELLS, LAYERS, Describer
from stylecore.sketch.drawing import Drawing
from stylecore.sketch.indexing import PhotoIndex

APPEARANCE_WEIGHT = 0.5
"""Weight of the comparison with a photograph's colours, relative to those with its lines."""

SEEDS = 5
"""Number of the best photographs from which similarity is spread."""

NEIGHBOURS = 10
"""Number of photographs that each is linked to in the graph of similar photographs."""

SPREADING = 0.8
"""Share of the similarity that is spread along the graph, in [0, 1)."""

SHARPNESS = 3
"""Power of the cosine similarity of two photographs that weights their link."""


class Match(NamedTuple):
    """A photograph that was found for a sketch.

    Attributes
    ----------
    path : Path
    similarity : float
        Higher is more similar; comparable only for one sketch and one index.
    """

    path: Path
    similarity: float


def retrieve(drawing: Drawing, photos: PhotoIndex, count: int = 5, *, network: Any = "vgg19") -> list[Match]:
    """Find the photographs that are most similar to a sketch.

    Parameters
    ----------
    drawing : Drawing
    photos : PhotoIndex
    count : int
        Maximum number of photographs.
    network : str, path, Weights or Network
        The one of the index.

    Returns
    -------
    list of Match
        Best first.
    """
    similarity = similarities(Describer(network).sketch(drawing), photos.descriptors)
    order = np.argsort(-similarity, kind="stable")[:count]
    return [Match(photos.path(i), float(similarity[i])) for i in order]


def similarities(sketch: tuple[dict[str, np.ndarray], ...], photos: dict[str, np.ndarray]) -> np.ndarray:
    """Compute the similarity of a sketch to each photograph.

    Each descriptor is normalised and centred on the mean of the photographs, and compared by its cosine, for the sketch
    and mirrored, of which the better counts. The similarities are standardised and added. Photographs whose colours
    look alike then reinforce each other: the similarity of the best few spreads along the graph of nearest neighbours,
    as in the diffusion of Iscen et al. It needs no labels and no training.

    Parameters
    ----------
    sketch : tuple of dict
        As `Describer.sketch` returns them.
    photos : dict of str to ndarray, (N, D)
        As in `PhotoIndex`.

    Returns
    -------
    ndarray, (N,)

    References
    ----------
    Iscen, Tolias, Avrithis, Furon and Chum (2017), "Efficient Diffusion on Region Manifolds: Recovering Small Objects
    with Compact CNN Representations", CVPR.
    """

    def standardised(names: list[str]) -> np.ndarray:
        return _standardised(
            np.sum([_standardised(_best_cosine(sketch, photos, name, name)) for name in names], axis=0)
        )

    by_lines = standardised(list(LAYERS)) + standardised([f"hog{cells}" for cells in HOG_CELLS])
    by_colours = _standardised(_best_cosine(sketch, photos, "relu5_1", "appearance"))
    return _spread(_standardised(by_lines) + APPEARANCE_WEIGHT * by_colours, photos["content"])


def _best_cosine(
    sketch: tuple[dict[str, np.ndarray], ...], photos: dict[str, np.ndarray], name: str, photo_name: str
) -> np.ndarray:
    """Cosine similarity of each photograph to the sketch or to its mirror image, whichever is higher.

    Lines and colours are different domains: each is centred on its own mean over the photographs.
    """
    theirs = _unit(photos[photo_name])
    centred = _unit(theirs - theirs.mean(axis=0))
    mean = _unit(photos[name]).mean(axis=0)
    return np.max([centred @ _unit(_unit(side[name]) - mean) for side in sketch], axis=0)


def _spread(similarity: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Spread the similarity of the best photographs along the graph of similar ones."""
    count = len(similarity)
    if count <= SEEDS:
        return similarity
    seeds = np.maximum(similarity - np.partition(similarity, -SEEDS - 1)[-SEEDS - 1], 0)
    graph = _graph(content)
    degrees = np.sqrt(np.asarray(graph.sum(axis=1)).ravel() + 1e-9)
    scaled = scipy.sparse.diags(1 / degrees) @ graph @ scipy.sparse.diags(1 / degrees)
    spread, _ = scipy.sparse.linalg.cg(scipy.sparse.identity(count) - SPREADING * scaled, seeds)
    # Photographs that the graph does not reach follow in the order of their own similarity.
    return spread + 1e-6 * _standardised(similarity)


def _graph(content: np.ndarray) -> scipy.sparse.csr_matrix:
    """Symmetric graph that links each photograph to those that look most alike, weighted by similarity."""
    unit = _unit(content)
    centred = _unit(unit - unit.mean(axis=0))
    links = min(NEIGHBOURS, len(centred) - 1)
    rows, columns, weights = [], [], []
    for i, row in enumerate(centred):
        cosines = centred @ row
        cosines[i] = -np.inf
        nearest = np.argpartition(-cosines, links - 1)[:links]
        rows.append(np.full(links, i))
        columns.append(nearest)
        weights.append(np.maximum(cosines[nearest], 0) ** SHARPNESS)
    pairs = np.concatenate(rows), np.concatenate(columns)
    graph = scipy.sparse.csr_matrix((np.concatenate(weights), pairs), (len(centred), len(centred)))
    return graph.maximum(graph.T)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / max(float(values.std()), 1e-9)
