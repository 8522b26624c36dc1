"""A run over the scales of a transfer: what is kept of it and shown of it."""

import time
from contextlib import contextmanager

import numpy as np

from stylecore.errors import StylecoreError
from stylecore.optimizers import Stopped
from stylecore.runs.history import Evaluation, History


class Run:
    """Keeps the history and the checkpoint, shows the progress and asks the callback whether to go on.

    Attributes
    ----------
    first : int
        Number of the scale to begin with; that of the checkpoint, if there is one.
    """

    def __init__(self, callback, progress, checkpoint, arguments):
        self.history = History()
        self.stopped = False
        self._callback = callback
        self._progress = progress
        self._checkpoint = checkpoint
        self._bar = None
        self._saved = checkpoint.begin(arguments) if checkpoint else None
        self.first = self._scale = 0
        if self._saved:
            saved = self._saved["history"]
            self.history.extend(Evaluation(number, tuple(size), *more) for number, size, *more in saved)
            self.first = self._scale = self._saved["scale"]

    @contextmanager
    def over(self, scales):
        """Show the progress over these scales inside the ``with`` block, and count the time from here on."""
        self._began = time.perf_counter() - (self.history[-1].seconds if self.history else 0.0)
        if self._progress:
            from tqdm import tqdm

            total = sum(count for _, count in scales)
            self._bar = tqdm(total=total, initial=len(self.history), unit="step", dynamic_ncols=True)
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.close()

    def minimize(self, objective, optimizer, finish):
        """Minimise at a scale, from the checkpoint's state on if it is of this scale; returns the image reached."""
        if self._saved and self._scale == self.first:
            self._checkpoint.restore(optimizer)
        optimizer.run(self._watched(objective, finish), lambda: self._save(optimizer))
        if not self.stopped:
            self._save(optimizer, now=True)
        self._scale += 1
        return optimizer.image

    def _save(self, optimizer, now=False):
        if self._checkpoint:
            self._checkpoint.write(optimizer, self._scale, self.history, now=now)

    def _watched(self, objective, finish):
        """The objective as the optimiser sees it, with every evaluation noted and shown as the finished picture."""

        def evaluate(x):
            if self.stopped:
                raise Stopped
            loss, gradient, terms = objective.evaluate(x)
            # The optimisers square the gradient, and with a sum beyond the numbers' range would give up silently.
            if not (np.isfinite(loss) and np.isfinite(np.vdot(gradient, gradient))):
                raise StylecoreError(
                    f"the loss or its gradient is too large or not a number at evaluation {len(self.history) + 1}; "
                    "lower the weights."
                )
            self._note(loss, terms, objective.term_weights, x, finish)
            return loss, gradient

        return evaluate

    def _note(self, loss, terms, weights, x, finish):
        seconds = time.perf_counter() - self._began
        self.history.append(Evaluation(len(self.history) + 1, x.shape[:2], loss, terms, seconds, weights))
        if self._bar is not None:
            height, width = x.shape[:2]
            self._bar.set_postfix_str(f"{width} x {height}, loss {loss:.4g}")
            self._bar.update()
        self.stopped = bool(self._callback is not None and self._callback(self.history[-1], finish(x)))
