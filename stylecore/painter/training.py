"""Training of a painter on photographs and style images, from the pictures to the file that `Painter` reads."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stylecore.errors import ParameterError, TrainingError
from stylecore.files import replacing
from stylecore.kernels import cpu
from stylecore.network import load_network
from stylecore.painter.files import PainterWeights, read, shapes, write
from stylecore.painter.loss import PainterLoss
from stylecore.painter.model import PainterModel
from stylecore.painter.settings import WHEN_ADDED, PainterSettings
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.reading import read_image
from stylecore.training import checkpoints, curves, data
from stylecore.training.checkpoints import Identity
from stylecore.training.curves import Epoch
from stylecore.training.data import PictureSet
from stylecore.training.optimizers import Adam, learning_rate
from stylecore.training.outputs import Outputs
from stylecore.training.outputs import write as write_file
from stylecore.training.train import check_memory, progress_bar
from stylecore.version import __version__

# Steps between two checkpoints.
ROUND = 100

# Held-out photographs that the loss is measured on after each round, in each style, and that the sheet shows.
MEASURED = 4

SCORE = "style loss"
"""What is recorded beside the whole loss: the style term, in multiples of that of a blank picture."""


@dataclass(frozen=True)
class PainterTraining:
    """The result of a training.

    Attributes
    ----------
    weights : PainterWeights
        As written to the file.
    history : list of dict
        For each round of steps: its number "epoch", "loss" and "style loss" on the training set, both on photographs
        that were held out ("test loss" and so on), the learning "rate" at its end, and its duration in "seconds".
    """

    weights: PainterWeights
    history: list[Epoch]


def train_styles(
    photographs: str | os.PathLike[str],
    styles: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    add: str | os.PathLike[str] | None = None,
    half: bool = False,
    plot: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool = False,
    **settings: Any,
) -> PainterTraining:
    """Train a painter, or add styles to one.

    Parameters
    ----------
    photographs : str or path
        A folder of photographs; those in its subfolders are read, too.
    styles : sequence of str or path
        Style images.
    output : str or path
        The HDF5 file to write, which `Painter` reads; an existing one is replaced. Every hundred steps the learning
        curves (``.csv``), samples (``.samples.png``: held-out photographs in all styles) and a checkpoint
        (``.checkpoint.npz``) are written beside it; the checkpoint is deleted in the end.
    names : sequence of str, optional
        Names of the styles; by default those of the files without suffix.
    add : str or path, optional
        A trained painter to add the styles to. Only their scales and shifts are fitted, all else stays as it is.
    half, plot, resume, callback, progress
        As of `stylecore.train_classifier`; the callback is called after every hundred steps.
    **settings
        Any field of `stylecore.painter.settings.PainterSettings`: ``steps``, ``crop``, ``style_weight`` and so on.

    Returns
    -------
    PainterTraining

    Raises
    ------
    DataError
        If photographs, or a checkpoint, cannot be read, or are too few or too small.
    ImageError
        If a style image cannot be read.
    ParameterError
        If a setting is unknown or out of its range, a style is named twice, a checkpoint is of another training, or a
        file that was not written by a training would be overwritten.
    TooLargeError
        If memory does not suffice.
    TrainingError
        If the loss is no longer finite, or a file cannot be written.
    WeightsError
        If the network or the given painter cannot be read, or the painter cannot be written.

    References
    ----------
    Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style", sections 2 and 3.

    Examples
    --------
    >>> stylecore.train_styles("photographs", ["a.jpg", "b.jpg"], "painter.h5", steps=4000)  # doctest: +SKIP
    """
    base = None if add is None else read(add)
    if base is not None:
        settings = {**WHEN_ADDED, **settings, "architecture": base.table}
    chosen = PainterSettings.of(settings)
    new = _names(styles, names, base)
    outputs = Outputs(output, plot, has_samples=True)
    if Path(photographs).resolve() in outputs.network.resolve().parents:
        raise ParameterError(
            f"{output} is in the folder of the photographs, as would be its samples; choose another one."
        )
    with outputs.reserved([*data.list_photographs(photographs), *map(Path, styles)], resume):
        targets = [_style(style, chosen.style_size) for style in styles]
        train, test = data.read_photographs(photographs, chosen.crop, chosen.held_out, chosen.seed)
        if chosen.batch > len(train.labels):
            raise ParameterError(
                f"batch is {chosen.batch}, but there are only {len(train.labels)} photographs to train on; reduce it."
            )
        run = _Run(chosen, new, targets, base, train, test)
        identity = Identity("painter", chosen, _digest(train, test, targets, new, base))
        if outputs.checkpoint.exists():
            run.history = checkpoints.load(outputs.checkpoint, identity, run.arrays())
        while run.steps_done < chosen.steps:
            run.round(progress)
            write_file(outputs.checkpoint, checkpoints.dump(identity, run.history, run.arrays()))
            write_file(outputs.curves, curves.table(run.history, SCORE))
            run.write_samples(outputs.samples)
            if callback is not None:
                callback(run.history[-1])
        weights = run.weights(Path(photographs).name)
        write(weights, outputs.network, "float16" if half else "float32")
        if outputs.plot is not None:
            write_file(outputs.plot, curves.plot(run.history, SCORE, outputs.plot.suffix.removeprefix(".")))
        outputs.checkpoint.unlink(missing_ok=True)
        return PainterTraining(weights, run.history)


def _names(
    styles: Sequence[str | os.PathLike[str]], names: Sequence[str] | None, base: PainterWeights | None
) -> tuple[str, ...]:
    """Names of the new styles; raises ParameterError if they do not fit."""
    if not styles:
        raise ParameterError("no style images are given; give at least one.")
    found = tuple(Path(style).stem for style in styles) if names is None else tuple(names)
    if len(found) != len(styles):
        raise ParameterError(f"{len(found)} names are given for {len(styles)} style images; give one for each.")
    everything = [*(base.styles if base is not None else ()), *found]
    for name in found:
        if not name or "=" in name:
            raise ParameterError(f'"{name}" cannot be the name of a style; choose one without "=".')
        if everything.count(name) > 1:
            raise ParameterError(f"two styles have the name {name}; choose other names (--names).")
    return found


def _style(path: str | os.PathLike[str], longer_side: int) -> np.ndarray:
    picture, _ = read_image(path, name=f"style image {Path(path).name}")
    return resize(picture, fit(picture.shape, longer_side))


def _digest(
    train: PictureSet, test: PictureSet, styles: Sequence[np.ndarray], names: Sequence[str], base: PainterWeights | None
) -> str:
    """SHA-256 of all that a training depends on beside its settings."""
    result = hashlib.sha256(data.digest(train, test).encode() + json.dumps(names).encode())
    for style in styles:
        result.update(repr(style.shape).encode() + np.ascontiguousarray(style).tobytes())
    for array in {} if base is None else base.arrays.values():
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


class _Run:
    """The state of a training: painter, optimiser and history."""

    def __init__(
        self,
        settings: PainterSettings,
        names: Sequence[str],
        styles: Sequence[np.ndarray],
        base: PainterWeights | None,
        train: PictureSet,
        test: PictureSet,
    ) -> None:
        self.settings = settings
        self.history: list[Epoch] = []
        self._train, self._test = train, test
        network = load_network(settings.network, layers=[*settings.content_layers, *settings.style_layers])
        self._loss = PainterLoss(
            network,
            settings.content_layers,
            settings.style_layers,
            settings.content_weight,
            settings.style_weight,
            settings.crop,
        )
        self._targets = [self._loss.style(style) for style in styles]
        self._old, self._former = (0, "") if base is None else (len(base.styles), f"{base.source}; ")
        self._names = (*(() if base is None else base.styles), *names)
        self.model = PainterModel(settings.architecture, len(self._names), cpu)
        check_memory(self.model, settings.batch, settings.crop)
        self.model.initialise(np.random.default_rng(settings.seed))
        if base is not None:
            self._start_from(base)
        self._trained = self._trained_parameters()
        self._values = self.model.values[self._trained]
        self._optimizer = Adam(self._values, np.zeros(len(self._values), bool), 0.0)

    def _start_from(self, base: PainterWeights) -> None:
        """Copy a painter; new styles begin as the mean of its styles."""
        for (stage, name), array in named_arrays(self.model).items():
            stored = base.arrays[stage, name]
            if name == "filters":
                array[...] = stored
            else:
                array[: self._old], array[self._old :] = stored, stored.mean(axis=0)

    def _trained_parameters(self) -> np.ndarray:
        """Indices of the parameters to train: all, or those of the new styles."""
        if not self._old:
            return np.arange(len(self.model.values))
        kept = self.model.values.copy()
        self.model.values[...] = 0
        for norm in self.model.norms:
            norm.scale[self._old :] = norm.shift[self._old :] = 1
        trained = np.flatnonzero(self.model.values)
        self.model.values[...] = kept
        return trained

    @property
    def steps_done(self) -> int:
        """Number of steps in the history."""
        return min(ROUND * len(self.history), self.settings.steps)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays that change during training."""
        return {"values": self._values, **self._optimizer.state}

    def round(self, progress: bool) -> None:
        """Train for a hundred steps, then measure the loss on held-out photographs."""
        self.model.values[self._trained] = self._values
        first, began = self.steps_done, time.perf_counter()
        # Each round has a random generator of its own, so that a resumed training draws the same numbers.
        rng = np.random.default_rng([self.settings.seed, len(self.history), 1])
        last = min(first + ROUND, self.settings.steps)
        terms: list[np.ndarray] = []
        label = f"steps {first + 1} to {last} of {self.settings.steps}"
        with progress_bar(last - first, label, progress) as bar:
            for step in range(first, last):
                terms.append(self._step(step, rng))
                total, style = np.mean(terms, axis=0)
                bar.set_postfix_str(f"loss {total:.3f}, style {style:.4f}", refresh=False)
                bar.update()
        (loss, style), (test_loss, test_style) = np.mean(terms, axis=0), self._measure()
        numbers = {"loss": loss, SCORE: style, "test loss": test_loss, f"test {SCORE}": test_style}
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                **{name: float(value) for name, value in numbers.items()},
                "rate": self._rate(last - 1),
                "seconds": time.perf_counter() - began,
            }
        )

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.settings.steps, self.settings.warm_up, self.settings.learning_rate)

    def _step(self, step: int, rng: np.random.Generator) -> np.ndarray:
        """Update the parameters, and return the loss and the relative style loss before that."""
        count = self.settings.batch
        photographs = self._train.batch(rng.choice(len(self._train.labels), count, replace=False), rng)
        styles = rng.permutation(np.arange(max(count, len(self._targets))) % len(self._targets))[:count]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            terms, gradient = self._evaluate(scaled(photographs), styles)
            self.model.backward(gradient / count)
            self._optimizer.step(self.model.gradient[self._trained], self._rate(step))
        # A NaN among the parameters would stay in all further steps, and get into the checkpoint.
        if not (np.isfinite(terms).all() and np.isfinite(self._values).all()):
            kept = "the last checkpoint is kept" if self.history else "nothing was written"
            raise TrainingError(
                f"the loss or its gradient is no longer finite at step {step + 1}, and {kept}; reduce learning_rate."
            )
        self.model.values[self._trained] = self._values
        return terms.mean(axis=0)

    def _evaluate(self, photographs: np.ndarray, styles: np.ndarray | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Loss and relative style loss of each picture (n, 2), and the gradients of the losses."""
        self.model.set_styles(np.eye(len(self._names))[self._old + np.asarray(styles)])
        painted = self.model.forward(photographs)
        gradient, terms = np.empty_like(painted), np.empty((len(painted), 2))
        for n, style in enumerate(styles):
            content, style_term, gradient[n] = self._loss(photographs[n], painted[n], self._targets[style])
            terms[n] = content + style_term, style_term / (self.settings.style_weight or 1)
        return terms, gradient

    def _samples(self) -> np.ndarray:
        count = min(MEASURED, len(self._test.labels))
        return scaled(self._test.batch(np.linspace(0, len(self._test.labels) - 1, count).astype(int)))

    def _measure(self) -> np.ndarray:
        """Mean loss and relative style loss of the samples in all new styles."""
        samples = self._samples()
        terms = [self._evaluate(samples, [style] * len(samples))[0] for style in range(len(self._targets))]
        return np.concatenate(terms).mean(axis=0)

    def write_samples(self, path: Path) -> None:
        """Write the samples, and below them the same in each new style."""
        rows = [samples := self._samples()]
        for style in range(len(self._targets)):
            self.model.set_styles(np.eye(len(self._names))[[self._old + style] * len(samples)])
            rows.append(self.model.forward(samples).copy())
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
        try:
            with replacing(path) as file:
                to_pil(sheet).save(file, "png")
        except OSError as error:
            raise TrainingError(f"{path} cannot be written ({error.strerror or error}).") from error

    def weights(self, photographs: str) -> PainterWeights:
        """The trained painter, with a record of its training."""
        seconds, last = sum(epoch["seconds"] for epoch in self.history), self.history[-1]
        settings = {key: value for key, value in self.settings.to_json().items() if key != "architecture"}
        source = (
            f"{self._former}stylecore {__version__}, trained on {len(self._train.labels)} photographs of {photographs} "
            f"with {json.dumps(settings)} in {seconds:.0f} s to a test loss of {last['test loss']:.4f} and a style "
            f"loss of {last[f'test {SCORE}']:.4f}"
        )
        arrays = {key: array.astype(np.float32) for key, array in named_arrays(self.model).items()}
        return PainterWeights(self._names, tuple(self.settings.architecture), arrays, source)


def named_arrays(model: PainterModel) -> dict[tuple[str, str], np.ndarray]:
    """The parameters of a model by stage and name, as `shapes` orders them."""
    layers = {
        stage.name: {"filters": convolution.filters, "scale": norm.scale, "shift": norm.shift}
        for stage, convolution, norm in zip(model.table, model.convolutions, model.norms, strict=True)
    }
    return {(stage, name): layers[stage][name] for stage, name in shapes(model.table, 1)}


def scaled(images: np.ndarray) -> np.ndarray:
    """Images of uint8 as float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)
