"""Passes through a network, in memory that is laid out beforehand.

The largest features, those of the first layers, are not even held as a whole: they are computed in strips, where they
are needed. `Plan` lays all of it out in one block of memory beforehand, each where something else lies that is not
needed at the same time; so the memory of a run is known before it starts.
"""

from functools import partial
from math import prod

import numpy as np

from stylecore.network import ConvRelu


class Strips:
    """A convolution and the step behind it, in horizontal strips, so that the features between are never held.

    The first layers make many channels out of few, at the full size of the image: their features and gradients would
    take more memory than all that comes later, while it takes a small part of the time to compute them again.

    Parameters
    ----------
    first, second : ConvRelu, ConvRelu or ConvReluPool
        Both see the nearest neighbours of each position only.
    """

    sees_neighbours = False  # Strips of strips would need a wider halo.

    def __init__(self, first, second):
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

    def _strips(self):
        """Begin and end of each strip of rows, and the same with a halo on both sides."""
        for begin in range(0, self._height, self._rows):
            end = min(begin + self._rows, self._height)
            yield begin, end, max(begin - HALO, 0), min(end + HALO, self._height)

    def _features(self, x, begin, end, strip):
        """Compute rows begin to end of the first layer's features and mask."""
        top, bottom = max(begin - HALO, 0), end + HALO
        features, mask = (strip[name][:, : end - begin] for name in ("features", "mask"))
        self.first.backend.conv_relu(x[:, top:bottom], self.first.conv, features, mask, begin - top)
        return features, mask

    def forward(self, x, y, code, strip, visit):
        """Features of the second step, by strips of those of the first, whose rows are shown to `visit`."""
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, _ = self._features(x, top, bottom, strip)
            visit(_matrix(features[:, begin - top : end - top]), begin * width)
            rows = slice(begin // scale, end // scale)
            if rows.start < rows.stop:  # A pool drops an odd last row.
                self.second.forward(features, y[:, rows], code[:, rows], begin - top)

    def backward(self, dy, code, dx, x, strip, add_gradient):
        """Gradient with respect to x, given that with respect to y; `add_gradient` adds to the first layer's own."""
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, mask = self._features(x, top, bottom, strip)
            gradient = strip["gradient"][:, : bottom - top]
            above = max(top - HALO, 0)
            rows = slice(above // scale, (bottom + HALO) // scale)
            self.second.backward(dy[:, rows], code[:, rows], gradient, top - above)
            add_gradient(_matrix(features), _matrix(gradient), top * width)
            self.first.backward(gradient, mask, dx[:, begin:end], begin - top)


def _with_strips(steps, height):
    """Work the first convolution of a block in strips, with the step behind it, where its map is large."""
    if len(steps) < 2:
        return steps
    first, second, *rest = steps
    # A pool drops an odd last row.
    large = 2 * first.shape[1] + 1 >= height and prod(first.shape) > first.backend.STRIP_VALUES
    if isinstance(first, ConvRelu) and first.widens and large and first.sees_neighbours and second.sees_neighbours:
        return [Strips(first, second), *_with_strips(rest, height)]
    return [first, *_with_strips([second, *rest], height)]


# Neighbouring rows that a strip is given on each side: as many as a 3 x 3 filter sees, and even because of the pools.
HALO = 2


def _matrix(features):
    """Features (1, H, W, C) as a matrix of positions x channels."""
    return features.reshape(-1, features.shape[3])


class Plan:
    """Passes through a network for one size of image, in memory that is laid out once.

    Parameters
    ----------
    network : Network
    height, width : int
        Of the image.
    layers : collection of str
        The layers whose features are wanted.
    gradient : bool
        Whether `backward` will be called; without it far less memory is taken.

    Attributes
    ----------
    bytes : int
        Memory of the features, gradients, masks and routes; known before any of it is allocated, which the first pass
        does.
    scratch_bytes : int
        Memory that the convolutions take beside it.

    Raises
    ------
    ParameterError
        As `Network.steps` does.
    """

    def __init__(self, network, height, width, layers, gradient=True):
        self.network = network
        self.layers = frozenset(layers)
        self.steps = _with_strips(network.steps(height, width, layers), height)
        self._arrays = None
        self._tensors = list(self._lifetimes((1, height, width, 3), gradient))
        self._offsets, self.bytes = _lay_out(self._tensors)
        self.scratch_bytes = max(step.scratch_bytes for step in self.steps)

    def _lifetimes(self, input_shape, gradient):
        """Yield (key, shape, dtype, first, last) of every array; times count the steps forward and then back."""
        dtype, count = self.network.dtype, len(self.steps)
        last = 2 * count - 1
        for i, step in enumerate([None, *self.steps], start=-1):
            shape, back = step.shape if step else input_shape, last - i
            behind = self.steps[i + 1] if i + 1 < count else None
            until = i + 1
            if gradient and step and step.name in self.layers:
                until = back
            elif gradient and isinstance(behind, Strips):
                until = back - 1
            yield ("output", i), shape, dtype, i, until
            if gradient:
                yield ("gradient", i), shape, dtype, min(max(back - 1, count), last), min(back, last)
            if step:
                yield ("code", i), step.code_shape, np.dtype(np.uint8), i, back if gradient else i
            if isinstance(step, Strips):
                for name, shape in step.strip_shapes.items():
                    for time in (i, back) if gradient else (i,):
                        yield (name, i, time), shape, np.dtype(np.uint8) if name == "mask" else dtype, time, time

    def _array(self, *key):
        if self._arrays is None:
            memory = self.network.backend.allocate(self.bytes)
            self._arrays = {
                key: memory[offset : offset + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
                for (key, shape, dtype, _, _), offset in zip(self._tensors, self._offsets, strict=True)
            }
        return self._arrays[key]

    def _strip(self, i, time):
        return {name: self._array(name, i, time) for name in self.steps[i].strip_shapes}

    def forward(self, image, visit):
        """Run the network on an image.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
        visit : callable
            Called as ``visit(layer, features, start)`` when a wanted layer is reached, with its features as a matrix
            of M positions x C channels, or some rows of that matrix, from `start` on, at a time. They are gone after
            the call unless the plan is for a gradient.
        """
        self.network.preprocess(image, self._array("output", -1))
        for i, step in enumerate(self.steps):
            arrays = self._array("output", i - 1), self._array("output", i), self._array("code", i)
            if isinstance(step, Strips):
                step.forward(*arrays, self._strip(i, i), partial(self._visit_if_wanted, visit, step.first.name))
            else:
                step.forward(*arrays)
            self._visit_if_wanted(visit, step.name, _matrix(self._array("output", i)), 0)

    def _visit_if_wanted(self, visit, layer, *arguments):
        if layer in self.layers:
            visit(layer, *arguments)

    def backward(self, add_gradient):
        """Carry gradients back to the image of the last `forward`; once for each forward pass.

        Parameters
        ----------
        add_gradient : callable
            Called as ``add_gradient(layer, features, gradient, start)`` at each wanted layer, deepest first; adds the
            layer's own gradient to `gradient`, (M, C), which already holds what came from the layers behind. Both
            matrices may be some of the layer's rows, from `start` on, and rows may come twice.

        Returns
        -------
        array of the backend, (H, W, 3)
            Gradient with respect to the image; to be used before the next pass.
        """
        self._array("gradient", len(self.steps) - 1)[...] = 0
        for i, step in reversed(list(enumerate(self.steps))):
            gradient = self._array("gradient", i)
            self._visit_if_wanted(add_gradient, step.name, _matrix(self._array("output", i)), _matrix(gradient), 0)
            arrays = gradient, self._array("code", i), self._array("gradient", i - 1)
            if isinstance(step, Strips):
                strip = self._strip(i, 2 * len(self.steps) - 1 - i)
                add = partial(self._visit_if_wanted, add_gradient, step.first.name)
                step.backward(*arrays, self._array("output", i - 1), strip, add)
            else:
                step.backward(*arrays)
        return self.network.preprocess_backward(self._array("gradient", -1))


def _lay_out(tensors):
    """Give each array an offset in one block so that no two that live at the same time overlap.

    The largest come first, each as low as it fits; with the few sizes of a network that comes close to the sum of
    what lives at any one time.
    """
    order = sorted(range(len(tensors)), key=lambda i: -prod(tensors[i][1]) * tensors[i][2].itemsize)
    offsets, placed, total = [0] * len(tensors), [], 0
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
