"""Neural style transfer on an engine of its own.

`transfer` makes a picture and `resume` goes on with one that was interrupted; `Objective` is the function that is
minimised, with its gradient. See the README.
"""

from stylecore.checkpoint import Checkpoint
from stylecore.errors import ImageError, ParameterError, StylecoreError, TooLargeError, WeightsError
from stylecore.objective import Objective
from stylecore.transfer import Evaluation, Result, resume, transfer
from stylecore.version import __version__

__all__ = [
    "Checkpoint",
    "Evaluation",
    "ImageError",
    "Objective",
    "ParameterError",
    "Result",
    "StylecoreError",
    "TooLargeError",
    "WeightsError",
    "__version__",
    "resume",
    "transfer",
]
