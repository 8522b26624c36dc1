"""The reference: every operation in plain NumPy and float64, as its formula is written.

It is slow and obvious on purpose: the other backends are tested against it, and it against finite differences. See
`stylecore.kernels.backend` for what a backend is. Besides the functions of a backend, this module has the single steps
that they consist of: `conv2d`, `relu` and their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from stylecore.kernels import BLOCKED, EPSILON

STRIP_VALUES = 2**21
"""Values of a strip of a feature map: few enough to fit into the last-level cache of a processor."""


class Convolution(NamedTuple):
    """Filters and bias of a convolution in the form that the functions here take; made by `prepare`.

    Attributes
    ----------
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    """

    filters: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int

    @property
    def fuses_pool(self) -> bool:
        """Whether `conv_relu_pool` accepts this convolution: always."""
        return True


def prepare(filters: np.ndarray, bias: np.ndarray, stride: int, padding: int, dtype: DTypeLike) -> Convolution:
    """Bring a convolution into the form that the functions here take.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    dtype : dtype
        float64.

    Returns
    -------
    Convolution
    """
    return Convolution(np.asarray(filters, dtype), np.asarray(bias, dtype), stride, padding)


def scratch_bytes(conv: Convolution, positions: tuple[int, ...]) -> int:
    """Bytes that a convolution takes temporarily: products of the size of its output, and its padded input.

    Parameters
    ----------
    conv : Convolution
    positions : tuple of int, (N, H', W')
        Of its output, before a pool.

    Returns
    -------
    int
    """
    n, height, width = positions
    return 8 * n * height * width * (3 * conv.filters.shape[3] + conv.stride**2 * conv.filters.shape[2])


def allocate(size: int) -> np.ndarray:
    """Memory of `size` bytes with arbitrary content, (size,) uint8."""
    return np.empty(size, np.uint8)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array with arbitrary content."""
    return np.empty(shape, dtype)


def release_scratch() -> None:
    """Do nothing: no scratch memory is kept."""


def available_bytes() -> int | None:
    """Return None: the arrays are in the memory of the computer."""
    return None


def upload(array: np.ndarray) -> np.ndarray:
    """An array of the backend with the content of one of the host: the same array."""
    return array


def download(array: np.ndarray) -> np.ndarray:
    """An array of the host with the content of one of the backend: the same array."""
    return array


def preprocess(image: np.ndarray, order: Sequence[int], scale: ArrayLike, shift: ArrayLike, out: np.ndarray) -> None:
    """Input of the network for an image: its channels reordered, scaled and shifted.

    Parameters
    ----------
    image : ndarray, (H, W, 3)
    order : sequence of int
        The channel of the image that each input channel of the network is; a permutation that is its own inverse.
    scale, shift : ndarray, (3,)
    out : ndarray, (1, H, W, 3)
        Result: scale x - shift.
    """
    np.multiply(image[..., order], scale, out=out[0])
    out -= shift


def preprocess_backward(gradient: np.ndarray, order: Sequence[int], scale: ArrayLike) -> np.ndarray:
    """Gradient with respect to the image, given that with respect to the input of the network.

    Parameters
    ----------
    gradient : ndarray, (1, H, W, 3)
        May be overwritten.
    order : sequence of int
    scale : ndarray, (3,)

    Returns
    -------
    ndarray, (H, W, 3)
    """
    # Indexing with a list leaves the result in another memory layout than C's.
    return np.ascontiguousarray((gradient[0] * scale)[..., order])


def _windows(size: int, stride: int, height: int, width: int) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """For each position (u, v) of a window, the slices of the input that it covers in all windows."""
    for u in range(size):
        for v in range(size):
            yield (
                u,
                v,
                (
                    slice(None),
                    slice(u, u + stride * (height - 1) + 1, stride),
                    slice(v, v + stride * (width - 1) + 1, stride),
                ),
            )


def conv2d(
    x: np.ndarray, filters: np.ndarray, bias: np.ndarray | float, stride: int = 1, padding: int = 1
) -> np.ndarray:
    """Convolution: y[i, j] = bias + sum over (u, v) of x[i stride + u - padding, j stride + v - padding] w[u, v].

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
        `padding` is the number of rows and columns of zeros on each side.

    Returns
    -------
    ndarray, (N, H', W', K)
        H' = (H + 2 padding - k) // stride + 1.
    """
    size = filters.shape[0]
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // stride + 1 for side in padded.shape[1:3])
    y = np.zeros((len(x), height, width, filters.shape[3])) + bias
    for u, v, covered in _windows(size, stride, height, width):
        y += padded[covered] @ filters[u, v]
    return y


def conv2d_backward(
    dy: np.ndarray, filters: np.ndarray, x_shape: tuple[int, ...], stride: int = 1, padding: int = 1
) -> np.ndarray:
    """Gradient of `conv2d` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    filters : ndarray, (k, k, C, K)
    x_shape : tuple of int, (N, H, W, C)
    stride, padding : int

    Returns
    -------
    ndarray, (N, H, W, C)
    """
    n, height, width, channels = x_shape
    padded = np.zeros((n, height + 2 * padding, width + 2 * padding, channels))
    for u, v, covered in _windows(filters.shape[0], stride, *dy.shape[1:3]):
        padded[covered] += dy @ filters[u, v].T
    return padded[:, padding : padding + height, padding : padding + width]


def convolve(x: np.ndarray, conv: Convolution, y: np.ndarray) -> None:
    """Convolve without bias: y = x * filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    """
    y[...] = conv2d(x, conv.filters, 0, conv.stride, conv.padding)


def convolve_backward(dy: np.ndarray, conv: Convolution, dx: np.ndarray) -> None:
    """Gradient of `convolve` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = conv2d_backward(dy, conv.filters, dx.shape, conv.stride, conv.padding)


def convolve_backward_filters(x: np.ndarray, dy: np.ndarray, conv: Convolution, dfilters: np.ndarray) -> None:
    """Gradient of `convolve` with respect to the filters; that of a bias added to y is the sum of dy.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dfilters : ndarray, (k, k, C, K)
        Result.
    """
    padding = (conv.padding, conv.padding)
    padded = np.pad(x, ((0, 0), padding, padding, (0, 0)))
    for u, v, covered in _windows(len(dfilters), conv.stride, *dy.shape[1:3]):
        dfilters[u, v] = np.tensordot(padded[covered], dy, axes=((0, 1, 2), (0, 1, 2)))


def relu(x: np.ndarray) -> np.ndarray:
    """Rectified linear unit: max(x, 0)."""
    return np.maximum(x, 0)


def relu_mask(y: np.ndarray) -> np.ndarray:
    """Mask of the output of a ReLU.

    Parameters
    ----------
    y : ndarray, (N, H, W, C)

    Returns
    -------
    ndarray, (N, H, W, ceil(C / 8)) uint8
        One bit per element, set where y > 0.
    """
    return np.packbits(y > 0, axis=-1, bitorder="little")


def relu_backward(dy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gradient of `relu`: dy where the output was positive, else 0.

    Parameters
    ----------
    dy : ndarray, (N, H, W, C)
    mask : ndarray, (N, H, W, ceil(C / 8)) uint8

    Returns
    -------
    ndarray, (N, H, W, C)
    """
    return dy * np.unpackbits(mask, axis=-1, count=dy.shape[-1], bitorder="little")


def conv_relu(x: np.ndarray, conv: Convolution, y: np.ndarray, mask: np.ndarray, above: int = 0) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Result: where y is positive.
    above : int
        Rows of the halo above, if y is a strip: rows of x above those at the position of y.
    """
    y[...] = relu(conv2d(x, *conv))[:, above : above + y.shape[1]]
    mask[...] = relu_mask(y)


def conv_relu_backward(dy: np.ndarray, mask: np.ndarray, conv: Convolution, dx: np.ndarray, above: int = 0) -> None:
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, back through the convolution.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the halo of dy above, if dx is a strip.
    """
    _conv2d_backward_strip(relu_backward(dy, mask), conv, dx, above)


def conv_relu_pool(x: np.ndarray, conv: Convolution, y: np.ndarray, route: np.ndarray, above: int = 0) -> None:
    """`conv_relu`, then a 2 x 2 max pool with stride 2.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H' // 2, W' // 2, K)
        Result.
    route : ndarray, (N, H' // 2, W' // 2, K) uint8
        Result: where each maximum was, or `BLOCKED` where it was not positive.
    above : int
        Rows of the halo above, if y is a strip.
    """
    max_pool(relu(conv2d(x, *conv))[:, above:], 2, 2, y, route)
    route[y <= 0] = BLOCKED


def conv_relu_pool_backward(
    dy: np.ndarray, route: np.ndarray, conv: Convolution, dx: np.ndarray, above: int = 0
) -> None:
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H' // 2, W' // 2, K)
    route : ndarray, (N, H' // 2, W' // 2, K) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the halo above in the map before the pool, if dx is a strip.
    """
    size = conv.filters.shape[0]
    height, width = ((side + 2 * conv.padding - size) // conv.stride + 1 for side in dx.shape[1:3])
    unpooled = np.zeros((len(dx), max(height, 2 * dy.shape[1]), width, dy.shape[3]))
    max_pool_backward(dy, route, 2, 2, unpooled)
    _conv2d_backward_strip(unpooled, conv, dx, above)


def _conv2d_backward_strip(dy, conv, dx, above):
    """Rows of the gradient with respect to x, for which dy has `above` rows more above, and maybe some below."""
    rows = max(above + dx.shape[1], (dy.shape[1] - 1) * conv.stride + conv.filters.shape[0] - 2 * conv.padding)
    whole = conv2d_backward(dy, conv.filters, (len(dx), rows, *dx.shape[2:]), conv.stride, conv.padding)
    dx[...] = whole[:, above : above + dx.shape[1]]


def max_pool(x: np.ndarray, size: int, stride: int, y: np.ndarray, route: np.ndarray) -> None:
    """Take the maximum of each window of size x size positions.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1: rows and columns that no whole window covers are dropped.
    route : ndarray, (N, H', W', C) uint8
        Result: where in its window each maximum was, counted row by row; the first of equal ones.
    """
    windows = np.stack([x[covered] for _, _, covered in _windows(size, stride, *y.shape[1:3])])
    route[...] = windows.argmax(axis=0)
    y[...] = windows.max(axis=0)


def max_pool_backward(dy: np.ndarray, route: np.ndarray, size: int, stride: int, dx: np.ndarray) -> None:
    """Gradient of `max_pool`: the gradient of each maximum goes to where the maximum was.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    route : ndarray, (N, H', W', C) uint8
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = 0
    for u, v, covered in _windows(size, stride, *dy.shape[1:3]):
        dx[covered] += dy * (route == u * size + v)


def average_pool(x: np.ndarray, size: int, stride: int, y: np.ndarray) -> None:
    """Take the mean of each window of size x size positions.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    """
    y[...] = sum(x[covered] for _, _, covered in _windows(size, stride, *y.shape[1:3])) / size**2


def average_pool_backward(dy: np.ndarray, size: int, stride: int, dx: np.ndarray) -> None:
    """Gradient of `average_pool`: the gradient of each window is divided evenly among its positions.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = 0
    for _, _, covered in _windows(size, stride, *dy.shape[1:3]):
        dx[covered] += dy / size**2


def gram(features: np.ndarray, scale: float, total: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale G to a matrix, where G = F^T F is the Gram matrix (paper, section 5.2), or F^T diag(g) F with a guide.

    Parameters
    ----------
    features : ndarray, (M, C)
        A feature map as a matrix of M positions x C channels.
    scale : float
    total : ndarray, (C, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g, the weight of each position, zero or more.
    """
    total += scale * (features.T @ _guided(features, guide))


def gram_backward(
    features: np.ndarray, difference: np.ndarray, scale: float, gradient: np.ndarray, guide: np.ndarray | None = None
) -> None:
    """Add scale F D, or scale diag(g) F D with a guide, to the gradient; that of 1/4 sum (G - A)^2 is F (G - A).

    Parameters
    ----------
    features : ndarray, (M, C)
    difference : ndarray, (C, C)
        D, symmetric.
    scale : float
    gradient : ndarray, (M, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g.
    """
    gradient += scale * _guided(features @ difference, guide)


def _guided(matrix, guide):
    return matrix if guide is None else guide[:, None] * matrix


def gram_scratch_bytes(positions: int, channels: int, dtype: DTypeLike) -> int:
    """Bytes that `gram_backward` takes temporarily, which is more than `gram` does."""
    return 2 * positions * channels * np.dtype(dtype).itemsize


def channel_sums(features: np.ndarray, scale: float, total: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale times the sum of each channel over the positions, F^T 1, or F^T g with a guide, to a vector.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C,), float64
        Changed in place.
    guide : ndarray, (M,), optional
        g, the weight of each position, zero or more.
    """
    total += scale * _guided(features, guide).sum(axis=0)


def channel_sums_backward(row: np.ndarray, scale: float, gradient: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale times a row, or scale g times it with a guide, to each position of the gradient.

    Parameters
    ----------
    row : ndarray, (C,)
        Gradient with respect to the sums.
    scale : float
    gradient : ndarray, (M, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g.
    """
    gradient += scale * (row if guide is None else np.outer(guide, row))


def half_squared_distance(a: np.ndarray, b: np.ndarray | None = None) -> float:
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : ndarray, of the same shape
        The default of `b` is zero.

    Returns
    -------
    float
    """
    return 0.5 * float(np.sum((a if b is None else a - b) ** 2))


def half_squared_distance_backward(a: np.ndarray, b: np.ndarray, scale: float, gradient: np.ndarray) -> None:
    """Add scale (a - b), the gradient with respect to a, to `gradient` in place.

    Parameters
    ----------
    a, b, gradient : ndarray, of the same shape
    scale : float
    """
    gradient += scale * (a - b)


def total_variation(x: np.ndarray) -> float:
    """Half the sum of squared differences between vertical and horizontal neighbours (paper, section 5.4).

    Parameters
    ----------
    x : ndarray, (H, W, C)

    Returns
    -------
    float
    """
    return 0.5 * float(np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, axis=1) ** 2))


def total_variation_backward(x: np.ndarray, scale: float, gradient: np.ndarray) -> None:
    """Add scale times the gradient of `total_variation` to `gradient` in place.

    Parameters
    ----------
    x, gradient : ndarray, (H, W, C)
    scale : float
    """
    down, right = scale * np.diff(x, axis=0), scale * np.diff(x, axis=1)
    gradient[1:] += down
    gradient[:-1] -= down
    gradient[:, 1:] += right
    gradient[:, :-1] -= right


# For training.


def bias_relu(x: np.ndarray, bias: np.ndarray, y: np.ndarray) -> None:
    """Add the bias and apply the ReLU: y = max(x + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    """
    y[...] = relu(x + bias)


def bias_relu_backward(dy: np.ndarray, x: np.ndarray, bias: np.ndarray, dx: np.ndarray, dbias: np.ndarray) -> None:
    """Gradient of `bias_relu` with respect to x and bias.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dbias : ndarray, (C,)
        Result.
    """
    dx[...] = dy * (x + bias > 0)
    dbias[...] = dx.sum((0, 1, 2))


def batch_norm_relu(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, y: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> None:
    """Normalise each channel to mean `shift` and standard deviation `scale`, and apply the ReLU.

    Mean and variance are over the batch and all positions:
    y = max(scale (x - mean) / sqrt(variance + EPSILON) + shift, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    mean, variance : ndarray, (C,) float64
        Results, of x.

    References
    ----------
    Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", algorithm 1.
    """
    mean[...], variance[...] = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y[...] = relu(scale * (x - mean) / np.sqrt(variance + EPSILON) + shift)


def batch_norm_relu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    dx: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
) -> None:
    """Gradient of `batch_norm_relu` with respect to x, scale and shift.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    scale, shift, mean, variance : ndarray, (C,)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dscale, dshift : ndarray, (C,)
        Results.
    """
    deviation = np.sqrt(variance + EPSILON)
    normal = (x - mean) / deviation
    gated = dy * (scale * normal + shift > 0)
    dscale[...], dshift[...] = (gated * normal).sum((0, 1, 2)), gated.sum((0, 1, 2))
    count = x[..., 0].size
    dx[...] = scale / deviation * (gated - dshift / count - normal * dscale / count)


def instance_norm(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    relu: bool,
    y: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Normalise each channel of each image to mean `shift` and deviation `scale`, and apply the ReLU if `relu`.

    Mean and variance are over the positions: y = scale (x - mean) / sqrt(variance + EPSILON) + shift.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (N, C)
        Those of the image's style make this conditional instance normalisation.
    relu : bool
    y : ndarray, (N, H, W, C)
        Result.
    mean, variance : ndarray, (N, C) float64
        Results, of x.

    References
    ----------
    Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style", equation 5.
    """
    mean[...], variance[...] = x.mean((1, 2)), x.var((1, 2))
    normal = (x - _per_image(mean)) / np.sqrt(_per_image(variance) + EPSILON)
    y[...] = _per_image(scale) * normal + _per_image(shift)
    if relu:
        y[...] = np.maximum(y, 0)


def _per_image(channels):
    """Values (N, C) so that they apply to all positions of a map."""
    return channels[:, None, None]


def instance_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    relu: bool,
    mean: np.ndarray,
    variance: np.ndarray,
    dx: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
) -> None:
    """Gradient of `instance_norm` with respect to x, scale and shift.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (N, C)
    relu : bool
    mean, variance : ndarray, (N, C)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dscale, dshift : ndarray, (N, C)
        Results.
    """
    deviation = np.sqrt(_per_image(variance) + EPSILON)
    normal = (x - _per_image(mean)) / deviation
    gated = dy * (_per_image(scale) * normal + _per_image(shift) > 0) if relu else dy
    dscale[...], dshift[...] = (gated * normal).sum((1, 2)), gated.sum((1, 2))
    count = x[0, ..., 0].size
    dx[...] = _per_image(scale) / deviation * (gated - (_per_image(dshift) + normal * _per_image(dscale)) / count)


def row_sums(x: np.ndarray, sums: np.ndarray) -> None:
    """Sums of x and of x^2 over each row of a map, from which mean and variance follow.

    Parameters
    ----------
    x : ndarray, (1, H, W, C)
    sums : ndarray, (H, 2, C) float64
        Result.
    """
    sums[:, 0], sums[:, 1] = x[0].sum(axis=1), np.square(x[0]).sum(axis=1)


def scale_shift(x: np.ndarray, factor: np.ndarray, offset: np.ndarray, relu: bool, y: np.ndarray) -> None:
    """Scale and shift each channel, and maybe apply the ReLU: y = factor x + offset, or max(factor x + offset, 0).

    Parameters
    ----------
    x : ndarray, (1, H, W, C)
    factor, offset : ndarray, (C,)
    relu : bool
    y : ndarray, (1, H, W, C)
        Result; may be x itself.
    """
    y[...] = factor * x + offset
    if relu:
        y[...] = np.maximum(y, 0)


def add(x: np.ndarray, y: np.ndarray) -> None:
    """Add the input of a residual block to its output: y += x; the gradient passes to both unchanged.

    Parameters
    ----------
    x, y : ndarray, of the same shape

    References
    ----------
    He, Zhang, Ren and Sun (2016), "Deep Residual Learning for Image Recognition", equation 1.
    """
    y += x


def sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    """Logistic function: y = 1 / (1 + exp(-x)), written with tanh, which does not overflow.

    Parameters
    ----------
    x : ndarray
    y : ndarray
        Result; may be x itself.
    """
    np.multiply(x, x.dtype.type(0.5), out=y)
    np.tanh(y, out=y)
    y += 1
    y *= x.dtype.type(0.5)


def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of `sigmoid`: dy y (1 - y).

    Parameters
    ----------
    dy : ndarray
    y : ndarray
        Of `sigmoid`.
    dx : ndarray
        Result; may be dy itself.
    """
    np.multiply(dy, y * (1 - y), out=dx)


def pad_reflected(
    x: np.ndarray, padding: int, factor: int, y: np.ndarray, top: int = 0, begin: int = 0, height: int | None = None
) -> None:
    """Repeat each position factor x factor times, then reflect the map at its borders.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    padding : int
        Rows and columns to add on each side; fewer than the upsampled map has.
    factor : int
    y : ndarray, (N, factor H + 2 padding, factor W + 2 padding, C)
        Result, or a strip of it.
    top : int
        Row of the whole result that y begins with, if it is a strip.
    begin : int
        Row of the whole map that x begins with, if it holds no more than the strip depends on.
    height : int, optional
        Rows of the whole map; by default those of x.
    """
    rows, columns = (
        np.pad(np.arange(length).repeat(factor), padding, "reflect") for length in (height or x.shape[1], x.shape[2])
    )
    y[...] = x[:, rows[top : top + y.shape[1], None] - begin, columns]


def pad_reflected_backward(dy: np.ndarray, padding: int, factor: int, dx: np.ndarray) -> None:
    """Gradient of `pad_reflected`: the sum of the gradients of all that shows a position.

    Parameters
    ----------
    dy : ndarray, (N, factor H + 2 padding, factor W + 2 padding, C)
    padding, factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    rows, columns = (np.pad(np.arange(length).repeat(factor), padding, "reflect") for length in dx.shape[1:3])
    dx[...] = 0
    np.add.at(dx, np.s_[:, rows[:, None], columns], dy)  # type: ignore[arg-type]


def upsample(x: np.ndarray, factor: int, y: np.ndarray) -> None:
    """Repeat each position factor x factor times.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    factor : int
    y : ndarray, (N, factor H, factor W, C)
        Result.
    """
    y[...] = x.repeat(factor, axis=1).repeat(factor, axis=2)


def upsample_backward(dy: np.ndarray, factor: int, dx: np.ndarray) -> None:
    """Gradient of `upsample`: the sum of the gradients of a position's copies.

    Parameters
    ----------
    dy : ndarray, (N, factor H, factor W, C)
    factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    n, height, width, channels = dx.shape
    dx[...] = dy.reshape(n, height, factor, width, factor, channels).sum((2, 4))


def dense(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, y: np.ndarray) -> None:
    """Apply a dense layer: y = x weights + bias.

    Parameters
    ----------
    x : ndarray, (N, C)
    weights : ndarray, (C, K)
    bias : ndarray, (K,)
    y : ndarray, (N, K)
        Result.
    """
    y[...] = x @ weights + bias


def dense_backward(
    dy: np.ndarray, x: np.ndarray, weights: np.ndarray, dx: np.ndarray, dweights: np.ndarray, dbias: np.ndarray
) -> None:
    """Gradient of `dense` with respect to x, weights and bias.

    Parameters
    ----------
    dy : ndarray, (N, K)
    x : ndarray, (N, C)
    weights : ndarray, (C, K)
    dx, dweights, dbias : ndarray
        Results, of the shapes of x, weights and bias.
    """
    dx[...], dweights[...], dbias[...] = dy @ weights.T, x.T @ dy, dy.sum(axis=0)


def dropout(x: np.ndarray, kept: np.ndarray, rate: float, y: np.ndarray) -> None:
    """Set values that are not kept to zero, and scale the others so that the mean stays: y = x kept / (1 - rate).

    Parameters
    ----------
    x : ndarray
    kept : ndarray of bool
        Drawn by the caller: true with probability 1 - rate.
    rate : float
        In [0, 1).
    y : ndarray
        Result; may be x itself.

    References
    ----------
    Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """
    y[...] = x * (kept / x.dtype.type(1 - rate))


def dropout_backward(dy: np.ndarray, kept: np.ndarray, rate: float, dx: np.ndarray) -> None:
    """Gradient of `dropout`, which is linear: the same function, of dy.

    Parameters
    ----------
    dy, kept : ndarray
    rate : float
    dx : ndarray
        Result; may be dy itself.
    """
    dropout(dy, kept, rate, dx)


def softmax_cross_entropy(scores: np.ndarray, labels: np.ndarray, smoothing: float, gradient: np.ndarray) -> float:
    """Mean over the batch of the cross-entropy between softmax(scores) and the labels, and its gradient.

    Parameters
    ----------
    scores : ndarray, (N, K)
    labels : ndarray, (N,) int
    smoothing : float
        In [0, 1): share of the target that is spread evenly over all K classes (Szegedy et al. 2016, section 7).
    gradient : ndarray, (N, K)
        Result: (softmax(scores) - target) / N.

    Returns
    -------
    float
    """
    count, classes = scores.shape
    target = np.full(scores.shape, smoothing / classes, scores.dtype)
    target[np.arange(count), labels] += 1 - smoothing
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient[...] = (np.exp(log_softmax) - target) / count
    return -float(np.sum(target * log_softmax)) / count


def mean_squared_error(x: np.ndarray, target: np.ndarray, gradient: np.ndarray) -> float:
    """Mean of (x - target)^2, and its gradient with respect to x.

    Parameters
    ----------
    x, target : ndarray
    gradient : ndarray
        Result: 2 (x - target) / size.

    Returns
    -------
    float
    """
    difference = x - target
    gradient[...] = difference * x.dtype.type(2 / x.size)
    return float(np.mean(difference**2, dtype=np.float64))
