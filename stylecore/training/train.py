"""Training a classifier or an auto-encoder, from the data to a file that pictures can be made with."""

import hashlib
import json
import time
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np

from stylecore.errors import ParameterError, TrainingError
from stylecore.kernels import cpu
from stylecore.messages import near_matches
from stylecore.training import checkpoints, curves, data
from stylecore.training.architectures import AUTOENCODER, CNN
from stylecore.training.loading import batches, preprocessing
from stylecore.training.model import autoencoder, classifier
from stylecore.training.optimizers import OPTIMIZERS, learning_rate
from stylecore.training.tasks import Classification, Reconstruction
from stylecore.version import __version__
from stylecore.weights import Weights, write
from stylecore.weights.architectures import check_table, to_json

# Pictures, evenly spread over the set, whose colours tell those of all.
MEASURED = 5000


@dataclass(frozen=True)
class Training:
    """What a training came to.

    Attributes
    ----------
    weights : Weights
        As they were written to the file; `stylecore.transfer` takes them as a network.
    history : list of dict
        For each epoch: its number, "loss" and score in training, both on what was held out ("test ..."), "rate" at its
        end, and the "seconds" that it took.
    score : str
        Name of the score: "accuracy", in [0, 1], or "PSNR", in dB.
    """

    weights: Weights
    history: list
    score: str

    @property
    def result(self):
        """The score on what was held out, after the last epoch."""
        return self.history[-1][f"test {self.score}"]


def train_classifier(
    source,
    output,
    *,
    architecture=CNN,
    classes=None,
    side=64,
    held_out=0.2,
    epochs=12,
    batch=128,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    warm_up=2.0,
    dropout=0.1,
    seed=0,
    half=False,
    plot=None,
    resume=False,
    callback=None,
    progress=False,
):
    """Train a network to tell classes of pictures.

    Parameters
    ----------
    source : str or path
        Data as `stylecore.training.data.read` takes it: an archive of CIFAR-10, or a folder with a folder a class.
    output : str or path
        The HDF5 file to write, which `transfer` takes as a network. The learning curves are written beside it
        (``.csv``), and after every epoch a checkpoint (``.checkpoint.npz``), which goes once all is done.
    architecture : sequence of Conv and Pool
        A table; the means of its last features are what classes are told by.
    classes : sequence of str, optional
        Those of a folder to learn; all, without.
    side : int
        Pixels of a side that pictures of a folder are brought to; CIFAR-10 has 32.
    held_out : float
        Share of a folder's pictures that is kept to test by, in (0, 1).
    epochs : int
        How many times the network sees every picture.
    batch : int
        Pictures of a step.
    optimizer : {"sgd", "adam"}
    learning_rate : float
        The largest; it rises to it within `warm_up` epochs and falls along a cosine.
    weight_decay : float
    warm_up : float
        In epochs.
    dropout : float
        Share of the last features that is dropped, in [0, 1).
    seed : int
        The same number gives the same network, on the same machine.
    half : bool
        Store numbers with half the digits (float16), which hardly matters to pictures.
    plot : str or path, optional
        A picture of the learning curves to write; needs the extra ``plot``.
    resume : bool
        Go on from the checkpoint, if there is one.
    callback : callable, optional
        Called after each epoch with its dict, as `Training.history` has it.
    progress : bool
        Whether to show a progress bar with loss and score.

    Returns
    -------
    Training

    Raises
    ------
    DataError
        If the data cannot be read.
    ParameterError
        If a setting is out of its range, or does not fit the data.
    TrainingError
        If the loss is no longer finite.
    """
    settings = dict(locals())
    _check_settings(settings)
    if not (isinstance(dropout, Real) and 0 <= dropout < 1):
        raise ParameterError(f"dropout is {dropout!r}; it must be a number from 0 to less than 1.")
    sets = data.read(source, side=side, classes=classes, held_out=held_out, seed=seed)
    model = classifier(architecture, sets[0].side, len(sets[0].classes), dropout, cpu)
    return _train(model, lambda std: Classification(cpu), sets, "cnn", settings)


def train_autoencoder(
    source,
    output,
    *,
    architecture=AUTOENCODER,
    classes=None,
    side=64,
    held_out=0.2,
    epochs=12,
    batch=128,
    optimizer="adam",
    learning_rate=2e-3,
    weight_decay=0.0,
    warm_up=1.0,
    seed=0,
    half=False,
    plot=None,
    resume=False,
    callback=None,
    progress=False,
):
    """Train a network to make pictures again out of a short code.

    Parameters
    ----------
    source, output, architecture, classes, side, held_out, epochs, batch, optimizer, learning_rate, weight_decay, \
warm_up, seed, half, plot, resume, callback, progress
        As of `train_classifier`; the features behind the table's last row are the code, and what leads back to the
        picture is the table's mirror image.

    Returns
    -------
    Training

    Raises
    ------
    DataError, ParameterError, TrainingError
        As `train_classifier` does.
    """
    settings = dict(locals())
    _check_settings(settings)
    sets = data.read(source, side=side, classes=classes, held_out=held_out, seed=seed)
    model = autoencoder(architecture, sets[0].side, cpu)
    return _train(model, lambda std: Reconstruction(cpu, std), sets, "autoencoder", settings)


def _check_settings(settings):
    for name in ("epochs", "batch", "side"):
        if type(settings[name]) is not int or settings[name] < 1:
            raise ParameterError(f"{name} is {settings[name]!r}; it must be a whole number of one or more.")
    if type(settings["seed"]) is not int or settings["seed"] < 0:
        raise ParameterError(f"seed is {settings['seed']!r}; it must be a whole number of zero or more.")
    for name in ("learning_rate", "weight_decay", "warm_up"):
        if not (isinstance(settings[name], Real) and 0 <= settings[name] < np.inf):
            raise ParameterError(f"{name} is {settings[name]!r}; it must be a number of zero or more.")
    if not (isinstance(settings["held_out"], Real) and 0 < settings["held_out"] < 1):
        raise ParameterError(f"held_out is {settings['held_out']!r}; it must be a number between 0 and 1.")
    if settings["optimizer"] not in OPTIMIZERS:
        near = near_matches(settings["optimizer"], list(OPTIMIZERS))
        raise ParameterError(f'optimizer "{settings["optimizer"]}" is not known{near}.')
    try:
        check_table(settings["architecture"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ParameterError(f"the architecture cannot be trained: {error}; mend its table.") from error
    if Path(settings["output"]).suffix not in (".h5", ".hdf5"):
        raise ParameterError(f"{settings['output']} cannot be the name of a network; it must end in .h5.")
    for output in (settings["output"], settings["plot"]):
        if output is not None and not Path(output).absolute().parent.is_dir():
            raise ParameterError(f"{output} cannot be written: there is no folder {Path(output).parent}; create it.")
    if settings["plot"] is not None:
        curves.check_plot(Path(settings["plot"]))


def _train(model, make_task, sets, name, settings):
    """Train a model, and write network, curves and checkpoints; see `train_classifier`."""
    train, test = sets
    batch, output = settings["batch"], Path(settings["output"])
    if batch > len(train.labels):
        raise ParameterError(f"batch is {batch}, but there are {len(train.labels)} pictures to train on; lower it.")
    scaling = preprocessing(train.batch(np.arange(0, len(train.labels), max(1, len(train.labels) // MEASURED))))
    run = _Run(model, make_task(scaling.std[0]), train, test, scaling, settings)
    checkpoint = checkpoints.checkpoint_path(output)
    if checkpoint.exists():
        if not settings["resume"]:
            raise ParameterError(f"{checkpoint} is of an unfinished training; add --resume to go on, or delete it.")
        run.history = checkpoints.load(checkpoint, run.told(), run.arrays())
    while len(run.history) < settings["epochs"]:
        run.epoch(settings["progress"])
        checkpoints.save(checkpoint, run.told(), run.history, run.arrays())
        curves.write_csv(run.history, output.with_suffix(".csv"))
        if settings["callback"] is not None:
            settings["callback"](run.history[-1])
    seconds = sum(epoch["seconds"] for epoch in run.history)
    result = run.history[-1][f"test {run.task.score}"]
    made = (
        f"stylecore {__version__}, trained on {Path(settings['source']).name} with {json.dumps(run.told())} in "
        f"{seconds:.0f} s to a test {run.task.score} of {result:.4f}"
    )
    digest = hashlib.sha256(model.values.tobytes() + model.state.tobytes()).hexdigest()
    weights = model.weights(settings["architecture"], name, scaling, made, digest)
    write(weights, output, "float16" if settings["half"] else "float32")
    if settings["plot"] is not None:
        curves.plot(run.history, run.task.score, Path(settings["plot"]))
    checkpoint.unlink(missing_ok=True)
    return Training(weights, run.history, run.task.score)


def train_step(model, task, optimizer, x, labels, rate):
    """Change a model's parameters by the gradient on one batch.

    Parameters
    ----------
    model : Model
    task : Classification or Reconstruction
    optimizer : Sgd or Adam
    x : ndarray, (n, side, side, 3)
    labels : ndarray of int, (n,)
    rate : float

    Returns
    -------
    loss, quality : float
        Before the step; see the task.
    """
    output = model.forward(x)
    gradient = np.empty_like(output)
    loss = task.loss(output, x, labels, gradient)
    model.backward(gradient)
    optimizer.step(model.gradient, rate)
    return loss, task.quality(output, x, labels, loss)


class _Run:
    """A training under way: model, optimiser and history."""

    def __init__(self, model, task, train, test, scaling, settings):
        self.model, self.task, self.train, self.test = model, task, train, test
        self.history = []
        self._scaling, self._settings = scaling, settings
        self._steps = len(train.labels) // settings["batch"]
        model.initialise(np.random.default_rng(settings["seed"]))
        optimizer = OPTIMIZERS[settings["optimizer"]]
        self._optimizer = optimizer(model.values, model.decayed, settings["weight_decay"])

    def told(self):
        """The settings that decide what is learned, as plain data."""
        left_out = ("source", "output", "half", "plot", "resume", "callback", "progress")
        told = {name: value for name, value in self._settings.items() if name not in left_out}
        told["architecture"] = to_json(told["architecture"])
        told["classes"] = list(self.train.classes)
        return told

    def arrays(self):
        """All that changes in training."""
        return {"values": self.model.values, "state": self.model.state, **self._optimizer.state}

    def epoch(self, progress):
        """See every picture once, then test."""
        number, began = len(self.history), time.perf_counter()
        # Each epoch has its own, so that a resumed run goes on as it would have gone on.
        order, chance = (np.random.default_rng([self._settings["seed"], number, stream]) for stream in (1, 2))
        self.model.draw_from(chance)
        losses, qualities = [], []
        with _bar(self._steps, f"epoch {number + 1} of {self._settings['epochs']}", progress) as bar:
            for x, labels in batches(self.train, self._settings["batch"], self._scaling, order):
                loss, quality = self._step(x, labels, number * self._steps + len(losses))
                losses.append(loss)
                qualities.append(quality)
                score = self.task.summary(np.mean(qualities))
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

    def _rate(self, step):
        epochs, warm_up = self._settings["epochs"], round(self._settings["warm_up"] * self._steps)
        return learning_rate(step, epochs * self._steps, warm_up, self._settings["learning_rate"])

    def _step(self, x, labels, step):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, quality = train_step(self.model, self.task, self._optimizer, x, labels, self._rate(step))
        # NaN among the parameters would be in all losses to come, and be written down with them.
        if np.isfinite(loss) and np.isfinite(self.model.values).all():
            return loss, quality
        kept = "the checkpoint of the epoch before is kept" if self.history else "nothing was written"
        raise TrainingError(
            f"the loss or its gradient is no longer finite at step {step + 1} (epoch {len(self.history) + 1}), and "
            f"{kept}; lower the learning rate."
        )

    def _evaluate(self):
        """Loss and score on what was held out."""
        losses, qualities, counts = [], [], []
        for x, labels in batches(self.test, self._settings["batch"], self._scaling):
            output = self.model.predict(x)
            losses.append(self.task.loss(output, x, labels, np.empty_like(output), training=False))
            qualities.append(self.task.quality(output, x, labels, losses[-1]))
            counts.append(len(labels))
        loss, quality = (float(np.average(values, weights=counts)) for values in (losses, qualities))
        return loss, self.task.summary(quality)


def _bar(steps, label, progress):
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", dynamic_ncols=True, disable=not progress, leave=False)
