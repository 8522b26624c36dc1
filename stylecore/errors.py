"""What the package raises when it is given something it cannot work with.

Every message is one sentence that says what is wrong with what, and what to do about it; the command line
prints it as it stands and ends with status 2.
"""


class StylecoreError(Exception):
    """Base of all errors that stem from what the user gave, not from a defect of the program."""


class ImageError(StylecoreError):
    """A picture cannot be read, used or written."""


class WeightsError(StylecoreError):
    """A network's weights cannot be fetched, read or converted, or do not fit its architecture."""


class DataError(StylecoreError):
    """Pictures to train on, or a checkpoint, cannot be read or do not fit together."""


class TrainingError(StylecoreError):
    """A training cannot go on."""


class ParameterError(StylecoreError, ValueError):
    """A setting is out of its range, or names something that does not exist."""


class BackendError(StylecoreError, RuntimeError):
    """The kernels cannot run in this process: its environment variables, threads or a fork are in the way."""


class TooLargeError(StylecoreError, MemoryError):
    """The work would need more memory than there is."""
