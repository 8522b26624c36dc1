"""Neural style transfer on an engine of its own.

`transfer` makes a picture and `resume` goes on with one that was interrupted; `Objective` is the function that is
minimised, with its gradient. See the README.
"""

from pathlib import Path

# In a checkout, `stylecore.kernels` and `stylecore.weights` are the folders beside this one; installed, they are in it.
if not Path(__file__).with_name("kernels").is_dir():
    __path__.append(str(Path(__file__).resolve().parents[1]))

from stylecore._transfer import Result, resume, transfer
from stylecore.errors import (
    BackendError,
    DataError,
    ImageError,
    ParameterError,
    StylecoreError,
    TooLargeError,
    TrainingError,
    WeightsError,
)
from stylecore.objective import Objective
from stylecore.runs.checkpoint import Checkpoint
from stylecore.runs.history import Evaluation, History
from stylecore.studies.presets import preset
from stylecore.training import Training, train_autoencoder, train_classifier
from stylecore.version import __version__

__all__ = [
    "BackendError",
    "Checkpoint",
    "DataError",
    "Evaluation",
    "History",
    "ImageError",
    "Objective",
    "ParameterError",
    "Result",
    "StylecoreError",
    "TooLargeError",
    "Training",
    "TrainingError",
    "WeightsError",
    "__version__",
    "preset",
    "resume",
    "train_autoencoder",
    "train_classifier",
    "transfer",
]
