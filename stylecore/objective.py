"""The function that a style transfer minimises, with its gradient (paper, section 5.4)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from stylecore.budget import evaluation_bytes
from stylecore.errors import ParameterError
from stylecore.losses import STYLE_LOSSES, ContentLoss, Moments, Regularization, StyleLoss, TotalVariation
from stylecore.messages import near_matches
from stylecore.network import default_layers, load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.plan import Plan
from stylecore.regions import area_average, read_regions, style_name
from stylecore.weights.architectures import DEFAULT_LAYERS

# Of the default network.
CONTENT_LAYERS, STYLE_LAYERS = DEFAULT_LAYERS["vgg19"]


LAYER_WEIGHTS = ("relative", "normalized", "paper")


class _Term(NamedTuple):
    """A term of the loss at a layer, and what it is multiplied with."""

    name: str
    layer: str
    loss: ContentLoss | StyleLoss
    weight: float


class Objective:
    """Loss and gradient of an image, given a content and a style image.

    The loss is alpha content + beta style + gamma regularisation + weight of TV x TV, where content and style are
    weighted sums over layers.

    Parameters
    ----------
    content : path, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1]. Content, styles and result may all differ in size: the content image is
        resized to the result's size, style images are taken as they are.
    style : path, PIL image or array, or list or tuple of these
        One style image or several.
    style_blend : sequence of float, optional
        Weight of each style image, zero or more; only their ratios count. By default all weigh alike. What the image
        is to match is the mean of the styles' moments so weighted: those of one large picture, in which each style
        takes up such a share.
    regions, labels : sequence, optional
        Parts of the picture and the parts of the style images that each is painted from, as
        `stylecore.regions.read_regions` takes them. Each region has a term of its own at each style layer, which
        counts by the region's share of the picture, so that a small region is painted as strongly as a large one.
        Several styles in a region blend; where no region is, only the content holds.
    style_loss : {"gram", "mean_covariance", "wasserstein"}
        How the image's features are compared with the style's: `GramDistance`, the paper's, `MeanCovarianceDistance`
        or `WassersteinDistance`.
    network : str, path, Weights or Network
        Name of a network in the catalogue, or file in the project's HDF5 layout.
    content_layers, style_layers : sequence of str, or mapping of str to float
        Layers that carry a loss, by their usual names; with a mapping, the weight of each is multiplied by a number of
        zero or more. Without, those that give the network's best picture.
    content_weight, style_weight, regularization_weight, tv_weight : float
        alpha, beta, gamma and the weight of the total variation; zero or more.
    layer_weights : "relative", "paper", "normalized" or mapping
        What stands in front of each term of the paper.

        - "relative": each content term is divided by 1/2 sum P^2 and each style term by 1 / (4 N^2 M^2) sum A^2, its
          value for a blank image, so that all layers pull alike, and averaged over its layers; regularisation and
          TV are divided by the number of values in the image. The look then does not depend on the image's size. The
          terms of other style losses are divided likewise and brought to the strength of the paper's.
        - "normalized": in place of those values, content and style terms are divided by how hard they pull: half the
          length of their gradient with respect to the features F, times the length of F, at the content image (for
          the content term, whose gradient is zero there, at a blank image). Other programs divide each layer's
          gradient by its length at every step; but what then comes out is not the gradient of any function, so that a
          line search has nothing to go by and there is no loss to compare. Here the lengths are taken once for each
          size, before the first step, and the objective is a function like any other.
        - "paper": 1 / number of layers for content and style, 1 for regularisation and TV.
        - a mapping gives the weight of each layer, as in "paper".
    pooling : {"max", "average"}
    device : {"cpu", "auto", "cuda", "cuda:1", "reference"}
    dtype : {"float32", "float64"}

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If a setting is out of its range or an image is too small for the layers.
    WeightsError
        If the network's weights cannot be had.

    References
    ----------
    Gatys, Ecker and Bethge (2016), "Image Style Transfer Using Convolutional Neural Networks", CVPR.
    """

    def __init__(
        self,
        content,
        style,
        *,
        style_blend=None,
        regions=None,
        labels=None,
        style_loss="gram",
        network="vgg19",
        content_layers=None,
        style_layers=None,
        content_weight=1.0,
        style_weight=20.0,
        regularization_weight=0.0,
        tv_weight=20.0,
        layer_weights="relative",
        pooling="max",
        device="cpu",
        dtype="float32",
    ):
        self._weights = {
            "content": _checked_weight("content_weight", content_weight),
            "style": _checked_weight("style_weight", style_weight),
            "regularization": _checked_weight("regularization_weight", regularization_weight),
            "tv": _checked_weight("tv_weight", tv_weight),
        }
        content_layers, style_layers = chosen_layers(network, content_layers, style_layers)
        self._content_layers = checked_layers("content_layers", content_layers)
        self._style_layers = checked_layers("style_layers", style_layers)
        self._layer_weights = _checked_layer_weights(layer_weights, [*self._content_layers, *self._style_layers])
        self._style_loss = checked_style_loss(style_loss)
        self._content = read_image(content, name="content image")[0]
        styles = read_styles(style)
        blend = checked_blend(style_blend, len(styles))
        self._regions = read_regions(regions, labels, self._content, styles)
        self.network = load_network(network, device, pooling, dtype, self.layers)
        self.network.check_layers(self.layers)
        self._distances = self._distances_from(styles, blend)
        self._plan = None
        self._shape = None

    @property
    def layers(self):
        """All layers that carry a loss."""
        return sorted({*self._content_layers, *self._style_layers})

    def bytes(self, height, width):
        """Memory that an evaluation at this size takes beside the network, in bytes; nothing is allocated for it.

        Parameters
        ----------
        height, width : int

        Returns
        -------
        int
        """
        layers = self._content_layers, self._style_layers
        return evaluation_bytes(self.network, *layers, height, width, self._style_loss, len(self._regions))

    def __call__(self, x):
        """Loss and its gradient at an image.

        Parameters
        ----------
        x : ndarray, (H, W, 3)
            sRGB in [0, 1], of any size that reaches the deepest layer.

        Returns
        -------
        loss : float
        gradient : ndarray, (H, W, 3)
            d loss / d x, in the dtype of the objective.
        """
        loss, gradient, _ = self.evaluate(x)
        return loss, gradient

    def evaluate(self, x):
        """Loss, gradient and terms at an image, in one pass.

        Parameters
        ----------
        x : ndarray, (H, W, 3)

        Returns
        -------
        loss : float
        gradient : ndarray, (H, W, 3)
        terms : dict of str to float
            As `terms` gives them, those that have a weight.
        """
        x = self._prepare(x)
        weights = self.term_weights
        values, gradient = self._weighted(x, weights)
        return float(sum(weights[name] * value for name, value in values.items())), gradient, values

    def terms(self, x, gradients=False):
        """The paper's own terms at an image, unweighted, whatever the weights are.

        Parameters
        ----------
        x : ndarray, (H, W, 3)
        gradients : bool
            Whether to give each term's gradient as well, which takes a pass through the network for each.

        Returns
        -------
        dict
            From ``content:LAYER``, ``style:LAYER``, ``regularization`` and ``tv`` to the value, or to
            (value, gradient). With regions, there is a ``style:LAYER:REGION`` for each, numbered from 1 or, of a label
            image, named by its colour as #rrggbb.
        """
        x = self._prepare(x)
        values = self._features_terms(x)
        values.update({name: loss.value(x) for name, loss in self._image_losses.items()})
        if not gradients:
            return values
        return {name: (value, self._weighted(x, {name: 1.0})[1]) for name, value in values.items()}

    @property
    def term_weights(self):
        """What each term is multiplied with in the loss, by name; known once an image has set the size."""
        if self._shape is None:
            self._prepare(self._content)
        values = 3 * self._shape[0] * self._shape[1] if self._layer_weights in ("relative", "normalized") else 1
        return {
            **{term.name: term.weight for term in self._terms},
            "regularization": self._weights["regularization"] / values,
            "tv": self._weights["tv"] / values,
        }

    def _distances_from(self, styles, blend):
        """Distance from the styles at each style layer and region, by (layer, region)."""
        moments = [self._style_moments(i, style, len(styles)) for i, style in enumerate(styles)]
        distances = {}
        for region in self._regions:
            total = sum(blend[i] for i in region.styles)
            if self._style_layers and not total:
                raise ParameterError(f"region {region.name} is left to styles whose weight in style_blend is zero.")
            for layer in self._style_layers:
                parts = [
                    [blend[i] / total * moment for moment in moments[i][layer, region.name]] for i in region.styles
                ]
                mean, second = (sum(moment) for moment in zip(*parts, strict=True))
                distances[layer, region.name] = STYLE_LOSSES[self._style_loss](mean, second, self.network.backend)
        return distances

    def _style_moments(self, i, style, count):
        """Mean and second moment of a style image, by (layer, region), of the regions that it paints."""
        regions = [region for region in self._regions if i in region.styles]
        if not regions or not self._style_layers:
            return {}
        self.network.check_size(*style.shape[:2], self._style_layers, style_name(i, count))
        moments = {
            (layer, region.name): self._moments(region.styles[i], layer, style.shape)
            for layer in self._style_layers
            for region in regions
        }

        def visit(layer, features, start):
            for (where, _), moment in moments.items():
                if where == layer:
                    moment.take(features, start)

        Plan(self.network, *style.shape[:2], self._style_layers, gradient=False).forward(style, visit)
        download = self.network.backend.download
        return {key: (download(moment.mean), download(moment.second)) for key, moment in moments.items()}

    def _moments(self, mask, layer, shape):
        """Moments of a layer's features, in the region of a mask if there is one, for an image of this shape."""
        network = self.network
        _, height, width, channels = network.map_shape(*shape[:2], layer)
        guide = None
        if mask is not None:
            guide = area_average(mask, (height, width)).reshape(-1).astype(network.dtype)
        with_mean = STYLE_LOSSES[self._style_loss].with_mean
        return Moments(network.backend, (height * width, channels), network.dtype, guide, with_mean)

    def _prepare(self, x):
        """Bring x into the backend's memory, and the plan and the targets to the size of x."""
        x = np.asarray(x, self.network.dtype)
        if x.ndim != 3 or x.shape[2] != 3:
            raise ParameterError(f"the image has shape {x.shape}; the objective takes (height, width, 3).")
        # A ReLU makes zero of NaN, so that the loss would not show it.
        if not np.isfinite(x).all():
            raise ParameterError("the image holds values that are not finite (NaN or infinity); replace them first.")
        if x.shape[:2] != self._shape:
            self._plan = Plan(self.network, *x.shape[:2], self.layers)
            self._set_targets(x.shape[:2])
            self._shape = x.shape[:2]
        self._image[...] = x
        return self._image

    def _set_targets(self, shape):
        network, backend = self.network, self.network.backend
        style = [
            (layer, region, self._style_loss_at(layer, region, shape))
            for layer in self._style_layers
            for region in self._regions
        ]
        targets = {layer: network.empty(network.features_shape(*shape, layer)) for layer in self._content_layers}

        def visit(layer, features, start):
            if layer in targets:
                targets[layer][start : start + len(features)] = features
            if self._layer_weights == "normalized":
                for at, _, loss in style:
                    if at == layer:
                        loss.take(features, start)

        self._plan.forward(resize(self._content, shape), visit)
        self._terms = []
        for layer, target in targets.items():
            loss = ContentLoss(target, backend)
            self._terms.append(_Term(f"content:{layer}", layer, loss, self._weight("content", layer, loss)))
        for layer, region, loss in style:
            name = f"style:{layer}:{region.name}" if region.name else f"style:{layer}"
            share = 1 if region.mask is None else float(region.mask.mean())
            self._terms.append(_Term(name, layer, loss, share * self._weight("style", layer, loss)))
        self._image, mean = network.empty((*shape, 3)), network.empty((*shape, 3))
        mean[...] = np.broadcast_to(network.mean, mean.shape)
        self._image_losses = {"regularization": Regularization(mean, backend), "tv": TotalVariation(backend)}

    def _style_loss_at(self, layer, region, shape):
        moments = self._moments(region.mask, layer, shape)
        return StyleLoss(self._distances[layer, region.name], moments, self.network.backend)

    def _weight(self, kind, layer, loss):
        """What a term of the paper is multiplied with, in the whole picture."""
        layers = self._content_layers if kind == "content" else self._style_layers
        weight = self._weights[kind] * layers[layer]
        if isinstance(self._layer_weights, Mapping):
            return weight * float(self._layer_weights[layer])
        weight /= len(layers)
        if self._layer_weights == "normalized":
            # A term that the content image meets by itself has no gradient there to be divided by.
            return weight * 2 / max(loss.pull(), 2e-3 / loss.relative_weight)
        return weight * loss.relative_weight if self._layer_weights == "relative" else weight

    def _terms_at(self, layer):
        return [term for term in self._terms if term.layer == layer]

    def _features_terms(self, x):
        """Run the network forward and return the value of each term at a layer."""
        for term in self._terms:
            term.loss.reset()

        def visit(layer, features, start):
            for term in self._terms_at(layer):
                term.loss.take(features, start)

        self._plan.forward(x, visit)
        return {term.name: term.loss.value() for term in self._terms}

    def _weighted(self, x, weights):
        """Value of each term that has a weight, and the gradient of their weighted sum."""
        values = {name: value for name, value in self._features_terms(x).items() if weights.get(name)}

        def add_gradient(layer, features, gradient, start):
            for term in self._terms_at(layer):
                if term.name in values:
                    term.loss.add_gradient(features, weights[term.name], gradient, start)

        gradient = self._plan.backward(add_gradient)
        for name, loss in self._image_losses.items():
            if weights.get(name):
                values[name] = loss.value(x)
                loss.add_gradient(x, weights[name], gradient)
        return values, self.network.backend.download(gradient)


def _checked_weight(name, value):
    if not (np.isscalar(value) and np.isreal(value) and np.isfinite(value) and value >= 0):
        raise ParameterError(f"{name} is {value!r}; it must be a number of zero or more.")
    return float(value)


def chosen_layers(network, content_layers, style_layers):
    """Content and style layers, with the network's own where they are None."""
    if content_layers is None or style_layers is None:
        content, style = default_layers(network)
        content_layers = content if content_layers is None else content_layers
        style_layers = style if style_layers is None else style_layers
    return content_layers, style_layers


def checked_layers(name, layers):
    """Weight of each layer that a setting names, one if it tells none; raises ParameterError if it cannot be."""
    if isinstance(layers, str):
        raise ParameterError(f'{name} is the text "{layers}"; give a list of layer names.')
    if not isinstance(layers, Iterable):
        raise ParameterError(f"{name} is {layers!r}; give a list of layer names.")
    if isinstance(layers, Mapping):
        return {layer: _checked_weight(f"the weight of {layer} in {name}", layers[layer]) for layer in layers}
    layers = tuple(layers)
    if not all(isinstance(layer, str) for layer in layers):
        raise ParameterError(f"{name} is {list(layers)!r}; give a list of layer names.")
    if len(set(layers)) < len(layers):
        raise ParameterError(f"{name} names a layer twice: {', '.join(layers)}.")
    return dict.fromkeys(layers, 1.0)


def read_styles(style):
    """Arrays (H, W, 3) of one style image or of a list or tuple of them."""
    styles = style if isinstance(style, (list, tuple)) else [style]
    if not styles:
        raise ParameterError("there is no style image in the list; give one at least.")
    return [read_image(one, name=style_name(i, len(styles)))[0] for i, one in enumerate(styles)]


def checked_blend(blend, styles):
    """Weight of each style; raises ParameterError unless there are as many, zero or more, and not all of them zero."""
    if blend is None:
        return [1.0] * styles
    if isinstance(blend, str) or not isinstance(blend, Iterable):
        raise ParameterError(f"style_blend is {blend!r}; give a list of one number for each style image.")
    blend = [_checked_weight("a weight in style_blend", weight) for weight in blend]
    if len(blend) != styles:
        raise ParameterError(
            f"style_blend has {len(blend)} weight{'s' * (len(blend) != 1)}; it must have one for each style image, "
            f"{styles} in all."
        )
    if not any(blend):
        raise ParameterError("the weights in style_blend are all zero; one at least must be above.")
    return blend


def checked_style_loss(style_loss):
    """The name of a style loss; raises ParameterError if it is not known."""
    if style_loss not in STYLE_LOSSES:
        raise ParameterError(f'style_loss "{style_loss}" is not known{near_matches(style_loss, list(STYLE_LOSSES))}.')
    return style_loss


def _checked_layer_weights(layer_weights, layers):
    if isinstance(layer_weights, Mapping):
        for layer in layers:
            if layer not in layer_weights:
                raise ParameterError(f"layer_weights has no weight for {layer}.")
            _checked_weight(f"the layer weight of {layer}", layer_weights[layer])
        return dict(layer_weights)
    if layer_weights not in LAYER_WEIGHTS:
        known = ", ".join(f'"{name}"' for name in LAYER_WEIGHTS)
        raise ParameterError(f'layer_weights is "{layer_weights}"; choose {known} or a mapping.')
    return layer_weights
