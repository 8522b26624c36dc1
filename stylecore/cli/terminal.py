"""Output to the terminal, and the signals that end a run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

import numpy as np

from stylecore.cli import STOPPED
from stylecore.runs.history import Evaluation

# SIGHUP, sent when the terminal or the connection is closed, does not exist on Windows.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Watch:
    """The callback of a transfer, which reports its progress and ends it early after a signal.

    After the first signal, the current evaluation is completed, so that the picture reached so far can be saved. A
    second signal, or one before there is a picture, ends the program immediately.

    Parameters
    ----------
    quiet : bool
        Whether to report nothing.

    Attributes
    ----------
    bar : bool
        Whether to show a progress bar; if standard error is not a terminal, a line is printed every ten seconds
        instead.
    """

    def __init__(self, quiet: bool) -> None:
        self.bar = not quiet and sys.stderr.isatty()
        self._quiet = quiet
        self._reached = False
        self._asked = False
        self._ending = "saving the picture reached so far"
        self._next_report = 0.0
        self._introduction: str | None = None
        self._former_handlers: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._former_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> bool:
        """Report every ten seconds unless there is a progress bar; True after a signal."""
        self._reached = True
        if not self.bar and evaluation.seconds >= self._next_report:
            self._next_report = evaluation.seconds + 10
            height, width = evaluation.size
            self.say(f"step {evaluation.number}, {width} x {height} pixels, loss {evaluation.loss:.4g}")
        return self._asked

    @property
    def is_ending(self) -> bool:
        """Whether a signal has asked the run to end."""
        return self._asked

    def count(self, number: int, total: int, seconds: float, seconds_left: float) -> bool:
        """Report, every ten seconds unless there is a progress bar, how many frames are painted; True after a signal.

        Parameters
        ----------
        number, total : int
            Of frames painted so far, and of all.
        seconds, seconds_left : float
            Since the start, and until the end.
        """
        self._reached = True
        self._ending = "ending after this frame"
        if not self.bar and seconds >= self._next_report:
            self._next_report = seconds + 10
            self.say(f"frame {number} of {total}, {seconds_left / 60:.0f} min left")
        return self._asked

    def begin(self, name: str) -> dict[str, Any]:
        """Announce one of several transfers; returns the arguments that make this its callback."""
        self._next_report = 0.0
        self._ending = "ending with this step"
        self.say(f"{name}:")
        return {"callback": self, "progress": self.bar}

    def introduce(self, text: str) -> None:
        """Set the line to print before the first report; it is printed immediately if there is a progress bar."""
        self._introduction = text
        if self.bar:
            self._say_introduction()

    def say(self, text: str) -> None:
        """Report something, unless ``--quiet`` was given."""
        if not self._quiet:
            self._say_introduction()
            say(text)

    def warn(self, text: str) -> None:
        """Report a warning, even if ``--quiet`` was given."""
        self._say_introduction()
        say(f"stylecore: warning: {text}")

    def _say_introduction(self) -> None:
        if self._introduction is not None and not self._quiet:
            say(self._introduction)
        self._introduction = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked or not self._reached:
            raise KeyboardInterrupt
        self._asked = True
        # The signal may have interrupted a print, and Python's streams do not allow another one inside it.
        with suppress(OSError):
            os.write(2, f"\nstylecore: {self._ending}; a second signal ends the program immediately.\n".encode())


def stopped() -> int:
    """Report that the run ended without a picture; returns the exit status."""
    say("stylecore: stopped; no picture has been written.")
    return STOPPED


def fail(message: str) -> int:
    """Report an error; returns the exit status."""
    say(f"stylecore: error: {message}")
    return 2


def say(text: str) -> None:
    """Write a line to standard error; a closed terminal does not end the run."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def print_result(text: object) -> None:
    """Write a result to standard output, with escapes for characters that its encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(str(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        discard_output()  # The terminal was closed (SIGHUP), which must not end the run.


def discard_output() -> None:
    """Prevent the interpreter from flushing, at exit, output that cannot be written."""
    with open(os.devnull, "w") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
