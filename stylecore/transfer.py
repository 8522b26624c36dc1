"""Style transfer: an image that has the content of one picture and the style of another."""

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import numpy as np

from stylecore import checkpoint as checkpoints
from stylecore import images, memory
from stylecore.errors import ParameterError, StylecoreError, TooLargeError
from stylecore.messages import near_matches
from stylecore.network import Plan
from stylecore.objective import (
    CONTENT_LAYERS,
    STYLE_LAYERS,
    Objective,
    checked_blend,
    checked_layers,
    checked_style_loss,
    evaluation_bytes,
    load_network,
    read_styles,
)
from stylecore.optimizers import BYTES_PER_VALUE, OPTIMIZERS, Stopped
from stylecore.regions import read_regions
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
    style_blend=None,
    regions=None,
    labels=None,
    style_loss="gram",
    size=512,
    iterations=200,
    init="content",
    seed=0,
    pyramid=3,
    optimizer="lbfgs",
    averaging=0.0,
    network="vgg19",
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
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
    checkpoint=None,
):
    """Make a picture with the content of one image and the style of another, or of several.

    Parameters
    ----------
    content : path, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1].
    style : path, PIL image or array, or list or tuple of these
    style_blend, regions, labels, style_loss
        As `Objective` takes them.
    size : int
        Longer side of the result, in pixels.
    iterations : int or sequence of int
        Evaluations of the loss over all scales, see `schedule` for how they are divided; or at each scale.
    init : {"content", "noise"}, path, PIL image or array
        What to start from: the content image, white noise as in the paper, or an image of one's own.
    seed : int
        Of the white noise.
    pyramid : int or sequence of int
        Number of scales, each twice the size of the one before, 1 works at the final size only; or the longer sides
        of the scales before the final one, in pixels.
    optimizer : {"lbfgs", "adam", "scipy"}
        Limited-memory BFGS; Adam; or SciPy's L-BFGS-B, which takes more time and memory for the same.
    averaging : float
        In [0, 1): at each scale the result is the average of the iterates, in which each counts this much less than
        the one after it (such as 0.95, for calmer pictures with Adam). 0 takes the image of the lowest loss.
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
    checkpoint : path or Checkpoint, optional
        File that the state of the run is written to every ten seconds, or as the `Checkpoint` says. If it is there
        already, from the same run, the run goes on from it; see also `resume`. It stays when the run ends.

    Returns
    -------
    Result

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If a setting is out of its range, the size is too small for the layers, or masks do not fit the images.
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
    content_layers = checked_layers("content_layers", content_layers)
    style_layers = checked_layers("style_layers", style_layers)
    arguments = {name: value for name, value in locals().items() if name not in _NOT_SETTINGS}
    settings = {"stylecore": __version__, **_storable(arguments)}
    _check_count("size", size)
    for name, value in (("iterations", iterations), ("pyramid", pyramid)):
        for count in value if isinstance(value, list | tuple) else [value]:
            _check_count(name, count)
    if not (isinstance(style_scale, Real) and 0 < style_scale < np.inf):
        raise ParameterError(f"style_scale is {style_scale!r}; it must be a number above zero.")
    if optimizer not in OPTIMIZERS:
        raise ParameterError(f'optimizer "{optimizer}" is not known{near_matches(optimizer, list(OPTIMIZERS))}.')
    if not (isinstance(averaging, Real) and 0 <= averaging < 1):
        raise ParameterError(f"averaging is {averaging!r}; it must be a number from zero to below one.")
    run = _Run(callback, progress, _checked_checkpoint(checkpoint, optimizer), arguments)
    content, alpha = images.read_image(content, name="content image")
    styles = read_styles(style)
    checked_blend(style_blend, len(styles))
    regions = read_regions(regions, labels, content, styles)
    shape = images.fit(content.shape, size)
    x = _start(init, content, seed)
    network = load_network(network, device, pooling, dtype, [*content_layers, *style_layers])
    options = {
        "style_blend": style_blend,
        "regions": regions,
        "style_loss": checked_style_loss(style_loss),
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
        more = optimizer, style_loss, len(regions)
        style_shapes = [_style_shape(style, max(shape) * style_scale) for style in styles]
        return max(predicted_bytes(network, content_layers, style_layers, shape, s, *more) for s in style_shapes)

    _check_memory(predict, shape)

    with run.over(scales):
        for scale, count in scales[run.first :]:
            objective = Objective(
                images.resize(content, scale),
                [images.resize(style, _style_shape(style, max(scale) * style_scale)) for style in styles],
                **options,
            )
            x = images.resize(x, scale) if x is not None else _noise(scale, seed)
            x = run.minimize(objective, OPTIMIZERS[optimizer](x, count, averaging))
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
    iterations : int or sequence of int
        Evaluations over all scales, or at each.
    pyramid : int or sequence of int
        Scales, each twice the size of the one before; those too small for the network are left out, and the smallest
        if there are fewer evaluations than scales. Or the longer sides of all scales but the last.
    smallest : int
        Shortest side that reaches the network's deepest layer.

    Returns
    -------
    list of ((height, width), evaluations)
        From the smallest scale to `shape`.

    Raises
    ------
    ParameterError
        If the longer sides do not rise to that of the result, or there are not as many scales as evaluations of each.
    """
    if isinstance(pyramid, list | tuple):
        sizes = [shape, *(images.fit(shape, side) for side in reversed(pyramid))]
        if any(larger <= smaller for smaller, larger in pairwise([*pyramid, max(shape)])):
            sides = ", ".join(map(str, pyramid))
            raise ParameterError(
                f"the scales {sides} do not rise to the result's {max(shape)} px; leave out the larger."
            )
    else:
        # After as many halvings as the size has binary digits there is nothing left.
        longer, count = max(shape), min(pyramid, int(max(shape)).bit_length())
        sizes = [shape, *(images.fit(shape, round(longer / 2**i)) for i in range(1, count))]
        # A scale at which the deepest layer is only a few positions wide tells nothing of the style.
        sizes = [shape, *(size for size in sizes[1:] if min(size) >= 4 * smallest)]
    if isinstance(iterations, list | tuple):
        if len(iterations) != len(sizes):
            sides = ", ".join(str(max(size)) for size in reversed(sizes))
            raise ParameterError(
                f"iterations are given for {len(iterations)} scales and there are {len(sizes)}, of {sides} px; give "
                "one number for each, or one for all together."
            )
        return list(zip(reversed(sizes), map(int, iterations), strict=True))
    sizes = sizes[:iterations]
    shares = np.array([1.5**i for i in range(len(sizes))])
    counts = 1 + np.floor((iterations - len(sizes)) * shares / shares.sum()).astype(int)
    counts[-1] += iterations - counts.sum()
    return [(size, int(count)) for size, count in zip(sizes, counts, strict=True)][::-1]


class _Run:
    """Keeps the history and the checkpoint, shows the progress and asks the callback whether to go on.

    Attributes
    ----------
    first : int
        Number of the scale to begin with; that of the checkpoint, if there is one.
    """

    def __init__(self, callback, progress, checkpoint, arguments):
        self.history = []
        self.stopped = False
        self._callback = callback
        self._progress = progress
        self._checkpoint = checkpoint
        self._bar = None
        self._saved = checkpoint.begin(arguments) if checkpoint else None
        self.first = self._scale = 0
        if self._saved:
            self.history = [Evaluation(number, tuple(size), *more) for number, size, *more in self._saved["history"]]
            self.first = self._scale = self._saved["scale"]

    @contextmanager
    def over(self, scales):
        """Show the progress over these scales inside the ``with`` block, and count the time from here on."""
        self._began = time.perf_counter() - (self.history[-1].seconds if self.history else 0.0)
        if self._progress:
            from tqdm import tqdm

            total = sum(count for _, count in scales)
            self._bar = tqdm(total=total, initial=len(self.history), unit="step", dynamic_ncols=True)
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.close()

    def minimize(self, objective, optimizer):
        """Minimise at a scale, from the checkpoint's state on if it is of this scale; returns the image reached."""
        if self._saved and self._scale == self.first:
            self._checkpoint.restore(optimizer)
        optimizer.run(self._watched(objective), lambda: self._save(optimizer))
        if not self.stopped:
            self._save(optimizer, now=True)
        self._scale += 1
        return optimizer.image

    def _save(self, optimizer, now=False):
        if self._checkpoint:
            self._checkpoint.write(optimizer, self._scale, self.history, now=now)

    def _watched(self, objective):
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


def resume(path, *, callback=None, progress=False):
    """Go on with a run from its checkpoint, to the same picture, bit for bit, that it would have made.

    Parameters
    ----------
    path : str or path
        File that `transfer` wrote; it is written on.
    callback, progress
        As `transfer` takes them.

    Returns
    -------
    Result

    Raises
    ------
    StylecoreError
        If the file is missing, damaged or of another version, or an input has changed since; and as `transfer` does.
    """
    arguments, checkpoint = checkpoints.read(path)
    return transfer(**arguments, callback=callback, progress=progress, checkpoint=checkpoint)


# The arguments of `transfer` that do not shape the picture.
_NOT_SETTINGS = ("callback", "progress", "checkpoint")


def _checked_checkpoint(checkpoint, optimizer):
    if checkpoint is None:
        return None
    if not OPTIMIZERS[optimizer].resumable:
        raise ParameterError(
            f'optimizer "{optimizer}" cannot be resumed from a checkpoint, as it keeps its pairs to itself; choose '
            '"lbfgs" or "adam".'
        )
    return checkpoint if isinstance(checkpoint, checkpoints.Checkpoint) else checkpoints.Checkpoint(checkpoint)


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


def predicted_bytes(network, content_layers, style_layers, shape, style_shape, optimizer, style_loss="gram", regions=1):
    """Memory that a transfer takes at its largest scale, beyond the images and the network themselves.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgs", "adam"}
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int

    Returns
    -------
    int
        Bytes.
    """
    evaluation = evaluation_bytes(network, content_layers, style_layers, *shape, style_loss, regions)
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
