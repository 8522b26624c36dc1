"""Regions of a picture, each painted from regions of the style images: given by masks, or by label images.

Guided Gram matrices: Gatys et al. (2017), "Controlling Perceptual Factors in Neural Style Transfer", CVPR, section 4.
"""

import os
import warnings
from typing import NamedTuple

import numpy as np

from stylecore.errors import ImageError, ParameterError
from stylecore.pictures.geometry import crop
from stylecore.pictures.reading import lossy_format, read_image

MAX_LABELS = 32
"""The most colours of a label image."""

SMALLEST_SHARE = 1e-5
"""Share of an image that a region must have, not to be taken for an empty one."""

WORDS = ("all", "rest", "none")
NOT = "not:"
"""What may stand for a mask, and what stands before the path of one that is to be inverted."""


class Region(NamedTuple):
    """Part of a picture, and the parts of the style images that it is painted from.

    Attributes
    ----------
    name : str
        Number or colour; empty if there is but one region, the whole picture.
    mask : ndarray, (H, W), or None
        How far each pixel belongs to it, in [0, 1]; None if all do.
    styles : dict of int to ndarray or None
        Such a mask for each style image that paints here, by its number from 0.
    """

    name: str
    mask: np.ndarray | None
    styles: dict


def read_regions(regions, labels, content, styles):
    """Read the regions of a picture and check that they fit its images.

    Parameters
    ----------
    regions : sequence, or None
        One entry per region, itself a sequence: where it is in the content image and then, for each style image, what
        part of that it is painted from. Each of these is

        - a mask: white where the region is, black elsewhere, grey for soft edges; a path, PIL image or array, as
          `read_image` takes them, or an array of bool,
        - "not:PATH": the inverse of a mask,
        - "all": the whole image,
        - "rest": what the other regions leave of the image,
        - "none", or None: nothing; the region is not painted by this style.

        Regions that were read already are kept as they are.
    labels : sequence, or None
        In place of masks: one label image for each image, the content's first. It shows each region in a flat colour
        of its own, which is the same in all.
    content : ndarray, (H, W, 3)
    styles : list of ndarray, (h, w, 3)

    Returns
    -------
    list of Region
        Without regions or labels one, the whole picture from all styles.

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
        If a mask is of another size than its image, and so is stretched over it.
    """
    if regions is None and labels is None:
        return [Region("", None, dict.fromkeys(range(len(styles))))]
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
        Region(name, mask, {i: part for i, part in enumerate(parts) if part is not None})
        for name, (mask, *parts) in table.items()
    ]


def crop_regions(regions, shape):
    """Cut the regions of a picture with it, as `stylecore.pictures.geometry.crop` does.

    Parameters
    ----------
    regions : list of Region
    shape : tuple of int
        (height, width) with the aspect that is wanted.

    Returns
    -------
    list of Region

    Raises
    ------
    ParameterError
        If nothing is left of one.
    """
    cut = [region if region.mask is None else region._replace(mask=crop(region.mask, shape)) for region in regions]
    for region in cut:
        if region.mask is not None and region.mask.mean() < SMALLEST_SHARE:
            raise ParameterError(
                f"region {region.name} lies in what a size of {shape[1]} x {shape[0]} cuts off; leave the region out, "
                "or choose a size nearer to the content image's aspect."
            )
    return cut


def style_name(i, count):
    """What to call a style image in messages, by its number from 0."""
    return "style image" if count == 1 else f"style image {i + 1}"


def area_average(mask, shape):
    """Carry a mask down to the size of a layer: at each position its mean over the part of the image that falls there.

    Means and not samples: so no region is lost, however small; masks that add up to one in the image do so in each
    layer; and a position across an edge belongs to both sides as far as it covers them.

    Parameters
    ----------
    mask : ndarray, (H, W)
    shape : tuple of int
        (height, width); the positions are taken to be spread evenly over the image.

    Returns
    -------
    ndarray, (height, width), float64
    """
    for count in shape:  # Rows, and then columns as the rows of what is transposed.
        mask = _band_means(mask, count).T
    return mask


def _band_means(mask, count):
    """Means over so many bands of rows, all equally high, which may begin and end within a row."""
    sums = np.concatenate([np.zeros((1, mask.shape[1])), np.cumsum(mask, axis=0, dtype=np.float64)])
    edges = np.linspace(0, len(mask), count + 1)
    row = np.minimum(edges.astype(int), len(mask) - 1)
    sums = sums[row] + (edges - row)[:, None] * mask[row]
    return np.diff(sums, axis=0) * (count / len(mask))


# Masks


def _from_masks(regions, images):
    """Name of each region, and its mask in each image, or None."""
    regions = [_listed(f"region {i}", region) for i, region in enumerate(regions, start=1)]
    for i, region in enumerate(regions, start=1):
        if len(region) != len(images):
            raise ParameterError(
                f"region {i} names {_count(len(region), 'mask')}; it needs one for the content image and one for "
                f"{'each of ' * (len(images) > 2)}the {_count(len(images) - 1, 'style image')}."
            )
    columns = [
        _read_masks(masks, name, image)
        for (name, image), masks in zip(images.items(), zip(*regions, strict=True), strict=True)
    ]
    return {str(i): masks for i, masks in enumerate(zip(*columns, strict=True), start=1)}


def _listed(name, given):
    if isinstance(given, (str, os.PathLike, np.ndarray)) or not np.iterable(given):
        raise ParameterError(f"{name} is of type {type(given).__name__}; give a list.")
    given = list(given)
    if not given:
        raise ParameterError(f"{name} is an empty list; name something in it, or leave it out.")
    return given


def _read_masks(sources, name, image):
    """One image's masks of all regions, or None where it has none."""
    masks = [_read_mask(source, f"mask of region {i} on the {name}", image) for i, source in enumerate(sources, 1)]
    if any(isinstance(mask, str) for mask in masks):
        others = [mask for mask in masks if isinstance(mask, np.ndarray)]
        rest = (1 - np.sum(others, axis=0, initial=0.0)).clip(0) * np.ones(image.shape[:2], np.float32)
        masks = [rest if isinstance(mask, str) else mask for mask in masks]
    for i, mask in enumerate(masks, start=1):
        if mask is not None and mask.mean() < SMALLEST_SHARE:
            raise ParameterError(f"region {i} is empty on the {name}; nothing of its mask is white.")
    return masks


def _read_mask(source, name, image):
    """A mask of the size of its image; None for none; "rest" if it takes the others to tell."""
    if source is None or (isinstance(source, str) and source in WORDS):
        return {"all": np.ones(image.shape[:2], np.float32), "rest": "rest"}.get(source)
    inverse = isinstance(source, str) and source.startswith(NOT)
    source = source.removeprefix(NOT) if inverse else source
    if isinstance(source, np.ndarray) and source.dtype == bool:
        source = source.astype(np.float32)
    name = _path_or(name, source)
    pixels, alpha = read_image(source, name=name)
    if np.ptp(pixels, axis=2).max() > 0.1:
        raise ParameterError(f"{name} has colours; a mask is white where the region is, and black elsewhere.")
    mask = pixels[..., 0].astype(np.float32) * (1 if alpha is None else alpha)
    return _fitted(1 - mask if inverse else mask, name, image)


def _fitted(mask, name, image):
    """A mask stretched over its image, if it has the same aspect ratio but for rounding."""
    (height, width), (image_height, image_width) = mask.shape, image.shape[:2]
    if mask.shape == image.shape[:2]:
        return mask
    sizes = f"{name} is of {width} x {height} pixels, and its image of {image_width} x {image_height}"
    ratio = width * image_height / (height * image_width)
    if abs(np.log(ratio)) > 0.01 + 1 / min(height, width, image_height, image_width):
        raise ParameterError(f"{sizes}, which has another aspect ratio; cut or redraw it to match.")
    warnings.warn(f"{sizes}; it is stretched over it.", stacklevel=2)
    return area_average(mask, image.shape[:2]).astype(np.float32)


# Label images


def _from_labels(labels, images):
    """As `_from_masks`, the regions named by their colours."""
    labels = _listed("labels", labels)
    if len(labels) != len(images):
        raise ParameterError(
            f"labels names {_count(len(labels), 'label image')}; it needs one for the content image and one for "
            f"{'each of ' * (len(images) > 2)}the {_count(len(images) - 1, 'style image')}."
        )
    columns = [
        _read_labels(source, f"label image of the {name}", image)
        for source, (name, image) in zip(labels, images.items(), strict=True)
    ]
    colours = dict.fromkeys(colour for column in columns for colour in column)
    return {colour: [column.get(colour) for column in columns] for colour in colours}


def _read_labels(source, name, image):
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


def _lossy_label_image(labels):
    """Advice about a label image whose colours its format has changed; empty if there is none."""
    for source in labels:
        if kind := lossy_format(source):
            return f"{source} is a {kind} file, which changes colours, so save label images as PNG"
    return ""


def _path_or(name, source):
    return source if isinstance(source, (str, os.PathLike)) else name


def _count(count, noun):
    return f"{count} {noun}{'s' * (count != 1)}"
