"""Neural style transfer on an engine of its own.

`transfer` makes a picture, `Objective` is the function that it minimises, with its gradient; see the README.
"""

from stylecore.errors import (
    DataError,
    ImageError,
    ParameterError,
    StylecoreError,
    TooLargeError,
    TrainingError,
    WeightsError,
)
from stylecore.objective import Objective
from stylecore.training import Training, train_autoencoder, train_classifier
from stylecore.transfer import Evaluation, Result, transfer
from stylecore.version import __version__

__all__ = [
    "DataError",
    "Evaluation",
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
    "train_autoencoder",
    "train_classifier",
    "transfer",
]
