"""The server of the page: its address, its log, and its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs
import uvicorn
from starlette.applications import Starlette

from stylecore.errors import ParameterError, StylecoreError
from stylecore.files import InUseError, locked
from stylecore.web.app import DAYS, GIGABYTES, make_app
from stylecore.web.store import Store
from stylecore.web.studio import Studio

PORT = 8137
"""The first port that is tried."""

_TRIED = 20
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def default_folder() -> Path:
    """Where the pictures are kept unless another folder is named.

    Returns
    -------
    Path
    """
    return Path(platformdirs.user_data_dir("stylecore", appauthor=False), "page")


def serve(
    folder: str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    days: float = DAYS,
    gigabytes: float = GIGABYTES,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the page until the process is interrupted.

    Parameters
    ----------
    folder : str or path, optional
        Where pictures and settings are kept; by default `default_folder`.
    host : str
        Address to listen at.
    port : int, optional
        By default `PORT`, or the first one after it that is free.
    browser : bool
        Whether to open the page in a browser.
    days, gigabytes : float
        How long finished pictures are kept, and how much space all files may take.
    say : callable
        Called with the address, and what else the user should know.

    Raises
    ------
    ParameterError
        If the port is taken, or the address is not one of this machine.
    StylecoreError
        If the folder cannot be used, or another server uses it.
    """
    folder = default_folder() if folder is None else Path(folder)
    listening = listen(host, port)
    with listening:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
            with locked(folder / "server"):
                _serve(Store(folder), listening, host, browser, days, gigabytes, say)
        except InUseError as error:
            raise StylecoreError(
                f"the folder {folder} is in use by {error.strerror}; open the page of that server, or name another "
                "folder with --folder."
            ) from error
        except OSError as error:
            raise StylecoreError(
                f"the folder {folder} cannot be used ({error.strerror or error}); name another with --folder."
            ) from error


def _serve(
    store: Store,
    listening: socket.socket,
    host: str,
    browser: bool,
    days: float,
    gigabytes: float,
    say: Callable[[str], object],
) -> None:
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    app = make_app(Studio(store), token, hosts_of(host), port, days, gigabytes)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/?token={token}"
    if shown != "127.0.0.1" or host != shown:
        say("stylecore: warning: the page can be reached from other machines, unencrypted; its token is the only lock.")
    say(address)
    if browser and not opened(address):
        say("stylecore: no browser could be opened; open the address above in one.")
    run(app, listening)


def listen(host: str, port: int | None) -> socket.socket:
    """Open a socket at an address.

    Parameters
    ----------
    host : str
    port : int or None
        By default the first free one from `PORT` on.

    Returns
    -------
    socket.socket

    Raises
    ------
    ParameterError
        If the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(PORT, PORT + _TRIED) if port is None else [port]:
        listening = socket.socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, candidate))
            # On some systems, only this fails if the port is taken.
            listening.listen(128)
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                reason = getattr(error, "strerror", None) or error
                raise ParameterError(f"the page cannot listen at {host}, port {candidate} ({reason}).") from error
    taken = f"port {port} is" if port is not None else f"the ports from {PORT} to {PORT + _TRIED - 1} are"
    raise ParameterError(f"{taken} taken by another program; name a free one with --port.")


def hosts_of(host: str) -> tuple[str, ...]:
    """Names by which a server at an address may be addressed, as for `Guard`."""
    if host in ("0.0.0.0", "::"):
        return (*_LOOPBACK, socket.gethostname(), "*")
    return (*_LOOPBACK, f"[{host}]" if ":" in host else host)


def opened(address: str) -> bool:
    """Open an address in a browser; False if there is none."""
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


class Server(uvicorn.Server):
    """A server at an open socket, which logs only what it refuses.

    Parameters
    ----------
    app : Starlette
    """

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            limit_concurrency=400,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._studio: Studio = app.state.studio

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the server."""
        self._studio.end_streams()
        await super().shutdown(sockets)


def run(app: Starlette, listening: socket.socket) -> None:
    """Run an application until the process is interrupted.

    Parameters
    ----------
    app : Starlette
    listening : socket.socket
    """
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    with suppress(KeyboardInterrupt):  # Raised again by uvicorn after it has ended the server.
        asyncio.run(Server(app).serve(sockets=[listening]))
