"""The contract of a backend: a module with the functions of `Backend`, `PainterBackend` or `TrainingBackend`.

Feature maps are channels last with the batch in front, (N, H, W, C). A function writes its result into an array that
the caller provides; what it returns as a number is in the memory of the host.

Two small encodings connect each forward pass to its backward pass, in place of the activations:

- a *mask* holds one bit per ReLU output, set where the output is positive; eight neighbouring channels share a byte,
  the lowest channel in the lowest bit: (N, H, W, ceil(C / 8)) uint8,
- a *route* holds one byte per pooled maximum: its position in its window, counted row by row, or `BLOCKED` where a ReLU
  in front of the pool lets nothing through: the shape of the pooled map, uint8.

A convolution can compute a *strip*, some rows of its result. It is then given the rows of its input, or gradient, that
the strip depends on, with the neighbouring rows above and below (the halo), of which `above` says how many are above.
Where there is no neighbour, the map ends.

The Gram matrix, the sums of channels and their gradients take an optional *guide*, which selects a region of the map:
the weight of each position, (M,), zero or more, in the dtype of the features. Without a guide all positions have weight
one. They add to their result, so that a map can be passed in strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


class Convolution(Protocol):
    """Filters and bias of a convolution in the form that a backend works with; made by `Backend.prepare`."""

    @property
    def fuses_pool(self) -> bool:
        """Whether `Backend.conv_relu_pool` accepts this convolution."""
        ...


class DeviceArray(Protocol):
    """An array in the backend's memory: what the network and the losses use of NumPy's arrays.

    It is sliced along the first axis that is longer than one.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Data type of the elements."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice | tuple[slice, ...], /) -> Any: ...

    def __setitem__(self, key: EllipsisType | slice | tuple[slice, ...], value: Any, /) -> None: ...

    def view(self, dtype: DTypeLike, /) -> Any:
        """The same memory as another dtype; of an array with one axis."""
        ...

    def reshape(self, shape: tuple[int, ...], /) -> Any:
        """The same elements in another shape, of which one side may be -1."""
        ...


Array = TypeVar("Array", bound=DeviceArray)
"""The backend's class of arrays: NumPy's, or one of its own."""

Conv = TypeVar("Conv", bound=Convolution)
"""The backend's class of convolutions."""


class Backend(Protocol[Array, Conv]):
    """What a transfer needs of a module, such as `stylecore.kernels.cpu`."""

    @property
    def __name__(self) -> str:
        """Name of the module."""
        ...

    @property
    def STRIP_VALUES(self) -> int:
        """Number of values of a feature map to compute at a time where it is not held as a whole."""
        ...

    # Memory.

    def allocate(self, size: int) -> Array:
        """Memory of `size` bytes with arbitrary content, (size,) uint8; raises MemoryError if there is not enough."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array with arbitrary content."""
        ...

    def upload(self, array: np.ndarray | Array) -> Array:
        """An array of the backend with the content of one of the host; one of the backend may be returned unchanged."""
        ...

    def download(self, array: Array) -> np.ndarray:
        """An array of the host with the content of one of the backend."""
        ...

    def scratch_bytes(self, conv: Conv, positions: tuple[int, ...]) -> int:
        """Bytes of scratch memory that a convolution takes, forward or backward, whichever is more.

        Parameters
        ----------
        conv : Convolution
        positions : tuple of int, (N, H', W')
            Of its output, before a pool.
        """
        ...

    def gram_scratch_bytes(self, positions: int, channels: int, dtype: DTypeLike) -> int:
        """Bytes of scratch memory that `gram` or `gram_backward` takes for a feature map, whichever is more."""
        ...

    def release_scratch(self) -> None:
        """Free the scratch memory of the calling thread, which the functions otherwise keep for the next call."""
        ...

    def available_bytes(self) -> int | None:
        """Bytes that are free in the memory of the device; None if that is the memory of the computer."""
        ...

    # The image.

    def preprocess(self, image: Array, order: Sequence[int], scale: ArrayLike, shift: ArrayLike, out: Array) -> None:
        """Input of the network for an image: its channels reordered, scaled and shifted.

        Parameters
        ----------
        image : Array, (H, W, 3)
        order : sequence of int
            The channel of the image that each input channel of the network is; a permutation that is its own inverse.
        scale, shift : ndarray, (3,)
        out : Array, (1, H, W, 3)
            Result: scale x - shift.
        """
        ...

    def preprocess_backward(self, gradient: Array, order: Sequence[int], scale: ArrayLike) -> Array:
        """Gradient with respect to the image, (H, W, 3), given that with respect to the input of the network.

        Parameters
        ----------
        gradient : Array, (1, H, W, 3)
            May be overwritten.
        order : sequence of int
        scale : ndarray, (3,)
        """
        ...

    def total_variation(self, x: Array) -> float:
        """Half the sum of squared differences between vertical and horizontal neighbours of x, (H, W, C)."""
        ...

    def total_variation_backward(self, x: Array, scale: float, gradient: Array) -> None:
        """Add scale times the gradient of `total_variation` to `gradient`, (H, W, C)."""
        ...

    # The layers of a network.

    def prepare(self, filters: np.ndarray, bias: np.ndarray, stride: int, padding: int, dtype: DTypeLike) -> Conv:
        """Bring a convolution into the form that the functions below take.

        Parameters
        ----------
        filters : ndarray, (k, k, C, K)
        bias : ndarray, (K,)
        stride, padding : int
        dtype : dtype
            Of the feature maps: float32 or float64, as far as the backend computes in it. Only `cpu` takes "bfloat16",
            which stands for maps in float32 and products in bfloat16.
        """
        ...

    def conv_relu(self, x: Array, conv: Conv, y: Array, mask: Array, above: int = 0) -> None:
        """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

        Parameters
        ----------
        x : Array, (N, H, W, C)
        conv : Convolution
        y : Array, (N, H', W', K)
            Result, H' = (H + 2 padding - k) // stride + 1.
        mask : Array, (N, H', W', ceil(K / 8)) uint8
            Result: where y is positive.
        above : int
            Rows of the halo above, if y is a strip.
        """
        ...

    def conv_relu_backward(self, dy: Array, mask: Array, conv: Conv, dx: Array, above: int = 0) -> None:
        """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, back through the convolution.

        Parameters
        ----------
        dy : Array, (N, H', W', K)
        mask : Array, (N, H', W', ceil(K / 8)) uint8
        conv : Convolution
        dx : Array, (N, H, W, C)
            Result.
        above : int
            Rows of the halo of dy above, if dx is a strip.
        """
        ...

    def conv_relu_pool(self, x: Array, conv: Conv, y: Array, route: Array, above: int = 0) -> None:
        """`conv_relu` and a 2 x 2 max pool with stride 2 in one, without the map between them.

        Parameters
        ----------
        x : Array, (N, H, W, C)
        conv : Convolution
            With ``fuses_pool``.
        y : Array, (N, H' // 2, W' // 2, K)
            Result.
        route : Array, (N, H' // 2, W' // 2, K) uint8
            Result: where each maximum was, or `BLOCKED` where it was not positive.
        above : int
            Rows of the halo above, if y is a strip.
        """
        ...

    def conv_relu_pool_backward(self, dy: Array, route: Array, conv: Conv, dx: Array, above: int = 0) -> None:
        """Gradient of `conv_relu_pool` with respect to x.

        Parameters
        ----------
        dy : Array, (N, H' // 2, W' // 2, K)
        route : Array, (N, H' // 2, W' // 2, K) uint8
        conv : Convolution
        dx : Array, (N, H, W, C)
            Result.
        above : int
            Rows of the halo above in the map before the pool, an even number, if dx is a strip.
        """
        ...

    def max_pool(self, x: Array, size: int, stride: int, y: Array, route: Array) -> None:
        """Take the maximum of each window of size x size positions.

        Parameters
        ----------
        x : Array, (N, H, W, C)
        size, stride : int
            From 1 to 15.
        y : Array, (N, H', W', C)
            Result, H' = (H - size) // stride + 1: rows and columns that no whole window covers are dropped.
        route : Array, (N, H', W', C) uint8
            Result: where in its window each maximum was; the first of equal ones.
        """
        ...

    def max_pool_backward(self, dy: Array, route: Array, size: int, stride: int, dx: Array) -> None:
        """Gradient of `max_pool`: the gradient of each maximum goes to where the maximum was.

        Parameters
        ----------
        dy : Array, (N, H', W', C)
        route : Array, (N, H', W', C) uint8
        size, stride : int
        dx : Array, (N, H, W, C)
            Result.
        """
        ...

    def average_pool(self, x: Array, size: int, stride: int, y: Array) -> None:
        """Take the mean of each window of size x size positions.

        Parameters
        ----------
        x : Array, (N, H, W, C)
        size, stride : int
        y : Array, (N, H', W', C)
            Result, H' = (H - size) // stride + 1.
        """
        ...

    def average_pool_backward(self, dy: Array, size: int, stride: int, dx: Array) -> None:
        """Gradient of `average_pool`: the gradient of each window is divided evenly among its positions.

        Parameters
        ----------
        dy : Array, (N, H', W', C)
        size, stride : int
        dx : Array, (N, H, W, C)
            Result.
        """
        ...

    # What the losses need of a feature map, viewed as a matrix of M positions x C channels.

    def gram(self, features: Array, scale: float, total: Array, guide: Array | None = None) -> None:
        """Add scale G to a matrix, where G = F^T F is the Gram matrix, or F^T diag(g) F with a guide g.

        Parameters
        ----------
        features : Array, (M, C)
            F.
        scale : float
        total : Array, (C, C)
            Symmetric; changed in place.
        guide : Array, (M,), optional
        """
        ...

    def gram_backward(
        self, features: Array, difference: Array, scale: float, gradient: Array, guide: Array | None = None
    ) -> None:
        """Add scale F D, or scale diag(g) F D with a guide, to the gradient; that of 1/4 sum (G - A)^2 is F (G - A).

        Parameters
        ----------
        features : Array, (M, C)
        difference : Array, (C, C)
            D, symmetric.
        scale : float
        gradient : Array, (M, C)
            Changed in place.
        guide : Array, (M,), optional
        """
        ...

    def channel_sums(self, features: Array, scale: float, total: Array, guide: Array | None = None) -> None:
        """Add scale times the sum of each channel over the positions, F^T 1, or F^T g with a guide, to a vector.

        Parameters
        ----------
        features : Array, (M, C)
        scale : float
        total : Array, (C,) float64
            Changed in place.
        guide : Array, (M,), optional
        """
        ...

    def channel_sums_backward(self, row: Array, scale: float, gradient: Array, guide: Array | None = None) -> None:
        """Add scale times a row, or scale g times it with a guide, to each position of the gradient.

        Parameters
        ----------
        row : Array, (C,)
            Gradient with respect to the sums.
        scale : float
        gradient : Array, (M, C)
            Changed in place.
        guide : Array, (M,), optional
        """
        ...

    def half_squared_distance(self, a: Array, b: Array | None = None) -> float:
        """Half the sum of squared differences of two arrays of the same shape; without `b`, of `a` and zero."""
        ...

    def half_squared_distance_backward(self, a: Array, b: Array, scale: float, gradient: Array) -> None:
        """Add scale (a - b), the gradient with respect to a, to `gradient` in place; all of the same shape."""
        ...


class PainterBackend(Backend[Array, Conv], Protocol[Array, Conv]):
    """What a painter needs besides, at work and for the gradients of its training."""

    def convolve(self, x: Array, conv: Conv, y: Array) -> None:
        """Convolve without bias: y = x * filters; x is (N, H, W, C) and y (N, H', W', K)."""
        ...

    def convolve_backward(self, dy: Array, conv: Conv, dx: Array) -> None:
        """Gradient of `convolve` with respect to x, in `dx`, (N, H, W, C)."""
        ...

    def convolve_backward_filters(self, x: Array, dy: Array, conv: Conv, dfilters: Array) -> None:
        """Gradient of `convolve` with respect to the filters, in `dfilters`, (k, k, C, K)."""
        ...

    def instance_norm(
        self, x: Array, scale: Array, shift: Array, relu: bool, y: Array, mean: Array, variance: Array
    ) -> None:
        """Normalise each channel of each image to mean `shift` and deviation `scale`, and apply the ReLU if `relu`.

        Parameters
        ----------
        x : Array, (N, H, W, C)
        scale, shift : Array, (N, C)
        relu : bool
        y : Array, (N, H, W, C)
            Result.
        mean, variance : Array, (N, C) float64
            Results, of x, over its positions.
        """
        ...

    def instance_norm_backward(
        self,
        dy: Array,
        x: Array,
        scale: Array,
        shift: Array,
        relu: bool,
        mean: Array,
        variance: Array,
        dx: Array,
        dscale: Array,
        dshift: Array,
    ) -> None:
        """Gradient of `instance_norm` with respect to x, scale and shift; dx may be dy itself."""
        ...

    def row_sums(self, x: Array, sums: Array) -> None:
        """Sums of x and of x^2 over each row of a map: x is (1, H, W, C), and sums (H, 2, C) float64."""
        ...

    def scale_shift(self, x: Array, factor: Array, offset: Array, relu: bool, y: Array) -> None:
        """Scale and shift each channel by (C,) and maybe apply the ReLU; x and y are (1, H, W, C), and may be one."""
        ...

    def add(self, x: Array, y: Array) -> None:
        """Add x to y in place, as the end of a residual block; the gradient passes to both unchanged."""
        ...

    def sigmoid(self, x: Array, y: Array) -> None:
        """Logistic function: y = 1 / (1 + exp(-x)); y may be x itself."""
        ...

    def sigmoid_backward(self, dy: Array, y: Array, dx: Array) -> None:
        """Gradient of `sigmoid`, given its result y; dx may be dy itself."""
        ...

    def pad_reflected(
        self, x: Array, padding: int, factor: int, y: Array, top: int = 0, begin: int = 0, height: int | None = None
    ) -> None:
        """Repeat each position factor x factor times, then reflect the map at its borders.

        Parameters
        ----------
        x : Array, (N, H, W, C)
        padding : int
            Rows and columns to add on each side; fewer than the upsampled map has.
        factor : int
        y : Array, (N, factor H + 2 padding, factor W + 2 padding, C)
            Result, or a strip of it.
        top : int
            Row of the whole result that y begins with, if it is a strip.
        begin : int
            Row of the whole map that x begins with, if it holds no more than the strip depends on.
        height : int, optional
            Rows of the whole map; by default those of x.
        """
        ...

    def pad_reflected_backward(self, dy: Array, padding: int, factor: int, dx: Array) -> None:
        """Gradient of `pad_reflected` for a whole map: the sum of the gradients of all that shows a position."""
        ...

    def upsample(self, x: Array, factor: int, y: Array) -> None:
        """Repeat each position factor x factor times: y is (N, factor H, factor W, C)."""
        ...

    def upsample_backward(self, dy: Array, factor: int, dx: Array) -> None:
        """Gradient of `upsample`: the sum of the gradients of a position's copies."""
        ...


class TrainingBackend(PainterBackend[Array, Conv], Protocol[Array, Conv]):
    """What training a network needs besides; `reference` and `cpu` have it."""

    def bias_relu(self, x: Array, bias: Array, y: Array) -> None:
        """Add the bias, (C,), and apply the ReLU: y = max(x + bias, 0); x and y are (N, H, W, C)."""
        ...

    def bias_relu_backward(self, dy: Array, x: Array, bias: Array, dx: Array, dbias: Array) -> None:
        """Gradient of `bias_relu` with respect to x and bias, in `dx`, which may be dy itself, and `dbias`."""
        ...

    def batch_norm_relu(self, x: Array, scale: Array, shift: Array, y: Array, mean: Array, variance: Array) -> None:
        """Normalise each channel over the batch and all positions, scale, shift and apply the ReLU.

        y = max(scale (x - mean) / sqrt(variance + `EPSILON`) + shift, 0).

        Parameters
        ----------
        x : Array, (N, H, W, C)
        scale, shift : Array, (C,)
        y : Array, (N, H, W, C)
            Result.
        mean, variance : Array, (C,) float64
            Results, of x.
        """
        ...

    def batch_norm_relu_backward(
        self,
        dy: Array,
        x: Array,
        scale: Array,
        shift: Array,
        mean: Array,
        variance: Array,
        dx: Array,
        dscale: Array,
        dshift: Array,
    ) -> None:
        """Gradient of `batch_norm_relu` with respect to x, scale and shift.

        Parameters
        ----------
        dy, x : Array, (N, H, W, C)
        scale, shift, mean, variance : Array, (C,)
        dx : Array, (N, H, W, C)
            Result; may be dy itself.
        dscale, dshift : Array, (C,)
            Results.
        """
        ...

    def dense(self, x: Array, weights: Array, bias: Array, y: Array) -> None:
        """Apply a dense layer: y = x weights + bias, of the shapes (N, C), (C, K), (K,) and (N, K)."""
        ...

    def dense_backward(self, dy: Array, x: Array, weights: Array, dx: Array, dweights: Array, dbias: Array) -> None:
        """Gradient of `dense` with respect to x, weights and bias, in `dx`, `dweights` and `dbias`."""
        ...

    def dropout(self, x: Array, kept: Array, rate: float, y: Array) -> None:
        """Set values that are not kept to zero, and scale the others so that the mean stays: y = x kept / (1 - rate).

        Parameters
        ----------
        x : Array
        kept : Array of bool
            Drawn by the caller: true with probability 1 - rate.
        rate : float
            In [0, 1).
        y : Array
            Result; may be x itself.
        """
        ...

    def dropout_backward(self, dy: Array, kept: Array, rate: float, dx: Array) -> None:
        """Gradient of `dropout` with respect to x, in `dx`, which may be dy itself."""
        ...

    def softmax_cross_entropy(self, scores: Array, labels: Array, smoothing: float, gradient: Array) -> float:
        """Mean over the batch of the cross-entropy of softmax(scores) with the labels, and its gradient.

        Parameters
        ----------
        scores : Array, (N, K)
        labels : Array, (N,) int
        smoothing : float
            In [0, 1): share of the target that is spread evenly over all K classes.
        gradient : Array, (N, K)
            Result.
        """
        ...

    def mean_squared_error(self, x: Array, target: Array, gradient: Array) -> float:
        """Mean of (x - target)^2, and its gradient with respect to x, in `gradient`."""
        ...


if TYPE_CHECKING:  # A type checker finds whether each module has what is asked of it.
    from stylecore.kernels import cpu, cuda, reference

    _REFERENCE: TrainingBackend[np.ndarray, reference.Convolution] = reference
    _CPU: TrainingBackend[np.ndarray, cpu.Convolution] = cpu
    _CUDA: PainterBackend[cuda.Array, cuda.Convolution] = cuda
