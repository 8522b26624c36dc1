"""The settings of a film, apart from those of its pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from stylecore.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class FilmSettings:
    """How a film is painted, apart from the settings of its pictures.

    Parameters
    ----------
    start, stop : float, optional
        The part of the film to paint, in seconds; by default all of it.
    every : int
        Paint only every such frame of it.
    passes : int
        Runs over each shot, forwards and backwards in turn. More than one help where the camera moves so much that
        what is seen only later looks different from the rest.
    frame_iterations : int
        Number of evaluations for each frame but the first of a shot; up to four times as many where much of it is new.
    temporal_weight : float
        Weight of the temporal loss, zero or more: how strongly a frame must agree with those before it.
    long_term : sequence of int
        Distances, in frames, of the earlier frames that a frame must agree with; each pixel follows the nearest of
        them in which it is seen.
    flow : path, optional
        Folder of flows that were estimated elsewhere, in the Middlebury format. The last two numbers in a name are
        those of the frames, counted from 1: flow_0001_to_0002.flo is the flow from the first to the second. Both
        directions are needed for all consecutive frames; flows over a longer distance are composed where they are
        missing.
    keep_going : bool
        Whether to paint what can be read of a damaged film.

    Raises
    ------
    ParameterError
        If a setting is out of its range.
    """

    start: float = 0.0
    stop: float | None = None
    every: int = 1
    passes: int = 1
    frame_iterations: int = 12
    temporal_weight: float = 500.0
    long_term: Sequence[int] = (1, 2, 4)
    flow: str | os.PathLike | None = None
    keep_going: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "passes", "frame_iterations"):
            _check_count(name, getattr(self, name))
        for name in ("start", "temporal_weight"):
            _check_number(name, getattr(self, name))
        if self.stop is not None:
            _check_number("stop", self.stop)
            if self.stop <= self.start:
                raise ParameterError(f"the film stops at {self.stop} s and starts at {self.start} s; stop it later.")
        if isinstance(self.long_term, str) or not isinstance(self.long_term, Sequence) or not len(self.long_term):
            raise ParameterError(f"long_term is {self.long_term!r}; give a list of distances in frames, such as 1 2 4.")
        for distance in self.long_term:
            _check_count("a distance in long_term", distance)
        object.__setattr__(self, "long_term", tuple(sorted(set(self.long_term))))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each field, by name."""
        return {each.name: each.default for each in fields(cls)}

    def to_json(self) -> dict[str, Any]:
        """The settings that determine the painted frames, as values that JSON can represent."""
        given = {**vars(self), "long_term": list(self.long_term)}
        return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ParameterError(f"{name} is {value!r}; it must be a whole number of one or more.")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ParameterError(f"{name} is {value!r}; it must be a number of zero or more.")
