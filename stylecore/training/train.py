"""Training of a classifier or an autoencoder, from the data to a file of weights that `transfer` takes as a network."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecore import memory
from stylecore.errors import ParameterError, TooLargeError, TrainingError
from stylecore.kernels import cpu
from stylecore.training import checkpoints, curves, data
from stylecore.training.checkpoints import Identity
from stylecore.training.curves import Epoch
from stylecore.training.data import ImageSet, PictureSet
from stylecore.training.loading import batches, measure
from stylecore.training.model import Model, autoencoder, classifier
from stylecore.training.optimizers import OPTIMIZERS, Optimizer, learning_rate
from stylecore.training.outputs import Outputs, write
from stylecore.training.settings import AutoencoderSettings, ClassifierSettings, TrainingSettings
from stylecore.training.tasks import Classification, Reconstruction, Task
from stylecore.version import __version__
from stylecore.weights import Preprocessing, Weights
from stylecore.weights import write as write_weights

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass(frozen=True)
class Training:
    """The result of a training.

    Attributes
    ----------
    weights : Weights
        As written to the file; `stylecore.transfer` takes them as a network.
    history : list of dict
        For each epoch: its number "epoch", "loss" and score on the training set, both on the test set ("test loss" and
        so on), the learning "rate" at its end, and its duration in "seconds".
    score : str
        Name of the score: "accuracy", in [0, 1], or "PSNR", in dB.
    """

    weights: Weights
    history: list[Epoch]
    score: str

    @property
    def result(self) -> float:
        """The score on the test set after the last epoch."""
        return self.history[-1][f"test {self.score}"]


def train_classifier(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    half: bool = False,
    plot: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Training:
    """Train a network to classify pictures.

    Parameters
    ----------
    source : str or path
        The data: an archive of CIFAR-10, or a folder with a subfolder of pictures for each class; see
        `stylecore.training.data.read`.
    output : str or path
        The HDF5 file to write, which `transfer` takes as a network; an existing one is replaced. After every epoch the
        learning curves (``.csv``) and a checkpoint (``.checkpoint.npz``) are written beside it; the checkpoint is
        deleted in the end.
    half : bool
        Store the weights in half precision (float16), which hardly changes the pictures made with them.
    plot : str or path, optional
        Also draw the learning curves into this file; needs Matplotlib.
    resume : bool
        Resume from the checkpoint if there is one. The network will be the same as without the interruption.
    callback : callable, optional
        Called after each epoch with its dict; see `Training.history`.
    progress : bool
        Whether to show a progress bar with loss and score.
    **settings
        Any field of `ClassifierSettings`: ``architecture``, ``classes``, ``side``, ``held_out``, ``epochs``, ``batch``,
        ``optimizer``, ``learning_rate``, ``weight_decay``, ``warm_up``, ``dropout`` and ``seed``.

    Returns
    -------
    Training

    Raises
    ------
    DataError
        If the data, or a checkpoint, cannot be read.
    ParameterError
        If a setting is unknown, out of its range or does not fit the data, a checkpoint is of another training, or a
        file that was not written by a training would be overwritten.
    TooLargeError
        If memory does not suffice.
    TrainingError
        If the loss is no longer finite, or a file cannot be written.
    WeightsError
        If the network cannot be written.

    Examples
    --------
    >>> stylecore.train_classifier("cifar-10-python.tar.gz", "cnn.h5", epochs=20, seed=1)  # doctest: +SKIP
    """
    chosen = ClassifierSettings.of(settings)
    return _train(
        "cnn",
        chosen,
        lambda train: classifier(chosen.architecture, train.side, len(train.classes), chosen.dropout, cpu),
        lambda scaling: Classification(cpu),
        source,
        Outputs(output, plot),
        half=half,
        resume=resume,
        callback=callback,
        progress=progress,
    )


def train_autoencoder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    half: bool = False,
    plot: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Training:
    """Train a network to reconstruct pictures from a short code.

    Parameters
    ----------
    source, output, half, plot, resume, callback, progress
        As of `train_classifier`.
    **settings
        Any field of `AutoencoderSettings`: those of `ClassifierSettings` without ``dropout``. The features of the
        architecture's last layer are the code; the decoder is the architecture's mirror image and is not saved.

    Returns
    -------
    Training

    Raises
    ------
    DataError, ParameterError, TooLargeError, TrainingError, WeightsError
        As `train_classifier` does.
    """
    chosen = AutoencoderSettings.of(settings)
    return _train(
        "autoencoder",
        chosen,
        lambda train: autoencoder(chosen.architecture, train.side, cpu),
        lambda scaling: Reconstruction(cpu, scaling.std[0]),
        source,
        Outputs(output, plot),
        half=half,
        resume=resume,
        callback=callback,
        progress=progress,
    )


def _train(
    network: str,
    settings: TrainingSettings,
    make_model: Callable[[ImageSet | PictureSet], Model],
    make_task: Callable[[Preprocessing], Task],
    source: str | os.PathLike[str],
    outputs: Outputs,
    *,
    half: bool,
    resume: bool,
    callback: Callable[[Epoch], object] | None,
    progress: bool,
) -> Training:
    """Train a network, and write it with its learning curves; see `train_classifier`."""
    with outputs.reserved(data.files(source, settings.classes), resume):
        train, test = data.read(
            source, side=settings.side, classes=settings.classes, held_out=settings.held_out, seed=settings.seed
        )
        if settings.batch > len(train.labels):
            raise ParameterError(
                f"batch is {settings.batch}, but there are only {len(train.labels)} pictures to train on; reduce it."
            )
        settings = replace(settings, side=train.side, classes=train.classes)  # As the data have them.
        model = make_model(train)
        check_memory(model, settings.batch, settings.side)
        scaling = measure(train)
        run = _Run(model, make_task(scaling), train, test, scaling, settings)
        identity = Identity(network, settings, data.digest(train, test))
        if outputs.checkpoint.exists():
            run.history = checkpoints.load(outputs.checkpoint, identity, run.arrays())
        while len(run.history) < settings.epochs:
            run.epoch(progress)
            write(outputs.checkpoint, checkpoints.dump(identity, run.history, run.arrays()))
            write(outputs.curves, curves.table(run.history, run.task.score))
            if callback is not None:
                callback(run.history[-1])
        weights = _weights(network, run, Path(source).name)
        write_weights(weights, outputs.network, "float16" if half else "float32")
        if outputs.plot is not None:
            write(outputs.plot, curves.plot(run.history, run.task.score, outputs.plot.suffix.removeprefix(".")))
        outputs.checkpoint.unlink(missing_ok=True)
        return Training(weights, run.history, run.task.score)


def check_memory(model: Model, batch: int, side: int) -> None:
    """Refuse batches of pictures of this side length whose features do not fit into memory.

    Raises
    ------
    TooLargeError
    """
    needed, free = model.bytes(batch, side), memory.available()
    if free is not None and needed > free:
        raise TooLargeError(
            f"training on batches of {batch} pictures of {side} x {side} pixels needs {needed / 2**30:.1f} GB of "
            f"memory and {free / 2**30:.1f} GB are free; reduce batch or side."
        )


def _weights(network: str, run: _Run, source: str) -> Weights:
    """The weights of a finished training, with a record of it."""
    score, seconds = run.task.score, sum(epoch["seconds"] for epoch in run.history)
    record = (
        f"stylecore {__version__}, trained on {source} with {json.dumps(run.settings.to_json())} in {seconds:.0f} s to "
        f"a test {score} of {run.history[-1][f'test {score}']:.4f}"
    )
    digest = hashlib.sha256(run.model.values.tobytes() + run.model.state.tobytes()).hexdigest()
    return run.model.weights(run.settings.architecture, network, run.scaling, record, digest)


def train_step(
    model: Model, task: Task, optimizer: Optimizer, x: np.ndarray, labels: np.ndarray, rate: float
) -> tuple[float, float]:
    """Update the parameters of a model by the gradient on one batch.

    Parameters
    ----------
    model : Model
    task : Task
    optimizer : Optimizer
    x : ndarray, (n, side, side, 3)
    labels : ndarray of int, (n,)
    rate : float
        Learning rate.

    Returns
    -------
    loss, quality : float
        Before the update; see `Task`.
    """
    output = model.forward(x)
    gradient = np.empty_like(output)
    loss = task.loss(output, x, labels, gradient)
    model.backward(gradient)
    optimizer.step(model.gradient, rate)
    return loss, task.quality(output, x, labels, loss)


class _Run:
    """The state of a training: model, optimiser and history."""

    def __init__(
        self,
        model: Model,
        task: Task,
        train: ImageSet | PictureSet,
        test: ImageSet | PictureSet,
        scaling: Preprocessing,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.task, self.scaling, self.settings = model, task, scaling, settings
        self.history: list[Epoch] = []
        self._train, self._test = train, test
        self._steps = len(train.labels) // settings.batch
        model.initialise(np.random.default_rng(settings.seed))
        self._optimizer = OPTIMIZERS[settings.optimizer](model.values, model.decayed, settings.weight_decay)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays that change during training."""
        return {"values": self.model.values, "state": self.model.state, **self._optimizer.state}

    def epoch(self, progress: bool) -> None:
        """Train on every picture once, then evaluate on the test set."""
        number, began = len(self.history), time.perf_counter()
        # Each epoch has random generators of its own, so that a resumed training draws the same numbers.
        order, dropout = (np.random.default_rng([self.settings.seed, number, stream]) for stream in (1, 2))
        self.model.draw_from(dropout)
        losses: list[float] = []
        qualities: list[float] = []
        with progress_bar(self._steps, f"epoch {number + 1} of {self.settings.epochs}", progress) as bar:
            for x, labels in batches(self._train, self.settings.batch, self.scaling, order):
                loss, quality = self._step(x, labels, number * self._steps + len(losses))
                losses.append(loss)
                qualities.append(quality)
                score = self.task.summary(float(np.mean(qualities)))
                bar.set_postfix_str(f"loss {np.mean(losses):.4f}, {self.task.score} {score:.4f}", refresh=False)
                bar.update()
        test_loss, test_score = self._evaluate()
        self.history.append(
            {
                "epoch": number + 1,
                "loss": float(np.mean(losses)),
                self.task.score: self.task.summary(float(np.mean(qualities))),
                "test loss": test_loss,
                f"test {self.task.score}": test_score,
                "rate": self._rate((number + 1) * self._steps - 1),
                "seconds": time.perf_counter() - began,
            }
        )

    def _rate(self, step: int) -> float:
        warm_up = round(self.settings.warm_up * self._steps)
        return learning_rate(step, self.settings.epochs * self._steps, warm_up, self.settings.learning_rate)

    def _step(self, x: np.ndarray, labels: np.ndarray, step: int) -> tuple[float, float]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, quality = train_step(self.model, self.task, self._optimizer, x, labels, self._rate(step))
        # A NaN among the parameters would stay in all further steps, and get into the checkpoint.
        if np.isfinite(loss) and np.isfinite(self.model.values).all():
            return loss, quality
        kept = "the checkpoint of the last epoch is kept" if self.history else "nothing was written"
        raise TrainingError(
            f"the loss or its gradient is no longer finite at step {step + 1} (epoch {len(self.history) + 1}), and "
            f"{kept}; reduce the learning rate."
        )

    def _evaluate(self) -> tuple[float, float]:
        """Loss and score on the test set."""
        losses: list[float] = []
        qualities: list[float] = []
        counts: list[int] = []
        for x, labels in batches(self._test, self.settings.batch, self.scaling):
            output = self.model.predict(x)
            losses.append(self.task.loss(output, x, labels, np.empty_like(output), training=False))
            qualities.append(self.task.quality(output, x, labels, losses[-1]))
            counts.append(len(labels))
        loss, quality = (float(np.average(values, weights=counts)) for values in (losses, qualities))
        return loss, self.task.summary(quality)


def progress_bar(steps: int, label: str, progress: bool) -> tqdm:
    """A progress bar over the steps of a part of a training; hidden unless `progress`."""
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", dynamic_ncols=True, disable=not progress, leave=False)
