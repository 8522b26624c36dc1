"""Style transfer: an image that has the content of one picture and the style of another."""

import inspect
from dataclasses import dataclass, field
from functools import partial
from numbers import Real

import numpy as np

from stylecore import memory
from stylecore.budget import GPU_MEMORY, check_memory, predicted_bytes
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.network import load_network
from stylecore.objective import Objective, checked_blend, checked_layers, checked_style_loss, chosen_layers, read_styles
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures import colour as colours
from stylecore.pictures import geometry as images
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.reading import read_image
from stylecore.pictures.tones import suited_style_weight
from stylecore.pictures.writing import write_image
from stylecore.regions import crop_regions, read_regions
from stylecore.runs import checkpoint as checkpoints
from stylecore.runs.run import Run
from stylecore.runs.watching import NotebookPicture, together
from stylecore.schedule import schedule
from stylecore.version import __version__

STYLE_PYRAMIDS = ("scaled", "full")


@dataclass
class Result:
    """What a transfer made.

    Attributes
    ----------
    array : ndarray, (H, W, 3)
        The picture, sRGB in [0, 1].
    alpha : ndarray, (H, W), or None
        The content image's transparency.
    history : History
        List of `Evaluation`; ``history.columns()`` gives it as columns.
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
        return to_pil(self.array, self.alpha)

    def __repr__(self):
        height, width = self.array.shape[:2]
        return f"<Result of {width} x {height} pixels after {len(self.history)} evaluations>"

    def _repr_png_(self):
        """The picture as a notebook shows it."""
        return self.image._repr_png_()

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
        write_image(path, self.array, alpha=self.alpha, settings=self.settings)


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
    content_layers=None,
    style_layers=None,
    content_weight=1.0,
    style_weight=20.0,
    regularization_weight=0.0,
    tv_weight=20.0,
    layer_weights="relative",
    style_scale=1.0,
    style_pyramid="scaled",
    colour="style",
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
    size : int, (int, int) or str
        Of the result: its longer side in pixels; its width and height, to whose aspect the content image is cropped
        about its middle; or a factor of the content image's size, such as "1.5x".
    iterations : int or sequence of int
        Evaluations of the loss over all scales, see `schedule` for how they are divided; or at each scale.
    init : {"content", "noise"}, path, PIL image or array
        What to start from: the content image, white noise as in the paper, or an image of one's own, cropped to the
        result's aspect. With ``pyramid=1``, a finished picture is so continued at a larger size.
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
        As `Objective` takes them; ``style_weight="auto"`` takes 20, and less where most of the style image is nearly
        one dark tone (see `stylecore.pictures.tones.auto_style_weight`).
    style_scale : float
        Longer side of the style image relative to the result's: above 1 for larger strokes. The style image is never
        enlarged beyond its own size.
    style_pyramid : {"scaled", "full"}
        Whether the style image shrinks with the picture at the smaller scales, so that the same strokes are found at
        each, or keeps its full size at all of them, so that the small scales lay out large strokes.
    colour : {"style", "content", "match", "histogram"}
        Whose colours the picture gets: those of the style image; those of the content image, place by place, so that
        only luminance is transferred; or those of the content image by changing the style image beforehand, to its
        mean and covariance or to its histograms (extra ``colour``). See `stylecore.pictures.colour`.
    callback : callable, optional
        Called as ``callback(evaluation, image)`` after each evaluation, with an `Evaluation` and the image (H, W, 3)
        it was made at, in the colours that the picture would have; the run ends early when it returns something true.
    progress : bool or "notebook"
        Whether to show a progress bar with the loss, the scale and the time left; in a notebook, "notebook" shows the
        picture too as it grows (extra ``notebook``).
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
    content_layers, style_layers = chosen_layers(network, content_layers, style_layers)
    content_layers = checked_layers("content_layers", content_layers)
    style_layers = checked_layers("style_layers", style_layers)
    arguments = {name: value for name, value in locals().items() if name not in _NOT_SETTINGS}
    arguments.update(content_layers=_as_named(content_layers), style_layers=_as_named(style_layers))
    settings = {"stylecore": __version__, **_storable(arguments)}
    for name, value in (("iterations", iterations), ("pyramid", pyramid)):
        for count in value if isinstance(value, list | tuple) else [value]:
            _check_count(name, count)
    if not (isinstance(style_scale, Real) and 0 < style_scale < np.inf):
        raise ParameterError(f"style_scale is {style_scale!r}; it must be a number above zero.")
    if optimizer not in OPTIMIZERS:
        raise ParameterError(f'optimizer "{optimizer}" is not known{near_matches(optimizer, list(OPTIMIZERS))}.')
    if not (isinstance(averaging, Real) and 0 <= averaging < 1):
        raise ParameterError(f"averaging is {averaging!r}; it must be a number from zero to below one.")
    if style_pyramid not in STYLE_PYRAMIDS:
        raise ParameterError(f'style_pyramid "{style_pyramid}" is not known; choose "scaled" or "full".')
    colours.check(colour)
    if progress not in (True, False, "notebook"):
        raise ParameterError(f'progress is {progress!r}; it must be True, False or "notebook".')
    if progress == "notebook":
        callback = together(callback, NotebookPicture())
    run = Run(callback, progress, _checked_checkpoint(checkpoint, optimizer), arguments)
    content, alpha = read_image(content, name="content image")
    styles = read_styles(style)
    checked_blend(style_blend, len(styles))
    shape = images.shape_for(size, content.shape)
    regions = crop_regions(read_regions(regions, labels, content, styles), shape)
    content = images.crop(content, shape)
    seen, styles = colours.prepare(colour, content, styles)
    style_weight = settings["style_weight"] = suited_style_weight(style_weight, styles)
    x = _start(init, seen, seed)
    if x is not None:  # It may be a finished picture with the content's colours, which the network is not to see.
        x, _ = colours.prepare(colour, images.crop(x, shape), [])
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
        needs = [predicted_bytes(network, content_layers, style_layers, shape, s, *more) for s in style_shapes]
        return {kind: max(need[kind] for need in needs) for kind in needs[0]}

    check_memory(predict, shape, {"memory": memory.available(), GPU_MEMORY: network.backend.available_bytes()})

    with run.over(scales):
        for scale, count in scales[run.first :]:
            style_side = max(scale if style_pyramid == "scaled" else shape) * style_scale
            objective = Objective(
                images.resize(seen, scale),
                [images.resize(style, _style_shape(style, style_side)) for style in styles],
                **options,
            )
            x = images.resize(x, scale) if x is not None else _noise(scale, seed)
            finish = partial(colours.restore, colour, content=images.resize(content, scale))
            x = run.minimize(objective, OPTIMIZERS[optimizer](x, count, averaging), finish)
            if run.stopped:
                break
    x = colours.restore(colour, images.resize(x, shape), images.resize(content, shape))
    if alpha is not None:
        alpha = images.resize(images.crop(alpha, shape), shape)
    return Result(x, alpha, run.history, settings, run.stopped)


# The arguments of `transfer` that do not shape the picture.
_NOT_SETTINGS = ("callback", "progress", "checkpoint")


SETTINGS = {
    name: parameter.default
    for name, parameter in inspect.signature(transfer).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in _NOT_SETTINGS
}

"""The settings of `transfer` with their defaults."""


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


def _checked_checkpoint(checkpoint, optimizer):
    if checkpoint is None:
        return None
    if not OPTIMIZERS[optimizer].resumable:
        raise ParameterError(
            f'optimizer "{optimizer}" cannot be resumed from a checkpoint, as it keeps its pairs to itself; choose '
            '"lbfgs" or "adam".'
        )
    return checkpoint if isinstance(checkpoint, checkpoints.Checkpoint) else checkpoints.Checkpoint(checkpoint)


def _as_named(layers):
    """Layers with their weights, or their names alone where all weights are 1."""
    return layers if any(weight != 1 for weight in layers.values()) else list(layers)


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
    return read_image(init, name="initial image")[0]


def _noise(shape, seed):
    return np.random.default_rng(seed).random((*shape, 3), np.float32)


def _style_shape(style, longer_side):
    """(height, width) of the style image at a size, never larger than it is."""
    return images.fit(style.shape, max(1, round(min(longer_side, max(style.shape)))))
