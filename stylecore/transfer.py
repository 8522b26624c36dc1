"""Style transfer: an image that has the content of one picture and the style of another."""

import time
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple

import numpy as np

from stylecore import images, memory
from stylecore.errors import ParameterError, StylecoreError, TooLargeError
from stylecore.messages import near_matches
from stylecore.network import Plan
from stylecore.objective import Objective, checked_layers, chosen_layers, evaluation_bytes, load_network
from stylecore.optimizers import BYTES_PER_VALUE, OPTIMIZERS, Stopped
from stylecore.version import __version__


class Evaluation(NamedTuple):
    """One evaluation of the loss, as the history and the callback see it.

    Attributes
    ----------
    number : int
        Counted from 1 over all scales.
    size : tuple of int
        (height, width) of the scale.
    loss : float
    terms : dict of str to float
        The paper's terms that carry a weight, unweighted.
    seconds : float
        Since the start of the transfer.
    """

    number: int
    size: tuple
    loss: float
    terms: dict
    seconds: float


@dataclass
class Result:
    """What a transfer made.

    Attributes
    ----------
    array : ndarray, (H, W, 3)
        The picture, sRGB in [0, 1].
    alpha : ndarray, (H, W), or None
        The content image's transparency.
    history : list of Evaluation
    settings : dict
        The settings of the run, as they are stored with the picture.
    stopped : bool
        Whether the callback ended the run early.
    """

    array: np.ndarray
    alpha: np.ndarray | None
    history: list
    settings: dict
    stopped: bool = field(default=False)

    @property
    def image(self):
        """The picture as a PIL image."""
        return images.to_pil(self.array, self.alpha)

    def save(self, path):
        """Write the picture, with an sRGB profile and the settings of the run in its metadata.

        Parameters
        ----------
        path : str or path
            Ends in .png, .jpg, .webp or .tif (16 bit).

        Raises
        ------
        ImageError
            If it cannot be written; then nothing is left behind.
        """
        images.write_image(path, self.array, alpha=self.alpha, settings=self.settings)


def transfer(
    content,
    style,
    *,
    size=512,
    iterations=200,
    init="content",
    seed=0,
    pyramid=3,
    optimizer="lbfgs",
    network="vgg19",
    content_layers=None,
    style_layers=None,
    content_weight=1.0,
    style_weight=20.0,
    regularization_weight=0.0,
    tv_weight=20.0,
    layer_weights="relative",
    style_scale=1.0,
    pooling="max",
    device="cpu",
    dtype="float32",
    callback=None,
    progress=False,
):
    """Make a picture with the content of one image and the style of another.

    Parameters
    ----------
    content, style : path, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1].
    size : int
        Longer side of the result, in pixels.
    iterations : int
        Evaluations of the loss over all scales; see `schedule` for how they are divided.
    init : {"content", "noise"}, path, PIL image or array
        What to start from: the content image, white noise as in the paper, or an image of one's own.
    seed : int
        Of the white noise.
    pyramid : int
        Number of scales, each twice the size of the one before; 1 works at the final size only.
    optimizer : {"lbfgs", "adam"}
    network, content_layers, style_layers, content_weight, style_weight, regularization_weight, tv_weight, \
layer_weights, pooling, device, dtype
        As `Objective` takes them.
    style_scale : float
        Longer side of the style image relative to the result's: above 1 for larger strokes. The style image is never
        enlarged beyond its own size.
    callback : callable, optional
        Called as ``callback(evaluation, image)`` after each evaluation, with an `Evaluation` and the image (H, W, 3)
        it was made at; the run ends early when it returns something true.
    progress : bool
        Whether to show a progress bar with the loss, the scale and the time left.

    Returns
    -------
    Result

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If a setting is out of its range, or the size is too small for the layers.
    TooLargeError
        If the work would need more memory than there is; says which size would fit.
    WeightsError
        If the network's weights cannot be had.

    References
    ----------
    Gatys, Ecker and Bethge (2016), "Image Style Transfer Using Convolutional Neural Networks", CVPR.

    Examples
    --------
    >>> import stylecore
    >>> from stylecore.samples import PAINTING, PHOTOGRAPH
    >>> result = stylecore.transfer(PHOTOGRAPH, PAINTING, size=128, iterations=10, pyramid=1)
    >>> result.image.size
    (128, 96)
    """
    content_layers, style_layers = chosen_layers(network, content_layers, style_layers)
    content_layers = checked_layers("content_layers", content_layers)
    style_layers = checked_layers("style_layers", style_layers)
    settings = _settings(locals())
    _check_count("size", size)
    _check_count("iterations", iterations)
    _check_count("pyramid", pyramid)
    if not (isinstance(style_scale, Real) and 0 < style_scale < np.inf):
        raise ParameterError(f"style_scale is {style_scale!r}; it must be a number above zero.")
    if optimizer not in OPTIMIZERS:
        raise ParameterError(f'optimizer "{optimizer}" is not known{near_matches(optimizer, list(OPTIMIZERS))}.')
    content, alpha = images.read_image(content, name="content image")
    style, _ = images.read_image(style, name="style image")
    shape = images.fit(content.shape, size)
    x = _start(init, content, seed)
    network = load_network(network, device, pooling, dtype, [*content_layers, *style_layers])
    options = {
        "network": network,
        "content_layers": content_layers,
        "style_layers": style_layers,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "regularization_weight": regularization_weight,
        "tv_weight": tv_weight,
        "layer_weights": layer_weights,
    }
    scales = schedule(shape, iterations, pyramid, network.smallest_size([*content_layers, *style_layers]))

    def predict(shape):
        style_shape = _style_shape(style, max(shape) * style_scale)
        return predicted_bytes(network, content_layers, style_layers, shape, style_shape, optimizer)

    _check_memory(predict, shape)

    run = _Run(sum(count for _, count in scales), callback, progress)
    with run:
        for scale, count in scales:
            objective = Objective(
                images.resize(content, scale),
                images.resize(style, _style_shape(style, max(scale) * style_scale)),
                **options,
            )
            x = images.resize(x, scale) if x is not None else _noise(scale, seed)
            x = OPTIMIZERS[optimizer](run.watch(objective), x, count)
            if run.stopped:
                break
    if alpha is not None:
        alpha = images.resize(alpha, shape)
    return Result(images.resize(x, shape), alpha, run.history, settings, run.stopped)


def schedule(shape, iterations, pyramid, smallest):
    """Scales of a coarse-to-fine run and the evaluations at each.

    Large shapes are found at the small scales, where an evaluation costs little, and only detail is left for the
    large ones: each scale gets two thirds of the evaluations of the one before.

    Parameters
    ----------
    shape : tuple of int
        (height, width) of the result.
    iterations : int
        Evaluations over all scales.
    pyramid : int
        Scales, each twice the size of the one before; those too small for the network are left out, and the smallest
        if there are fewer evaluations than scales.
    smallest : int
        Shortest side that reaches the network's deepest layer.

    Returns
    -------
    list of ((height, width), evaluations)
        From the smallest scale to `shape`.
    """
    longer = max(shape)
    # After as many halvings as the size has binary digits there is nothing left.
    sizes = [images.fit(shape, round(longer / 2**i)) for i in range(1, min(pyramid, int(longer).bit_length()))]
    # A scale at which the deepest layer is only a few positions wide tells nothing of the style.
    sizes = [shape, *(size for size in sizes if min(size) >= 4 * smallest)][:iterations]
    shares = np.array([1.5**i for i in range(len(sizes))])
    counts = 1 + np.floor((iterations - len(sizes)) * shares / shares.sum()).astype(int)
    counts[-1] += iterations - counts.sum()
    return [(size, int(count)) for size, count in zip(sizes, counts, strict=True)][::-1]


class _Run:
    """Keeps the history, shows the progress and asks the callback whether to go on."""

    def __init__(self, evaluations, callback, progress):
        self.history = []
        self.stopped = False
        self._evaluations = evaluations
        self._callback = callback
        self._progress = progress
        self._bar = None
        self._began = time.perf_counter()

    def __enter__(self):
        if self._progress:
            from tqdm import tqdm

            self._bar = tqdm(total=self._evaluations, unit="step", dynamic_ncols=True)
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.close()

    def watch(self, objective):
        """The objective as the optimiser sees it, with every evaluation noted."""

        def evaluate(x):
            if self.stopped:
                raise Stopped
            loss, gradient, terms = objective.evaluate(x)
            if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                raise StylecoreError(
                    f"the loss or its gradient is not finite at evaluation {len(self.history) + 1}; lower the weights."
                )
            self._note(loss, terms, x)
            return loss, gradient

        return evaluate

    def _note(self, loss, terms, x):
        seconds = time.perf_counter() - self._began
        self.history.append(Evaluation(len(self.history) + 1, x.shape[:2], loss, terms, seconds))
        if self._bar is not None:
            height, width = x.shape[:2]
            self._bar.set_postfix_str(f"{width} x {height}, loss {loss:.4g}")
            self._bar.update()
        self.stopped = bool(self._callback is not None and self._callback(self.history[-1], x))


def _settings(arguments):
    """The arguments of `transfer` that shape the picture, in a form that can be stored with it."""
    shaping = {name: value for name, value in arguments.items() if name not in ("callback", "progress")}
    return {"stylecore": __version__, **_storable(shaping)}


def _storable(value):
    if isinstance(value, dict):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    return str(value) if hasattr(value, "__fspath__") else f"a {type(value).__name__}"


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ParameterError(f"{name} is {value!r}; it must be a whole number of one or more.")


def _start(init, content, seed):
    """The image to start from; None for noise, which is drawn at the first scale's size."""
    if isinstance(init, str) and init == "noise":
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ParameterError(f"seed is {seed!r}; it must be a whole number of zero or more.")
        return None
    if isinstance(init, str) and init == "content":
        return content
    return images.read_image(init, name="initial image")[0]


def _noise(shape, seed):
    return np.random.default_rng(seed).random((*shape, 3), np.float32)


def _style_shape(style, longer_side):
    """(height, width) of the style image at a size, never larger than it is."""
    return images.fit(style.shape, max(1, round(min(longer_side, max(style.shape)))))


def predicted_bytes(network, content_layers, style_layers, shape, style_shape, optimizer):
    """Memory that a transfer takes at its largest scale, beyond the images and the network themselves.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgs", "adam"}

    Returns
    -------
    int
        Bytes.
    """
    evaluation = evaluation_bytes(network, content_layers, style_layers, *shape)
    if style_layers:
        network.check_size(*style_shape, style_layers, "style image")
    analysis = Plan(network, *style_shape, style_layers, gradient=False) if style_layers else None
    optimiser = BYTES_PER_VALUE[optimizer] * 3 * shape[0] * shape[1]
    return max(evaluation + optimiser, analysis.bytes + analysis.scratch_bytes if analysis else 0)


def _check_memory(predict, shape):
    """Raise TooLargeError, naming a size that fits, if a picture of this shape does not."""
    free = memory.available()
    if free is None or predict(shape) <= free:
        return
    fitting = _fitting_size(predict, shape, free)
    raise TooLargeError(
        f"a picture of {shape[1]} x {shape[0]} pixels needs {predict(shape) / 2**30:.1f} GB of memory and "
        f"{free / 2**30:.1f} GB are free; "
        + (f"a size of {fitting} would fit." if fitting else "no smaller size would fit, so end other programs.")
    )


def _fitting_size(predict, shape, free):
    """Largest size at which a picture of this shape fits, where that size itself does not; None if none does."""
    fitting, small, large = None, 0, max(shape)
    while large - small > 1:
        middle = (small + large) // 2
        try:
            if predict(images.fit(shape, middle)) <= free:
                fitting = small = middle
            else:
                large = middle
        except ParameterError:  # Too small for the network.
            small = middle
    return fitting
