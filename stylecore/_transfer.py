"""Style transfer: a picture with the content of one image and the style of another."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from stylecore.budget import Budget
from stylecore.errors import ParameterError
from stylecore.inputs import Inputs, read_inputs
from stylecore.neighbours import painting as neighbours
from stylecore.network import Network, load_network
from stylecore.objective import Objective
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures import colour as colours
from stylecore.pictures.arrays import like, to_pil
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.tones import suited_style_weight
from stylecore.pictures.writing import write_image
from stylecore.regions import style_name
from stylecore.runs import checkpoint as checkpoints
from stylecore.runs.history import Evaluation, History
from stylecore.runs.run import Run
from stylecore.runs.watching import NotebookPicture, together
from stylecore.schedule import schedule, style_shape
from stylecore.settings import Settings, describe, keywords_of, without_folders
from stylecore.tiles import SIDE, Tiles

if TYPE_CHECKING:
    from stylecore.cluster import Cluster

METADATA = ("names", "paths", "none")
"""What the metadata of a picture can contain; see `Result.metadata`."""


@dataclass
class Result:
    """The result of a transfer.

    Attributes
    ----------
    array : ndarray, (H, W, 3)
        The picture, sRGB in [0, 1]; an array of Dask or Zarr if the content image was one.
    alpha : ndarray, (H, W), or None
        The opacity of the content image, in [0, 1].
    history : History
        The evaluations, a list of `Evaluation`; ``history.columns()`` returns them as columns.
    settings : dict
        The record of the run: version, inputs and all settings, with the paths of the input files.
    stopped : bool
        Whether the callback ended the run early.
    """

    array: np.ndarray
    alpha: np.ndarray | None
    history: History
    settings: dict[str, Any]
    stopped: bool = field(default=False)

    @property
    def image(self) -> Image.Image:
        """The picture as a PIL image."""
        return to_pil(np.asarray(self.array), self.alpha)

    def __repr__(self) -> str:
        height, width = self.array.shape[:2]
        return f"<Result of {width} x {height} pixels after {len(self.history)} evaluations>"

    def _repr_png_(self) -> bytes | None:
        """The picture as PNG, which notebooks display."""
        return self.image._repr_png_()

    def metadata(self, which: str = "names") -> dict[str, Any] | None:
        """The record of the run, for the metadata of a picture.

        Parameters
        ----------
        which : {"names", "paths", "none"}
            Whether to record the names of the input files without their folders, their paths, or nothing at all.

        Returns
        -------
        dict or None

        Raises
        ------
        ParameterError
            If `which` is not known.
        """
        if which not in METADATA:
            raise ParameterError(f'metadata is "{which}"; choose "names", "paths" or "none".')
        return {"names": without_folders(self.settings), "paths": self.settings, "none": None}[which]

    def save(self, path: str | os.PathLike | BinaryIO, *, format: str | None = None, metadata: str = "names") -> None:
        """Write the picture, with an sRGB profile and the settings of the run in its metadata.

        Parameters
        ----------
        path : str, path or binary stream
            A file that ends in .png, .jpg, .webp or .tif (16 bits per channel), or a stream that is open for writing.
        format : {"png", "jpg", "webp", "tif"}, optional
            Required for a stream; for a file, it overrides the suffix.
        metadata : {"names", "paths", "none"}
            As in `metadata`.

        Raises
        ------
        ImageError
            If the picture cannot be written; no partial file is left.
        ParameterError
            If `metadata` is not known.
        """
        record, dpi = self.metadata(metadata), self.settings.get("dpi")
        write_image(path, np.asarray(self.array), alpha=self.alpha, settings=record, format=format, dpi=dpi)


@keywords_of(Settings)
def transfer(
    content: Any,
    style: Any,
    *,
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
    checkpoint: Any = None,
    client: Any = None,
    **settings: Any,
) -> Result:
    """Make a picture with the content of one image and the style of another, or of several.

    Parameters
    ----------
    content : path, binary stream, PIL image or array
        Arrays are (H, W, 3), sRGB in [0, 1].
    style : path, binary stream, PIL image or array, or list or tuple of these
        Transparent parts of a style image are ignored.
    callback : callable, optional
        Called as ``callback(evaluation, image)`` after each evaluation, with an `Evaluation` and a read-only copy of
        the evaluated image (H, W, 3), in the colours of the final picture. The run ends early when it returns a true
        value.
    progress : bool or "notebook"
        Whether to show a progress bar with the loss, the scale and the remaining time; "notebook" also shows the
        picture during the run (needs IPython).
    checkpoint : path or Checkpoint, optional
        File to which the state of the run is written every ten seconds, or as often as the `Checkpoint` specifies. If
        it exists and is of the same run, the run resumes from it; see also `resume`. The file is kept when the run
        ends.
    client : dask.distributed.Client, optional
        A Dask cluster whose workers compute the tiles of the picture, at sizes above one tile.
    **settings
        The fields of `stylecore.settings.Settings`, where they are documented: ``size``, ``iterations``,
        ``style_weight``, ``optimizer`` and so on.

    Returns
    -------
    Result

    Raises
    ------
    ImageError
        If an image cannot be read.
    ParameterError
        If a setting is not known or out of its range, the size is too small for the layers, or masks do not fit the
        images.
    TooLargeError
        If more memory is needed than is available; the message names a size that fits.
    WeightsError
        If the network's weights cannot be fetched or read.

    Warns
    -----
    UserWarning
        If no optimizer is named and "lbfgs" replaces "lbfgsb", because of a checkpoint or a lack of memory.

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
    chosen = Settings.of(settings).with_layers()
    inputs = read_inputs(content, style, chosen)
    watching = {"callback": callback, "progress": progress, "checkpoint": checkpoint, "client": client}
    result = paint(inputs, chosen, optimizer_named="optimizer" in settings, **watching)
    result.array = like(result.array, content)
    return result


def resume(
    path: str | os.PathLike,
    *,
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
) -> Result:
    """Resume a run from its checkpoint; the picture is bit for bit that of an uninterrupted run.

    Parameters
    ----------
    path : str or path
        Checkpoint that `transfer` wrote; it is updated during the run.
    callback, progress
        As in `transfer`.

    Returns
    -------
    Result

    Raises
    ------
    StylecoreError
        If the file is missing, damaged or of another version, or an input has changed since then; or as in `transfer`.
    """
    arguments, checkpoint = checkpoints.read(path)
    return transfer(**arguments, callback=callback, progress=progress, checkpoint=checkpoint)


def paint(
    inputs: Inputs,
    settings: Settings,
    *,
    optimizer_named: bool = True,
    callback: Callable[[Evaluation, np.ndarray], Any] | None = None,
    progress: bool | str = False,
    checkpoint: Any = None,
    client: Any = None,
) -> Result:
    """Run the loop over the scales, with input images that have been read already.

    Parameters
    ----------
    inputs : Inputs
    settings : Settings
        With layers.
    optimizer_named : bool
        Whether the user named the optimizer, so that it must not be replaced by another.
    callback, progress, checkpoint, client
        As in `transfer`.

    Returns
    -------
    Result

    Raises
    ------
    StylecoreError
        As in `transfer`.
    """
    if progress not in (True, False, "notebook"):
        raise ParameterError(f'progress is {progress!r}; it must be True, False or "notebook".')
    if progress == "notebook":
        callback = together(callback, NotebookPicture())
    if settings.method == "neighbours":
        return _paint_by_neighbours(inputs, settings, callback, progress, checkpoint)
    chosen = settings.optimizer
    if checkpoint is not None:
        settings = _resumable(settings, optimizer_named)
    run = Run(callback, progress, _as_checkpoint(checkpoint), {**inputs.sources, **settings.as_given()})
    if settings.optimizer != chosen:
        _warn_of_lbfgs("SciPy's L-BFGS-B cannot be resumed from a checkpoint")
    style_weight = suited_style_weight(settings.style_weight, inputs.styles, inputs.opacities)
    settings = replace(settings, style_weight=style_weight)
    network = load_network(settings.network, settings.device, settings.pooling, settings.dtype, settings.layers)
    _check_styles(inputs, settings, network)
    budget = _budget(inputs, settings, network)
    settings = _within_memory(inputs.shape, settings, budget, optimizer_named)
    make_tiles = Tiles if client is None else _cluster(client, settings).tiles
    # A painter has made the large forms already.
    pyramid = 1 if settings.pyramid == "auto" and _is_painted(settings) else settings.pyramid
    scales = schedule(inputs.shape, settings.iterations, pyramid, network.smallest_size(settings.layers))
    with run.over(scales):
        first, _ = scales[run.first]
        x = _initial(inputs, settings, network, first)
        alpha = inputs.start_alpha
        wraps = settings.edges == "wrap" and alpha is None and inputs.alpha is None
        for i, (shape, count) in enumerate(scales[run.first :]):
            smaller, x = x.shape[:2], resize(x, shape, alpha, wraps=wraps)
            if i > 0 and settings.content_layers and settings.content_weight:
                x = _with_details(x, smaller, inputs)
            alpha = inputs.alpha_at(shape)
            optimizer = OPTIMIZERS[settings.optimizer](x, count, settings.averaging)
            finish = partial(colours.restore, settings.colour, content=inputs.content_at(shape))
            tile = budget.tile(shape, settings.optimizer) if client is None else _tile_on_workers(settings, shape)
            share = settings.style_share(max(shape), max(inputs.shape))
            at_scale = replace(settings, tile=tile, style_weight=style_weight * share)
            x = run.minimize(objective_at(shape, inputs, at_scale, network, make_tiles), optimizer, finish)
            if run.stopped:
                break
    picture = resize(x, inputs.shape, alpha, wraps=wraps)
    picture = colours.restore(settings.colour, picture, inputs.content_at(inputs.shape))
    record = describe(inputs.names["content"], inputs.names["style"], settings)
    return Result(picture, inputs.alpha_at(inputs.shape), run.history, record, run.stopped)


def _initial(inputs: Inputs, settings: Settings, network: Network, shape: tuple[int, int]) -> np.ndarray:
    """The initial image; (height, width) is that of the first scale."""
    if inputs.start is not None:
        return inputs.start
    if _is_painted(settings):
        return _painted(inputs, settings, network, shape)
    return inputs.noise_at(shape, settings.seed)


def _with_details(x: np.ndarray, smaller: tuple[int, int], inputs: Inputs) -> np.ndarray:
    """An enlarged picture with those details of the content image that were not visible at the `smaller` size.

    The optimisation would have to paint them otherwise: with them, a half to three quarters as many evaluations at that
    size were needed for the same loss.
    """
    shape = x.shape[:2]
    detailed = x + inputs.seen_at(shape)
    detailed -= resize(inputs.seen_at(smaller), shape, inputs.alpha_at(smaller))
    return detailed.clip(0, 1, out=detailed)


def _is_painted(settings: Settings) -> bool:
    return isinstance(settings.init, str) and settings.init == "painter"


# Longer side in pixels at which the styles of a painter are compared.
COMPARED = 256


def _painted(inputs: Inputs, settings: Settings, network: Network, shape: tuple[int, int]) -> np.ndarray:
    """The content image, painted in the painter's style with the smallest loss."""
    from stylecore.painter.painting import Painter

    painter = Painter(device=settings.device)
    small = fit(inputs.shape, min(COMPARED, max(inputs.shape)))
    objective = objective_at(small, inputs, replace(settings, tile=None), network)
    losses = {style: objective(painter.paint_array(inputs.seen_at(small), style))[0] for style in painter.styles}
    painted = painter.paint_array(inputs.seen_at(shape), min(losses, key=losses.__getitem__))
    return colours.grey(painted) if inputs.grey else painted


def _paint_by_neighbours(
    inputs: Inputs, settings: Settings, callback: Callable | None, progress: bool | str, checkpoint: Any
) -> Result:
    if checkpoint is not None:
        raise ParameterError('method "neighbours" cannot be resumed; leave the checkpoint out.')
    if _is_painted(settings):
        raise ParameterError('method "neighbours" cannot start from a painter; choose another init.')
    run = Run(callback, progress, None, {})
    picture = neighbours.paint(inputs, settings, run)
    record = describe(inputs.names["content"], inputs.names["style"], settings)
    return Result(picture, inputs.alpha_at(inputs.shape), run.history, record, run.stopped)


def _cluster(client: Any, settings: Settings) -> Cluster:
    if settings.device != "cpu":
        raise ParameterError(f'device is "{settings.device}", but workers compute on "cpu"; leave it out.')
    from stylecore.cluster import Cluster

    return Cluster(client, settings.network)


def _tile_on_workers(settings: Settings, shape: tuple[int, int]) -> int | None:
    """Side of the tiles that workers compute; None for a picture of the size of a tile, which is not sent to them."""
    side = SIDE if settings.tile is None or isinstance(settings.tile, str) else settings.tile
    return side if max(shape) > side else None


def objective_at(
    shape: tuple[int, int],
    inputs: Inputs,
    settings: Settings,
    network: Network,
    make_tiles: Callable[..., Tiles] = Tiles,
) -> Objective:
    """Make the objective at a scale, with the style images at the size for that scale.

    Parameters
    ----------
    shape : tuple of int
        (height, width) of the scale.
    inputs : Inputs
    settings : Settings
        With layers, and with a number as its style weight.
    network : Network
    make_tiles : callable
        As in `Objective.of_arrays`.

    Returns
    -------
    Objective
    """
    shapes = _style_shapes(settings.style_side(max(shape), max(inputs.shape)), inputs, settings, network)
    styles = [resize(style, size) for style, size in zip(inputs.styles, shapes, strict=True)]
    seen = inputs.seen_at(shape)
    return Objective.of_arrays(seen, styles, inputs.regions, network, settings, inputs.grey, make_tiles)


def _style_shapes(side: float, inputs: Inputs, settings: Settings, network: Network) -> list[tuple[int, int]]:
    """Sizes of the style images whose longer side is `side`, as far as `style_shape` allows."""
    smallest = network.smallest_size(settings.style_layers) if settings.style_layers else 1
    enlarges = settings.stroke is not None
    return [style_shape(style.shape, side, smallest, enlarges=enlarges) for style in inputs.styles]


def _check_styles(inputs: Inputs, settings: Settings, network: Network) -> None:
    """Refuse style images that are too small for the deepest style layer even at full size."""
    layers = settings.style_layers or ()
    for i, style in enumerate(inputs.styles if layers else ()):
        height, width = style.shape[:2]
        network.check_size(height, width, layers, style_name(i, len(inputs.styles)))


def _resumable(settings: Settings, optimizer_named: bool) -> Settings:
    """The same settings, with an optimizer whose state can be stored in a checkpoint."""
    if OPTIMIZERS[settings.optimizer].resumable:
        return settings
    if optimizer_named:
        raise ParameterError(
            f'optimizer "{settings.optimizer}" cannot be resumed from a checkpoint, because SciPy hides its state; '
            'choose "lbfgs" or "adam".'
        )
    return replace(settings, optimizer="lbfgs")


def _budget(inputs: Inputs, settings: Settings, network: Network) -> Budget:
    def styles_at(longer_side: float) -> list[tuple[int, int]]:
        return _style_shapes(settings.style_side(longer_side, longer_side), inputs, settings, network)

    return Budget(network, settings, styles_at, len(inputs.regions))


def _within_memory(shape: tuple[int, int], settings: Settings, budget: Budget, optimizer_named: bool) -> Settings:
    """The same settings, with an optimizer that fits into memory; raises TooLargeError if there is none."""
    candidates = [settings.optimizer]
    if settings.optimizer == "lbfgsb" and not optimizer_named:
        candidates.append("lbfgs")
    optimizer = budget.optimizer(shape, candidates)
    if optimizer != settings.optimizer:
        _warn_of_lbfgs("the memory does not suffice for SciPy's L-BFGS-B at this size")
    return replace(settings, optimizer=optimizer)


def _warn_of_lbfgs(reason: str) -> None:
    warnings.warn(f'the optimizer is "lbfgs", because {reason}; name an optimizer to choose another.', stacklevel=4)


def _as_checkpoint(checkpoint: Any) -> checkpoints.Checkpoint | None:
    if checkpoint is None or isinstance(checkpoint, checkpoints.Checkpoint):
        return checkpoint
    return checkpoints.Checkpoint(checkpoint)
