"""The settings of a painter's training: everything, beside the pictures, that decides what it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stylecore.errors import ParameterError
from stylecore.painter import architecture as architectures
from stylecore.painter.architecture import Stage, check, check_crop, stages
from stylecore.training.settings import KeywordSettings, integer, is_real

WHEN_ADDED: dict[str, Any] = {"steps": 400, "learning_rate": 3e-2}
"""Defaults that differ where styles are added to a painter.

All filters stay as they are, so that the scales and shifts bear large steps, and with the rate of a whole training they
hardly move: after 300 steps at 1e-3 the loss of a fifth style was 3.30, after 200 at 3e-2 it was 1.91, where the other
styles have 2.02.
"""


@dataclass(frozen=True, kw_only=True)
class PainterSettings(KeywordSettings):
    """Settings of `train_styles`.

    Parameters
    ----------
    architecture : sequence of Stage
        The stages of the painter; those of the given painter where styles are added to one.
    network : str
        The network whose features make the loss, with max pooling.
    content_layers, style_layers : sequence of str
        Layers of that network, named after their ReLU; all layers of a kind have the same weight.
    content_weight, style_weight : float
        As those of `transfer`: factors of the terms, which are relative to those of a blank picture.
    crop : int
        Side length in pixels of the squares of the photographs to train on.
    style_size : int
        Longer side of the style images in pixels: it decides how large brush strokes are.
    steps : int
        Number of updates of the parameters; where styles are added to a painter, 400 by default.
    batch : int
        Number of photographs in a step, each painted in a style that is drawn at random.
    learning_rate : float
        Peak learning rate of Adam; where styles are added to a painter, 0.03 by default. It decays to zero along a
        cosine.
    warm_up : int
        Steps in which the learning rate rises to its peak.
    held_out : float
        Fraction of the photographs that is held out to measure the loss on, in (0, 1).
    seed : int
        Random seed. The same seed gives the same painter on the same machine.

    Raises
    ------
    ParameterError
        If a value is of the wrong type or out of its range.
    """

    TABLES: ClassVar[Any] = architectures
    architecture: Sequence[Stage] = stages()
    network: str = "vgg19"
    content_layers: Sequence[str] = ("relu3_1",)
    style_layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    content_weight: float = 1.0
    style_weight: float = 10.0
    crop: int = 256
    style_size: int = 384
    steps: int = 4000
    batch: int = 4
    learning_rate: float = 1e-3
    warm_up: int = 20
    held_out: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "style_size", "steps", "batch"):
            self._store(name, integer(name, getattr(self, name), least=1))
        for name in ("warm_up", "seed"):
            self._store(name, integer(name, getattr(self, name), least=0))
        for name in ("content_weight", "style_weight", "learning_rate"):
            value = getattr(self, name)
            if not (is_real(value) and 0 <= value < float("inf")):
                raise ParameterError(f"{name} is {value!r}; it must be a non-negative number.")
            self._store(name, float(value))
        if not (is_real(self.held_out) and 0 < self.held_out < 1):
            raise ParameterError(f"held_out is {self.held_out!r}; it must be a number between 0 and 1.")
        if self.warm_up >= self.steps:
            raise ParameterError(f"warm_up is {self.warm_up}; it must be less than steps ({self.steps}).")
        for name in ("content_layers", "style_layers"):
            self._store(name, tuple(getattr(self, name)))
            if not getattr(self, name):
                raise ParameterError(f"{name} is empty; name at least one layer.")
        self._store("architecture", tuple(self.architecture))
        try:
            check(self.architecture)
        except (ValueError, AttributeError) as error:
            raise ParameterError(f"the architecture cannot be trained: {error}.") from error
        check_crop(self.architecture, self.crop)
