"""Neural style transfer on an engine of its own.

`transfer` makes a picture and `resume` goes on with one that was interrupted; `Objective` is the function that is
minimised, with its gradient. See the README.
"""

from stylecore.checkpoint import Checkpoint
from stylecore.errors import (
    DataError,
    ImageError,
    ParameterError,
    StylecoreError,
    TooLargeError,
    TrainingError,
    WeightsError,
)
from stylecore.history import Evaluation, History
from stylecore.objective import Objective
from stylecore.presets import preset
from stylecore.training import Training, train_autoencoder, train_classifier
from stylecore.transfer import Result, resume, transfer
from stylecore.version import __version__

__all__ = [
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
