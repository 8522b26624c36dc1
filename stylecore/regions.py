"""Regions of a picture, each painted from regions of the style images, given by masks or by label images.

Each region has its own guided Gram matrices: see Gatys et al. (2017), "Controlling Perceptual Factors in Neural Style
Transfer", CVPR, section 4.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from stylecore.errors import ImageError, ParameterError
from stylecore.pictures.geometry import crop
from stylecore.pictures.reading import lossy_format, read_image

MAX_LABELS = 32
"""Maximum number of colours in a label image."""

SMALLEST_SHARE = 1e-5
"""Share of an image below which a region counts as empty."""

WORDS = ("all", "rest", "none")
"""Words that can be given in place of a mask."""

NOT = "not:"
"""Prefix of the path of a mask that is to be inverted."""


class Region(NamedTuple):
    """A part of a picture, and the parts of the style images that it is painted from.

    Attributes
    ----------
    name : str
        Number or colour; empty if the whole picture is the only region.
    mask : ndarray, (H, W), or None
        Membership of each pixel, in [0, 1]; None if all pixels belong to the region.
    styles : dict of int to ndarray or None
        Such a mask for each style image that the region is painted from, by the image's index from 0.
    """

    name: str
    mask: np.ndarray | None
    styles: dict[int, np.ndarray | None]


def read_styles(style: Any) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Read one style image, or a list or tuple of them.

    Parameters
    ----------
    style : path, binary stream, PIL image or array, or list or tuple of these

    Returns
    -------
    styles : list of ndarray, (H, W, 3)
        sRGB in [0, 1]. Colours of fully transparent pixels are replaced by those of the nearest visible pixel, so that
        no filter detects an edge there.
    opacities : list of ndarray, (H, W), or None
        In [0, 1]; None for a style image without transparency.

    Raises
    ------
    ImageError
        If an image cannot be read, or is fully transparent.
    ParameterError
        If the list is empty.
    """
    styles = style if isinstance(style, (list, tuple)) else [style]
    if not styles:
        raise ParameterError("the list has no style image; give at least one.")
    pairs = [_read_style(one, style_name(i, len(styles))) for i, one in enumerate(styles)]
    return [colours for colours, _ in pairs], [opacity for _, opacity in pairs]


def _read_style(source: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    colours, alpha = read_image(source, name=name)
    if alpha is None or alpha.min() == 1:
        return colours, None
    if alpha.mean() < SMALLEST_SHARE:
        raise ImageError(
            f"{_path_or(name, source)} is fully transparent, so it has no style; make a part of it opaque."
        )
    nearest = scipy.ndimage.distance_transform_edt(alpha == 0, return_distances=False, return_indices=True)
    return np.ascontiguousarray(colours[tuple(nearest)]), alpha


def read_regions(
    regions: Sequence | None,
    labels: Sequence | None,
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    opacities: Sequence[np.ndarray | None] | None = None,
) -> list[Region]:
    """Read the regions of a picture, and check that they fit its images.

    Parameters
    ----------
    regions : sequence, or None
        One sequence per region: its part of the content image and then, for each style image, the part of it that the
        region is painted from. Each part is

        - a mask: white inside the region, black outside, grey along soft edges; a path, PIL image or array, as
          `read_image` takes them, or an array of bool,
        - "not:PATH": the inverse of a mask,
        - "all": the whole image,
        - "rest": the part of the image that no other region covers,
        - "none", or None: nothing; the region is not painted from this style image.

        A list of `Region` is returned unchanged.
    labels : sequence, or None
        In place of masks, one label image for the content image and one for each style image. Each region has a uniform
        colour of its own, which is the same in all label images.
    content : ndarray, (H, W, 3)
    styles : list of ndarray, (h, w, 3)
    opacities : list of ndarray, (h, w), or None, optional
        Opacity of each style image; transparent pixels belong to no region.

    Returns
    -------
    list of Region
        Without `regions` and `labels`, a single region: the whole picture, painted from all styles.

    Raises
    ------
    ImageError
        If a mask or label image cannot be read.
    ParameterError
        If a mask or label image has another aspect ratio than its image, if a mask is empty, if there are too few or
        too many of them, or if a region is missing from the content image or from all style images.

    Warns
    -----
    UserWarning
        If the size of a mask differs from that of its image, to which the mask is resampled.
    """
    opacities = opacities or [None] * len(styles)
    if regions is None and labels is None:
        return [Region("", None, dict(enumerate(opacities)))]
    if regions is not None and labels is not None:
        raise ParameterError("regions are given both as masks and as label images; leave one of the two out.")
    images = {"content image": content} | {style_name(i, len(styles)): style for i, style in enumerate(styles)}
    if labels is not None:
        table = _from_labels(labels, images)
    else:
        regions = _listed("regions", regions)
        if all(isinstance(region, Region) for region in regions):
            return regions
        table = _from_masks(regions, images)
    lossy = _lossy_label_image(labels or ())
    for name, (mask, *parts) in table.items():
        if mask is None:
            advice = lossy or "mark it there, or leave out the region"
            raise ParameterError(f"region {name} is not in the content image; {advice}.")
        if all(part is None for part in parts):
            advice = lossy or "mark it in one, or leave out the region"
            raise ParameterError(f"region {name} is in no style image; {advice}.")
    return [
        Region(name, mask, {i: _visible(name, i, part, opacities) for i, part in enumerate(parts) if part is not None})
        for name, (mask, *parts) in table.items()
    ]


def _visible(name: str, i: int, mask: np.ndarray, opacities: Sequence[np.ndarray | None]) -> np.ndarray:
    """The part of a mask in which its style image is visible."""
    alpha = opacities[i]
    if alpha is None:
        return mask
    visible = mask * alpha
    if visible.mean() < SMALLEST_SHARE:
        raise ParameterError(
            f"region {name} lies in a transparent part of the {style_name(i, len(opacities))}; choose another part."
        )
    return visible


def crop_regions(regions: Sequence[Region], shape: tuple[int, int]) -> list[Region]:
    """Crop the regions of a picture in the same way as the picture, with `stylecore.pictures.geometry.crop`.

    Parameters
    ----------
    regions : list of Region
    shape : tuple of int
        (height, width) of the desired aspect ratio.

    Returns
    -------
    list of Region

    Raises
    ------
    ParameterError
        If nothing is left of a region.
    """
    cropped = [region if region.mask is None else region._replace(mask=crop(region.mask, shape)) for region in regions]
    for region in cropped:
        if region.mask is not None and region.mask.mean() < SMALLEST_SHARE:
            raise ParameterError(
                f"region {region.name} lies outside what a size of {shape[1]} x {shape[0]} keeps of the content image; "
                "leave out the region, or choose a size closer to the content image's aspect ratio."
            )
    return cropped


def style_name(i: int, count: int) -> str:
    """Name of a style image for messages, given its index from 0 and the number of style images."""
    return "style image" if count == 1 else f"style image {i + 1}"


def area_average(
    mask: np.ndarray, shape: tuple[int, int], window: tuple[slice, slice] = (slice(None), slice(None))
) -> np.ndarray:
    """Resample a mask to the size of a layer: at each position, the mean over the area of the image that it covers.

    With averages, no region is lost, however small; masks that add up to one in the image do so in each layer; and a
    position on an edge belongs to both sides, in proportion to their areas.

    Parameters
    ----------
    mask : ndarray, (H, W)
    shape : tuple of int
        (height, width); the positions are assumed to be spread evenly over the image.
    window : tuple of slice
        Rows and columns of the result to compute, by default all.

    Returns
    -------
    ndarray, (height, width) or the window of it, float64
    """
    for count, part in zip(shape, window, strict=True):  # Rows, then columns as the rows of the transpose.
        mask = _band_means(mask, count, part).T
    return mask


def _band_means(mask: np.ndarray, count: int, part: slice) -> np.ndarray:
    """Means over some of a number of bands of equal height, which may begin and end within a row."""
    begin, end, _ = part.indices(count)
    edges = np.linspace(0, len(mask), count + 1)[begin : end + 1]
    first = int(edges[0])
    rows = mask[first : int(np.ceil(edges[-1]))]
    sums = np.concatenate([np.zeros((1, mask.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    row = np.minimum(edges.astype(int), len(mask) - 1) - first
    sums = sums[row] + (edges - first - row)[:, None] * mask[first + row]
    return np.diff(sums, axis=0) * (count / len(mask))


# Masks


def _from_masks(regions: Sequence, images: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Masks of each region in all images, or None where it has none, by the name of the region."""
    regions = [_listed(f"region {i}", region) for i, region in enumerate(regions, start=1)]
    for i, region in enumerate(regions, start=1):
        if len(region) != len(images):
            raise ParameterError(
                f"region {i} has {_count(len(region), 'mask')}; it needs one for the content image and one for "
                f"{'each of ' * (len(images) > 2)}the {_count(len(images) - 1, 'style image')}."
            )
    columns = [
        _read_masks(masks, name, image)
        for (name, image), masks in zip(images.items(), zip(*regions, strict=True), strict=True)
    ]
    return {str(i): list(masks) for i, masks in enumerate(zip(*columns, strict=True), start=1)}


def _listed(name: str, given: Any) -> list:
    if isinstance(given, (str, os.PathLike, np.ndarray)) or not np.iterable(given):
        raise ParameterError(f"{name} is of type {type(given).__name__}; give a list.")
    given = list(given)
    if not given:
        raise ParameterError(f"{name} is an empty list; fill it, or leave out the argument.")
    return given


def _read_masks(sources: Sequence, name: str, image: np.ndarray) -> list[np.ndarray | None]:
    """Masks of all regions in one image; None for a region that has no part in the image."""
    read = [_read_mask(source, f"mask of region {i} on the {name}", image) for i, source in enumerate(sources, 1)]
    masks = [_rest(read, image) if isinstance(mask, str) else mask for mask in read]
    for i, mask in enumerate(masks, start=1):
        if mask is not None and mask.mean() < SMALLEST_SHARE:
            raise ParameterError(f"region {i} is empty on the {name}; nothing of its mask is white.")
    return masks


def _rest(masks: Sequence[np.ndarray | str | None], image: np.ndarray) -> np.ndarray:
    """Mask of the part of an image that no other mask covers."""
    others = [mask for mask in masks if isinstance(mask, np.ndarray)]
    return (1 - np.sum(others, axis=0, initial=0.0)).clip(0) * np.ones(image.shape[:2], np.float32)


def _read_mask(source: Any, name: str, image: np.ndarray) -> np.ndarray | str | None:
    """A mask of the size of its image; None for "none", and "rest" unchanged, since it depends on the other masks."""
    if source is None or (isinstance(source, str) and source == "none"):
        return None
    if isinstance(source, str) and source == "all":
        return np.ones(image.shape[:2], np.float32)
    if isinstance(source, str) and source == "rest":
        return source
    inverse = isinstance(source, str) and source.startswith(NOT)
    source = source.removeprefix(NOT) if inverse else source
    if isinstance(source, np.ndarray) and source.dtype == bool:
        source = source.astype(np.float32)
    name = _path_or(name, source)
    pixels, alpha = read_image(source, name=name)
    if np.ptp(pixels, axis=2).max() > 0.1:
        raise ParameterError(f"{name} has colours; make the mask white inside the region and black outside.")
    mask = pixels[..., 0].astype(np.float32) * (1 if alpha is None else alpha)
    return _fitted(1 - mask if inverse else mask, name, image)


def _fitted(mask: np.ndarray, name: str, image: np.ndarray) -> np.ndarray:
    """Resample a mask to the size of its image, which must have the same aspect ratio up to rounding."""
    (height, width), (image_height, image_width) = mask.shape, image.shape[:2]
    if mask.shape == image.shape[:2]:
        return mask
    sizes = f"{name} is of {width} x {height} pixels, and its image of {image_width} x {image_height}"
    ratio = width * image_height / (height * image_width)
    if abs(np.log(ratio)) > 0.01 + 1 / min(height, width, image_height, image_width):
        raise ParameterError(f"{sizes}, which has another aspect ratio; crop or redraw the mask to match.")
    warnings.warn(f"{sizes}; the mask is resampled to match.", stacklevel=2)
    return area_average(mask, image.shape[:2]).astype(np.float32)


# Label images


def _from_labels(labels: Sequence, images: Mapping[str, np.ndarray]) -> dict[str, list]:
    """As `_from_masks`, with the regions named by their colours."""
    labels = _listed("labels", labels)
    if len(labels) != len(images):
        raise ParameterError(
            f"labels has {_count(len(labels), 'label image')}; it needs one for the content image and one for "
            f"{'each of ' * (len(images) > 2)}the {_count(len(images) - 1, 'style image')}."
        )
    columns = [
        _read_labels(source, f"label image of the {name}", image)
        for source, (name, image) in zip(labels, images.items(), strict=True)
    ]
    colours = dict.fromkeys(colour for column in columns for colour in column)
    return {colour: [column.get(colour) for column in columns] for colour in colours}


def _read_labels(source: Any, name: str, image: np.ndarray) -> dict[str, np.ndarray]:
    """Mask of each colour, by the colour as #rrggbb."""
    name = _path_or(name, source)
    levels = np.rint(255 * read_image(source, name=name)[0]).astype(np.uint32)
    codes = levels @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found = np.unique(codes)
    if len(found) > MAX_LABELS:
        raise ImageError(
            f"{name} has {len(found)} colours; a label image has one uniform colour for each region, so draw it "
            "without smooth edges and save it as PNG."
        )
    return {f"#{code:06x}": _fitted((codes == code).astype(np.float32), name, image) for code in found}


def _lossy_label_image(labels: Sequence) -> str:
    """Advice about a label image whose format is lossy; empty if there is none."""
    for source in labels:
        if kind := lossy_format(source):
            return f"{source} is a {kind} file, which alters colours, so save label images as PNG"
    return ""


def _path_or(name: str, source: Any) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else name


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
