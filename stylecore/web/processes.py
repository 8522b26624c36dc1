"""A spawned process that serves the page's server, with one pipe for messages in both directions.

The process ends when the server does, however that ends, and is started again when it was killed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

Message = dict[str, Any]


class Helper:
    """A spawned process and its pipe.

    Parameters
    ----------
    main : callable
        Runs in the process, as ``main(connection)``.
    on_message : callable
        Called in the event loop with each message of the process.
    on_end : callable
        Called in the event loop when the process has ended, unless `close` was called.
    """

    def __init__(
        self, main: Callable[[Connection], None], on_message: Callable[[Message], None], on_end: Callable[[], None]
    ) -> None:
        self._main = main
        self._on_message = on_message
        self._on_end = on_end
        self._closing = False
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self) -> None:
        """Start the process, again if it has ended; to be called in the event loop."""
        self._pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = self._process = context.Process(target=_run, args=(self._main, other), daemon=True)
        process.start()
        other.close()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, self._pipe, process), daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; it is lost if the process has just ended, which `on_end` reports."""
        with suppress(OSError):
            self._pipe.send(message)

    def kill(self) -> None:
        """End the process at once; `on_end` follows."""
        if self._process:
            self._process.kill()

    async def close(self, seconds: float) -> None:
        """Ask the process to end, and kill it if it has not ended after some time."""
        self._closing = True
        process = self._process
        if process is None:
            return
        self.send({"do": "quit"})
        await asyncio.to_thread(process.join, seconds)
        if process.is_alive():
            process.kill()

    def _listen(
        self, loop: asyncio.AbstractEventLoop, pipe: Connection, process: multiprocessing.process.BaseProcess
    ) -> None:
        with suppress(EOFError, OSError, RuntimeError):  # RuntimeError: the event loop has been closed.
            while True:
                loop.call_soon_threadsafe(self._on_message, pipe.recv())
        process.join()
        pipe.close()
        if not self._closing:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._on_end)


def _run(main: Callable[[Connection], None], connection: Connection) -> None:
    # Ctrl-C in a terminal is sent to all of its processes; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError):
        main(connection)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
