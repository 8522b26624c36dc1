"""The command ``stylecore video``: its options, and how it is run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecore.cli.arguments import add_command, add_quiet, add_setting, number
from stylecore.cli.settings import (
    add_colour,
    add_look,
    add_picture_setting,
    add_regions,
    add_size,
    add_steps,
    given_settings,
    named,
)
from stylecore.cli.workers import add_workers, client_of
from stylecore.pictures.writing import check_output
from stylecore.runs.watching import Preview
from stylecore.video.settings import FilmSettings

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group
    from stylecore.video import FilmResult
    from stylecore.video.film import Callback, PaintedFrame

DEFAULTS = FilmSettings.defaults()


def film_settings(given: Namespace) -> dict[str, Any]:
    """The settings of the film and of its pictures that were given, as `stylecore.transfer_video` takes them."""
    return {**named(given, *DEFAULTS), **given_settings(given)}


def add_video(commands: Commands) -> None:
    """Add the command ``video``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "video",
        "video",
        "Paint a film in the style of a painting, or of several, without flicker.",
        ("size", "start", "stop", "every", "style-weight", "style-scale", "preset", "preview", "workers", "quiet"),
        usage="%(prog)s FILM STYLE [STYLE ...] -o OUT [options]",
        epilog="""The painted frames are kept in OUT.frames until the film is complete. Ctrl-C ends the work after a
        frame; the same command continues it.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    _add_film(parser.add_argument_group("film"))
    add_workers(parser.add_argument_group("machines"), "several shots at a time")
    add_look(parser.add_argument_group("look"))
    add_regions(
        parser.add_argument_group(
            "regions",
            """As in `stylecore transfer`. The mask of the film can be a picture, a film, or a folder of numbered
            pictures, with a frame for each frame of FILM.""",
        )
    )
    add_colour(parser.add_argument_group("colour"))
    add_size(parser.add_argument_group("size"))
    steps = parser.add_argument_group("steps", "--iterations are those of the first frame of each shot.")
    add_steps(steps)
    add_picture_setting(
        steps,
        "init",
        "what the first frame starts from: content, the frame itself; or noise, random pixels",
        choices=["content", "noise"],
    )


def _add_basic(group: Group) -> None:
    group.add_argument("film", metavar="FILM", help="film to paint, or a folder of numbered pictures")
    group.add_argument("style", metavar="STYLE", nargs="+", help="picture whose style to use; or several")
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="""film to write, in the format of its suffix: .mp4, .webm, .mkv (lossless), .gif, .webp or .png
        (animated), with the sound of FILM if the format has sound; without a suffix, a folder of numbered pictures.
        An existing file is overwritten""",
    )
    group.add_argument("--preset", metavar="NAME", help="use the settings of a preset; other options override them")
    group.add_argument("--presets", metavar="FILE", help="a TOML file with more presets; see `stylecore presets`")
    group.add_argument(
        "--preview", action="store_true", help="first write OUT-preview.png, with one frame per second, painted alone"
    )
    group.add_argument("--sheet", metavar="FILE", help="picture to write: a dozen frames beside their originals")
    group.add_argument(
        "--live",
        metavar="FILE",
        help="picture to overwrite with each painted frame, for an image viewer that reloads it",
    )
    add_quiet(group)


def _add_film(group: Group) -> None:
    group.add_argument(
        "--from",
        dest="start",
        type=number,
        metavar="SECONDS",
        help="where to start (default: the beginning)",
        default=DEFAULTS["start"],
    )
    group.add_argument("--to", dest="stop", type=number, metavar="SECONDS", help="where to stop (default: the end)")
    add_setting(group, "every", "paint only every such frame; 2 halves the frames per second", DEFAULTS)
    add_setting(
        group,
        "passes",
        """runs over each shot, forwards and backwards in turn; 2 to 4 help where the camera moves much""",
        DEFAULTS,
    )
    add_setting(
        group,
        "frame_iterations",
        """number of steps for each frame but the first of a shot, which starts from the frames before it; up to four
        times as many where much of it is new""",
        DEFAULTS,
    )
    add_setting(
        group,
        "temporal_weight",
        """how strongly a frame must agree with those before it: 0 lets the strokes move between frames""",
        DEFAULTS,
    )
    group.add_argument(
        "--long-term",
        type=int,
        nargs="+",
        metavar="FRAMES",
        default=DEFAULTS["long_term"],
        help="""distances of the earlier frames that a frame must agree with (default: 1 2 4); larger ones keep what
        was hidden for a while unchanged""",
    )
    group.add_argument(
        "--flow",
        metavar="FOLDER",
        help="""folder of flows estimated elsewhere, in the Middlebury format, between all consecutive frames in both
        directions, named such as flow_0001_to_0002.flo and flow_0002_to_0001.flo""",
    )
    group.add_argument("--keep-going", action="store_true", help="paint what can be read of a damaged film")


def paint_film(given: Namespace, callback: Callback, progress: bool) -> FilmResult:
    """Paint a film according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    callback, progress
        As in `stylecore.transfer_video`.

    Returns
    -------
    FilmResult

    Raises
    ------
    StylecoreError
        As in `stylecore.transfer_video`.
    """
    from stylecore.video import transfer_video

    if given.live:
        check_output(given.live)
        live = Preview(given.live, seconds=0)

        def shown(painted: PaintedFrame, picture: np.ndarray) -> Any:
            live.show(picture)
            return callback(painted, picture)

    output = Path(given.output)
    with client_of(given) as client:
        return transfer_video(
            given.film,
            given.style,
            output,
            callback=shown if given.live else callback,
            progress=progress,
            sheet=given.sheet,
            preview=output.with_name(f"{output.stem}-preview.png") if given.preview else None,
            client=client,
            **film_settings(given),
        )
