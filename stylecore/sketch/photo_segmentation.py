"""Segmentation of a photograph: its main object, and the regions of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from stylecore.kernels.backend import DeviceArray
from stylecore.network import Network, load_network
from stylecore.pictures.geometry import fit, resize
from stylecore.plan import Plan
from stylecore.sketch.libraries import opencv, skimage
from stylecore.sketch.segmentation import LEAST_REGION, Segmentation, merged

SIDE = 200
"""Longer side, in pixels, at which a photograph is segmented."""

NETWORK_SIDE = 448
"""Side length, in pixels, of the picture that the network sees."""

LAYER = "relu5_1"
"""Layer whose activations are strongest on objects."""

CENTRE, CENTRE_WEIGHT = 0.33, 0.5
"""Standard deviation of the preference for the centre, relative to the sides; and its weight by itself."""

THRESHOLD = 0.85
"""Saliency above which a pixel probably belongs to the object, relative to Otsu's threshold."""

BACKGROUND_BELOW, FOREGROUND_ABOVE = 0.4, 0.5
"""Saliency, relative to the threshold and between threshold and maximum, beyond which GrabCut may change nothing."""

AGREEMENT = 0.5
"""Intersection over union with the thresholded saliency, below which GrabCut's result is discarded."""

FRAME_VARIES = 8.0
"""Distance in Lab up to which a pixel has the colour of a frame."""

PART = 0.12
"""Area of a part of the foreground, relative to the largest one, below which it is dropped."""


def segment_photo(photo: np.ndarray, regions: int = 4, *, network: Any = "vgg19") -> Segmentation:
    """Split a photograph into background and main object, and the object into regions.

    First level: the saliency of a pixel is the contrast that a path from the border must overcome to reach it
    (geodesic saliency) plus the sum of the network's activations, both stronger near the centre, plus a preference for
    the centre. GrabCut starts from the thresholded saliency; a result that has little in common with it is discarded in
    its favour. Second level: superpixels (SLIC) of the object, clustered by colour and position.

    Parameters
    ----------
    photo : ndarray, (H, W, 3)
        sRGB in [0, 1].
    regions : int
        Maximum number of regions of the foreground.
    network : str, path, Weights or Network
        A network with the layers of VGG-19.

    Returns
    -------
    Segmentation
        Of the size of the photograph.

    References
    ----------
    Wei, Wen, Zhu and Sun (2012), "Geodesic Saliency Using Background Priors", ECCV.
    Rother, Kolmogorov and Blake (2004), "GrabCut", ACM Transactions on Graphics 23 (3).
    """
    small = resize(photo, fit(photo.shape, SIDE))
    lab = skimage("color").rgb2lab(small)
    rows, columns = inside = _inside_frame(lab)
    scale = len(photo) / len(small)
    framed = photo[_scaled(rows, scale), _scaled(columns, scale)]
    saliency = _saliency(small[inside], lab[inside], _activations(framed, network))
    labels = np.zeros(small.shape[:2], np.int32)
    labels[inside] = _regions(lab[inside], _foreground(small[inside], saliency), regions)
    return Segmentation(labels).at(photo.shape[:2])


# First level


def _inside_frame(lab: np.ndarray) -> tuple[slice, slice]:
    """The part of a photograph inside a frame of uniform colour; all of it if there is no such frame."""
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    distance = np.linalg.norm(lab - np.median(border, axis=0), axis=2)
    everything = slice(0, len(lab)), slice(0, lab.shape[1])
    inside = []
    for axis in (1, 0):
        other = np.flatnonzero(np.mean(distance < FRAME_VARIES, axis=axis) < 0.98)
        if not len(other):
            return everything
        inside.append(slice(int(other[0]), int(other[-1]) + 1))
    inner = distance[inside[0], inside[1]]
    depth = max(inner.shape) // 20
    ring = inner[depth : len(inner) - depth, depth : inner.shape[1] - depth]
    if inner.shape == distance.shape or min(ring.shape) < SIDE / 4:
        return everything
    # Around an object on uniform ground, only its extremities differ from the ground.
    edge = np.concatenate([ring[0], ring[-1], ring[:, 0], ring[:, -1]])
    return (inside[0], inside[1]) if np.mean(edge > 2 * FRAME_VARIES) > 0.8 else everything


def _scaled(part: slice, scale: float) -> slice:
    return slice(round(part.start * scale), round(part.stop * scale))


def _saliency(small: np.ndarray, lab: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Saliency of each pixel, (H, W)."""
    shape = small.shape[:2]
    rows, columns = (np.linspace(-0.5, 0.5, side) for side in shape)
    centre = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * CENTRE**2))
    geodesic = _unit_range(_geodesic(small, lab)) * centre
    active = _unit_range(resize(activations, shape)) * centre
    terms = geodesic / max(geodesic.max(), 1e-9) + active / max(active.max(), 1e-9)
    return terms + CENTRE_WEIGHT * _unit_range(centre)


def _geodesic(small: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """Length of the shortest path from outside the picture to each superpixel, in differences of colour."""
    labels = skimage("segmentation").slic(small, n_segments=250, compactness=15, start_label=0)
    count = labels.max() + 1
    colours = _means(lab, labels, count)
    pairs = [
        np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1),
        np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1),
    ]
    edges = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    # Differences of texture within the background do not count.
    lengths = np.maximum(np.linalg.norm(colours[edges[:, 0]] - colours[edges[:, 1]], axis=1) - 4, 0) + 0.01
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    # A superpixel on the border that differs from most of the border may belong to the object.
    among = np.linalg.norm(colours[border][:, None] - colours[border][None], axis=2)
    entry = np.sort(among, axis=1)[:, : len(border) // 3 + 1].mean(axis=1) + 0.01
    starts = np.concatenate([edges[:, 0], np.full(len(border), count)])
    ends = np.concatenate([edges[:, 1], border])
    graph = scipy.sparse.csr_matrix((np.concatenate([lengths, entry]), (starts, ends)), (count + 1, count + 1))
    return scipy.sparse.csgraph.dijkstra(graph, directed=False, indices=count)[labels]


def _activations(photo: np.ndarray, network: Any) -> np.ndarray:
    """Sum of the network's activations over the channels, as a map."""
    loaded: Network = load_network(network, layers=[LAYER])
    sums: list[np.ndarray] = []

    def visit(layer: str, features: DeviceArray, start: int) -> None:
        sums.append(np.asarray(features).sum(axis=1))

    image = np.ascontiguousarray(resize(photo, (NETWORK_SIDE, NETWORK_SIDE)), np.float32)
    Plan(loaded, NETWORK_SIDE, NETWORK_SIDE, [LAYER], gradient=False).forward(image, visit)
    _, height, width, _ = loaded.map_shape(NETWORK_SIDE, NETWORK_SIDE, LAYER)
    return _unit_range(np.concatenate(sums).reshape(height, width))


def _foreground(small: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Mask of the main object; never empty, and never the whole photograph."""
    threshold = THRESHOLD * skimage("filters").threshold_otsu(saliency)
    salient = saliency > threshold
    if not salient.any():  # A uniform photograph.
        return saliency >= np.quantile(saliency, 0.5)
    cut = _cleaned(_grabcut(small, saliency, threshold))
    overlap = (cut & salient).sum() / (cut | salient).sum()
    return cut if overlap >= AGREEMENT else _cleaned(salient)


def _grabcut(small: np.ndarray, saliency: np.ndarray, threshold: float) -> np.ndarray:
    cv2 = opencv()
    mask = np.where(saliency > threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[saliency < BACKGROUND_BELOW * threshold] = cv2.GC_BGD
    mask[saliency > threshold + FOREGROUND_ABOVE * (saliency.max() - threshold)] = cv2.GC_FGD
    levels = np.rint(255 * small[..., ::-1]).astype(np.uint8)
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.ascontiguousarray(levels), mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK
    )
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)


def _cleaned(mask: np.ndarray) -> np.ndarray:
    """The mask without thin and small parts, and without holes; unchanged if nothing else is left."""
    opened = scipy.ndimage.binary_fill_holes(scipy.ndimage.binary_opening(mask))
    parts, count = scipy.ndimage.label(opened)
    if not count:
        return mask
    areas = scipy.ndimage.sum(opened, parts, np.arange(1, count + 1))
    return np.isin(parts, np.flatnonzero(areas > PART * areas.max()) + 1)


# Second level


def _regions(lab: np.ndarray, foreground: np.ndarray, most: int) -> np.ndarray:
    """Label the superpixels of the foreground by clusters of colour and position."""
    labels = skimage("segmentation").slic(
        lab, n_segments=80, compactness=10, mask=foreground, start_label=1, convert2lab=False
    )
    found = np.unique(labels[labels > 0])
    if len(found) < 2 or most < 2:
        return foreground.astype(np.int32)
    compact = np.searchsorted(found, labels)
    rows, columns = np.indices(labels.shape)
    place = np.stack([rows, columns], axis=-1) * (50 / max(labels.shape))
    inside = labels > 0
    vectors = _means(np.concatenate([lab, place], axis=-1)[inside][None], compact[inside][None], len(found))
    clusters = scipy.cluster.hierarchy.fcluster(scipy.cluster.hierarchy.linkage(vectors, "ward"), most, "maxclust")
    regions = np.zeros(labels.shape, np.int32)
    regions[inside] = clusters[compact[inside]]
    regions[foreground & ~inside] = clusters[0]
    return merged(regions, LEAST_REGION, most)


def _means(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean of each channel of (H, W, C) over each label, (count, C)."""
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    channels = [np.bincount(labels.ravel(), plane.ravel(), count) / sizes for plane in np.moveaxis(values, -1, 0)]
    return np.stack(channels, axis=1)


def _unit_range(values: np.ndarray) -> np.ndarray:
    return ((values - values.min()) / max(float(np.ptp(values)), 1e-9)).astype(np.float32)
