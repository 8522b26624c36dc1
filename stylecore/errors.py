"""The exceptions that the package raises for input it cannot use.

Every message is one sentence that says what is wrong and what to do about it. The command line prints it unchanged
and exits with status 2.
"""


class StylecoreError(Exception):
    """Base class of all errors that are caused by the input or the environment, not by a defect of the program."""


class ImageError(StylecoreError):
    """A picture cannot be read, used or written."""


class WeightsError(StylecoreError):
    """A network's weights cannot be fetched, read or converted, or do not fit its architecture."""


class DataError(StylecoreError):
    """Training data or a checkpoint cannot be read, or does not match the run."""


class TrainingError(StylecoreError):
    """A training cannot continue."""


class ParameterError(StylecoreError, ValueError):
    """A setting is out of its range, or names something that does not exist."""


class BackendError(StylecoreError, RuntimeError):
    """The kernels cannot run in this process, because of its environment variables, its threads or a fork."""


class TooLargeError(StylecoreError, MemoryError):
    """The work needs more memory than is available."""
