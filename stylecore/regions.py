"""Regions of a picture, each painted from regions of the style images: given by masks, or by label images.

Guided Gram matrices: Gatys et al. (2017), "Controlling Perceptual Factors in Neural Style Transfer", CVPR, section 4.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt

from stylecore.errors import ImageError, ParameterError
from stylecore.pictures.geometry import crop
from stylecore.pictures.reading import lossy_format, read_image

MAX_LABELS = 32
"""The most colours of a label image."""

SMALLEST_SHARE = 1e-5
"""Least share of an image that a region must have; below it counts as empty."""

WORDS = ("all", "rest", "none")
NOT = "not:"
"""Words in place of a mask, and the prefix of the path of a mask to invert."""


class Region(NamedTuple):
    """Part of a picture, and the parts of the style images that it is painted from.

    Attributes
    ----------
    name : str
        Number or colour; empty if the whole picture is the only region.
    mask : ndarray, (H, W), or None
        Membership of each pixel, in [0, 1]; None if all belong.
    styles : dict of int to ndarray or None
        Such a mask for each style image that the region is painted from, by its index from 0.
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
        sRGB in [0, 1]. Colours hidden under full transparency are replaced by those of the nearest visible pixel, so
        that no filter sees an edge there.
    opacities : list of ndarray, (H, W), or None
        In [0, 1]; None for a style image without transparency.

    Raises
    ------
    ImageError
        If one cannot be read, or is wholly transparent.
    ParameterError
        If there is none.
    """
    styles = style if isinstance(style, (list, tuple)) else [style]
    if not styles:
        raise ParameterError("there is no style image in the list; give at least one.")
    pairs = [_read_style(one, style_name(i, len(styles))) for i, one in enumerate(styles)]
    return [colours for colours, _ in pairs], [opacity for _, opacity in pairs]


def _read_style(source: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    colours, alpha = read_image(source, name=name)
    if alpha is None or alpha.min() == 1:
        return colours, None
    if alpha.mean() < SMALLEST_SHARE:
        raise ImageError(
            f"{_path_or(name, source)} is wholly transparent, so it has no style; make a part of it opaque."
        )
    nearest = distance_transform_edt(alpha == 0, return_distances=False, return_indices=True)
    return np.ascontiguousarray(colours[tuple(nearest)]), alpha


def read_regions(
    regions: Sequence | None,
    labels: Sequence | None,
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    opacities: Sequence[np.ndarray | None] | None = None,
) -> list[Region]:
    """Read the regions of a picture and check that they fit its images.

    Parameters
    ----------
    regions : sequence, or None
        One entry per region, itself a sequence: its place in the content image and then, for each style image, the
        part of it that the region is painted from. Each of these is

        - a mask: white inside the region, black outside, grey along soft edges; a path, PIL image or array, as
          `read_image` takes them, or an array of bool,
        - "not:PATH": the inverse of a mask,
        - "all": the whole image,
        - "rest": the part of the image that no other region covers,
        - "none", or None: nothing; the region is not painted by this style.

        A list of `Region` is returned unchanged.
    labels : sequence, or None
        In place of masks: one label image for each image, the content's first. Each region has a flat colour of its
        own, the same in all of them.
    content : ndarray, (H, W, 3)
    styles : list of ndarray, (h, w, 3)
    opacities : list of ndarray, (h, w), or None, optional
        Opacity of each style image; what is transparent belongs to no region.

    Returns
    -------
    list of Region
        Without regions or labels a single one: the whole picture, from all styles.

    Raises
    ------
    ImageError
        If a mask or label image cannot be read.
    ParameterError
        If one is of another aspect ratio than its image, or is empty; if there are too few or too many; or if a region
        is not in the content image, or in none of the style images.

    Warns
    -----
    UserWarning
        If a mask differs in size from its image, and so is stretched over it.
    """
    opacities = opacities or [None] * len(styles)
    if regions is None and labels is None:
        return [Region("", None, dict(enumerate(opacities)))]
    if regions is not None and labels is not None:
        raise ParameterError("regions are given both as masks and as label images; leave one of the two out.")
    if regions is not None:
        regions = _listed("regions", regions)
        if all(isinstance(region, Region) for region in regions):
            return regions
    images = {"content image": content} | {style_name(i, len(styles)): style for i, style in enumerate(styles)}
    table = _from_masks(regions, images) if labels is None else _from_labels(labels, images)
    lossy = _lossy_label_image(labels or ())
    for name, (mask, *parts) in table.items():
        if mask is None:
            advice = lossy or "mark it there, or leave it out"
            raise ParameterError(f"region {name} is not in the content image; {advice}.")
        if all(part is None for part in parts):
            raise ParameterError(f"region {name} is in no style image; {lossy or 'mark it in one, or leave it out'}.")
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
    """Crop the regions of a picture with it, as `stylecore.pictures.geometry.crop` does.

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
        If nothing of one is left.
    """
    cut = [region if region.mask is None else region._replace(mask=crop(region.mask, shape)) for region in regions]
    for region in cut:
        if region.mask is not None and region.mask.mean() < SMALLEST_SHARE:
            raise ParameterError(
                f"region {region.name} lies outside what a size of {shape[1]} x {shape[0]} keeps of the content image; "
                "leave the region out, or choose a size nearer to the content image's aspect ratio."
            )
    return cut


def style_name(i: int, count: int) -> str:
    """Name of a style image in messages, by its index from 0."""
    return "style image" if count == 1 else f"style image {i + 1}"


def area_average(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a mask to the size of a layer: at each position, its mean over the area of the image that maps there.

    Averages instead of samples, so that no region is lost, however small; masks that add up to one in the image do so
    in each layer; and a position on an edge belongs to both sides in proportion to the area.

    Parameters
    ----------
    mask : ndarray, (H, W)
    shape : tuple of int
        (height, width); the positions are assumed to be spread evenly over the image.

    Returns
    -------
    ndarray, (height, width), float64
    """
    for count in shape:  # Rows, then columns as the rows of the transpose.
        mask = _band_means(mask, count).T
    return mask


def _band_means(mask: np.ndarray, count: int) -> np.ndarray:
    """Means over a number of bands of rows of equal height, which may begin and end within a row."""
    sums = np.concatenate([np.zeros((1, mask.shape[1])), np.cumsum(mask, axis=0, dtype=np.float64)])
    edges = np.linspace(0, len(mask), count + 1)
    row = np.minimum(edges.astype(int), len(mask) - 1)
    sums = sums[row] + (edges - row)[:, None] * mask[row]
    return np.diff(sums, axis=0) * (count / len(mask))


# Masks


def _from_masks(regions: Sequence, images: Mapping[str, np.ndarray]) -> dict[str, tuple]:
    """Name of each region, and its mask in each image, or None."""
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
    return {str(i): masks for i, masks in enumerate(zip(*columns, strict=True), start=1)}


def _listed(name: str, given: Any) -> list:
    if isinstance(given, (str, os.PathLike, np.ndarray)) or not np.iterable(given):
        raise ParameterError(f"{name} is of type {type(given).__name__}; give a list.")
    given = list(given)
    if not given:
        raise ParameterError(f"{name} is an empty list; fill it, or leave it out.")
    return given


def _read_masks(sources: Sequence, name: str, image: np.ndarray) -> list[np.ndarray | None]:
    """Masks of all regions in one image; None where the image has no part in a region."""
    masks = [_read_mask(source, f"mask of region {i} on the {name}", image) for i, source in enumerate(sources, 1)]
    if any(isinstance(mask, str) for mask in masks):
        others = [mask for mask in masks if isinstance(mask, np.ndarray)]
        rest = (1 - np.sum(others, axis=0, initial=0.0)).clip(0) * np.ones(image.shape[:2], np.float32)
        masks = [rest if isinstance(mask, str) else mask for mask in masks]
    for i, mask in enumerate(masks, start=1):
        if mask is not None and mask.mean() < SMALLEST_SHARE:
            raise ParameterError(f"region {i} is empty on the {name}; nothing of its mask is white.")
    return masks


def _read_mask(source: Any, name: str, image: np.ndarray) -> np.ndarray | str | None:
    """A mask of the size of its image; None for "none"; "rest" if it depends on the other masks."""
    if source is None or (isinstance(source, str) and source in WORDS):
        return {"all": np.ones(image.shape[:2], np.float32), "rest": "rest"}.get(source)
    inverse = isinstance(source, str) and source.startswith(NOT)
    source = source.removeprefix(NOT) if inverse else source
    if isinstance(source, np.ndarray) and source.dtype == bool:
        source = source.astype(np.float32)
    name = _path_or(name, source)
    pixels, alpha = read_image(source, name=name)
    if np.ptp(pixels, axis=2).max() > 0.1:
        raise ParameterError(f"{name} has colours; a mask is white inside the region, and black outside.")
    mask = pixels[..., 0].astype(np.float32) * (1 if alpha is None else alpha)
    return _fitted(1 - mask if inverse else mask, name, image)


def _fitted(mask: np.ndarray, name: str, image: np.ndarray) -> np.ndarray:
    """A mask stretched over its image, if it has the same aspect ratio up to rounding."""
    (height, width), (image_height, image_width) = mask.shape, image.shape[:2]
    if mask.shape == image.shape[:2]:
        return mask
    sizes = f"{name} is of {width} x {height} pixels, and its image of {image_width} x {image_height}"
    ratio = width * image_height / (height * image_width)
    if abs(np.log(ratio)) > 0.01 + 1 / min(height, width, image_height, image_width):
        raise ParameterError(f"{sizes}, which has another aspect ratio; crop or redraw it to match.")
    warnings.warn(f"{sizes}; it is stretched over it.", stacklevel=2)
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
            f"{name} has {len(found)} colours; a label image has one flat colour for each region, so draw it without "
            "smoothed edges and save it as PNG."
        )
    return {f"#{code:06x}": _fitted((codes == code).astype(np.float32), name, image) for code in found}


def _lossy_label_image(labels: Sequence) -> str:
    """Advice about a label image whose colours its format has changed; empty if there is none."""
    for source in labels:
        if kind := lossy_format(source):
            return f"{source} is a {kind} file, which changes colours, so save label images as PNG"
    return ""


def _path_or(name: str, source: Any) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else name


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
