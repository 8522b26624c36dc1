"""Neural style transfer on an engine of its own.

`transfer` makes a picture, `Objective` is the function that it minimises, with its gradient; see the README.
"""

from stylecore.errors import ImageError, ParameterError, StylecoreError, TooLargeError, WeightsError
from stylecore.history import Evaluation, History
from stylecore.objective import Objective
from stylecore.presets import preset
from stylecore.transfer import Result, transfer
from stylecore.version import __version__

__all__ = [
    "Evaluation",
    "History",
    "ImageError",
    "Objective",
    "ParameterError",
    "Result",
    "StylecoreError",
    "TooLargeError",
    "WeightsError",
    "__version__",
    "preset",
    "transfer",
]
