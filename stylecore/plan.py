"""Passes through a network, in memory that is laid out before the first pass.

A `Plan` computes the lifetime of every array of a forward and a backward pass, and places them in one block of memory
such that arrays with disjoint lifetimes share addresses. The memory of a run is therefore known before it starts. The
largest features, those of the first layers, are never stored as a whole: they are computed in `Strips`, and again in
the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from stylecore.kernels.backend import DeviceArray
from stylecore.network import ConvRelu, ConvReluPool, Network, Step

Visit = Callable[[str, DeviceArray, int], Any]
"""Called as ``visit(layer, features, start)``; see `Plan.forward`."""

AddGradient = Callable[[str, DeviceArray, DeviceArray, int], Any]
"""Called as ``add_gradient(layer, features, gradient, start)``; see `Plan.backward`."""

HALO = 2
"""Rows of neighbours on each side of a strip: at least the one that a 3 x 3 filter needs, and even for 2 x 2 pools."""


class Strips:
    """A convolution and the step after it, computed in horizontal strips, so that the features between are not stored.

    The first layers compute many channels from few, at the full size of the image. Their features and gradients would
    take more memory than those of all later layers, but a small part of the time to compute again.

    Parameters
    ----------
    first : ConvRelu
    second : ConvRelu or ConvReluPool
        Both with ``is_3x3``.

    Attributes
    ----------
    name, shape, code_shape
        Those of the second step.
    scratch_bytes : int
        Scratch memory that the convolutions take.
    strip_shapes : dict of str to tuple of int
        Shapes of the "features", "mask" and "gradient" of the first step in a strip.
    """

    def __init__(self, first: ConvRelu, second: ConvRelu | ConvReluPool) -> None:
        self.first, self.second = first, second
        self.name, self.shape, self.code_shape = second.name, second.shape, second.code_shape
        self.scratch_bytes = max(first.scratch_bytes, second.scratch_bytes)
        _, self._height, width, channels = first.shape
        self._scale = self._height // second.shape[1]
        # Multiples of a tile of Winograd's algorithm.
        self._rows = max(12, first.backend.STRIP_VALUES // (width * channels) // 6 * 6)
        height = min(self._rows + 2 * HALO, self._height)
        self.strip_shapes = {
            "features": (1, height, width, channels),
            "mask": (1, height, width, first.code_shape[3]),
            "gradient": (1, height, width, channels),
        }

    def _strips(self) -> Iterator[tuple[int, int, int, int]]:
        """First row and end of each strip, and the same with a halo on both sides."""
        for begin in range(0, self._height, self._rows):
            end = min(begin + self._rows, self._height)
            yield begin, end, max(begin - HALO, 0), min(end + HALO, self._height)

    def _features(
        self, x: DeviceArray, begin: int, end: int, strip: dict[str, DeviceArray]
    ) -> tuple[DeviceArray, DeviceArray]:
        """Compute the rows from begin to end of the first step's features and mask."""
        top, bottom = max(begin - HALO, 0), end + HALO
        features, mask = (strip[name][:, : end - begin] for name in ("features", "mask"))
        self.first.backend.conv_relu(x[:, top:bottom], self.first.conv, features, mask, begin - top)
        return features, mask

    def forward(
        self,
        x: DeviceArray,
        y: DeviceArray,
        code: DeviceArray,
        strip: dict[str, DeviceArray],
        visit: Callable[[DeviceArray, int], Any],
    ) -> None:
        """Compute the features of the second step; `visit` receives those of the first, strip by strip.

        Parameters
        ----------
        x, y, code : array of the backend
            Input, and the features and the mask or route of the second step.
        strip : dict of str to array of the backend
            Room for the values of one strip, of the shapes in `strip_shapes`.
        visit : callable
            Called as ``visit(features, start)``.
        """
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, _ = self._features(x, top, bottom, strip)
            visit(_matrix(features[:, begin - top : end - top]), begin * width)
            rows = slice(begin // scale, end // scale)
            if rows.start < rows.stop:  # A pool drops an odd last row.
                self.second.forward(features, y[:, rows], code[:, rows], begin - top)

    def backward(
        self,
        dy: DeviceArray,
        code: DeviceArray,
        dx: DeviceArray,
        x: DeviceArray,
        strip: dict[str, DeviceArray],
        add_gradient: Callable[[DeviceArray, DeviceArray, int], Any],
    ) -> None:
        """Compute the gradient with respect to x, given that with respect to y.

        Parameters
        ----------
        dy, code, dx, x : array of the backend
        strip : dict of str to array of the backend
            As in `forward`.
        add_gradient : callable
            Called as ``add_gradient(features, gradient, start)``; adds the gradient of the first step's own losses.
        """
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, mask = self._features(x, top, bottom, strip)
            gradient = strip["gradient"][:, : bottom - top]
            above = max(top - HALO, 0)
            rows = slice(above // scale, (bottom + HALO) // scale)
            self.second.backward(dy[:, rows], code[:, rows], gradient, top - above)
            add_gradient(_matrix(features), _matrix(gradient), top * width)
            self.first.backward(gradient, mask, dx[:, begin:end], begin - top)


def _with_strips(steps: Sequence[Step], height: int) -> list[Step | Strips]:
    """Compute a convolution and the step after it in strips, wherever the features between them are large."""
    if len(steps) < 2:
        return [*steps]
    first, second, *rest = steps
    if isinstance(first, ConvRelu) and isinstance(second, ConvRelu | ConvReluPool):
        # At least half the height of the image, where a pool may have dropped an odd last row.
        large = 2 * first.shape[1] + 1 >= height and prod(first.shape) > first.backend.STRIP_VALUES
        if first.widens and large and first.is_3x3 and second.is_3x3:
            return [Strips(first, second), *_with_strips(rest, height)]
    return [first, *_with_strips([second, *rest], height)]


def _matrix(features: DeviceArray) -> DeviceArray:
    """Features (1, H, W, C) as a matrix of positions x channels."""
    return features.reshape((-1, features.shape[3]))


class _Tensor(NamedTuple):
    """An array of a pass, and the first and last time at which its content is needed."""

    key: tuple
    shape: tuple[int, ...]
    dtype: np.dtype
    first: int
    last: int


class Plan:
    """Passes through a network for one image size, in memory that is laid out once.

    Parameters
    ----------
    network : Network
    height, width : int
        Of the image.
    layers : collection of str
        The layers whose features are needed.
    gradient : bool
        Whether `backward` will be called; far less memory is needed without it.
    features : bool
        Whether the gradients of the losses depend on the features. Where they do not, `backward` gives features with
        arbitrary content. This takes so much less memory that there are no strips: no layer is computed twice, and each
        is given as a whole.

    Attributes
    ----------
    bytes : int
        Memory of the features, gradients, masks and routes. The first pass allocates it, unless `place` did.
    scratch_bytes : int
        Memory that the convolutions take besides.

    Raises
    ------
    ParameterError
        As from `Network.steps`.
    """

    def __init__(
        self,
        network: Network,
        height: int,
        width: int,
        layers: Collection[str],
        gradient: bool = True,
        features: bool = True,
    ) -> None:
        self.network = network
        self.layers = frozenset(layers)
        kept = self.layers if features else frozenset()
        steps = network.steps(height, width, layers)
        self.steps: list[Step | Strips] = _with_strips(steps, height) if features else [*steps]
        self._arrays: dict[tuple, DeviceArray] | None = None
        self._tensors = list(self._lifetimes((1, height, width, 3), gradient, kept))
        self._offsets, self.bytes = _lay_out(self._tensors)
        self.scratch_bytes = max(step.scratch_bytes for step in self.steps)

    def _lifetimes(self, input_shape: tuple[int, ...], gradient: bool, kept: Collection[str]) -> Iterator[_Tensor]:
        """Yield every array; step i runs forward at time i, and backward at time 2 n - 1 - i of n steps."""
        dtype, byte, count = self.network.dtype, np.dtype(np.uint8), len(self.steps)
        last = 2 * count - 1
        for i, step in enumerate([None, *self.steps], start=-1):
            shape, back = step.shape if step else input_shape, last - i
            following = self.steps[i + 1] if i + 1 < count else None
            until = i + 1
            if gradient and step and step.name in kept:
                until = back
            elif gradient and isinstance(following, Strips):
                until = back - 1
            yield _Tensor(("output", i), shape, dtype, i, until)
            if gradient:
                yield _Tensor(("gradient", i), shape, dtype, min(max(back - 1, count), last), min(back, last))
            if step:
                yield _Tensor(("code", i), step.code_shape, byte, i, back if gradient else i)
            if isinstance(step, Strips):
                for name, shape in step.strip_shapes.items():
                    for time in (i, back) if gradient else (i,):
                        yield _Tensor((name, i, time), shape, byte if name == "mask" else dtype, time, time)

    def place(self, memory: DeviceArray) -> None:
        """Use memory of the caller, of at least `bytes` bytes, which passes of other sizes may use in turn.

        Parameters
        ----------
        memory : array of the backend, (n,) uint8
        """
        self._arrays = {
            key: memory[offset : offset + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            for (key, shape, dtype, _, _), offset in zip(self._tensors, self._offsets, strict=True)
        }

    def _array(self, *key: str | int) -> DeviceArray:
        if self._arrays is None:
            self.place(self.network.backend.allocate(self.bytes))
            assert self._arrays is not None
        return self._arrays[key]

    def _strip(self, strips: Strips, i: int, time: int) -> dict[str, DeviceArray]:
        return {name: self._array(name, i, time) for name in strips.strip_shapes}

    def forward(self, image: np.ndarray | DeviceArray, visit: Visit) -> None:
        """Run the network on an image.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
            sRGB in [0, 1].
        visit : callable
            Called as ``visit(layer, features, start)`` at each of the plan's layers, with the layer's features as a
            matrix of M positions x C channels; or, in several calls, with consecutive rows of that matrix, the first of
            which is row `start`. In a plan without gradient the features are overwritten after the call.
        """
        self.network.preprocess(image, self._array("output", -1))
        for i, step in enumerate(self.steps):
            arrays = self._array("output", i - 1), self._array("output", i), self._array("code", i)
            if isinstance(step, Strips):
                step.forward(*arrays, self._strip(step, i, i), partial(self._call_at, step.first.name, visit))
            else:
                step.forward(*arrays)
            self._call_at(step.name, visit, _matrix(self._array("output", i)), 0)

    def _call_at(self, layer: str, function: Callable, *arguments: Any) -> None:
        """Call a function for a layer, if the layer is one of the plan's."""
        if layer in self.layers:
            function(layer, *arguments)

    def backward(self, add_gradient: AddGradient) -> DeviceArray:
        """Backpropagate to the image of the last `forward`; at most once for each forward pass.

        Parameters
        ----------
        add_gradient : callable
            Called as ``add_gradient(layer, features, gradient, start)`` at each of the plan's layers, deepest first.
            It adds the gradient of the layer's own losses to `gradient`, (M, C), which already holds that of the deeper
            layers. Both matrices may hold only some of the layer's rows, the first of which is row `start`; rows may
            occur in two calls.

        Returns
        -------
        array of the backend, (H, W, 3)
            Gradient with respect to the image; the next pass overwrites it.
        """
        self._array("gradient", len(self.steps) - 1)[...] = 0
        for i, step in reversed(list(enumerate(self.steps))):
            gradient = self._array("gradient", i)
            self._call_at(step.name, add_gradient, _matrix(self._array("output", i)), _matrix(gradient), 0)
            arrays = gradient, self._array("code", i), self._array("gradient", i - 1)
            if isinstance(step, Strips):
                strip = self._strip(step, i, 2 * len(self.steps) - 1 - i)
                add = partial(self._call_at, step.first.name, add_gradient)
                step.backward(*arrays, self._array("output", i - 1), strip, add)
            else:
                step.backward(*arrays)
        return self.network.preprocess_backward(self._array("gradient", -1))


def _lay_out(tensors: Sequence[_Tensor]) -> tuple[list[int], int]:
    """Offset of each array in one block, such that arrays whose lifetimes overlap do not; and the size of the block.

    The largest arrays are placed first, each at the lowest offset that is free during its lifetime. The block is then
    hardly larger than the most that is in use at any one time.
    """
    order = sorted(range(len(tensors)), key=lambda i: -prod(tensors[i].shape) * tensors[i].dtype.itemsize)
    offsets, total = [0] * len(tensors), 0
    placed: list[tuple[int, int, int, int]] = []
    for i in order:
        _, shape, dtype, first, last = tensors[i]
        size = -(-prod(shape) * dtype.itemsize // 64) * 64
        offset = 0
        for begin, end, born, dead in sorted(placed):
            if first <= dead and born <= last and begin < offset + size and offset < end:
                offset = end
        offsets[i] = offset
        placed.append((offset, offset + size, first, last))
        total = max(total, offset + size)
    return offsets, total
