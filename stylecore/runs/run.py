"""The bookkeeping of a transfer: its history, checkpoint, progress bar and callback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stylecore.errors import StylecoreError
from stylecore.kernels.compilation import on_compile
from stylecore.optimizers import Optimizer, Stopped
from stylecore.runs.checkpoint import Checkpoint
from stylecore.runs.history import Callback, Evaluation, History

if TYPE_CHECKING:
    from tqdm import tqdm


class Function(Protocol):
    """What a run minimises, such as `stylecore.objective.Objective`."""

    @property
    def term_weights(self) -> dict[str, float]:
        """Factor of each term in the loss."""
        ...

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, dict[str, Any]]:
        """Loss of an image (H, W, 3), its gradient and the terms."""
        ...


class Run:
    """Runs the optimiser at each scale, and records, saves and shows what it does.

    Parameters
    ----------
    callback : callable or None
        Called as ``callback(evaluation, image)`` after each evaluation; the run ends when it returns a true value. The
        image is a copy, which the optimiser does not change later, and read-only.
    progress : bool or str
        Whether to show a progress bar.
    checkpoint : Checkpoint or None
        Where the state is saved, and from where the run is resumed if the file exists.
    arguments : dict
        The settings and inputs of the run, stored in the checkpoint.

    Attributes
    ----------
    history : History
        The evaluations so far, including those before the run was resumed.
    first : int
        Index of the scale to start with, known inside `over`: 0, or the checkpoint's.
    stopped : bool
        Whether the callback ended the run.

    Raises
    ------
    ParameterError
        If the checkpoint is of another run, or an argument cannot be stored.
    StylecoreError
        If the checkpoint cannot be read, or no file can be written there.
    """

    def __init__(
        self, callback: Callback | None, progress: bool | str, checkpoint: Checkpoint | None, arguments: dict
    ) -> None:
        self.history = History()
        self.first = 0
        self.stopped = False
        self._callback = callback
        self._progress = progress
        self._checkpoint = checkpoint
        self._scale = 0
        self._resumed = False
        self._bar: tqdm | None = None
        if checkpoint:
            checkpoint.begin(arguments)

    @contextmanager
    def over(self, scales: Sequence[tuple[tuple[int, int], int]]) -> Iterator[None]:
        """Inside the ``with`` block, lock the checkpoint, show the progress and measure the time.

        Parameters
        ----------
        scales : sequence of ((height, width), evaluations)
            All scales of the run.

        Raises
        ------
        StylecoreError
            If another run uses the checkpoint, or it cannot be resumed from.
        """
        with self._checkpoint.locked() if self._checkpoint else nullcontext():
            self._load(len(scales))
            self._began = time.perf_counter() - (self.history[-1].seconds if self.history else 0.0)
            if self._progress:
                from tqdm import tqdm

                total = sum(count for _, count in scales)
                self._bar = tqdm(total=total, initial=len(self.history), unit="step", dynamic_ncols=True)
            try:
                with on_compile(self._say) if self._bar is not None else nullcontext():
                    yield
            finally:
                if self._bar is not None:
                    self._bar.close()

    def _say(self, text: str) -> None:
        """Write a line above the progress bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

    def minimize(
        self, objective: Function, optimizer: Optimizer, finish: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Minimise at the next scale, starting from the checkpoint's state if it was saved at this scale.

        Parameters
        ----------
        objective : Function
        optimizer : Optimizer
        finish : callable
            From the image that is optimised to the picture that the callback gets, both (H, W, 3).

        Returns
        -------
        ndarray, (H, W, 3)
            The optimiser's image.

        Raises
        ------
        StylecoreError
            If the loss is not finite, or the checkpoint cannot be read or written.
        """
        if self._checkpoint and self._resumed and self._scale == self.first:
            self._checkpoint.restore(optimizer)
        optimizer.run(self._watched(objective, finish), lambda: self._save(optimizer))
        if not self.stopped:
            self._save(optimizer, now=True)
        self._scale += 1
        return optimizer.image

    def _load(self, scales: int) -> None:
        saved = self._checkpoint.load(scales) if self._checkpoint else None
        if saved:
            self.history.extend(saved.history)
            self.first = self._scale = saved.scale
            self._resumed = True

    def _save(self, optimizer: Optimizer, now: bool = False) -> None:
        if self._checkpoint:
            self._checkpoint.write(optimizer, self._scale, self.history, now=now)

    def _watched(self, objective: Function, finish: Callable[[np.ndarray], np.ndarray]) -> Callable:
        """The function that the optimiser minimises, which records and shows each evaluation."""

        def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
            if self.stopped:
                raise Stopped
            # Overflow is reported below. The optimisers square the gradient; if that overflows they stop silently.
            with np.errstate(over="ignore", invalid="ignore"):
                loss, gradient, terms = objective.evaluate(x)
                is_finite = np.isfinite(loss) and np.isfinite(np.vdot(gradient, gradient))
            if not is_finite:
                raise StylecoreError(
                    f"the loss or its gradient is too large or not a number at evaluation {len(self.history) + 1}; "
                    "lower the weights."
                )
            self._record(x, loss, terms, objective.term_weights, finish)
            return loss, gradient

        return evaluate

    def _record(
        self,
        x: np.ndarray,
        loss: float,
        terms: dict[str, float],
        weights: dict[str, float],
        finish: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        height, width = x.shape[:2]
        seconds = time.perf_counter() - self._began
        self.history.append(Evaluation(len(self.history) + 1, (height, width), loss, terms, seconds, weights))
        if self._bar is not None:
            self._bar.set_postfix_str(f"{width} x {height}, loss {loss:.4g}")
            self._bar.update()
        if self._callback is not None:
            self.stopped = bool(self._callback(self.history[-1], _read_only_copy(finish(x))))


def _read_only_copy(image: np.ndarray) -> np.ndarray:
    """An image that neither a callback nor the optimiser, which uses its buffers again, can change."""
    image = image.copy()
    image.flags.writeable = False
    return image
