"""The settings of a transfer: their defaults, their validation, and their conversion to and from JSON.

`Settings` holds everything that determines a picture except the pixels of its inputs. The metadata of pictures,
checkpoints, presets and the command line all use it; a new setting is a new field here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np

from stylecore.edges import EDGES
from stylecore.errors import ParameterError
from stylecore.losses import STYLE_LOSSES
from stylecore.messages import near_matches
from stylecore.network import DTYPES, POOLINGS, default_layers
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures import colour as colours
from stylecore.regions import NOT
from stylecore.schedule import PRINT
from stylecore.version import __version__
from stylecore.weights.architectures import CONTENT_DETAILS, with_detail

Layers = Mapping[str, float] | Sequence[str]
"""Layers by name, or with a weight for each."""

LAYER_WEIGHTS = ("relative", "normalized", "paper")
STYLE_PYRAMIDS = ("scaled", "full")
METHODS = ("statistics", "neighbours")

MOST = 2**31 - 1
"""The largest count and random seed."""

_Self = TypeVar("_Self", bound="ObjectiveSettings")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The settings that define the loss of a picture; `Objective` takes these fields as keywords.

    Parameters
    ----------
    style_blend : sequence of float, optional
        Weight of each style image, zero or more; only the ratios matter. By default all weights are equal. The target
        is the weighted mean of the styles' moments: the moments of a picture in which each style fills that share of
        the area.
    regions, labels : sequence, optional
        Parts of the picture, and the parts of the style images that each is painted from, as
        `stylecore.regions.read_regions` takes them. Each region has its own term at each style layer, weighted by the
        region's share of the picture, so that a small region is painted as strongly as a large one. Several styles in
        one region are blended; outside all regions, only the content term has an effect.
    style_loss : {"gram", "mean_std", "mean_covariance", "wasserstein", "sliced_wasserstein"}
        How the image's features are compared with the style's: by `GramDistance` (the paper's), `MeanStdDistance`,
        `MeanCovarianceDistance`, `WassersteinDistance` or `SlicedWassersteinDistance` of `stylecore.losses`. The last
        compares the features of all positions at once: it takes a single style image, no regions, and no tiles.
    network : str, path, Weights or Network
        Name of a network, such as "vgg19", or a file in the project's HDF5 layout.
    content_layers, style_layers : sequence of str, or mapping of str to float, optional
        Layers to compare content and style by, named as in the literature ("relu4_2"). In a mapping, the weight of
        each layer is multiplied by a number, zero or more. The defaults depend on the network; they are the layers with
        which its pictures look best.
    content_detail : {"objects", "shapes", "edges"}
        How much of the photograph the default content layers preserve: its objects, whose outlines follow the strokes;
        its shapes, with windows and faces; or every edge. Not used if `content_layers` are given.
    content_weight, style_weight, regularization_weight, tv_weight : float
        alpha, beta, gamma and the weight of the total variation (TV); zero or more. `transfer` also accepts
        ``style_weight="auto"``: 20, or less if most of the style image is nearly one dark tone (see
        `stylecore.pictures.tones.auto_style_weight`).
    layer_weights : "relative", "normalized", "paper" or mapping
        The factor of each of the paper's terms.

        - "relative": each term is divided by its value for a blank image, which is 1/2 sum P^2 for content and
          1 / (4 N^2 M^2) sum A^2 for style, so that all layers are equally strong; content and style terms are averaged
          over their layers; regularisation and TV are divided by the element count of the image. The look then does
          not depend on the image's size. The terms of other style losses are divided in the same way, and scaled to
          the strength of the paper's.
        - "normalized": content and style terms are divided by the strength of their gradient instead: half the norm of
          the gradient with respect to the features F, times the norm of F, at the content image (for the content term,
          whose gradient is zero there, at a blank image). Other programs divide each layer's gradient by its norm at
          every step. The result is not the gradient of any function, so a line search cannot use it, and there is no
          loss to compare. Here, the norms are computed once for each size, before the first step, and the loss remains
          a function of the image.
        - "paper": 1 / number of layers for content and style, 1 for regularisation and TV.
        - mapping: the weight of each layer, from its name; regularisation and TV as in "paper".
    pooling : {"max", "average"}
    device : {"cpu", "auto", "cuda", "cuda:1", "reference"}
    dtype : {"float32", "float64", "bfloat16"}
        Precision of the computation. With "bfloat16", which has three digits, only the factors of the products in 3 x 3
        convolutions are rounded to it, while all sums and maps are in float32: on a processor with instructions for it
        (AVX512-BF16), an evaluation takes about three quarters of the time. Pictures look the same, though single
        strokes differ.
    edges : {"zeros", "reflect", "wrap"}
        What the network sees beyond the edges of the picture: nothing, as the paper's networks do; the picture's
        reflection, with which its rim is painted like the rest; or its other side, so that the result repeats without
        seams. See `stylecore.edges`.
    tile : "auto", int or None
        How an image that is too large for the memory is evaluated: in tiles of at most this many pixels a side, with
        the exact gradient of the whole (see `stylecore.tiles`). None evaluates it in one piece, which takes less time;
        "auto" does so if the memory suffices.

    Raises
    ------
    ParameterError
        If a setting is out of its range.

    References
    ----------
    Gatys, Ecker and Bethge (2016), "Image Style Transfer Using Convolutional Neural Networks", CVPR.
    """

    style_blend: Sequence[float] | None = None
    regions: Sequence | None = None
    labels: Sequence | None = None
    style_loss: str = "gram"
    network: Any = "vgg19"
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    content_detail: str = "shapes"
    content_weight: float = 1.0
    style_weight: float | str = 20.0
    regularization_weight: float = 0.0
    tv_weight: float = 20.0
    layer_weights: str | Mapping[str, float] = "relative"
    pooling: str = "max"
    device: str = "cpu"
    dtype: str = "float32"
    edges: str = "zeros"
    tile: str | int | None = "auto"

    INPUTS: ClassVar[tuple[str, ...]] = ("regions", "labels", "network")
    """The fields that may name files."""

    def __post_init__(self) -> None:
        self._set("style_blend", _checked_blend(self.style_blend))
        _check_choice("style_loss", self.style_loss, list(STYLE_LOSSES))
        for name in ("content_layers", "style_layers"):
            self._set(name, _checked_layers(name, getattr(self, name)))
        _check_choice("content_detail", self.content_detail, CONTENT_DETAILS)
        for name in ("content_weight", "style_weight", "regularization_weight", "tv_weight"):
            self._set(name, self._checked_weight(name))
        self._set("layer_weights", _checked_layer_weights(self.layer_weights))
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("edges", self.edges, EDGES)
        if self.tile not in ("auto", None):
            if isinstance(self.tile, str):
                raise ParameterError(f'tile is "{self.tile}"; it must be a number of pixels, "auto" or None.')
            _check_count("tile", self.tile, least=1)
        if STYLE_LOSSES[self.style_loss].of_positions:
            if self.tile not in ("auto", None):
                raise ParameterError(
                    f'style_loss "{self.style_loss}" compares all positions of a layer at once and is not possible in '
                    "tiles; leave tile out, or choose another style loss."
                )
            if self.edges != "zeros":
                raise ParameterError(
                    f'style_loss "{self.style_loss}" compares all positions of a layer, and so those beyond the '
                    "edges as well; leave edges out, or choose another style loss."
                )
            self._set("tile", None)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_weight(self, name: str) -> float | str:
        return checked_weight(name, getattr(self, name))

    @classmethod
    def of(cls: type[_Self], given: Mapping[str, Any]) -> _Self:
        """Make settings from keywords.

        Parameters
        ----------
        given : mapping of str to object
            Fields by name; the others keep their defaults.

        Returns
        -------
        ObjectiveSettings
            Of the class on which the method is called.

        Raises
        ------
        ParameterError
            If a name is not a setting, or a value is out of its range.
        """
        cls.check_names(given)
        return cls(**given)

    @classmethod
    def check_names(cls, names: Iterable[str]) -> None:
        """Raise ParameterError if one of the names is not a setting."""
        known = [each.name for each in fields(cls)]
        for name in names:
            if name not in known:
                raise ParameterError(f'there is no setting "{name}"{near_matches(name, known)}.')

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each field, by name."""
        return {each.name: each.default for each in fields(cls)}

    def with_layers(self: _Self) -> _Self:
        """These settings, with the network's default layers in place of None."""
        if self.content_layers is not None and self.style_layers is not None:
            return self
        content, style = default_layers(self.network)
        content = with_detail(content, style, self.content_detail)
        return replace(
            self,
            content_layers=content if self.content_layers is None else self.content_layers,
            style_layers=style if self.style_layers is None else self.style_layers,
        )

    def blend(self, count: int) -> Sequence[float]:
        """Weight of each of `count` style images; raises ParameterError if `style_blend` has another length."""
        if self.style_blend is None:
            return [1.0] * count
        if len(self.style_blend) != count:
            weights = f"{len(self.style_blend)} weight{'s' * (len(self.style_blend) != 1)}"
            raise ParameterError(f"style_blend has {weights}; it must have one for each style image, {count} in all.")
        return self.style_blend

    @property
    def layers(self) -> list[str]:
        """All layers that carry a loss."""
        return sorted({*(self.content_layers or ()), *(self.style_layers or ())})

    def as_given(self) -> dict[str, Any]:
        """The fields by name, as keywords for equal settings; layers that all have weight 1 are a list."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("content_layers", "style_layers"):
            layers = given[name]
            if layers is not None and all(weight == 1 for weight in layers.values()):
                given[name] = list(layers)
        return given

    def to_json(self) -> dict[str, Any]:
        """Convert the fields to values that JSON can represent.

        Returns
        -------
        dict
            A file is represented by its path, an array or a loaded network only by its type, such as "a ndarray".
        """
        return {name: _storable(value) for name, value in self.as_given().items()}

    @classmethod
    def from_json(cls: type[_Self], stored: Mapping[str, Any]) -> _Self:
        """Make settings from the result of `to_json`, of this version or an earlier one.

        Parameters
        ----------
        stored : mapping of str to object
            Entries that are not fields, such as the inputs in a picture's metadata, are ignored.

        Returns
        -------
        ObjectiveSettings
            Of the class on which the method is called.

        Raises
        ------
        ParameterError
            If a value is out of its range.
        """
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in stored.items() if name in known}
        if given.get("optimizer") in _FORMER_OPTIMIZERS:
            given["optimizer"] = _FORMER_OPTIMIZERS[given["optimizer"]]
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Settings(ObjectiveSettings):
    """Everything that determines a picture except its inputs' pixels; `transfer` takes these fields as keywords.

    Parameters
    ----------
    style_blend, regions, labels, style_loss, network, content_layers, style_layers, content_detail, content_weight, \
style_weight, regularization_weight, tv_weight, layer_weights, pooling, device, dtype, edges, tile
        As in `ObjectiveSettings`.
    size : int, (int, int) or str
        Of the result: its longer side in pixels; its width and height in pixels, to whose aspect ratio the content
        image is cropped at its centre; or a factor of the content image's size, such as "1.5x".
    iterations : int or sequence of int
        Number of evaluations of the loss: in total, divided among the scales by `stylecore.schedule.schedule`; or at
        each scale.
    init : {"content", "noise", "painter"}, path, PIL image or array
        The initial image: the content image; white noise as in the paper; what `Painter` makes of the content image, in
        its style with the smallest loss; or another image, which is cropped to the result's aspect ratio. In this way,
        with ``pyramid=1``, a finished picture is continued at a larger size.
    seed : int
        Random seed of the white noise.
    pyramid : int, "auto" or sequence of int
        Number of scales, each twice the size of the one before it (1 uses the final size only); or the longer sides of
        the scales before the final one, in pixels. "auto" is 3 from 256 px on, the first with at least 128 px, and more
        for print sizes (see `stylecore.schedule.schedule`).
    optimizer : {"lbfgsb", "lbfgs", "adam"}
        SciPy's L-BFGS-B; the project's own limited-memory BFGS, whose state can be stored in a checkpoint and which
        needs less memory for large pictures; or Adam. If no optimizer is named, `transfer` uses "lbfgs" in place of
        "lbfgsb" for a run with a checkpoint, or if the memory does not suffice for "lbfgsb".
    averaging : float
        In [0, 1): the result of each scale is the exponential moving average of the iterates with this decay, such as
        0.95 for calmer pictures with Adam. With 0, it is the image of lowest loss.
    style_scale : float
        Longer side of the style image relative to that of the result; values above 1 give larger strokes. The style
        image is never enlarged beyond its own size.
    stroke : float or str, optional
        In place of `style_scale`: the longer side of the style image in the result, in pixels or, such as "300mm", in
        millimetres of the print, for which `dpi` is needed. The strokes then have the same size whatever the size of
        the picture, for which the style image is enlarged if necessary.
    dpi : float, optional
        Resolution of the print in pixels per inch, which is also written into the picture's file.
    style_pyramid : {"scaled", "full"}
        Whether the style image is scaled down with the picture at the smaller scales, so that all scales paint the
        same strokes, or keeps its full size at all scales, so that the small scales lay out large strokes.
    style_growth : float
        Not negative: the style's weight is multiplied by the scale's size, relative to that of the result or to
        `stylecore.schedule.PRINT`, whichever is smaller, to this power, but at most by 1. With 1.5, the first of
        three scales has an eighth of the style's weight, so that the photograph's shapes hold before the style's large
        forms, such as a sun, can take their place. With 0, it is the same at all scales.
    method : {"statistics", "neighbours"}
        How the picture is painted: so that its features have the style's statistics, as in the paper; or so that each
        is like the nearest feature of the style (see `stylecore.neighbours`). The latter keeps the content's shapes,
        paints it in pieces of the style, and uses, of the settings, ``size``, ``iterations`` (the steps at each scale,
        and in a last pass), ``init``, ``seed``, ``style_scale``, ``colour``, ``content_detail``, ``network``,
        ``pooling`` and ``dtype``.
        Its network is "vgg16" unless another is named.
    colour : {"style", "content", "match", "histogram"}
        Colours of the picture: those of the style image ("style"); those of the content image, pixel by pixel, so that
        only luminance is transferred ("content"); or those of the content image as a whole, to which the style image is
        recoloured beforehand: to its mean and covariance ("match") or to its histograms ("histogram", which needs
        scikit-image). See `stylecore.pictures.colour`.

    Raises
    ------
    ParameterError
        If a setting is out of its range.
    """

    size: int | tuple[int, int] | str = 512
    iterations: int | Sequence[int] = 200
    init: Any = "content"
    seed: int = 0
    pyramid: int | str | Sequence[int] = "auto"
    optimizer: str = "lbfgsb"
    averaging: float = 0.0
    style_scale: float = 1.0
    stroke: float | str | None = None
    dpi: float | None = None
    style_pyramid: str = "scaled"
    style_growth: float = 1.5
    method: str = "statistics"
    colour: str = "style"

    INPUTS: ClassVar[tuple[str, ...]] = (*ObjectiveSettings.INPUTS, "init")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("iterations", "pyramid"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            for count in value if isinstance(value, list | tuple) else [value]:
                if name != "pyramid" or value != "auto":
                    _check_count(name, count, least=1)
        _check_count("seed", self.seed, least=0)
        _check_choice("optimizer", self.optimizer, list(OPTIMIZERS))
        if not (isinstance(self.averaging, Real) and 0 <= self.averaging < 1):
            raise ParameterError(f"averaging is {self.averaging!r}; it must be a number from zero to below one.")
        if not (isinstance(self.style_scale, Real) and 0 < self.style_scale < np.inf):
            raise ParameterError(f"style_scale is {self.style_scale!r}; it must be a number above zero.")
        checked_weight("style_growth", self.style_growth)
        self._check_stroke()
        _check_choice("style_pyramid", self.style_pyramid, STYLE_PYRAMIDS)
        _check_choice("method", self.method, METHODS)
        colours.check(self.colour)

    def _check_stroke(self) -> None:
        for name in ("dpi", "stroke"):
            value = getattr(self, name)
            number = _millimetres(value) if name == "stroke" and isinstance(value, str) else value
            if number is not None and not (isinstance(number, Real) and 0 < float(number) < np.inf):
                more = ' of pixels, or such as "300mm"' if name == "stroke" else ""
                raise ParameterError(f"{name} is {value!r}; it must be a number above zero{more}.")
        if self.stroke is not None and self.style_scale != 1:
            raise ParameterError("stroke and style_scale both set the size of the strokes; give only one of them.")
        if isinstance(self.stroke, str) and self.dpi is None:
            raise ParameterError(f"stroke is {self.stroke!r}, in millimetres; give dpi, the resolution of the print.")

    def style_side(self, side: float, final: float) -> float:
        """Longer side of the style images at a scale, before `stylecore.schedule.style_shape` limits it.

        Parameters
        ----------
        side, final : float
            Longer sides of the picture at the scale and of the result, in pixels.

        Returns
        -------
        float
            In pixels.
        """
        if self.style_pyramid == "full":
            side = final
        if self.stroke is None:
            return side * self.style_scale
        stroke = self.stroke
        if isinstance(stroke, str):
            stroke = (_millimetres(stroke) or 0) / 25.4 * (self.dpi or 0)
        return float(stroke) * side / final

    def style_share(self, side: float, final: float) -> float:
        """Factor of the style's weight at a scale, from `style_growth`.

        Parameters
        ----------
        side, final : float
            Longer sides of the picture at the scale and of the result, in pixels.

        Returns
        -------
        float
            In (0, 1]; 1 at the size of the result, and at all above `stylecore.schedule.PRINT`.
        """
        return min(1.0, side / min(final, PRINT)) ** self.style_growth

    @classmethod
    def of(cls: type[_Self], given: Mapping[str, Any]) -> _Self:
        """As `ObjectiveSettings.of`; the default network depends on the method."""
        return super().of({"network": "vgg16", **given} if given.get("method") == "neighbours" else given)

    def _checked_weight(self, name: str) -> float | str:
        value = getattr(self, name)
        return value if name == "style_weight" and value == "auto" else checked_weight(name, value)


def _millimetres(text: str) -> float | None:
    """The number in a length such as "300mm"; NaN if it is none."""
    try:
        return float(text.removesuffix("mm")) if text.endswith("mm") else np.nan
    except ValueError:
        return np.nan


_FORMER_OPTIMIZERS = {"scipy": "lbfgsb"}


def describe(content: Any, style: Any, settings: Settings) -> dict[str, Any]:
    """Record how a picture was made: version, inputs and settings.

    Parameters
    ----------
    content, style : path, PIL image or array
        `style` may be a list of them.
    settings : Settings

    Returns
    -------
    dict
        Of values that JSON can represent; `Settings.from_json` reads the settings from it.
    """
    inputs = {"content": _storable(content), "style": _storable(style)}
    return {"stylecore": __version__, **inputs, **settings.to_json()}


def without_folders(record: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce the paths in the record of a picture to the names of the files, since folders may be private.

    Parameters
    ----------
    record : mapping of str to object
        As `describe` returns it.

    Returns
    -------
    dict
    """
    inputs = ("content", "style", *Settings.INPUTS)
    return {name: _names(value) if name in inputs else value for name, value in record.items()}


def _names(value: Any) -> Any:
    if isinstance(value, list):
        return [_names(each) for each in value]
    if not isinstance(value, str):
        return value
    before = NOT if value.startswith(NOT) else ""
    return before + os.path.basename(value.removeprefix(before))


def _storable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else f"a {type(value).__name__}"


_Function = TypeVar("_Function", bound=Callable)


def keywords_of(settings: type[ObjectiveSettings]) -> Callable[[_Function], _Function]:
    """Make a decorator that replaces ``**settings`` in a function's signature by the fields of a class.

    ``help`` and the completion of editors and notebooks then show them.

    Parameters
    ----------
    settings : type
        `ObjectiveSettings` or a class derived from it.

    Returns
    -------
    callable
    """

    def decorate(function: _Function) -> _Function:
        own = signature(function)
        positional = [each for each in own.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        named = [
            Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
            for each in fields(settings)
        ]
        function.__signature__ = Signature([*positional, *named], return_annotation=own.return_annotation)  # type: ignore[attr-defined]
        return function

    return decorate


def checked_weight(name: str, value: Any) -> float:
    """Convert a weight to float; raises ParameterError unless it is a finite number of zero or more."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ParameterError(f"{name} is {value!r}; it must be a number of zero or more.")
    return float(value)


def _checked_layers(name: str, layers: Any) -> dict[str, float] | None:
    """Weight of each layer, 1 where none is given; None stays None."""
    if layers is None:
        return None
    if isinstance(layers, str):
        raise ParameterError(f'{name} is the string "{layers}"; give a list of layer names.')
    if not isinstance(layers, Iterable):
        raise ParameterError(f"{name} is {layers!r}; give a list of layer names.")
    if isinstance(layers, Mapping):
        return {layer: checked_weight(f"the weight of {layer} in {name}", layers[layer]) for layer in layers}
    layers = tuple(layers)
    if not all(isinstance(layer, str) for layer in layers):
        raise ParameterError(f"{name} is {list(layers)!r}; give a list of layer names.")
    if len(set(layers)) < len(layers):
        raise ParameterError(f"{name} names a layer twice ({', '.join(layers)}); name each once.")
    return dict.fromkeys(layers, 1.0)


def _checked_blend(blend: Any) -> list[float] | None:
    if blend is None:
        return None
    if isinstance(blend, str) or not isinstance(blend, Iterable):
        raise ParameterError(f"style_blend is {blend!r}; give a list with a number for each style image.")
    weights = [checked_weight("a weight in style_blend", weight) for weight in blend]
    if weights and not any(weights):
        raise ParameterError("the weights in style_blend are all zero; at least one must be positive.")
    return weights


def _checked_layer_weights(layer_weights: Any) -> str | dict[str, float]:
    if isinstance(layer_weights, Mapping):
        return {layer: checked_weight(f"the layer weight of {layer}", layer_weights[layer]) for layer in layer_weights}
    if layer_weights not in LAYER_WEIGHTS:
        known = ", ".join(f'"{name}"' for name in LAYER_WEIGHTS)
        raise ParameterError(f'layer_weights is "{layer_weights}"; choose {known} or a mapping.')
    return layer_weights


def _check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ParameterError(f'{name} "{value}" is not known{near_matches(value, known)}.')


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ParameterError(f"{name} is {value!r}; it must be a whole number of {('zero', 'one')[least]} or more.")
    if int(value) > MOST:
        raise ParameterError(f"{name} is {value!r}; it must be at most {MOST}.")
