"""The command ``stylecore serve``, which opens a page to paint on."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from stylecore.cli.arguments import add_command, add_quiet, number, whole_number
from stylecore.errors import ParameterError

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands
    from stylecore.cli.terminal import Watch
    from stylecore.inputs import Inputs
    from stylecore.settings import Settings
    from stylecore.web.watching import RunPage


def add_serve(commands: Commands) -> None:
    """Add the command ``serve``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "serve",
        "serve",
        "Open a page in the browser on which pictures are chosen, painted and downloaded.",
        epilog="""The page is for the browsers of this machine, which get access by the token in the address. Pictures
        are painted one after the other; Ctrl-C ends the server, and the next one continues where this one ended.""",
    )
    parser.add_argument(
        "--port", type=whole_number, metavar="NUMBER", help="port of the page (default: the first free one from 8137)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="""address to listen at; with 0.0.0.0, other machines can open the page, too, if they know the token
        (default: %(default)s)""",
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", help="where pictures and settings are kept (default: the user's data folder)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address only, without opening a browser")
    parser.add_argument(
        "--days",
        type=number,
        metavar="NUMBER",
        default=90.0,
        help="delete finished pictures after this number of days (default: %(default)g)",
    )
    parser.add_argument(
        "--gigabytes",
        type=number,
        metavar="NUMBER",
        default=10.0,
        help="delete the oldest finished pictures if all files take more space than this (default: %(default)g)",
    )
    add_quiet(parser)


def serve(given: argparse.Namespace, say: Callable[[str], object]) -> None:
    """Serve the page according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    say : callable
        Prints a line.

    Raises
    ------
    StylecoreError
        If a package is missing, or as in `stylecore.web.server.serve`.
    """
    check_packages()
    from stylecore.web import server

    if given.quiet:
        logging.getLogger("stylecore.web").setLevel(logging.ERROR)
    options = {"days": given.days, "gigabytes": given.gigabytes, "browser": not given.no_browser, "say": say}
    server.serve(given.folder, host=given.host, port=given.port, **options)


def watched(
    given: argparse.Namespace, inputs: Inputs, settings: Settings, watch: Watch
) -> AbstractContextManager[RunPage | None]:
    """The page of a run, if ``--web`` is given.

    Parameters
    ----------
    given : argparse.Namespace
        Of ``stylecore transfer``.
    inputs : Inputs
    settings : Settings
        With layers.
    watch : Watch

    Returns
    -------
    context manager
        Its value is a callback of the run, or None.

    Raises
    ------
    StylecoreError
        If a package is missing, or no port is free.
    """
    if not given.web:
        return nullcontext()
    check_packages()
    from stylecore.web.watching import RunPage

    names = {"content": given.content, "style": given.style}
    return RunPage(inputs, settings, names, sys.argv[1:], watch.say, lambda: watch.is_ending)


def check_packages() -> None:
    """Raise ParameterError if a package is missing that the page needs."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ParameterError(
            "the page needs Starlette and uvicorn; install them with: pip install starlette uvicorn."
        ) from error
