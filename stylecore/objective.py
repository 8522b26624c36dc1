"""The function that a style transfer minimises, with its gradient (paper, section 5.4)."""

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np

from stylecore.errors import ParameterError
from stylecore.images import read_image, resize
from stylecore.losses import ContentLoss, StyleLoss, regularization, total_variation
from stylecore.messages import near_matches
from stylecore.network import Network, Plan, default_layers
from stylecore.weights.architectures import DEFAULT_LAYERS

# Of the default network.
CONTENT_LAYERS, STYLE_LAYERS = DEFAULT_LAYERS["vgg19"]
DTYPES = ("float32", "float64")
DEVICES = ("cpu", "reference")


def load_backend(device):
    """Return the kernels of a device.

    Parameters
    ----------
    device : {"cpu", "reference"}
        Numba kernels on all cores, or plain NumPy in float64.

    Raises
    ------
    ParameterError
        If there is no such device.
    """
    if device == "cpu":
        from stylecore.kernels import cpu

        return cpu
    if device == "reference":
        from stylecore.kernels import reference

        return reference
    raise ParameterError(f'device "{device}" is not known{near_matches(device, DEVICES)}.')


def load_network(network, device="cpu", pooling="max", dtype="float32", layers=None):
    """Load a network onto a device, unless it is one already.

    Parameters
    ----------
    network : str, path, Weights or Network
    device : {"cpu", "reference"}
    pooling : {"max", "average"}
    dtype : {"float32", "float64"}
        The reference computes in float64 only.
    layers : collection of str, optional
        As `Network` takes them.

    Returns
    -------
    Network

    Raises
    ------
    ParameterError
        If one of the settings is not known.
    WeightsError
        If the weights cannot be fetched or read.
    """
    if isinstance(network, Network):
        return network
    if dtype not in DTYPES:
        raise ParameterError(f'dtype "{dtype}" is not known; choose "float32" or "float64".')
    return Network(network, load_backend(device), pooling, "float64" if device == "reference" else dtype, layers)


def evaluation_bytes(network, content_layers, style_layers, height, width):
    """Memory that evaluations of an objective take beside the network, in bytes.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    height, width : int
        Of the image.

    Returns
    -------
    int
    """
    plan = Plan(network, height, width, {*content_layers, *style_layers})
    matrices = [network.features_shape(height, width, layer) for layer in style_layers]
    scratch = max(plan.scratch_bytes, *(network.backend.gram_scratch_bytes(*m, network.dtype) for m in matrices), 0)
    # Targets; a Gram matrix and its difference from the target; and two images on their way in and out.
    values = sum(prod(network.features_shape(height, width, layer)) for layer in content_layers)
    values += sum(2 * channels**2 for _, channels in matrices) + 2 * 3 * height * width
    return plan.bytes + scratch + values * network.dtype.itemsize


class Objective:
    """Loss and gradient of an image, given a content and a style image.

    The loss is alpha content + beta style + gamma regularisation + weight of TV x TV, where content and style are
    weighted sums over layers.

    Parameters
    ----------
    content, style : path, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1]. Content, style and result may all differ in size: the content image is
        resized to the result's size, the style image is taken as it is.
    network : str, path, Weights or Network
        Name of a network in the catalogue, or file in the project's HDF5 layout.
    content_layers, style_layers : sequence of str
        Layers that carry a loss, by their usual names; without, those that give the network's best picture.
    content_weight, style_weight, regularization_weight, tv_weight : float
        alpha, beta, gamma and the weight of the total variation; zero or more.
    layer_weights : "relative", "paper" or mapping
        What stands in front of each term of the paper.

        - "relative": each content term is divided by 1/2 sum P^2 and each style term by 1 / (4 N^2 M^2) sum A^2, its
          value for a blank image, so that all layers pull alike, and averaged over its layers; regularisation and
          TV are divided by the number of values in the image. The look then does not depend on the image's size.
        - "paper": 1 / number of layers for content and style, 1 for regularisation and TV.
        - a mapping gives the weight of each layer, as in "paper".
    pooling : {"max", "average"}
    device : {"cpu", "reference"}
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
        self._layer_weights = _checked_layer_weights(layer_weights, self._content_layers + self._style_layers)
        self._content = read_image(content, name="content image")[0]
        style = read_image(style, name="style image")[0]
        self.network = load_network(network, device, pooling, dtype, self.layers)
        self.network.check_layers(self.layers)
        self._style_targets = self._gram_per_position(style)
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
        return evaluation_bytes(self.network, self._content_layers, self._style_layers, height, width)

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
            (value, gradient).
        """
        x = self._prepare(x)
        values = self._features_terms(x)
        values.update({name: term()[0] for name, term in self._image_terms(x).items()})
        if not gradients:
            return values
        return {name: (value, self._weighted(x, {name: 1.0})[1]) for name, value in values.items()}

    @property
    def term_weights(self):
        """What each term is multiplied with in the loss, by name; known once an image has set the size."""
        if self._shape is None:
            self._prepare(self._content)
        weights = {}
        for kind, losses in (("content", self._content_losses), ("style", self._style_losses)):
            for layer, loss in losses.items():
                weights[f"{kind}:{layer}"] = self._weights[kind] * self._layer_weight(layer, loss, len(losses))
        values = 3 * self._shape[0] * self._shape[1] if self._layer_weights == "relative" else 1
        weights["regularization"] = self._weights["regularization"] / values
        weights["tv"] = self._weights["tv"] / values
        return weights

    def _layer_weight(self, layer, loss, count):
        if self._layer_weights == "relative":
            return loss.relative_weight / count
        return 1 / count if self._layer_weights == "paper" else float(self._layer_weights[layer])

    def _gram_per_position(self, style):
        """Gram matrix of the style image at each style layer, divided by the layer's number of positions."""
        sums, positions = dict.fromkeys(self._style_layers, 0), dict.fromkeys(self._style_layers, 0)

        def visit(layer, features, start):
            sums[layer] = sums[layer] + self.network.backend.gram(features)
            positions[layer] += len(features)

        if self._style_layers:
            self.network.check_size(*style.shape[:2], self._style_layers, "style image")
            Plan(self.network, *style.shape[:2], self._style_layers, gradient=False).forward(style, visit)
        return {layer: sums[layer] / positions[layer] for layer in self._style_layers}

    def _prepare(self, x):
        """Bring x into the objective's dtype, and the plan and the targets to the size of x."""
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
        return x

    def _set_targets(self, shape):
        backend, positions, parts = self.network.backend, {}, {layer: [] for layer in self._content_layers}

        def visit(layer, features, start):
            positions[layer] = start + len(features)
            if layer in parts:
                parts[layer].append(features.copy())

        self._plan.forward(resize(self._content, shape), visit)
        self._content_losses = {
            layer: ContentLoss(features[0] if len(features) == 1 else np.concatenate(features), backend)
            for layer, features in parts.items()
        }
        self._style_losses = {
            layer: StyleLoss(self._style_targets[layer], positions[layer], backend) for layer in self._style_layers
        }

    def _losses_at(self, layer):
        """The terms at a layer, by name."""
        for kind, losses in (("content", self._content_losses), ("style", self._style_losses)):
            if layer in losses:
                yield f"{kind}:{layer}", losses[layer]

    def _features_terms(self, x):
        """Run the network forward and return the value of each term at a layer."""
        losses = {name: loss for layer in self.layers for name, loss in self._losses_at(layer)}
        for loss in losses.values():
            loss.reset()

        def visit(layer, features, start):
            for _, loss in self._losses_at(layer):
                loss.take(features, start)

        self._plan.forward(x, visit)
        return {name: loss.value() for name, loss in losses.items()}

    def _image_terms(self, x):
        """The terms of the image itself, by name, as functions that give (value, gradient)."""
        return {
            "regularization": lambda: regularization(x, self.network.mean),
            "tv": lambda: total_variation(x, self.network.backend),
        }

    def _weighted(self, x, weights):
        """Value of each term that has a weight, and the gradient of their weighted sum."""
        values = {name: value for name, value in self._features_terms(x).items() if weights.get(name)}

        def add_gradient(layer, features, gradient, start):
            for name, loss in self._losses_at(layer):
                if name in values:
                    loss.add_gradient(features, weights[name], gradient, start)

        gradient = self._plan.backward(add_gradient)
        for name, term in self._image_terms(x).items():
            if weights.get(name):
                values[name], term_gradient = term()
                gradient += weights[name] * term_gradient
        return values, gradient


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
    """Tuple of the layers that a setting names; raises ParameterError if it is a text or names one twice."""
    if isinstance(layers, str):
        raise ParameterError(f'{name} is the text "{layers}"; give a list of layer names.')
    if not isinstance(layers, Iterable):
        raise ParameterError(f"{name} is {layers!r}; give a list of layer names.")
    layers = tuple(layers)
    if len(set(layers)) < len(layers):
        raise ParameterError(f"{name} names a layer twice: {', '.join(layers)}.")
    return layers


def _checked_layer_weights(layer_weights, layers):
    if isinstance(layer_weights, Mapping):
        for layer in layers:
            if layer not in layer_weights:
                raise ParameterError(f"layer_weights has no weight for {layer}.")
            _checked_weight(f"the layer weight of {layer}", layer_weights[layer])
        return dict(layer_weights)
    if layer_weights not in ("relative", "paper"):
        raise ParameterError(f'layer_weights is "{layer_weights}"; choose "relative", "paper" or a mapping.')
    return layer_weights
