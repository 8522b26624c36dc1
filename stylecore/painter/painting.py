"""A trained painter at work: pictures of any size, strip by strip, as they would come from one piece.

Instance normalisation needs the mean and the variance of a whole map before any of it can be normalised. So the
convolution of each stage is computed in a first pass, whose sums over rows give both, and normalised in a second one.
Maps of the smallest size are stored between the passes, on disk if they are large; larger maps are stored only if the
picture is small, and otherwise computed again, strip by strip, from the last stored map or from the photograph.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylecore import memory, weights
from stylecore.errors import TooLargeError
from stylecore.kernels import EPSILON
from stylecore.kernels.devices import load_backend
from stylecore.painter.architecture import Stage, reduction
from stylecore.painter.files import PainterWeights, read
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import resize, shape_for
from stylecore.pictures.reading import read_image

# Values of the largest map that is stored in memory although it is not of the smallest size, and of a strip.
STORED_VALUES, STRIP_VALUES = 2**26, 2**21

# Bytes of an array for which there is always memory.
SMALL = 2**26

# Strips begin at multiples of this, so that Winograd's tiles divide them evenly.
ROWS = 12

SHIPPED = Path(weights.__file__).with_name("painter.h5")
"""The painter that comes with the program."""


class Painter:
    """Paint photographs in the styles that a network has learnt, each in a single pass.

    Parameters
    ----------
    painter : str, path or PainterWeights, optional
        A file that `train_styles` wrote, or what it returned; by default the painter that comes with the program.
    device : {"cpu", "auto", "cuda", "cuda:1", "reference"}
        As that of `transfer`.

    Attributes
    ----------
    styles : tuple of str
        Names of the styles.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, something else or of another version.
    ParameterError
        If the device is not known or cannot be used.

    References
    ----------
    Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style", ICLR.

    Examples
    --------
    >>> import stylecore
    >>> from stylecore.samples import PHOTOGRAPH
    >>> painter = stylecore.Painter()
    >>> painter.paint(PHOTOGRAPH, {painter.styles[0]: 0.7, painter.styles[1]: 0.3}, size=64).size
    (64, 48)
    """

    def __init__(self, painter: str | os.PathLike[str] | PainterWeights | None = None, device: str = "cpu") -> None:
        self.weights = painter if isinstance(painter, PainterWeights) else read(painter or SHIPPED)
        self.styles = self.weights.styles
        self._backend: Any = load_backend(device)
        self._dtype = np.dtype("float64" if device == "reference" else "float32")

    @cached_property
    def _convolutions(self) -> dict[str, Any]:
        none = {stage.outputs: np.zeros(stage.outputs, np.float32) for stage in self.weights.table}
        return {
            stage.name: self._backend.prepare(
                self.weights.arrays[stage.name, "filters"], none[stage.outputs], stage.stride, 0, self._dtype
            )
            for stage in self.weights.table
        }

    def paint(
        self,
        photograph: Any,
        style: str | Mapping[str, float] | None = None,
        *,
        size: int | tuple[int, int] | str | None = None,
    ) -> Image.Image:
        """Paint a photograph.

        Parameters
        ----------
        photograph : path, binary stream, PIL image or array
            Arrays are (H, W, 3), sRGB in [0, 1].
        style : str or mapping of str to float, optional
            Name of a style, or the weights of several, of which only the ratios matter; by default the first style.
        size : int, tuple of int or str, optional
            As that of `transfer`; by default that of the photograph.

        Returns
        -------
        PIL.Image.Image
            8-bit RGB.

        Raises
        ------
        ImageError
            If the photograph cannot be read.
        ParameterError
            If a style is not there, weights are negative or all zero, or the size is out of its range.
        TooLargeError
            If memory does not suffice.
        """
        content, _ = read_image(photograph, name="photograph")
        if size is not None:
            content = resize(content, shape_for(size, content.shape))
        return to_pil(self.paint_array(content, style))

    def paint_array(self, photograph: np.ndarray, style: str | Mapping[str, float] | None = None) -> np.ndarray:
        """Paint a photograph that has been read already.

        Parameters
        ----------
        photograph : ndarray, (H, W, 3)
            sRGB in [0, 1].
        style
            As of `paint`.

        Returns
        -------
        ndarray of float32, (H, W, 3)
            sRGB in [0, 1].

        Raises
        ------
        ParameterError, TooLargeError
            As `paint` does.
        """
        mixture = self.weights.mixture(self.styles[0] if style is None else style)
        height, width = photograph.shape[:2]
        needed, on_device = self.bytes(height, width), self._backend.available_bytes()
        free = memory.available() if on_device is None else on_device
        if free is not None and needed > free:
            raise TooLargeError(
                f"a picture of {width} x {height} pixels needs {needed / 2**30:.1f} GB of memory and "
                f"{free / 2**30:.1f} GB are free; choose a smaller size."
            )
        step = reduction(self.weights.table)
        # The sides become multiples of what the smallest map is reduced by, of enough positions to be reflected.
        padding = [(0, max(-length % step, 2 * step - length)) for length in (height, width)]
        x = np.pad(photograph, (*padding, (0, 0)), "symmetric").astype(self._dtype)[None]
        painted = _Passes(self.weights, self._backend, self._convolutions, mixture, x).run()
        return np.ascontiguousarray(painted[:height, :width], np.float32)

    def bytes(self, height: int, width: int) -> int:
        """Memory that a picture of this size takes beside the painter, in bytes; on a GPU, that of the GPU."""
        table = self.weights.table
        maps = _shapes(table, height, width)
        largest = max(map(prod, maps))
        stored = 2 * largest if largest <= STORED_VALUES else 0
        if self._backend.available_bytes() is not None:
            # Three of the smallest maps, which elsewhere may be on disk, and what the kernels take for a strip.
            _, smallest = min((rows * columns, rows * columns * channels) for rows, columns, channels in maps)
            stored += 3 * smallest + 9 * STRIP_VALUES
        # Photograph, its copy with whole sides, and the result.
        return self._dtype.itemsize * (9 * height * width + stored + 8 * STRIP_VALUES)


def _shapes(table: Sequence[Stage], height: int, width: int) -> list[tuple[int, int, int]]:
    """Shape (H, W, C) of the output of each stage."""
    shapes = []
    for stage in table:
        height, width = stage.length(height), stage.length(width)
        shapes.append((height, width, stage.outputs))
    return shapes


class _Passes:
    """The passes over one picture.

    Parameters
    ----------
    weights : PainterWeights
    backend : module
    convolutions : mapping of str to Convolution
    mixture : ndarray, (styles,)
    x : ndarray, (1, H, W, 3)
        The photograph.
    """

    def __init__(
        self,
        weights: PainterWeights,
        backend: Any,
        convolutions: Mapping[str, Any],
        mixture: np.ndarray,
        x: np.ndarray,
    ) -> None:
        self._weights, self._backend, self._convolutions, self._mixture = weights, backend, convolutions, mixture
        self._x, self._dtype, self._table = backend.upload(x), x.dtype, weights.table
        self._maps = _shapes(self._table, *x.shape[1:3])
        self._stored: dict[int, Any] = {}  # Normalised outputs by the number of the stage.
        self._affine: dict[int, tuple[Any, Any]] = {}

    def run(self) -> np.ndarray:
        """The painted picture, (H, W, 3)."""
        block: int | None = None  # The stage whose output is the input of the residual block.
        for i, stage in enumerate(self._table):
            if stage.begins:
                block = i - 1
            self._measure(i)
            if i in self._stored:
                self._normalise(i, block if stage.ends else None)
                block = None if stage.ends else block
                self._stored = {k: values for k, values in self._stored.items() if k in (i, block)}
        painted = self._stored[len(self._table) - 1]
        self._backend.sigmoid(painted, painted)
        return self._backend.download(painted)[0]

    def _is_stored(self, i: int) -> bool:
        height, width, _ = self._maps[i]
        smallest = min(prod(shape[:2]) for shape in self._maps)
        small = max(map(prod, self._maps)) <= STORED_VALUES
        return small or height * width == smallest or i == len(self._table) - 1

    def _measure(self, i: int) -> None:
        """Compute the convolution of a stage, and store it where it will be needed again; find its normalisation."""
        height, width, channels = self._maps[i]
        if self._is_stored(i):
            self._stored[i] = self._room((1, height, width, channels))
        sums = self._backend.empty((height, 2, channels), np.float64)
        for top, bottom in self._strips(i):
            out = self._stored[i][:, top:bottom] if i in self._stored else None
            self._backend.row_sums(self._convolved(i, top, bottom, out), sums[top:bottom])
        mean, square = self._backend.download(sums).sum(axis=0) / (height * width)
        arrays, name = self._weights.arrays, self._table[i].name
        scale = self._mixture @ arrays[name, "scale"] / np.sqrt(np.maximum(square - mean**2, 0) + EPSILON)
        shift = self._mixture @ arrays[name, "shift"] - mean * scale
        self._affine[i] = tuple(self._backend.upload(values.astype(self._dtype)) for values in (scale, shift))

    def _normalise(self, i: int, block: int | None) -> None:
        """Normalise a stored convolution, and add the input of the residual block that it ends."""
        values = self._stored[i]
        for top, bottom in self._strips(i):
            part = values[:, top:bottom]
            self._backend.scale_shift(part, *self._affine[i], self._table[i].relu, part)
            if block is not None:
                self._backend.add(self._stored[block][:, top:bottom], part)

    def _strips(self, i: int) -> list[tuple[int, int]]:
        """Rows of the strips in which a stage is computed."""
        height, width, channels = self._maps[i]
        rows = max(2 * ROWS, STRIP_VALUES // (width * max(channels, self._table[i].inputs)) // ROWS * ROWS)
        return [(top, min(top + rows, height)) for top in range(0, height, rows)]

    def _convolved(self, i: int, top: int, bottom: int, out: Any = None) -> Any:
        """Rows of the convolution of a stage."""
        stage, (_, width, channels) = self._table[i], self._maps[i]
        height = (self._maps[i - 1] if i else self._x.shape[1:])[0]
        first, last = top * stage.stride, (bottom - 1) * stage.stride + stage.size
        # Of the rows of the upsampled map, those beyond its border are reflected.
        length = stage.factor * height
        rows = np.arange(first, last) - stage.padding
        rows = (length - 1 - np.abs(length - 1 - np.abs(rows))) // stage.factor
        begin, end = int(rows.min()), int(rows.max()) + 1
        x = self._output(i - 1, begin, end) if i else self._x[:, begin:end]
        columns = stage.factor * x.shape[2] + 2 * stage.padding
        padded = self._backend.empty((1, last - first, columns, stage.inputs), self._dtype)
        self._backend.pad_reflected(x, stage.padding, stage.factor, padded, first, begin, height)
        result = self._backend.empty((1, bottom - top, width, channels), self._dtype) if out is None else out
        self._backend.convolve(padded, self._convolutions[stage.name], result)
        return result

    def _output(self, i: int, top: int, bottom: int) -> Any:
        """Rows of the output of a stage."""
        if i in self._stored:
            return self._stored[i][:, top:bottom]
        rows = self._convolved(i, top, bottom)
        self._backend.scale_shift(rows, *self._affine[i], self._table[i].relu, rows)
        return rows

    def _room(self, shape: tuple[int, ...]) -> Any:
        """An array on the device; instead of in memory, in a temporary file if it would take over a quarter of it."""
        size = prod(shape) * self._dtype.itemsize
        on_device = self._backend.available_bytes() is not None
        if on_device or size <= SMALL or (free := memory.available()) is None or size <= free // 4:
            return self._backend.empty(shape, self._dtype)
        try:
            with tempfile.TemporaryFile() as file:
                if hasattr(os, "posix_fallocate"):  # Otherwise a full disk would kill the process later.
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.memmap(file, self._dtype, "r+", shape=shape)
        except OSError as error:
            raise TooLargeError(
                f"a map of the picture needs {size / 2**30:.1f} GB, for which there is neither memory nor disk "
                f"({error.strerror}); reduce the size."
            ) from error
