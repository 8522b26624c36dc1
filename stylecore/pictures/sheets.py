"""Labelled sheets: several pictures arranged in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stylecore.errors import ParameterError
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image


def contact_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    height: int = 512,
    *,
    columns: int | None = None,
    title: str | None = None,
) -> np.ndarray:
    """Arrange pictures of equal height side by side, such as content, style and result.

    Parameters
    ----------
    images : sequence of ndarray, each of shape (H, W, 3)
        sRGB in [0, 1].
    labels : sequence of str, optional
        A line of text below each picture.
    height : int
        Height of each picture on the sheet, in pixels.
    columns : int, optional
        Pictures in a row; by default, all are in one row.
    title : str, optional
        A line of text above all pictures.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        The sheet, on white; with text it is higher than its pictures.

    Raises
    ------
    ParameterError
        If there are no pictures, or the number of labels is not that of the pictures.
    """
    if not len(images) or (labels is not None and len(labels) != len(images)):
        raise ParameterError(f"a sheet of {len(images)} pictures cannot have the labels {labels}.")
    columns = min(columns or len(images), len(images))
    gap, text_size = max(1, height // 40), max(10, height // 20)
    widths = [max(1, round(height * image.shape[1] / image.shape[0])) for image in images]
    column_widths = [max(widths[column::columns]) for column in range(columns)]
    lefts = np.cumsum([0, *(width + gap for width in column_widths)])
    head = 0 if title is None else 3 * text_size
    row_height = height + (gap if labels is None else 2 * text_size)
    rows = -(-len(images) // columns)
    foot = gap if labels is None else 0
    sheet = Image.new("RGB", (int(lefts[-1]) - gap, head + rows * row_height - foot), "white")
    if title is not None:
        _write(sheet, title, sheet.width / 2, 1.5 * text_size, 1.5 * text_size, sheet.width)
    for i, (image, width) in enumerate(zip(images, widths, strict=True)):
        row, column = divmod(i, columns)
        top, middle = head + row * row_height, lefts[column] + column_widths[column] / 2
        sheet.paste(to_pil(resize(image, (height, width))), (int(middle - width / 2), top))
        if labels is not None:
            _write(sheet, labels[i], middle, top + height + text_size, text_size, column_widths[column])
    return read_image(sheet)[0]


def _write(sheet: Image.Image, text: str, x: float, y: float, size: float, width: float) -> None:
    """Write a line centred on a point, in smaller letters where it is longer than the width."""
    font = ImageFont.load_default(size)
    if (length := font.getlength(text)) > width:
        font = ImageFont.load_default(max(1, size * width / length))
    ImageDraw.Draw(sheet).text((x, y), text, fill="black", font=font, anchor="mm")
