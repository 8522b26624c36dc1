"""A picture divided into tiles, with the exact moments and the exact gradient of the whole picture.

Nothing of the loss crosses tiles but the moments of the style terms, which are sums over positions. An evaluation is
therefore two passes over the tiles: the first adds up each tile's share of the moments; the second, given the gradient
with respect to the moments, adds each tile's gradient into that of the picture. A tile is seen with a halo, the part of
the picture around it that its features depend on, so that its features are those of the whole picture.

`divide` makes the tiles, and `Passes` computes on one tile at a time. Its functions depend on nothing but their
arguments, which can be sent to another process; the sums are made by the caller, in a fixed order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np

from stylecore.edges import fold, positions
from stylecore.errors import ParameterError, StylecoreError
from stylecore.kernels.backend import DeviceArray
from stylecore.losses import ContentLoss, Distance, Moments, Projections
from stylecore.network import Network
from stylecore.plan import Plan, Visit
from stylecore.regions import area_average
from stylecore.weights.architectures import Conv, features_names

Key = tuple[str, str]
"""A style term: its layer, and the name of its region."""

REFLECTED = 32
"""Least width in pixels by which a picture is continued by its reflection, unless the halo is narrower."""

SIDE = 1024
"""Sides of the tiles in pixels, unless the user names others."""


class Window(NamedTuple):
    """A rectangle of a picture or of a feature map, in pixels or positions."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def widened(self, margin: int, shape: tuple[int, int]) -> Window:
        """The rectangle with a margin on each side, as far as the picture of this shape extends."""
        height, width = shape
        return Window(
            max(self.top - margin, 0),
            min(self.bottom + margin, height),
            max(self.left - margin, 0),
            min(self.right + margin, width),
        )

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Own(NamedTuple):
    """The positions of a layer that belong to a tile.

    Attributes
    ----------
    whole : Window
        In the map of the whole picture.
    seen : Window
        In the map of the tile with its halo.
    width : int
        Of the map of the tile with its halo.
    """

    whole: Window
    seen: Window
    width: int


class Tile(NamedTuple):
    """A part of a picture.

    Attributes
    ----------
    inner : Window
        The part itself. The inner windows of all tiles cover the picture without overlap.
    outer : Window
        The part with its halo, which ends where the picture ends; of the continued picture, if it is (see
        `stylecore.edges`).
    maps : dict of str to Own
        The positions of each layer that belong to the tile.
    """

    inner: Window
    outer: Window
    maps: dict[str, Own]


class Reach(NamedTuple):
    """What a position of a layer depends on.

    Attributes
    ----------
    stride : int
        Distance of neighbouring positions, in pixels.
    before, after : int
        Position i depends on the pixels from stride i - before to stride i + after.
    """

    stride: int
    before: int
    after: int


def reaches(network: Network, layers: Collection[str]) -> dict[str, Reach]:
    """What the positions of some layers depend on, from the sizes, strides and padding of the architecture.

    Parameters
    ----------
    network : Network
    layers : collection of str

    Returns
    -------
    dict of str to Reach

    Raises
    ------
    ParameterError
        If the network lacks a layer.
    """
    network.check_layers(layers)
    found, stride, before, after = {}, 1, 0, 0
    for row, name in zip(network.layers, features_names(network.layers), strict=True):
        padding = row.padding if isinstance(row, Conv) else 0
        before, after = before + stride * padding, after + stride * (row.size - 1 - padding)
        stride *= row.stride
        if name in layers:
            found[name] = Reach(stride, before, after)
    return found


def halo(network: Network, layers: Collection[str]) -> int:
    """Width of the halo in pixels: what the positions of a tile depend on beside it, up to a multiple of the stride.

    Parameters
    ----------
    network : Network
    layers : collection of str
        Those that carry a loss.

    Returns
    -------
    int
    """
    found = reaches(network, layers).values()
    stride = max(reach.stride for reach in found)
    # The last position of a tile begins one stride before its end.
    widest = max(max(reach.before, reach.after - reach.stride + 1, 0) for reach in found)
    return -(-widest // stride) * stride


def continued_by(network: Network, layers: Collection[str], edges: str) -> int:
    """Width in pixels by which a picture is continued beyond its edges.

    What wraps around has no edge, so it is continued by the whole halo. A reflection needs less: beyond `REFLECTED`
    pixels, or the next multiple of the stride, the network sees zeros, of which little reaches the picture.

    Parameters
    ----------
    network : Network
    layers : collection of str
        Those that carry a loss.
    edges : {"zeros", "reflect", "wrap"}

    Returns
    -------
    int
    """
    if edges == "zeros":
        return 0
    wide = halo(network, layers)
    if edges == "wrap":
        return wide
    stride = max(reach.stride for reach in reaches(network, layers).values())
    return min(wide, -(-REFLECTED // stride) * stride)


def divide(
    network: Network, shape: tuple[int, int], layers: Collection[str], side: int | None, edges: str = "zeros"
) -> list[Tile]:
    """Divide a picture into tiles that begin at multiples of the network's stride.

    All tiles of a picture are about equally large. A last one that would be narrower than the halo is part of the tile
    before it, whose halo would contain it anyway.

    Parameters
    ----------
    network : Network
    shape : tuple of int
        (height, width) of the picture.
    layers : collection of str
        Those that carry a loss.
    side : int or None
        Longest side of a tile in pixels, without its halo; None for a single tile.
    edges : {"zeros", "reflect", "wrap"}
        How the picture is continued beyond its edges, by the width of the halo.

    Returns
    -------
    list of Tile
        Row by row.

    Raises
    ------
    ParameterError
        If the side is shorter than the halo, the picture is too small for the layers, or the network lacks one.
    """
    network.check_size(*shape, layers)
    found = reaches(network, layers)
    stride, wide = max(reach.stride for reach in found.values()), halo(network, layers)
    if side is not None and side < max(wide, stride):
        raise ParameterError(
            f"tiles of {side} px are smaller than what {network.name} sees beside a tile; "
            f"give a tile of at least {max(wide, stride)} px."
        )
    rows, columns = ([(0, length)] if side is None else _intervals(length, side, stride, wide) for length in shape)
    margin = continued_by(network, layers, edges)
    # The same for all tiles, or for all of one shape.
    maps_of_all = {layer: network.map_shape(*shape, layer) for layer in layers}
    widths: dict[tuple[int, int], dict[str, int]] = {}
    tiles = []
    for top, bottom in rows:
        for left, right in columns:
            inner = Window(top, bottom, left, right)
            moved = Window(top + margin, bottom + margin, left + margin, right + margin)
            outer = moved.widened(wide, (shape[0] + 2 * margin, shape[1] + 2 * margin))
            if outer.shape not in widths:
                widths[outer.shape] = {layer: network.map_shape(*outer.shape, layer)[2] for layer in layers}
            maps = {
                layer: _own(
                    inner, outer, shape, maps_of_all[layer], widths[outer.shape][layer], found[layer].stride, margin
                )
                for layer in layers
            }
            tiles.append(Tile(inner, outer, maps))
    return tiles


def _intervals(length: int, side: int, stride: int, margin: int) -> list[tuple[int, int]]:
    """First pixel and end of each tile along an axis."""
    count = -(-length // (side // stride * stride))
    step = -(-length // (count * stride)) * stride
    starts = list(range(0, length, step))
    if len(starts) > 1 and length - starts[-1] < margin:
        starts.pop()
    return list(zip(starts, [*starts[1:], length], strict=True))


def _own(
    inner: Window,
    outer: Window,
    shape: tuple[int, int],
    whole_map: tuple[int, ...],
    width: int,
    stride: int,
    margin: int,
) -> Own:
    """Positions of a layer that belong to a tile of a picture that is continued by a margin.

    `whole_map` is the shape of the layer's map of the whole picture, and `width` that of the tile with its halo.
    """
    top, bottom, left, right = (edge // stride for edge in inner)
    # The last tile has all positions up to the end, of which there may be more or fewer than the pixels suggest.
    whole = Window(
        top,
        whole_map[1] if inner.bottom == shape[0] else bottom,
        left,
        whole_map[2] if inner.right == shape[1] else right,
    )
    down, across = (outer.top - margin) // stride, (outer.left - margin) // stride
    seen = Window(whole.top - down, whole.bottom - down, whole.left - across, whole.right - across)
    return Own(whole, seen, width)


class Part(NamedTuple):
    """The positions of a tile that count for a style term.

    Attributes
    ----------
    guide : ndarray, (height, width), or None
        Membership of the tile's own positions in the term's region, in [0, 1]; None if all are members.
    total : float
        Number of positions of the whole picture that count: the sum of all tiles' guides.
    """

    guide: np.ndarray | None
    total: float


class Passes:
    """Passes over the tiles of pictures, one at a time, in one block of memory.

    Parameters
    ----------
    network : Network
    layers : collection of str
        Those that carry a loss.
    distance : type
        What the style is compared by, of `stylecore.losses.STYLE_LOSSES`.
    tiles : sequence of Tile
        All that will be computed.
    gradient : bool
        Whether `gradient` will be called.

    Attributes
    ----------
    bytes, scratch_bytes : int
        As those of `Plan`.
    """

    def __init__(
        self,
        network: Network,
        layers: Collection[str],
        distance: type[Distance],
        tiles: Sequence[Tile],
        gradient: bool = True,
    ) -> None:
        self._network = network
        self._distance = distance
        self._plans = {shape: Plan(network, *shape, layers, gradient) for shape in {tile.outer.shape for tile in tiles}}
        self.bytes = max(plan.bytes for plan in self._plans.values())
        self.scratch_bytes = max(plan.scratch_bytes for plan in self._plans.values())
        self._memory: DeviceArray | None = None
        self._placed: Plan | None = None
        self._done: Tile | None = None

    def forward(
        self,
        tile: Tile,
        image: np.ndarray | DeviceArray,
        parts: Mapping[Key, Part],
        targets: Mapping[str, np.ndarray | DeviceArray] | None = None,
    ) -> tuple[dict[Key, tuple[DeviceArray, DeviceArray]], dict[str, float]]:
        """A tile's share of the moments of the style terms, and of the values of the content terms.

        Parameters
        ----------
        tile : Tile
        image : ndarray or array of the backend, (H, W, 3)
            The picture in ``tile.outer``.
        parts : mapping of Key to Part
            Of each style term.
        targets : mapping of str to ndarray or array of the backend, (M, N), optional
            `features` of the content image at each layer with a content term.

        Returns
        -------
        moments : dict of Key to (mean, second)
            Arrays of the backend, (N,) and (N, N); their sum over all tiles is the picture's.
        contents : dict of str to float
            By layer; their sum over all tiles is the picture's.
        """
        moments = {key: self._moments(tile, key, part) for key, part in parts.items()}
        contents = self._contents(targets or {})

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            band, at = _own_rows(tile, layer, start, len(features))
            for key, moment in moments.items():
                if key[0] == layer:
                    moment.accumulate(features[band], at)
            if layer in contents:
                for own, at in _own_positions(tile, layer, start, len(features)):
                    contents[layer].accumulate(features[own], at)

        self._forward(tile, image, visit)
        shares = {key: (moment.mean, moment.second) for key, moment in moments.items()}
        return shares, {layer: content.value() for layer, content in contents.items()}

    def features(self, tile: Tile, image: np.ndarray | DeviceArray, layers: Collection[str]) -> dict[str, DeviceArray]:
        """Features of some layers at the tile's own positions, such as the targets of the content terms.

        Parameters
        ----------
        tile : Tile
        image : ndarray or array of the backend, (H, W, 3)
            The picture in ``tile.outer``.
        layers : collection of str

        Returns
        -------
        dict of str to array of the backend, (M, N)
        """
        network, shape = self._network, tile.outer.shape
        result = {
            layer: network.empty((prod(tile.maps[layer].whole.shape), network.features_shape(*shape, layer)[1]))
            for layer in layers
        }

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            if layer in result:
                for own, at in _own_positions(tile, layer, start, len(features)):
                    result[layer][at : at + len(features[own])] = features[own]

        self._forward(tile, image, visit)
        return result

    def backward(
        self,
        tile: Tile,
        image: np.ndarray | DeviceArray,
        parts: Mapping[Key, Part],
        differences: Mapping[Key, tuple[float, Any, Any]],
        targets: Mapping[str, np.ndarray | DeviceArray] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> DeviceArray:
        """Gradient of what a tile contributes to the loss.

        The features are computed again, unless the last call was `forward` or `features` for the same tile and image.

        Parameters
        ----------
        tile, image, parts, targets
            As in `forward`.
        differences : mapping of Key to (float, array, array)
            Factor of each style term in the loss, and the gradients of the term with respect to the mean, (N,), and the
            second moment, (N, N), of the whole picture; arrays of the backend, or of the host.
        weights : mapping of str to float
            Factor of the content term of each layer in the loss.

        Returns
        -------
        array of the backend, (H, W, 3)
            To be added to the picture's in ``tile.outer``.
        """
        upload, factors = self._network.backend.upload, dict(weights or {})
        moments = {key: self._moments(tile, key, parts[key]) for key in differences}
        given = {key: (weight, upload(mean), upload(second)) for key, (weight, mean, second) in differences.items()}
        contents = self._contents({layer: target for layer, target in (targets or {}).items() if layer in factors})
        if self._done is not tile:
            self._forward(tile, image, lambda *_: None)
        self._done = None  # A backward pass overwrites the features.

        def add_gradient(layer: str, features: DeviceArray, gradient: DeviceArray, start: int) -> None:
            band, at = _own_rows(tile, layer, start, len(features))
            for key, (weight, by_mean, by_second) in given.items():
                if key[0] == layer:
                    moments[key].add_gradient(features[band], by_mean, by_second, weight, gradient[band], at)
            if layer in contents:
                for own, at in _own_positions(tile, layer, start, len(features)):
                    contents[layer].add_gradient(features[own], factors[layer], gradient[own], at)

        return self._plans[tile.outer.shape].backward(add_gradient)

    def _forward(self, tile: Tile, image: np.ndarray | DeviceArray, visit: Visit) -> None:
        plan = self._plans[tile.outer.shape]
        if self._memory is None:
            self._memory = self._network.backend.allocate(self.bytes)
        if self._placed is not plan:
            plan.place(self._memory)
            self._placed = plan
        self._done = None
        plan.forward(image, visit)
        self._done = tile

    def _moments(self, tile: Tile, key: Key, part: Part) -> Moments | Projections:
        """Accumulator of a tile's share, which takes whole rows of the map: positions beside the tile do not count."""
        network, (own, seen, width) = self._network, tile.maps[key[0]]
        channels = network.features_shape(*tile.outer.shape, key[0])[1]
        if self._distance.of_positions:
            return Projections(network.backend, (own.shape[0] * width, channels), network.dtype)
        guide: Any = part.guide
        if own.shape[1] < width:
            guide = np.zeros((own.shape[0], width), network.dtype)
            guide[:, seen.left : seen.right] = 1 if part.guide is None else part.guide
        if isinstance(guide, np.ndarray):
            guide = guide.reshape(-1)
        shape = own.shape[0] * width, channels
        return Moments(network.backend, shape, network.dtype, guide, self._distance.with_mean, part.total)

    def _contents(self, targets: Mapping[str, np.ndarray | DeviceArray]) -> dict[str, ContentLoss]:
        backend = self._network.backend
        return {layer: ContentLoss(backend.upload(target), backend) for layer, target in targets.items()}


class Tiles:
    """All tiles of pictures of one size, computed one after the other, and the sums over them.

    To compute them elsewhere, override `_forward_each` and `_backward_each`: the sums are made in the order in which
    these yield, so the result has the same bits wherever and whenever the tiles were computed.

    Parameters
    ----------
    network : Network
    layers : collection of str
        Those that carry a loss.
    distance : type
        What the style is compared by, of `stylecore.losses.STYLE_LOSSES`.
    tiles : sequence of Tile
        Of one picture; with a single one, everything stays in the memory of the backend.
    masks : mapping of Key to ndarray, (H, W), or None
        Region of each style term, at any size.
    gradient : bool
        Whether `backward` will be called.
    edges : {"zeros", "reflect", "wrap"}
        With which the tiles were made.

    Attributes
    ----------
    in_one_piece : bool
        Whether the picture is evaluated as it is, in the memory of the backend.
    """

    def __init__(
        self,
        network: Network,
        layers: Collection[str],
        distance: type[Distance],
        tiles: Sequence[Tile],
        masks: Mapping[Key, np.ndarray | None],
        gradient: bool = True,
        edges: str = "zeros",
    ) -> None:
        self.tiles = tiles
        self.in_one_piece = len(tiles) == 1 and edges == "zeros"
        self._edges = edges
        self._margin = continued_by(network, layers, edges)
        self._network = network
        self._passes = Passes(network, layers, distance, tiles, gradient)
        self._store = Store(in_memory=len(tiles) == 1)
        self._masks = masks
        self._content_layers: Collection[str] = ()
        self._totals = self._set_guides()

    def _set_guides(self) -> dict[Key, float]:
        """Store each tile's part of the regions, and return the number of positions in each region."""
        totals: dict[Key, float] = dict.fromkeys(self._masks, 0.0)
        whole = {layer: _size([tile.maps[layer] for tile in self.tiles]) for layer in {key[0] for key in self._masks}}
        for i, tile in enumerate(self.tiles):
            for key, mask in self._masks.items():
                own = tile.maps[key[0]].whole
                if mask is None:
                    totals[key] += prod(own.shape)
                    continue
                guide = area_average(mask, whole[key[0]], own.slices).astype(self._network.dtype)
                totals[key] += float(guide.sum(dtype=np.float64))
                # On a GPU it stays in its memory.
                stored = self._network.backend.upload(guide.reshape(-1)) if self.in_one_piece else guide
                self._store.put((i, *key), stored)
        return totals

    def part(self, i: int) -> dict[Key, Part]:
        """Of tile i, what counts for each style term."""
        return {
            key: Part(None if mask is None else self._store.get((i, *key)), self._totals[key])
            for key, mask in self._masks.items()
        }

    def targets(self, i: int) -> dict[str, np.ndarray | DeviceArray]:
        """Of tile i, the targets of the content terms by layer."""
        return {layer: self._store.get((i, layer)) for layer in self._content_layers}

    def set_content(self, image: np.ndarray | DeviceArray, layers: Collection[str]) -> dict[str, float]:
        """Compute and store the targets of the content terms.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
            The content image.
        layers : collection of str

        Returns
        -------
        dict of str to float
            Value of each layer's content term for a blank image.
        """
        blanks = dict.fromkeys(layers, 0.0)
        for i, tile in enumerate(self.tiles if layers else ()):
            for layer, target in self._passes.features(tile, self._part_of(image, tile), layers).items():
                blanks[layer] += ContentLoss(target, self._network.backend).blank()
                self._store.put((i, layer), target if self._store.in_memory else self._network.backend.download(target))
        self._content_layers = tuple(layers)
        return blanks

    def forward(
        self, image: np.ndarray | DeviceArray
    ) -> tuple[dict[Key, tuple[DeviceArray, DeviceArray]], dict[str, float]]:
        """Moments of the style terms and values of the content terms of a picture.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
            An array of the host, unless it is evaluated in one piece.

        Returns
        -------
        moments : dict of Key to (mean, second)
            Arrays of the backend.
        contents : dict of str to float
        """
        shares = self._forward_each(image)
        moments, contents = next(shares)
        if self.in_one_piece:
            return moments, contents
        sums = {key: [np.asarray(part, np.float64) for part in pair] for key, pair in moments.items()}
        for moments, more in shares:
            for key, pair in moments.items():
                for total, part in zip(sums[key], pair, strict=True):
                    total += part
            contents = {layer: value + more[layer] for layer, value in contents.items()}
        upload, dtype = self._network.backend.upload, self._network.dtype
        return {key: (upload(mean), upload(second.astype(dtype))) for key, (mean, second) in sums.items()}, contents

    def backward(
        self,
        image: np.ndarray | DeviceArray,
        differences: Mapping[Key, tuple[float, Any, Any]],
        weights: Mapping[str, float],
    ) -> DeviceArray:
        """Gradient of the style and content terms of the picture of the last `forward`.

        Parameters
        ----------
        image
            As in `forward`.
        differences, weights
            As in `Passes.backward`.

        Returns
        -------
        array of the backend if the picture is evaluated in one piece, otherwise ndarray, (H, W, 3)
        """
        gradients = self._backward_each(image, differences, weights)
        if self.in_one_piece:
            return next(gradients)[1]
        height, width, channels = image.shape
        total = np.zeros((height + 2 * self._margin, width + 2 * self._margin, channels), self._network.dtype)
        for tile, gradient in gradients:
            total[tile.outer.slices] += gradient
        return np.ascontiguousarray(fold(total, self._margin, self._edges)) if self._margin else total

    def _forward_each(self, image: Any) -> Iterator[tuple[dict[Key, tuple[Any, Any]], dict[str, float]]]:
        """Yield the result of `Passes.forward` for each tile, in their order; on the host, if there are several."""
        for i, tile in enumerate(self.tiles):
            moments, contents = self._passes.forward(tile, self._part_of(image, tile), self.part(i), self.targets(i))
            yield self._on_host(moments), contents

    def _backward_each(self, image: Any, differences: Any, weights: Any) -> Iterator[tuple[Tile, Any]]:
        """Yield each tile and the result of `Passes.backward` for it, the last first: its features are there still."""
        for i, tile in reversed(list(enumerate(self.tiles))):
            given = self.part(i), differences, self.targets(i), weights
            yield tile, self._on_host(self._passes.backward(tile, self._part_of(image, tile), *given))

    def _part_of(self, image: Any, tile: Tile) -> Any:
        if self.in_one_piece:
            return image
        if not self._margin:
            return np.ascontiguousarray(image[tile.outer.slices])
        rows, columns = (positions(length, self._margin, self._edges) for length in image.shape[:2])
        down, across = tile.outer.slices
        return image[rows[down, None], columns[across]]

    def _on_host(self, arrays: Any) -> Any:
        if self.in_one_piece:
            return arrays
        if isinstance(arrays, dict):
            return {key: tuple(map(self._network.backend.download, pair)) for key, pair in arrays.items()}
        return self._network.backend.download(arrays)


class Store:
    """Arrays of the tiles by key: in memory, or in a temporary file, since together they may not fit into memory.

    A file is read with ordinary reads and not mapped: what the system keeps of it in its cache is then not counted as
    memory of the process, and gives way where memory is short.

    Parameters
    ----------
    in_memory : bool
    """

    def __init__(self, in_memory: bool) -> None:
        self.in_memory = in_memory
        self._arrays: dict[tuple, Any] = {}
        self._file: IO[bytes] | None = None

    def put(self, key: tuple, array: Any) -> None:
        """Keep an array; raises `StylecoreError` if the disk is full."""
        if self.in_memory:
            self._arrays[key] = array
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="stylecore-")  # noqa: SIM115 - deleted with this object.
            self._arrays[key] = self._file.seek(0, os.SEEK_END), array.shape, array.dtype
            self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise StylecoreError(
                f"the features of the content image cannot be stored in {tempfile.gettempdir()} ({error.strerror}); "
                "make room there, or name another folder in the environment variable TMPDIR."
            ) from error

    def get(self, key: tuple) -> Any:
        """The array of a key."""
        if self.in_memory:
            return self._arrays[key]
        assert self._file is not None
        offset, shape, dtype = self._arrays[key]
        self._file.seek(offset)
        array = np.empty(shape, dtype)
        self._file.readinto(array.data)  # type: ignore[attr-defined]
        return array


def _size(parts: Sequence[Own]) -> tuple[int, int]:
    """Height and width of the map that the positions of all tiles make up."""
    return max(own.whole.bottom for own in parts), max(own.whole.right for own in parts)


def _own_rows(tile: Tile, layer: str, start: int, count: int) -> tuple[slice, int]:
    """Which of `count` positions of a map, the first of which is `start`, lie in rows of the tile's own.

    Returns their slice, and the index of its first position in those rows.
    """
    own = tile.maps[layer]
    first, last = own.seen.top * own.width, own.seen.bottom * own.width
    begin = min(max(first - start, 0), count)
    return slice(begin, max(min(last - start, count), begin)), max(start - first, 0)


def _own_positions(tile: Tile, layer: str, start: int, count: int) -> Iterator[tuple[slice, int]]:
    """As `_own_rows`, of the tile's own positions only: row by row, unless they are whole rows of the map."""
    own = tile.maps[layer]
    band, at = _own_rows(tile, layer, start, count)
    across = own.seen.right - own.seen.left
    if across == own.width:
        yield band, at
        return
    for begin in range(band.start, band.stop, own.width):
        yield slice(begin + own.seen.left, begin + own.seen.right), at // own.width * across
        at += own.width
