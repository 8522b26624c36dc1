"""The reference: every operation in plain NumPy and float64, as its formula says.

Slow and obvious on purpose; the other backends are tested against it, and it against finite differences.
See `stylecore.kernels` for what a backend is. Besides the backend's functions there are here the single steps
that those are made of: `conv2d`, `relu` and their gradients.
"""

from typing import NamedTuple

import numpy as np

from stylecore.kernels import BLOCKED, EPSILON

# Values of a strip of features: few enough to stay in the processor's last-level cache.
STRIP_VALUES = 2**21


class Convolution(NamedTuple):
    """Filters and bias of a convolution, as the functions here take them; made by `prepare`."""

    filters: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int

    @property
    def fuses_pool(self):
        """Whether `conv_relu_pool` takes this convolution: here any."""
        return True


def prepare(filters, bias, stride, padding, dtype):
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


def scratch_bytes(conv, positions):
    """Bytes that a convolution takes for a moment: a product of the size of its output, and its padded input.

    Parameters
    ----------
    conv : Convolution
    positions : tuple of int, (N, H', W')

    Returns
    -------
    int
    """
    n, height, width = positions
    return 8 * n * height * width * (3 * conv.filters.shape[3] + conv.stride**2 * conv.filters.shape[2])


def allocate(size):
    """Memory of so many bytes, with arbitrary content: (size,) uint8."""
    return np.empty(size, np.uint8)


def empty(shape, dtype):
    """An array of the backend with arbitrary content."""
    return np.empty(shape, dtype)


def release_scratch():
    """Do nothing: memory is returned as soon as it is used."""


def available_bytes():
    """Memory that a device of its own has left; None, as this is the computer's."""
    return None


def upload(array):
    """An array of the host as one of the backend: the same."""
    return array


def download(array):
    """An array of the backend as one of the host: the same."""
    return array


def preprocess(image, order, scale, shift, out):
    """Network input of an image: its channels in another order, scaled and shifted.

    Parameters
    ----------
    image : ndarray, (H, W, 3)
    order : sequence of int
        Where in a pixel each input channel of the network stands; its own inverse.
    scale, shift : ndarray, (3,)
    out : ndarray, (1, H, W, 3)
        Result: scale x - shift.
    """
    np.multiply(image[..., order], scale, out=out[0])
    out -= shift


def preprocess_backward(gradient, order, scale):
    """Gradient with respect to the image, given that with respect to the network's input.

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
    # NumPy gives the three channels one after the other where it is asked for some of an axis.
    return np.ascontiguousarray((gradient[0] * scale)[..., order])


def _windows(size, stride, height, width):
    """For each place (u, v) of a filter, the slices of the padded input that it sees."""
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


def conv2d(x, filters, bias, stride=1, padding=1):
    """Convolution: y[i, j] = bias + sum over (u, v) of x[i stride + u - padding, j stride + v - padding] w[u, v].

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
        `padding` rows and columns of zeros on each side.

    Returns
    -------
    ndarray, (N, H', W', K)
        H' = (H + 2 padding - k) // stride + 1.
    """
    size = filters.shape[0]
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // stride + 1 for side in padded.shape[1:3])
    y = np.zeros((len(x), height, width, filters.shape[3])) + bias
    for u, v, seen in _windows(size, stride, height, width):
        y += padded[seen] @ filters[u, v]
    return y


def conv2d_backward(dy, filters, x_shape, stride=1, padding=1):
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
    for u, v, seen in _windows(filters.shape[0], stride, *dy.shape[1:3]):
        padded[seen] += dy @ filters[u, v].T
    return padded[:, padding : padding + height, padding : padding + width]


def convolve(x, conv, y):
    """The sum of a convolution alone, without bias: y = x * filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    """
    y[...] = conv2d(x, conv.filters, 0, conv.stride, conv.padding)


def convolve_backward(dy, conv, dx):
    """Gradient of `convolve` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = conv2d_backward(dy, conv.filters, dx.shape, conv.stride, conv.padding)


def convolve_backward_filters(x, dy, conv, dfilters):
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
    for u, v, seen in _windows(len(dfilters), conv.stride, *dy.shape[1:3]):
        dfilters[u, v] = np.tensordot(padded[seen], dy, axes=((0, 1, 2), (0, 1, 2)))


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_mask(y):
    """Mask of a ReLU's output.

    Parameters
    ----------
    y : ndarray, (N, H, W, C)

    Returns
    -------
    ndarray, (N, H, W, ceil(C / 8)) uint8
        One bit per element, set where y > 0.
    """
    return np.packbits(y > 0, axis=-1, bitorder="little")


def relu_backward(dy, mask):
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


def conv_relu(x, conv, y, mask, above=0):
    """Convolve, add the bias and cut at zero: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Where y is positive.
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole.
    """
    y[...] = relu(conv2d(x, *conv))[:, above : above + y.shape[1]]
    mask[...] = relu_mask(y)


def conv_relu_backward(dy, mask, conv, dx, above=0):
    """Gradient of `conv_relu` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of dy above those that dx belongs to, if dx is a strip of the whole.
    """
    _conv2d_backward_strip(relu_backward(dy, mask), conv, dx, above)


def conv_relu_pool(x, conv, y, route, above=0):
    """`conv_relu`, then a 2 x 2 max pool with stride 2.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H' // 2, W' // 2, K)
        Result.
    route : ndarray, (N, H' // 2, W' // 2, K) uint8
        Where each maximum stood, or BLOCKED where it was not positive.
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole.
    """
    max_pool(relu(conv2d(x, *conv))[:, above:], 2, 2, y, route)
    route[y <= 0] = BLOCKED


def conv_relu_pool_backward(dy, route, conv, dx, above=0):
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H' // 2, W' // 2, K)
    route : ndarray, (N, H' // 2, W' // 2, K) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the map before the pool that dy has above those that dx belongs to, if dx is a strip of the whole.
    """
    size = conv.filters.shape[0]
    height, width = ((side + 2 * conv.padding - size) // conv.stride + 1 for side in dx.shape[1:3])
    unpooled = np.zeros((len(dx), max(height, 2 * dy.shape[1]), width, dy.shape[3]))
    max_pool_backward(dy, route, 2, 2, unpooled)
    _conv2d_backward_strip(unpooled, conv, dx, above)


def _conv2d_backward_strip(dy, conv, dx, above):
    """Rows of the gradient with respect to x, of which dy has `above` more on top and perhaps some more below."""
    rows = max(above + dx.shape[1], (dy.shape[1] - 1) * conv.stride + conv.filters.shape[0] - 2 * conv.padding)
    whole = conv2d_backward(dy, conv.filters, (len(dx), rows, *dx.shape[2:]), conv.stride, conv.padding)
    dx[...] = whole[:, above : above + dx.shape[1]]


def max_pool(x, size, stride, y, route):
    """Take the maximum of each window of size x size positions.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1: rows and columns that no whole window covers are dropped.
    route : ndarray, (N, H', W', C) uint8
        Where in its window each maximum stood, row by row; the first of equals.
    """
    windows = np.stack([x[seen] for _, _, seen in _windows(size, stride, *y.shape[1:3])])
    route[...] = windows.argmax(axis=0)
    y[...] = windows.max(axis=0)


def max_pool_backward(dy, route, size, stride, dx):
    """Gradient of `max_pool`: each maximum's gradient goes where it came from.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    route : ndarray, (N, H', W', C) uint8
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = 0
    for u, v, seen in _windows(size, stride, *dy.shape[1:3]):
        dx[seen] += dy * (route == u * size + v)


def average_pool(x, size, stride, y):
    """Take the mean of each window of size x size positions.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    """
    y[...] = sum(x[seen] for _, _, seen in _windows(size, stride, *y.shape[1:3])) / size**2


def average_pool_backward(dy, size, stride, dx):
    """Gradient of `average_pool`: each window's gradient is shared out evenly.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    dx[...] = 0
    for _, _, seen in _windows(size, stride, *dy.shape[1:3]):
        dx[seen] += dy / size**2


def gram(features, scale, total, guide=None):
    """Add scale G, with the Gram matrix G = F^T F (paper, section 5.2), or of a region F^T diag(g) F, to a matrix.

    Parameters
    ----------
    features : ndarray, (M, C)
        A feature map as a matrix of M positions x C channels.
    scale : float
    total : ndarray, (C, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g, weight of each position, zero or more.
    """
    total += scale * (features.T @ _guided(features, guide))


def gram_backward(features, difference, scale, gradient, guide=None):
    """Add scale F D, or scale diag(g) F D, to the gradient: of 1/4 sum (G - A)^2 that is F (G - A) (section 5.2).

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


def gram_scratch_bytes(positions, channels, dtype):
    """Bytes that `gram_backward` takes for a moment, which is more than `gram` does."""
    return 2 * positions * channels * np.dtype(dtype).itemsize


def channel_sums(features, scale, total, guide=None):
    """Add scale times the sum of each channel over the positions, F^T 1, or over a region F^T g, to a row.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C,), float64
        Changed in place.
    guide : ndarray, (M,), optional
        g, weight of each position, zero or more.
    """
    total += scale * _guided(features, guide).sum(axis=0)


def channel_sums_backward(row, scale, gradient, guide=None):
    """Add scale times the same row, or g times that, to each position of the gradient.

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


def half_squared_distance(a, b=None):
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : ndarray, of the same shape
        Without `b`, it is zero.

    Returns
    -------
    float
    """
    return 0.5 * float(np.sum((a if b is None else a - b) ** 2))


def half_squared_distance_backward(a, b, scale, gradient):
    """Add scale (a - b), the gradient with respect to a, to `gradient` in place.

    Parameters
    ----------
    a, b, gradient : ndarray, of the same shape
    scale : float
    """
    gradient += scale * (a - b)


def total_variation(x):
    """Half the sum of squared differences between neighbours in a column and in a row (section 5.4).

    Parameters
    ----------
    x : ndarray, (H, W, C)

    Returns
    -------
    float
    """
    return 0.5 * float(np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, axis=1) ** 2))


def total_variation_backward(x, scale, gradient):
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


def bias_relu(x, bias, y):
    """Add the bias and cut at zero: y = max(x + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    """
    y[...] = relu(x + bias)


def bias_relu_backward(dy, x, bias, dx, dbias):
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


def batch_norm_relu(x, scale, shift, y, mean, variance):
    """Give each channel mean `shift` and deviation `scale` over the batch and all positions, and cut at zero.

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


def batch_norm_relu_backward(dy, x, scale, shift, mean, variance, dx, dscale, dshift):
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


def upsample(x, factor, y):
    """Repeat each position factor x factor times, as its nearest neighbours.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    factor : int
    y : ndarray, (N, factor H, factor W, C)
        Result.
    """
    y[...] = x.repeat(factor, axis=1).repeat(factor, axis=2)


def upsample_backward(dy, factor, dx):
    """Gradient of `upsample`: each position gets the sum of its copies' gradients.

    Parameters
    ----------
    dy : ndarray, (N, factor H, factor W, C)
    factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    n, height, width, channels = dx.shape
    dx[...] = dy.reshape(n, height, factor, width, factor, channels).sum((2, 4))


def dense(x, weights, bias, y):
    """A dense layer: y = x weights + bias.

    Parameters
    ----------
    x : ndarray, (N, C)
    weights : ndarray, (C, K)
    bias : ndarray, (K,)
    y : ndarray, (N, K)
        Result.
    """
    y[...] = x @ weights + bias


def dense_backward(dy, x, weights, dx, dweights, dbias):
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


def dropout(x, kept, rate, y):
    """Set to zero what is not kept, and scale up the rest so that the mean stays: y = x kept / (1 - rate).

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


dropout_backward = dropout
"""Gradient of `dropout`, which is linear: the same function, of dy."""


def softmax_cross_entropy(scores, labels, smoothing, gradient):
    """Mean over the batch of the cross-entropy between softmax(scores) and the labels, and its gradient.

    Parameters
    ----------
    scores : ndarray, (N, K)
    labels : ndarray, (N,) int
    smoothing : float
        Share of the truth that is spread over all K classes (Szegedy et al. 2016, section 7).
    gradient : ndarray, (N, K)
        Result: (softmax(scores) - truth) / N.

    Returns
    -------
    float
    """
    count, classes = scores.shape
    truth = np.full(scores.shape, smoothing / classes, scores.dtype)
    truth[np.arange(count), labels] += 1 - smoothing
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient[...] = (np.exp(log_softmax) - truth) / count
    return -float(np.sum(truth * log_softmax)) / count


def mean_squared_error(x, target, gradient):
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
