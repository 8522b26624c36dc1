"""The command ``stylecore paint``: its options, and how it is run."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from stylecore.cli import STOPPED
from stylecore.cli.arguments import add_command, add_quiet
from stylecore.cli.settings import DEFAULTS, add_picture_setting, picture_size
from stylecore.cli.terminal import Watch, print_result, say
from stylecore.errors import ParameterError
from stylecore.painter.painting import Painter
from stylecore.pictures.geometry import resize, shape_for
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import check_output, write_image
from stylecore.video.film import write_painted
from stylecore.video.outputs import FORMATS, check_film_output, format_of
from stylecore.video.sources import Source, open_source

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands


def add_paint(commands: Commands) -> None:
    """Add the command ``paint``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "paint",
        "paint",
        "Paint a photograph or a film in a second, in a style that a painter has learnt.",
        usage="%(prog)s PHOTO -o OUT [--style NAME | --blend NAME=WEIGHT ...] [options]\n       %(prog)s --styles",
    )
    parser.add_argument(
        "photograph", metavar="PHOTO", nargs="?", help="picture to paint; or a film, or a folder of numbered pictures"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="""picture to write: .png, .jpg, .webp or .tif; or of a film .mp4, .webm, .gif, .png or a folder. An
        existing file is overwritten""",
    )
    styles = parser.add_mutually_exclusive_group()
    styles.add_argument("--style", metavar="NAME", help="style to paint in (default: the first that the painter has)")
    styles.add_argument(
        "--blend",
        nargs="+",
        type=_weighted,
        metavar="NAME=WEIGHT",
        help="several styles with their weights, of which only the ratios matter, such as b=0.7 d=0.3",
    )
    styles.add_argument("--styles", action="store_true", help="only list the styles that the painter has")
    parser.add_argument(
        "--size",
        type=picture_size,
        metavar="SIZE",
        help="longer side in pixels, or width and height as in 640x480 (default: that of the photograph)",
    )
    parser.add_argument(
        "--painter",
        metavar="PAINTER.h5",
        help="painter that `stylecore train styles` made (default: the one that comes with the program)",
    )
    add_picture_setting(parser, "device", "as in `stylecore transfer`", default=DEFAULTS["device"])
    add_quiet(parser)


def _weighted(text: str) -> tuple[str, float]:
    name, equals, weight = text.rpartition("=")
    try:
        return (name if equals else weight), float(weight) if equals else 1.0
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=WEIGHT, such as b=0.7') from None


def paint(given: argparse.Namespace, watch: Watch) -> int:
    """Paint according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    watch : Watch

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    StylecoreError
        If an input cannot be used.
    """
    painter = Painter(given.painter, given.device)
    if given.styles:
        for name in painter.styles:
            print_result(name)
        return 0
    if given.photograph is None or given.output is None:
        raise ParameterError("give a photograph and --output OUT; `stylecore paint --styles` lists the styles.")
    if os.path.realpath(given.output) == os.path.realpath(given.photograph):
        raise ParameterError(f"{given.output} is the input file; choose another name for the output.")
    style = dict(given.blend) if given.blend else given.style or painter.styles[0]
    painter.weights.mixture(style)
    began = time.perf_counter()
    if _is_film(given.photograph, given.output):
        return _paint_film(given, painter, style, watch)
    content, opacity = read_image(given.photograph)
    shape = content.shape[:2] if given.size is None else shape_for(given.size, content.shape)
    check_output(given.output, shape)
    painted = painter.paint_array(resize(content, shape), style)
    write_image(given.output, painted, alpha=None if opacity is None else resize(opacity, shape))
    print_result(f"{given.output}: {shape[1]} x {shape[0]} pixels in {time.perf_counter() - began:.1f} s")
    return 0


def _is_film(photograph: str, output: str) -> bool:
    """Whether a film is to be painted: as its frames are in a folder, or by what is to be written."""
    before, after = (os.path.splitext(path)[1].lower() for path in (photograph, output))
    if after == ".png":
        return os.path.isdir(photograph)
    into_folder = not after and before not in Image.registered_extensions()
    return os.path.isdir(photograph) or after in FORMATS or into_folder


def _paint_film(given: argparse.Namespace, painter: Painter, style: str | dict[str, float], watch: Watch) -> int:
    """Paint each frame of a film on its own; returns the exit status."""
    film = open_source(given.photograph)
    numbers, times, shape = [], [], (0, 0)
    for frame in film.frames():  # Decoded twice: headers do not always tell how many there are.
        numbers.append(frame.number)
        times.append(frame.time)
        shape = frame.pixels.shape[:2]
    shape = shape if given.size is None else shape_for(given.size, shape)
    check_film_output(given.output, shape)
    frames = _Frames(film, painter, style, shape, watch, len(times))
    try:
        write_painted(given.output, film, numbers, times, frames, shape, film.rate)
    except KeyboardInterrupt:
        if format_of(given.output) is not None or not frames.done:
            raise
        say(f"stylecore: stopped; {frames.done} of {len(times)} frames have been written to {given.output}.")
        return STOPPED
    print_result(f"{given.output}: {frames.done} frames in {frames.seconds:.1f} s")
    return 0


class _Frames:
    """The painted frames of a film, how many of them are done, and the seconds that they took."""

    def __init__(
        self,
        film: Source,
        painter: Painter,
        style: str | dict[str, float],
        shape: tuple[int, int],
        watch: Watch,
        count: int,
    ) -> None:
        self._film, self._painter, self._style, self._shape = film, painter, style, shape
        self._watch, self._count = watch, count
        self.done, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        began = time.perf_counter()
        with tqdm(total=self._count, unit="frame", disable=not self._watch.bar, leave=False) as bar:
            for frame in self._film.frames():
                picture = resize(frame.pixels.astype(np.float32) / np.float32(255), self._shape)
                yield self._painter.paint_array(picture, self._style)
                self.done += 1
                bar.update()
                self.seconds = time.perf_counter() - began
                left = self.seconds / self.done * (self._count - self.done)
                if self._watch.count(self.done, self._count, self.seconds, left):
                    raise KeyboardInterrupt
