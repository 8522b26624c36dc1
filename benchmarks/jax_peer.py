"""Another peer: the same objective in JAX, compiled as a whole by XLA.

The terms are those of `benchmarks.peers`, which the comparison of gradients shows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.peers import CONTENT_WEIGHT, STYLE_WEIGHT, TV_WEIGHT
from benchmarks.setting import CONTENT_LAYERS, STYLE_LAYERS
from stylecore.weights import Weights
from stylecore.weights.architectures import Conv, until


class Objective:
    """Loss and gradient of an image by reverse-mode differentiation.

    Parameters
    ----------
    content, style : ndarray, (H, W, 3)
    weights : Weights
        Of a network with 3 x 3 convolutions and 2 x 2 pools.
    dtype : {"float32", "bfloat16"}
        Of weights and features; losses are summed in float32.
    """

    def __init__(self, content: np.ndarray, style: np.ndarray, weights: Weights, dtype: str = "float32") -> None:
        self._layers = until(weights.layers, {*CONTENT_LAYERS, *STYLE_LAYERS})
        convolutions = [layer.name for layer in self._layers if isinstance(layer, Conv)]
        self._filters = {name: jnp.asarray(weights.filters[name], dtype) for name in convolutions}
        self._biases = {name: jnp.asarray(weights.biases[name], dtype) for name in convolutions}
        self._dtype, p = dtype, weights.preprocessing
        self._order = ["RGB".index(channel) for channel in p.channel_order]
        self._factor = np.float32([p.scale / std for std in p.std])
        self._shift = np.float32([mean / std for mean, std in zip(p.mean, p.std, strict=True)])
        features = self._features(jnp.asarray(content, jnp.float32))
        self._contents = {layer: features[layer].astype(jnp.float32) for layer in CONTENT_LAYERS}
        positions = {layer: features[layer][0, :, :, 0].size for layer in STYLE_LAYERS}
        features = self._features(jnp.asarray(style, jnp.float32))
        self._grams = {
            layer: _gram(features[layer]) * (positions[layer] / features[layer][0, :, :, 0].size)
            for layer in STYLE_LAYERS
        }
        self._gradient = jax.jit(jax.value_and_grad(self.loss))

    def _features(self, image: jax.Array) -> dict[str, jax.Array]:
        """Features of an image (H, W, 3) at all layers, (1, H, W, C)."""
        x = (image[:, :, np.array(self._order)] * self._factor - self._shift)[None].astype(self._dtype)
        features = {}
        for layer in self._layers:
            if isinstance(layer, Conv):
                x = lax.conv_general_dilated(
                    x, self._filters[layer.name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                x = jax.nn.relu(x + self._biases[layer.name])
                features[layer.relu] = x
            else:
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return features

    def loss(self, image: jax.Array) -> jax.Array:
        """Loss of an image (H, W, 3)."""
        features = self._features(image)
        total = jnp.float32(0)
        for layer, target in self._contents.items():
            factor = CONTENT_WEIGHT * CONTENT_LAYERS[layer] / len(CONTENT_LAYERS) / (target**2).sum()
            total += factor * ((features[layer].astype(jnp.float32) - target) ** 2).sum()
        for layer, target in self._grams.items():
            factor = STYLE_WEIGHT * STYLE_LAYERS[layer] / len(STYLE_LAYERS) / (target**2).sum()
            total += factor * ((_gram(features[layer]) - target) ** 2).sum()
        variation = 0.5 * (((image[1:] - image[:-1]) ** 2).sum() + ((image[:, 1:] - image[:, :-1]) ** 2).sum())
        return total + TV_WEIGHT / image.size * variation

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at an image, as `stylecore.Objective` returns them."""
        loss, gradient = self._gradient(jnp.asarray(x, jnp.float32))
        return float(loss), np.asarray(gradient)


def _gram(features: jax.Array) -> jax.Array:
    """Gram matrix (C, C) of features (1, H, W, C)."""
    matrix = features.reshape(-1, features.shape[3])
    return jnp.matmul(matrix.T, matrix, preferred_element_type=jnp.float32)
