"""The function that a style transfer minimises, and its gradient (paper, section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from stylecore.budget import evaluation_bytes
from stylecore.errors import ParameterError
from stylecore.kernels.backend import DeviceArray
from stylecore.losses import (
    STYLE_LOSSES,
    ContentLoss,
    Distance,
    Moments,
    Regularization,
    StyleLoss,
    TemporalLoss,
    TotalVariation,
)
from stylecore.network import Network, load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.plan import Plan
from stylecore.regions import Region, area_average, read_regions, read_styles, style_name
from stylecore.settings import ObjectiveSettings, keywords_of


class _Term(NamedTuple):
    """A term of the loss at a layer, and its factor."""

    name: str
    layer: str
    loss: ContentLoss | StyleLoss
    weight: float


class _Scale(NamedTuple):
    """What depends on the size of the image: the passes through the network, the terms, and an array for the image."""

    shape: tuple[int, int]
    plan: Plan
    terms: list[_Term]
    image: DeviceArray
    image_losses: dict[str, Regularization | TotalVariation]


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

        Returns
        -------
        Objective
        """
        objective = cls.__new__(cls)
        objective._set_up(content, styles, regions, network, settings, grey)
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
    ) -> None:
        self.network = network
        self._settings = settings
        self._content = content
        self._regions = regions
        self._grey = grey
        self._scale: _Scale | None = None
        self._temporal: TemporalLoss | None = None
        self._temporal_weight = 0.0
        network.check_layers(self.layers)
        self._check_layer_weights()
        self._distances = self._distances_from(styles, settings.blend(len(styles)))

    def _check_layer_weights(self) -> None:
        weights = self._settings.layer_weights
        for layer in self.layers if isinstance(weights, Mapping) else ():
            if layer not in weights:
                raise ParameterError(f"layer_weights has no weight for {layer}; add one.")

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
        layers = self._content_layers, self._style_layers
        return evaluation_bytes(self.network, *layers, height, width, self._settings.style_loss, len(self._regions))

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
        scale = self._prepare(x)
        weights = self.term_weights
        values, gradient = self._weighted(scale, weights)
        if self._grey:
            gradient = np.repeat(gradient.mean(axis=2, keepdims=True), 3, axis=2)
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
        scale = self._prepare(x)
        values: dict[str, Any] = self._features_terms(scale)
        values.update({name: loss.value(scale.image) for name, loss in scale.image_losses.items()})
        if self._temporal is not None:
            values["temporal"] = self._temporal.value(self.network.backend.download(scale.image))
        if not gradients:
            return values
        return {name: (value, self._weighted(scale, {name: 1.0})[1]) for name, value in values.items()}

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
            **{term.name: term.weight for term in self._scale.terms},
            "regularization": self._settings.regularization_weight / values,
            "tv": self._settings.tv_weight / values,
            **({} if self._temporal is None else {"temporal": self._temporal_weight}),
        }

    def _distances_from(self, styles: Sequence[np.ndarray], blend: Sequence[float]) -> dict[tuple[str, str], Distance]:
        """Distance from the blended styles at each style layer and region, by (layer, region)."""
        moments = [self._style_moments(i, style, len(styles)) for i, style in enumerate(styles)]
        distances: dict[tuple[str, str], Distance] = {}
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

    def _style_moments(
        self, i: int, style: np.ndarray, count: int
    ) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
        """Mean and second moment of style image i in the regions that are painted from it, by (layer, region)."""
        regions = [region for region in self._regions if i in region.styles]
        if not regions or not self._style_layers:
            return {}
        height, width = style.shape[:2]
        self.network.check_size(height, width, self._style_layers, style_name(i, count))
        moments = {
            (layer, region.name): self._moments(region.styles[i], layer, (height, width))
            for layer in self._style_layers
            for region in regions
        }

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            for (moment_layer, _), moment in moments.items():
                if moment_layer == layer:
                    moment.accumulate(features, start)

        Plan(self.network, height, width, self._style_layers, gradient=False).forward(style, visit)
        download = self.network.backend.download
        return {key: (download(moment.mean), download(moment.second)) for key, moment in moments.items()}

    def _moments(self, mask: np.ndarray | None, layer: str, shape: tuple[int, int]) -> Moments:
        """Accumulator of a layer's moments for an image of this shape, in the region of a mask if there is one."""
        network = self.network
        _, height, width, channels = network.map_shape(*shape, layer)
        guide = None
        if mask is not None:
            guide = area_average(mask, (height, width)).reshape(-1).astype(network.dtype)
        with_mean = STYLE_LOSSES[self._settings.style_loss].with_mean
        return Moments(network.backend, (height * width, channels), network.dtype, guide, with_mean)

    def _prepare(self, x: np.ndarray) -> _Scale:
        """Copy x into the backend's memory; if its size is new, first build what depends on the size."""
        x = np.asarray(x, self.network.dtype)
        if x.ndim != 3 or x.shape[2] != 3:
            raise ParameterError(f"the image has shape {x.shape}; give one of shape (height, width, 3).")
        # A ReLU turns NaN into zero, so the loss would not show it.
        if not np.isfinite(x).all():
            raise ParameterError("the image holds values that are not finite (NaN or infinity); replace them first.")
        height, width = x.shape[:2]
        if self._scale is None or self._scale.shape != (height, width):
            self._scale = None  # Freed first, so that the memory of two sizes is never needed at once.
            self._scale = self._build_scale((height, width))
        self._scale.image[...] = x
        return self._scale

    def _build_scale(self, shape: tuple[int, int]) -> _Scale:
        network, backend = self.network, self.network.backend
        plan = Plan(network, *shape, self.layers)
        style = [
            (layer, region, self._style_loss_at(layer, region, shape))
            for layer in self._style_layers
            for region in self._regions
        ]
        targets = {layer: network.empty(network.features_shape(*shape, layer)) for layer in self._content_layers}

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            if layer in targets:
                targets[layer][start : start + len(features)] = features
            if self._settings.layer_weights == "normalized":
                for at, _, loss in style:
                    if at == layer:
                        loss.accumulate(features, start)

        plan.forward(resize(self._content, shape), visit)
        terms = []
        for layer, target in targets.items():
            content = ContentLoss(target, backend)
            terms.append(_Term(f"content:{layer}", layer, content, self._weight("content", layer, content)))
        for layer, region, loss in style:
            name = f"style:{layer}:{region.name}" if region.name else f"style:{layer}"
            share = 1 if region.mask is None else float(region.mask.mean())
            terms.append(_Term(name, layer, loss, share * self._weight("style", layer, loss)))
        image, mean = network.empty((*shape, 3)), network.empty((*shape, 3))
        mean[...] = np.broadcast_to(network.mean, mean.shape)
        image_losses: dict[str, Regularization | TotalVariation] = {
            "regularization": Regularization(mean, backend),
            "tv": TotalVariation(backend),
        }
        return _Scale(shape, plan, terms, image, image_losses)

    def _style_loss_at(self, layer: str, region: Region, shape: tuple[int, int]) -> StyleLoss:
        moments = self._moments(region.mask, layer, shape)
        return StyleLoss(self._distances[layer, region.name], moments, self.network.backend)

    def _weight(self, kind: str, layer: str, loss: ContentLoss | StyleLoss) -> float:
        """Factor of a term at a layer in the loss, before that of its region."""
        layers = self._content_layers if kind == "content" else self._style_layers
        kind_weight = self._settings.content_weight if kind == "content" else self._settings.style_weight
        weight, layer_weights = float(kind_weight) * layers[layer], self._settings.layer_weights
        if isinstance(layer_weights, Mapping):
            return weight * layer_weights[layer]
        weight /= len(layers)
        if layer_weights == "normalized":
            # Bounded from below, since a term that the content image already minimises has no gradient there.
            return weight * 2 / max(loss.gradient_strength(), 2e-3 / loss.relative_weight)
        return weight * loss.relative_weight if layer_weights == "relative" else weight

    def _features_terms(self, scale: _Scale) -> dict[str, float]:
        """Run the network forward and return the value of each term at a layer."""
        for term in scale.terms:
            term.loss.reset()

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            for term in scale.terms:
                if term.layer == layer:
                    term.loss.accumulate(features, start)

        scale.plan.forward(scale.image, visit)
        return {term.name: term.loss.value() for term in scale.terms}

    def _weighted(self, scale: _Scale, weights: Mapping[str, float]) -> tuple[dict[str, float], np.ndarray]:
        """Value of each term that has a weight, and the gradient of their weighted sum."""
        values = {name: value for name, value in self._features_terms(scale).items() if weights.get(name)}

        def add_gradient(layer: str, features: DeviceArray, gradient: DeviceArray, start: int) -> None:
            for term in scale.terms:
                if term.layer == layer and term.name in values:
                    term.loss.add_gradient(features, weights[term.name], gradient, start)

        gradient = scale.plan.backward(add_gradient)
        for name, loss in scale.image_losses.items():
            if weights.get(name):
                values[name] = loss.value(scale.image)
                loss.add_gradient(scale.image, weights[name], gradient)
        result = self.network.backend.download(gradient)
        if self._temporal is not None and weights.get("temporal"):
            x = self.network.backend.download(scale.image)
            values["temporal"] = self._temporal.value(x)
            self._temporal.add_gradient(x, weights["temporal"], result)
        return values, result


def _network_of(settings: ObjectiveSettings) -> Network:
    return load_network(settings.network, settings.device, settings.pooling, settings.dtype, settings.layers)
