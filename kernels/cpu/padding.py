"""Reflection padding, of a map or of one that is upsampled at the same time."""

from __future__ import annotations

import numpy as np

from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine


@subroutine
def _reflected(i, length):
    """The position that position i outside of a map shows: its mirror image about the first or the last one."""
    return length - 1 - abs(length - 1 - abs(i))


@subroutine
def _pad_line(line, x, padding, factor, top, begin, height, y):
    width, channels = factor * x.shape[2], x.shape[3]
    n, i = line // y.shape[1], line % y.shape[1]
    source = x[n, _reflected(top + i - padding, height) // factor - begin].reshape(-1)
    target = y[n, i].reshape(-1)
    for j in range(y.shape[2]):
        start = _reflected(j - padding, width) // factor * channels
        for c in range(channels):
            target[j * channels + c] = source[start + c]


@kernel
def _pad_reflected(x, padding, factor, top, begin, height, y):
    for_each(y.shape[0] * y.shape[1], _pad_line, (x, padding, factor, top, begin, height, y))


def pad_reflected(
    x: np.ndarray, padding: int, factor: int, y: np.ndarray, top: int = 0, begin: int = 0, height: int | None = None
) -> None:
    """Repeat each position factor x factor times, then reflect the map at its borders.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    padding : int
        Rows and columns to add on each side; fewer than the upsampled map has.
    factor : int
    y : ndarray, (N, factor H + 2 padding, factor W + 2 padding, C)
        Result, or a strip of it.
    top : int
        Row of the whole result that y begins with, if it is a strip.
    begin : int
        Row of the whole map that x begins with, if it holds no more than the strip depends on.
    height : int, optional
        Rows of the whole map; by default those of x.
    """
    _pad_reflected(x, padding, factor, top, begin, factor * (x.shape[1] if height is None else height), y)


@subroutine
def _add_line(source, padding, factor, target, channels):
    """Add a row of a padded map to the row of the map that it shows, position by position; both are flat."""
    width = target.size // channels * factor
    for j in range(width):
        place, at = j // factor * channels, (j + padding) * channels
        for c in range(channels):
            target[place + c] += source[at + c]
    for j in range(1, padding + 1):
        place, at = j // factor * channels, (padding - j) * channels
        for c in range(channels):
            target[place + c] += source[at + c]
        place, at = (width - 1 - j) // factor * channels, (padding + width - 1 + j) * channels
        for c in range(channels):
            target[place + c] += source[at + c]


@subroutine
def _pad_line_backward(line, dy, padding, factor, dx):
    channels, height = dx.shape[3], factor * dx.shape[1]
    n, i = line // dx.shape[1], line % dx.shape[1]
    target = dx[n, i].reshape(-1)
    target[:] = 0
    for row in range(i * factor, (i + 1) * factor):
        _add_line(dy[n, padding + row].reshape(-1), padding, factor, target, channels)
        if 1 <= row <= padding:
            _add_line(dy[n, padding - row].reshape(-1), padding, factor, target, channels)
        mirrored = 2 * (height - 1) - row
        if mirrored >= height and mirrored < height + padding:
            _add_line(dy[n, padding + mirrored].reshape(-1), padding, factor, target, channels)


@kernel
def pad_reflected_backward(dy: np.ndarray, padding: int, factor: int, dx: np.ndarray) -> None:
    """Gradient of `pad_reflected`: the sum of the gradients of all that shows a position.

    Parameters
    ----------
    dy : ndarray, (N, factor H + 2 padding, factor W + 2 padding, C)
    padding, factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    for_each(dx.shape[0] * dx.shape[1], _pad_line_backward, (dy, padding, factor, dx))
