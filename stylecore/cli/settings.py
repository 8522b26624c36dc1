"""The settings of a picture as options of a command, and their conversion to what `stylecore.transfer` takes."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from stylecore import weights
from stylecore.cli.arguments import add_setting, number, whole_number
from stylecore.edges import EDGES
from stylecore.errors import ParameterError
from stylecore.losses import STYLE_LOSSES
from stylecore.network import DTYPES, POOLINGS
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures.colour import COLOURS
from stylecore.settings import LAYER_WEIGHTS, METHODS, STYLE_PYRAMIDS, Settings
from stylecore.weights.architectures import CONTENT_DETAILS

if TYPE_CHECKING:
    from stylecore.cli.arguments import Group

DEFAULTS = Settings.defaults()
"""The default of each setting, by name."""


def add_picture_setting(group: Group, name: str, help: str, **more: Any) -> None:
    """Add a setting of a picture as an option; see `stylecore.cli.arguments.add_setting`."""
    add_setting(group, name, help, DEFAULTS, **more)


class _OneOrSeveral(argparse.Action):
    """Stores a list of values, or the value itself if there is only one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values if len(values) > 1 else values[0])


def picture_size(text: str) -> int | str:
    """Parse the longer side of a picture; other sizes stay text."""
    return int(text) if text.isdecimal() else text


def _number_or_auto(text: str) -> float | str:
    return text if text == "auto" else number(text)


def _pyramid(text: str) -> int | str:
    return text if text == "auto" else whole_number(text)


def _stroke(text: str) -> float | str:
    return text if text.endswith("mm") else number(text)


def _tile(text: str) -> int | str | None:
    return None if text == "none" else picture_size(text)


def add_look(group: Group) -> None:
    """Add the options for losses, layers and their weights.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    """
    add_picture_setting(
        group,
        "method",
        """statistics: the whole picture gets the painting's colours and strokes, as in the paper; neighbours: each part
        of the photograph is painted like the part of the painting nearest to it, which keeps its shapes. Of the other
        settings, neighbours uses the size, the steps, --init, --seed, --style-scale, --content-detail, --colour and
        --network""",
        choices=METHODS,
    )
    add_picture_setting(
        group,
        "style_weight",
        """strength of the painting: 1 gives a hint of it, 20 a balance, 100 strokes that almost hide the photograph;
        auto uses 20, or less if most of the painting is nearly one dark tone. Only the ratio to --content-weight
        matters""",
        type=_number_or_auto,
        metavar="{NUMBER,auto}",
    )
    add_picture_setting(
        group,
        "content_weight",
        """strength of the photograph's shapes; with 0 and --init noise, the picture is only a texture of the
        painting""",
    )
    group.add_argument(
        "--style-blend",
        type=number,
        nargs="+",
        metavar="NUMBER",
        help="""weight of each STYLE, if there are several: 3 1 takes three quarters of the style from the first
        (default: equal weights)""",
    )
    add_picture_setting(
        group,
        "style_loss",
        """how to compare the picture with the painting: gram, by the colours and strokes that occur together, as in
        the paper; mean_std, also by averages and contrast, for steadier contrast; mean_covariance, by their averages
        and their variation separately; wasserstein, by the effort to transform one into the other, which is slower;
        sliced_wasserstein, by the distribution of all values (slower; one painting, no regions)""",
        choices=STYLE_LOSSES,
    )
    add_picture_setting(
        group,
        "style_layers",
        """layers that compare the style: relu1_1 and relu2_1 alone transfer only colours and grain, the later ones
        strokes and swirls as well; without a name, no layers. A number multiplies the weight of a layer, as in
        relu1_1=0.5 relu2_1 relu3_1=2""",
        nargs="*",
        metavar="LAYER",
    )
    add_picture_setting(
        group,
        "content_layers",
        """layers that compare the content: relu2_2 preserves every edge of the photograph, relu4_2 its objects,
        relu5_2 only roughly their positions; without a name, no layers. A number multiplies the weight of a layer, as
        in relu4_2=2""",
        nargs="*",
        metavar="LAYER",
    )
    add_picture_setting(
        group,
        "content_detail",
        """what is held of the photograph, if --content-layers are not given: its objects, which then dissolve into
        strokes most easily; its shapes, down to windows and faces; or every edge""",
        choices=CONTENT_DETAILS,
    )
    add_picture_setting(
        group,
        "layer_weights",
        """how to weight the layers: relative makes all equally strong, so that broad strokes count as much as fine
        grain; normalized does so, too, but measures the strength of a layer by how strongly it changes the photograph
        at the start; paper uses the formulas of the paper (Gatys et al. 2016) without scaling, so that fine grain
        dominates; or give a weight for every layer, as in relu4_2=1 relu1_1=0.5 relu2_1=2""",
        nargs="+",
        metavar="WEIGHT",
    )
    add_picture_setting(
        group,
        "tv_weight",
        """strength of smoothing, by a penalty on the differences between neighbouring pixels (total variation, TV):
        0 keeps all grain, 20 removes the finest, 100 smooths the strokes, too, and 1000 leaves only soft patches""",
    )
    add_picture_setting(
        group,
        "regularization_weight",
        """strength of a penalty that draws all colours towards a medium grey: 0 has no effect, 10 is hardly visible,
        100 gives a flat, muted picture""",
    )
    add_picture_setting(
        group,
        "pooling",
        """how the network reduces the size between layers: max keeps the strongest value of each patch, for crisp
        strokes; average takes the mean, for softer ones""",
        choices=POOLINGS,
    )
    add_picture_setting(
        group,
        "network",
        """the network: vgg19 gives the best pictures; vgg16 is slightly faster; alexnet is small and coarse, with the
        layers relu1 to relu5; small is part of the program and needs no download. Or a file of weights, with the suffix
        .h5; see `stylecore weights --help` and `stylecore train --help`""",
        metavar="{" + ",".join([*weights.NAMES, "FILE"]) + "}",
    )


def add_regions(group: Group) -> None:
    """Add the options for masks and label images.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    """
    group.add_argument(
        "--region",
        dest="regions",
        action="append",
        nargs="+",
        metavar=("WHERE", "FROM"),
        help="""a region; repeat the option for each. WHERE is the region's place in the photograph, and FROM, one for
        each STYLE, the part of that STYLE to paint it from. Each is a mask; not:MASK, for the inverse; rest, for the
        part that no other region covers; all, for the whole picture; or none""",
    )
    group.add_argument(
        "--labels",
        nargs="+",
        metavar=("CONTENT", "STYLE"),
        help="""in place of masks, a picture with one uniform colour per region for the photograph, and one for each
        STYLE: a region of the photograph is painted from the regions of the same colour""",
    )


def add_colour(group: Group) -> None:
    """Add the option for whose colours a picture has.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    """
    add_picture_setting(
        group,
        "colour",
        """colours of the picture: style, those of the painting; content, those of the photograph, pixel by pixel, so
        that only light and dark are painted; match, a palette like the photograph's, to which the painting's colours
        are shifted and stretched beforehand; histogram, a closer match of each colour channel (needs scikit-image)""",
        choices=COLOURS,
    )


def add_size(group: Group) -> None:
    """Add the options for the size of the picture and of the painting.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    """
    add_picture_setting(
        group,
        "size",
        """longer side of the picture in pixels; or width and height, as in 640x480, for which the photograph is
        cropped at its centre; or a factor of the photograph's size, as in 1.5x. Strokes are finer, relative to a larger
        picture; at twice the size, each step takes four times as long""",
        type=picture_size,
        metavar="SIZE",
    )
    add_picture_setting(
        group,
        "style_scale",
        """size of the strokes: the painting is scaled to this multiple of the picture's size, so that 2 gives broader
        strokes and 0.5 finer ones. The painting is never enlarged, so a small file limits the size of the strokes""",
    )
    add_picture_setting(
        group,
        "stroke",
        """in place of --style-scale, the longer side of the painting in pixels of the picture or, as in 300mm, in
        millimetres of the print, so that the strokes keep their size however large the picture is; a small painting is
        enlarged""",
        type=_stroke,
        metavar="{PIXELS,MILLIMETRESmm}",
        none="by --style-scale",
    )
    add_picture_setting(
        group,
        "dpi",
        "resolution of the print in pixels per inch, for --stroke in millimetres; it is written into the picture, too",
        type=number,
        metavar="NUMBER",
        none="none",
    )
    add_picture_setting(
        group,
        "pyramid",
        """number of sizes at which the picture is painted, one after the other, each twice the one before it. The
        small sizes add large shapes and broad strokes; with 1, the picture is painted only at full size, and the style
        is finer. auto is 3, and more above 1536 pixels, but none below 128 pixels. Or the longer sides of the small
        sizes in pixels, as in 128 300""",
        type=_pyramid,
        metavar="SIZES",
        nargs="+",
        action=_OneOrSeveral,
    )
    add_picture_setting(
        group,
        "style_pyramid",
        """size of the painting while the small sizes are painted: scaled, reduced together with the picture, so that
        all sizes have the same strokes; full, not reduced, so that the small sizes lay out large strokes""",
        choices=STYLE_PYRAMIDS,
    )
    add_picture_setting(
        group,
        "style_growth",
        """the style's weight at the small sizes is that at full size times their relative size to this power: with 1.5,
        a picture painted at three sizes has an eighth of it at the first; with 0, all of it, so that large forms of the
        painting may take the place of the photograph's""",
    )


def add_steps(group: Group) -> None:
    """Add the options for the steps, and for how they are computed.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    """
    add_picture_setting(
        group,
        "iterations",
        """number of steps. After few, the photograph shows through; with more, the strokes take shape; after some
        hundreds, little changes. Several numbers are the steps at each size of --pyramid""",
        metavar="STEPS",
        nargs="+",
        action=_OneOrSeveral,
    )
    add_picture_setting(
        group,
        "seed",
        "random seed of --init noise; the same seed gives the same picture",
    )
    add_picture_setting(
        group,
        "optimizer",
        """method that computes the steps: lbfgsb is SciPy's L-BFGS-B; lbfgs is the program's own L-BFGS, with similar
        results, for checkpoints and large pictures; adam needs more steps, but less memory. If the option is not given,
        lbfgs replaces lbfgsb for a run with --checkpoint, or if the memory does not suffice for lbfgsb""",
        choices=OPTIMIZERS,
    )
    add_picture_setting(
        group,
        "averaging",
        """decay of an average over the pictures of the last steps at each size: each counts this factor less than the
        next. 0 uses the single best picture; 0.95 smooths the grain that adam produces""",
    )
    add_picture_setting(
        group,
        "edges",
        """what the network sees beyond the edges of the picture: zeros, nothing, as usual, which leaves a rim of other
        strokes; reflect, the picture's reflection, with which the rim is painted like the rest; wrap, the opposite
        side, so that the picture repeats without seams""",
        choices=EDGES,
    )
    add_picture_setting(
        group,
        "tile",
        """longest side in pixels of the tiles in which a picture is painted that is too large for the memory. It is the
        same picture, without seams, but each step takes up to twice as long; none paints it in one piece, and auto does
        so if the memory suffices""",
        type=_tile,
        metavar="{auto,none,PIXELS}",
    )
    add_picture_setting(
        group,
        "device",
        """device for the computation: cpu, all cores of the processor; cuda, an NVIDIA GPU, or cuda:1 for the second;
        auto, a GPU if one can be used; reference, a slow, simple implementation that the others are tested against. See
        `stylecore devices`""",
        metavar="{auto,cpu,cuda,reference}",
    )
    add_picture_setting(
        group,
        "dtype",
        """precision of the computation: float64 has about twice as many digits as float32, needs about twice the time
        and memory, and gives pictures that look the same; bfloat16 rounds the factors of products to three digits, and
        takes three quarters of the time on a processor with instructions for it (AVX512-BF16)""",
        choices=DTYPES,
    )


def named(given: Namespace, *names: str) -> dict[str, Any]:
    """The options with these names that were given.

    Parameters
    ----------
    given : argparse.Namespace
    *names : str

    Returns
    -------
    dict
    """
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def given_settings(given: Namespace) -> dict[str, Any]:
    """The settings that were given, as `stylecore.transfer` takes them.

    Parameters
    ----------
    given : argparse.Namespace

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        If a weight of a layer is not a number.
    """
    settings = named(given, *DEFAULTS)
    if "layer_weights" in settings:
        settings["layer_weights"] = _layer_weights(settings["layer_weights"])
    for name in ("content_layers", "style_layers"):
        if name in settings:
            settings[name] = _layers(name, settings[name])
    return settings


def _layer_weights(words: Any) -> Any:
    """Convert the value of --layer-weights for `transfer`: to a string, or from NAME=NUMBER pairs to a dict."""
    if not isinstance(words, list):  # From a preset.
        return words
    words = [str(word) for word in words]
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    try:
        return {name: float(number) for name, _, number in (word.partition("=") for word in words)}
    except ValueError:
        raise ParameterError(
            f'--layer-weights is "{" ".join(words)}"; it must be one of {", ".join(LAYER_WEIGHTS)}, or pairs such as '
            "relu1_1=2."
        ) from None


def _layers(name: str, words: Any) -> Any:
    """Convert the value of --content-layers or --style-layers for `transfer`: to names, or to a dict of weights."""
    if not (isinstance(words, list | tuple) and all(isinstance(word, str) for word in words)):
        return words  # From a preset; `transfer` checks it.
    pairs = [word.partition("=") for word in words]
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names) or not any(equals for _, equals, _ in pairs):
        return names  # `transfer` refuses a list that names a layer twice.
    try:
        return {name: float(number) if equals else 1.0 for name, equals, number in pairs}
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise ParameterError(
            f'{option} is "{" ".join(words)}"; give names of layers, or names with numbers such as relu1_1=2.'
        ) from None
