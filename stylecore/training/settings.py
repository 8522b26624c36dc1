"""The settings of a training: everything, beside the data, that decides what a network learns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.training.architectures import AUTOENCODER, CNN
from stylecore.training.optimizers import OPTIMIZERS
from stylecore.weights import architectures
from stylecore.weights.architectures import Conv, Pool

_Settings = TypeVar("_Settings", bound="KeywordSettings")


@dataclass(frozen=True, kw_only=True)
class KeywordSettings:
    """What the settings of all trainings have in common: frozen dataclasses with an architecture, a table of rows.

    Attributes
    ----------
    TABLES : module
        With the functions `to_json` and `from_json` for such a table.
    """

    TABLES: ClassVar[Any]
    architecture: Sequence[Any]

    def _store(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # The dataclass is frozen.

    @classmethod
    def of(cls: type[_Settings], given: Mapping[str, Any]) -> _Settings:
        """Settings from keywords.

        Parameters
        ----------
        given : mapping of str to object
            Fields by name; the others keep their defaults.

        Raises
        ------
        ParameterError
            If a name is unknown, or a value is of the wrong type or out of its range.
        """
        known = list(cls.defaults())
        for name in given:
            if name not in known:
                raise ParameterError(f'there is no setting "{name}"{near_matches(name, known)}.')
        return cls(**given)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each field, by name."""
        return {field.name: field.default for field in fields(cls)}

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "architecture": json.loads(self.TABLES.to_json(self.architecture))}

    @classmethod
    def from_json(cls: type[_Settings], stored: Mapping[str, Any]) -> _Settings:
        """Settings from what `to_json` returned.

        Parameters
        ----------
        stored : mapping of str to object

        Raises
        ------
        ParameterError
            If a name is unknown, or a value is of the wrong type or out of its range.
        ValueError
            If the architecture is not a table of layers.
        """
        architecture = cls.TABLES.from_json(json.dumps(stored.get("architecture")))
        return cls.of({**stored, "architecture": architecture})


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(KeywordSettings):
    """Settings that all trainings have; `ClassifierSettings` and `AutoencoderSettings` give them their defaults.

    Parameters
    ----------
    architecture : sequence of Conv and Pool
        The layers that are saved, and that images are compared by.
    classes : sequence of str, optional
        The subfolders to read from a folder of pictures; all of them by default.
    side : int
        Side length in pixels that pictures of a folder are resized to. CIFAR-10 has 32.
    held_out : float
        Fraction of each class of a folder that is held out as the test set, in (0, 1). CIFAR-10 has its own test set.
    epochs : int
        Passes over the training set.
    batch : int
        Number of pictures in a batch.
    optimizer : {"sgd", "adam"}
        SGD with momentum, or Adam with decoupled weight decay.
    learning_rate : float
        Peak learning rate. The rate rises to it linearly (see `warm_up`) and then decays to zero along a cosine.
    weight_decay : float
        Factor of the L2 penalty on filters and dense weights.
    warm_up : float
        Length of the warm-up, in epochs.
    seed : int
        Random seed. The same seed gives the same network on the same machine.

    Raises
    ------
    ParameterError
        If a value is of the wrong type or out of its range.
    """

    TABLES: ClassVar[Any] = architectures
    architecture: Sequence[Conv | Pool]
    classes: Sequence[str] | None = None
    side: int = 64
    held_out: float = 0.2
    epochs: int = 12
    batch: int = 128
    optimizer: str
    learning_rate: float
    weight_decay: float
    warm_up: float
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("side", "epochs", "batch"):
            self._store(name, integer(name, getattr(self, name), least=1))
        self._store("seed", integer("seed", self.seed, least=0))
        for name in ("learning_rate", "weight_decay", "warm_up"):
            value = getattr(self, name)
            if not (is_real(value) and 0 <= value < float("inf")):
                raise ParameterError(f"{name} is {value!r}; it must be a non-negative number.")
            self._store(name, float(value))
        if not (is_real(self.held_out) and 0 < self.held_out < 1):
            raise ParameterError(f"held_out is {self.held_out!r}; it must be a number between 0 and 1.")
        self._store("held_out", float(self.held_out))
        if not isinstance(self.optimizer, str) or self.optimizer not in OPTIMIZERS:
            near = near_matches(self.optimizer, list(OPTIMIZERS))
            raise ParameterError(f'optimizer "{self.optimizer}" is unknown{near}.')
        self._store("architecture", _architecture(self.architecture))
        if self.classes is not None:
            self._store("classes", _names(self.classes))


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(TrainingSettings):
    """Settings of `train_classifier`: those of `TrainingSettings`, and `dropout`.

    Parameters
    ----------
    dropout : float
        Probability that one of the averaged features in front of the dense layer is dropped, in [0, 1).
    """

    architecture: Sequence[Conv | Pool] = CNN
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warm_up: float = 2.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_real(self.dropout) and 0 <= self.dropout < 1):
            raise ParameterError(f"dropout is {self.dropout!r}; it must be a number from 0 to less than 1.")
        self._store("dropout", float(self.dropout))


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(TrainingSettings):
    """Settings of `train_autoencoder`: those of `TrainingSettings`."""

    architecture: Sequence[Conv | Pool] = AUTOENCODER
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    warm_up: float = 1.0


def is_real(value: object) -> bool:
    """Whether a value is a real number and not a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def integer(name: str, value: object, least: int) -> int:
    """A setting as an int; ParameterError if it is not an integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ParameterError(f"{name} is {value!r}; it must be an integer of at least {least}.")
    return int(value)


def _architecture(layers: Sequence[Conv | Pool]) -> tuple[Conv | Pool, ...]:
    try:
        table = tuple(layers)
        architectures.check_table(table)
    except (ValueError, TypeError, AttributeError) as error:
        raise ParameterError(f"the architecture cannot be trained: {error}; correct its table of layers.") from error
    return table


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise ParameterError(f"classes is {classes!r}; it must be a list of names of folders.")
    if len(set(classes)) < len(classes):
        raise ParameterError(f"classes is {', '.join(classes)}; a class must be named only once.")
    return tuple(classes)
