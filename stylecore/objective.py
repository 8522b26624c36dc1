"""The function that a style transfer minimises, and its gradient (paper, section 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from stylecore import memory
from stylecore.budget import evaluation_bytes
from stylecore.edges import seam_variation, seam_variation_backward
from stylecore.errors import ParameterError
from stylecore.kernels.backend import DeviceArray
from stylecore.losses import (
    STYLE_LOSSES,
    Distance,
    Regularization,
    StyleLoss,
    TemporalLoss,
    TotalVariation,
)
from stylecore.network import Network, load_network
from stylecore.pictures.arrays import is_finite
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.regions import Region, read_regions, read_styles, style_name
from stylecore.settings import ObjectiveSettings, keywords_of
from stylecore.tiles import SIDE, Key, Tiles, divide

BAND_VALUES = 2**22
"""Number of values of the image for which the terms of the pixels are computed at a time, if it is in tiles."""


class _ContentTerm(NamedTuple):
    """The content term at a layer, and its factor."""

    name: str
    weight: float


class _StyleTerm(NamedTuple):
    """A style term at a layer, and its factor."""

    name: str
    weight: float
    loss: StyleLoss


class _Scale(NamedTuple):
    """What depends on the size of the image.

    The passes through the network, and the terms at layers; the network's mean, for as many rows of the image as are
    treated at a time; and an array for the image, unless it is in tiles.
    """

    shape: tuple[int, int]
    tiles: Tiles
    contents: dict[str, _ContentTerm]
    styles: dict[Key, _StyleTerm]
    image: DeviceArray | None
    mean: DeviceArray


class Objective:
    """Loss and gradient of an image, given a content and a style image.

    The loss is alpha content + beta style + gamma regularisation + tv_weight TV, where content and style are weighted
    sums over layers, and TV is the total variation.

    Parameters
    ----------
    content : path, binary stream, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1]. Content, styles and the evaluated image may all differ in size: the
        content image is resized to that of the evaluated image, and style images are used at their own size.
    style : path, binary stream, PIL image or array, or list or tuple of these
        One style image or several. Transparent parts of a style image are ignored.
    **settings
        The fields of `stylecore.settings.ObjectiveSettings`: ``network``, ``style_weight``, ``style_layers`` and so on.

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If a setting is not known or out of its range, or an image is too small for the layers.
    WeightsError
        If the network's weights cannot be fetched or read.

    References
    ----------
    Gatys, Ecker and Bethge (2016), "Image Style Transfer Using Convolutional Neural Networks", CVPR.

    Examples
    --------
    It can be passed to SciPy's L-BFGS-B:

    >>> import numpy as np
    >>> from scipy.optimize import minimize
    >>> import stylecore
    >>> from stylecore.samples import PAINTING, PHOTOGRAPH
    >>> objective = stylecore.Objective(PHOTOGRAPH, PAINTING, network="small")
    >>> def function(x):
    ...     loss, gradient = objective(x.reshape(48, 64, 3))
    ...     return loss, gradient.ravel().astype(float)
    >>> start = np.full(48 * 64 * 3, 0.5)
    >>> result = minimize(function, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * start.size,
    ...                   options={"maxiter": 3})
    >>> bool(result.fun < function(start)[0])
    True
    """

    @keywords_of(ObjectiveSettings)
    def __init__(self, content: Any, style: Any, **settings: Any) -> None:
        chosen = ObjectiveSettings.of(settings).with_layers()
        content, _ = read_image(content, name="content image")
        styles, opacities = read_styles(style)
        regions = read_regions(chosen.regions, chosen.labels, content, styles, opacities)
        self._set_up(content, styles, regions, _network_of(chosen), chosen)

    @classmethod
    def of_arrays(
        cls,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        regions: Sequence[Region],
        network: Network,
        settings: ObjectiveSettings,
        grey: bool = False,
        make_tiles: Callable[..., Tiles] = Tiles,
    ) -> Objective:
        """Make an objective from images that have been read already, such as those of one scale of a transfer.

        Parameters
        ----------
        content : ndarray, (H, W, 3)
        styles : sequence of ndarray, (h, w, 3)
        regions : list of Region
            As `stylecore.regions.read_regions` returns them.
        network : Network
        settings : ObjectiveSettings
            With layers; its regions, labels and network are ignored.
        grey : bool
            Whether to average the gradient over the channels, so that a grey image stays grey.
        make_tiles : callable
            `Tiles`, or a function with the same parameters that computes them elsewhere.

        Returns
        -------
        Objective
        """
        objective = cls.__new__(cls)
        objective._set_up(content, styles, regions, network, settings, grey, make_tiles)
        return objective

    def for_frame(
        self,
        content: np.ndarray,
        regions: Sequence[Region],
        temporal: TemporalLoss | None = None,
        temporal_weight: float = 0.0,
    ) -> Objective:
        """Make the objective of another frame of a film, which shares the targets of the style with this one.

        Parameters
        ----------
        content : ndarray, (H, W, 3)
            The frame.
        regions : list of Region
            With the names and the styles of this objective's regions; only their masks may differ.
        temporal : TemporalLoss, optional
            For images of the size of its target.
        temporal_weight : float
            Factor of the term ``temporal``.

        Returns
        -------
        Objective
        """
        objective = copy(self)
        objective._scale = None
        objective._content, objective._regions = content, regions
        objective._temporal, objective._temporal_weight = temporal, temporal_weight
        return objective

    def _set_up(
        self,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        regions: Sequence[Region],
        network: Network,
        settings: ObjectiveSettings,
        grey: bool = False,
        make_tiles: Callable[..., Tiles] = Tiles,
    ) -> None:
        self.network = network
        self._make_tiles = make_tiles
        self._settings = settings
        self._content = content
        self._regions = regions
        self._grey = grey
        self._scale: _Scale | None = None
        self._temporal: TemporalLoss | None = None
        self._temporal_weight = 0.0
        network.check_layers(self.layers)
        self._check_layer_weights()
        self._check_style_loss(len(styles))
        self._distances = self._distances_from(styles, settings.blend(len(styles)))

    def _check_layer_weights(self) -> None:
        weights = self._settings.layer_weights
        for layer in self.layers if isinstance(weights, Mapping) else ():
            if layer not in weights:
                raise ParameterError(f"layer_weights has no weight for {layer}; add one.")

    def _check_style_loss(self, styles: int) -> None:
        """Refuse what a style loss that compares all positions at once cannot be combined with."""
        name = self._settings.style_loss
        if not STYLE_LOSSES[name].of_positions:
            return
        if styles > 1:
            raise ParameterError(
                f'style_loss "{name}" takes a single style image; choose another for {styles} of them.'
            )
        if any(region.mask is not None or region.styles.get(0) is not None for region in self._regions):
            raise ParameterError(
                f'style_loss "{name}" compares whole images; choose another for regions and transparent style images.'
            )

    @property
    def layers(self) -> list[str]:
        """All layers that carry a loss."""
        return self._settings.layers

    @property
    def _content_layers(self) -> Mapping[str, float]:
        return self._settings.content_layers or {}  # type: ignore[return-value]

    @property
    def _style_layers(self) -> Mapping[str, float]:
        return self._settings.style_layers or {}  # type: ignore[return-value]

    def bytes(self, height: int, width: int) -> int:
        """Predict the memory that an evaluation needs besides the network, without allocating it.

        Parameters
        ----------
        height, width : int
            Of the image, in pixels.

        Returns
        -------
        int
            In bytes.
        """
        return self._bytes((height, width), self._side((height, width)))

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of an image, and its gradient.

        Parameters
        ----------
        x : ndarray, (H, W, 3)
            sRGB in [0, 1], large enough to reach the deepest layer.

        Returns
        -------
        loss : float
        gradient : ndarray, (H, W, 3)
            d loss / d x, in the dtype of the objective.

        Raises
        ------
        ParameterError
            If the image is too small for the layers, is not of shape (H, W, 3), or holds NaN or infinity.
        """
        loss, gradient, _ = self.evaluate(x)
        return loss, gradient

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, dict[str, float]]:
        """Loss of an image, its gradient and the terms, in one pass.

        Parameters
        ----------
        x : ndarray, (H, W, 3)

        Returns
        -------
        loss : float
        gradient : ndarray, (H, W, 3)
        terms : dict of str to float
            As from `terms`, for the terms whose weight is not zero.

        Raises
        ------
        ParameterError
            As in `__call__`.
        """
        x = np.asarray(x, self.network.dtype)
        scale = self._prepare(x)
        weights = self.term_weights
        values, gradient = self._weighted(scale, x, weights)
        if self._grey:
            gradient[...] = gradient.mean(axis=2, keepdims=True)
        return float(sum(weights[name] * value for name, value in values.items())), gradient, values

    def terms(self, x: np.ndarray, gradients: bool = False) -> dict[str, Any]:
        """The terms of the loss of an image, as the paper defines them, unweighted.

        Parameters
        ----------
        x : ndarray, (H, W, 3)
        gradients : bool
            Whether to return each term's gradient as well, which takes a pass through the network for each.

        Returns
        -------
        dict
            From ``content:LAYER``, ``style:LAYER``, ``regularization``, ``tv`` and, for a frame of a film, ``temporal``
            to the value of the term, or to (value, gradient). With regions, there is a term ``style:LAYER:REGION`` for
            each region, which is named by its number from 1 or, with label images, by its colour as #rrggbb.

        Raises
        ------
        ParameterError
            As in `__call__`.
        """
        x = np.asarray(x, self.network.dtype)
        scale = self._prepare(x)
        image = self._on_backend(scale, x)
        values: dict[str, Any] = self._features_terms(scale, image)
        values.update(self._image_terms(scale, image, {"regularization": 1.0, "tv": 1.0}))
        if self._temporal is not None:
            values["temporal"] = self._temporal.value(x)
        if not gradients:
            return values
        return {name: (value, self._weighted(scale, x, {name: 1.0})[1]) for name, value in values.items()}

    @property
    def term_weights(self) -> dict[str, float]:
        """Factor of each term in the loss, by name, for the size of the last image that was evaluated.

        Raises
        ------
        ParameterError
            If no image has been evaluated yet, since the factors depend on its size.
        """
        if self._scale is None:
            raise ParameterError("term_weights depend on the size of the image; evaluate the objective for one first.")
        height, width = self._scale.shape
        values = 3 * height * width if self._settings.layer_weights in ("relative", "normalized") else 1
        return {
            **{term.name: term.weight for term in self._scale.contents.values()},
            **{term.name: term.weight for term in self._scale.styles.values()},
            "regularization": self._settings.regularization_weight / values,
            "tv": self._settings.tv_weight / values,
            **({} if self._temporal is None else {"temporal": self._temporal_weight}),
        }

    def _distances_from(self, styles: Sequence[np.ndarray], blend: Sequence[float]) -> dict[Key, Distance]:
        """Distance from the blended styles at each style layer and region."""
        moments = [self._style_moments(i, style, len(styles)) for i, style in enumerate(styles)]
        distances: dict[Key, Distance] = {}
        distance = STYLE_LOSSES[self._settings.style_loss]
        for region in self._regions:
            total = sum(blend[i] for i in region.styles)
            if self._style_layers and not total:
                raise ParameterError(
                    f"region {region.name} is painted only by styles whose weight in style_blend is zero; "
                    "give one of them a positive weight."
                )
            for layer in self._style_layers:
                parts = [
                    [blend[i] / total * moment for moment in moments[i][layer, region.name]] for i in region.styles
                ]
                mean, second = (sum(moment) for moment in zip(*parts, strict=True))
                distances[layer, region.name] = distance(mean, second, self.network.backend)
        return distances

    def _style_moments(self, i: int, style: np.ndarray, count: int) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
        """Mean and second moment of style image i in the regions that are painted from it."""
        masks = {
            (layer, region.name): region.styles[i]
            for layer in self._style_layers
            for region in self._regions
            if i in region.styles
        }
        if not masks:
            return {}
        height, width = style.shape[:2]
        self.network.check_size(height, width, self._style_layers, style_name(i, count))
        # A painting does not repeat.
        edges = "reflect" if self._settings.edges == "wrap" else self._settings.edges
        tiles = self._tiles((height, width), self._style_layers, masks, edges, gradient=False)
        moments, _ = tiles.forward(style)
        download = self.network.backend.download
        return {key: (download(mean), download(second)) for key, (mean, second) in moments.items()}

    def _tiles(
        self,
        shape: tuple[int, int],
        layers: Collection[str],
        masks: Mapping[Key, np.ndarray | None],
        edges: str,
        gradient: bool = True,
    ) -> Tiles:
        """Passes through the network for pictures of this shape."""
        tiles = divide(self.network, shape, layers, self._side(shape), edges)
        distance = STYLE_LOSSES[self._settings.style_loss]
        return self._make_tiles(self.network, layers, distance, tiles, masks, gradient, edges)

    def _side(self, shape: tuple[int, int]) -> int | None:
        """Longest side of the tiles for pictures of this shape; None for one piece."""
        if self._settings.tile != "auto":
            return self._settings.tile  # type: ignore[return-value]
        on_device = self.network.backend.available_bytes()
        free = memory.available() if on_device is None else on_device
        return None if free is None or self._bytes(shape, None) <= free else SIDE

    def _bytes(self, shape: tuple[int, int], side: int | None) -> int:
        layers = self._content_layers, self._style_layers
        style_loss, regions, edges = self._settings.style_loss, len(self._regions), self._settings.edges
        return evaluation_bytes(self.network, *layers, *shape, style_loss, regions, side, edges)

    def _prepare(self, x: np.ndarray) -> _Scale:
        """If the size of x is new, build what depends on the size; raise ParameterError if x is not an image."""
        if x.ndim != 3 or x.shape[2] != 3:
            raise ParameterError(f"the image has shape {x.shape}; give one of shape (height, width, 3).")
        # A ReLU turns NaN into zero, so the loss would not show it.
        if not (x.size and is_finite(x)):
            raise ParameterError("the image holds values that are not finite (NaN or infinity); replace them first.")
        shape = x.shape[:2]
        if self._scale is None or self._scale.shape != shape:
            self._scale = None  # Freed first, so that the memory of two sizes is never needed at once.
            self._scale = self._build_scale(shape)
        return self._scale

    def _build_scale(self, shape: tuple[int, int]) -> _Scale:
        regions = {(layer, region.name): region for layer in self._style_layers for region in self._regions}
        tiles = self._tiles(
            shape, self.layers, {key: region.mask for key, region in regions.items()}, self._settings.edges
        )
        content = resize(self._content, shape)
        blanks = tiles.set_content(content, list(self._content_layers))
        moments = tiles.forward(content)[0] if self._settings.layer_weights == "normalized" else {}
        weights = {layer: self._weight("content", layer, blank, 2 * blank) for layer, blank in blanks.items()}
        contents = {layer: _ContentTerm(f"content:{layer}", weight) for layer, weight in weights.items()}
        styles = {}
        for (layer, name), region in regions.items():
            loss = StyleLoss(self._distances[layer, name], self.network.backend)
            share = 1 if region.mask is None else float(region.mask.mean())
            strength = loss.gradient_strength(*moments[layer, name]) if moments else 0.0
            weight = share * self._weight("style", layer, 1 / loss.relative_weight, strength)
            styles[layer, name] = _StyleTerm(f"style:{layer}:{name}" if name else f"style:{layer}", weight, loss)
        rows = shape[0] if tiles.in_one_piece else min(max(1, BAND_VALUES // (3 * shape[1])), shape[0])
        mean = self.network.empty((rows, shape[1], 3))
        mean[...] = np.broadcast_to(self.network.mean, mean.shape)
        image = self.network.empty((*shape, 3)) if tiles.in_one_piece else None
        return _Scale(shape, tiles, contents, styles, image, mean)

    def _weight(self, kind: str, layer: str, blank: float, strength: float) -> float:
        """Factor of a term at a layer in the loss, before that of its region.

        `blank` is the value that relative weights make 1, and `strength` that of the gradient.
        """
        layers = self._content_layers if kind == "content" else self._style_layers
        kind_weight = self._settings.content_weight if kind == "content" else self._settings.style_weight
        weight, layer_weights = float(kind_weight) * layers[layer], self._settings.layer_weights
        if isinstance(layer_weights, Mapping):
            return weight * layer_weights[layer]
        weight /= len(layers)
        if layer_weights == "normalized":
            # Bounded from below, since a term that the content image already minimises has no gradient there.
            return weight * 2 / max(strength, 2e-3 * (blank or 1.0))
        return weight / (blank or 1.0) if layer_weights == "relative" else weight

    def _on_backend(self, scale: _Scale, x: np.ndarray) -> Any:
        """The image in the memory of the backend; or on the host, from where its tiles are copied one by one."""
        if scale.image is None:
            return x
        scale.image[...] = x
        return scale.image

    def _features_terms(self, scale: _Scale, image: Any) -> dict[str, float]:
        """Run the network forward and return the value of each term at a layer."""
        moments, contents = scale.tiles.forward(image)
        values = {term.name: contents[layer] for layer, term in scale.contents.items()}
        return {**values, **{term.name: term.loss.value(*moments[key]) for key, term in scale.styles.items()}}

    def _weighted(
        self, scale: _Scale, x: np.ndarray, weights: Mapping[str, float]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Value of each term that has a weight, and the gradient of their weighted sum."""
        image = self._on_backend(scale, x)
        values = {name: value for name, value in self._features_terms(scale, image).items() if weights.get(name)}
        differences = {
            key: (weights[term.name], *term.loss.gradients) for key, term in scale.styles.items() if term.name in values
        }
        contents = {layer: weights[term.name] for layer, term in scale.contents.items() if term.name in values}
        gradient: Any = scale.tiles.backward(image, differences, contents)
        values.update(self._image_terms(scale, image, weights, gradient))
        result = self.network.backend.download(gradient) if scale.image is not None else gradient
        if self._temporal is not None and weights.get("temporal"):
            values["temporal"] = self._temporal.value(x)
            self._temporal.add_gradient(x, weights["temporal"], result)
        return values, result

    def _image_terms(
        self, scale: _Scale, image: Any, weights: Mapping[str, float], gradient: Any = None
    ) -> dict[str, float]:
        """Value of each term of the pixels that has a weight, whose weighted gradients are added to `gradient`.

        They need no tiles: bands of rows suffice, each with the row below it, and one band if there is a single tile.
        """
        backend, height, rows = self.network.backend, scale.shape[0], scale.mean.shape[0]
        variation = TotalVariation(backend)
        values = {name: 0.0 for name in ("regularization", "tv") if weights.get(name)}
        for begin in range(0, height, rows) if values else ():
            end, below = min(begin + rows, height), min(begin + rows + 1, height)
            seen = backend.upload(image[begin:below])
            own, last = seen[: end - begin], seen[end - begin :]
            change = None if gradient is None else backend.upload(gradient[begin:below])
            if "regularization" in values:
                loss = Regularization(scale.mean[: end - begin], backend)
                values["regularization"] += loss.value(own)
                if change is not None:
                    loss.add_gradient(own, weights["regularization"], change[: end - begin])
            if "tv" in values:
                # What is within the row below belongs to the next band.
                values["tv"] += variation.value(seen) - (variation.value(last) if len(last) else 0.0)
                if change is not None:
                    variation.add_gradient(seen, weights["tv"], change)
                    if len(last):
                        variation.add_gradient(last, -weights["tv"], change[end - begin :])
            if change is not None and scale.image is None:
                gradient[begin:below] = backend.download(change)
        if "tv" in values and self._settings.edges == "wrap":
            values["tv"] += seam_variation(image)
            if gradient is not None:
                seam_variation_backward(image, weights["tv"], gradient)
        return values


def _network_of(settings: ObjectiveSettings) -> Network:
    return load_network(settings.network, settings.device, settings.pooling, settings.dtype, settings.layers)
