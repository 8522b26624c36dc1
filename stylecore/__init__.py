"""Neural style transfer on an engine of its own.

`transfer` makes a picture and `resume` continues one that was interrupted; `Objective` is the function that is
minimised, with its gradient. `Settings` documents every setting. See the README.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylecore.version import __version__

if TYPE_CHECKING:
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
    from stylecore.many import Made, transfer_many
    from stylecore.objective import Objective
    from stylecore.painter.painting import Painter
    from stylecore.painter.training import PainterTraining, train_styles
    from stylecore.pictures.reading import read_settings
    from stylecore.runs.checkpoint import Checkpoint
    from stylecore.runs.history import Evaluation, History
    from stylecore.settings import Settings
    from stylecore.sketch import ColouredSketch, colour_sketch
    from stylecore.studies.presets import preset
    from stylecore.textures import texture
    from stylecore.training import Training, train_autoencoder, train_classifier
    from stylecore.video import FilmResult, transfer_video

# In a checkout, `stylecore.kernels` and `stylecore.weights` are the folders beside this one; installed, they are in it.
if not Path(__file__).with_name("kernels").is_dir():
    __path__.append(str(Path(__file__).resolve().parents[1]))

# Imported when first used: the command line must be able to start, and be interrupted, without Numba and SciPy.
_MODULES = {
    "stylecore._transfer": ("Result", "resume", "transfer"),
    "stylecore.errors": (
        "BackendError",
        "DataError",
        "ImageError",
        "ParameterError",
        "StylecoreError",
        "TooLargeError",
        "TrainingError",
        "WeightsError",
    ),
    "stylecore.many": ("Made", "transfer_many"),
    "stylecore.objective": ("Objective",),
    "stylecore.painter.painting": ("Painter",),
    "stylecore.painter.training": ("PainterTraining", "train_styles"),
    "stylecore.pictures.reading": ("read_settings",),
    "stylecore.runs.checkpoint": ("Checkpoint",),
    "stylecore.runs.history": ("Evaluation", "History"),
    "stylecore.settings": ("Settings",),
    "stylecore.sketch": ("ColouredSketch", "colour_sketch"),
    "stylecore.studies.presets": ("preset",),
    "stylecore.textures": ("texture",),
    "stylecore.training": ("Training", "train_autoencoder", "train_classifier"),
    "stylecore.video": ("FilmResult", "transfer_video"),
}
_SUBPACKAGES = (
    "cli",
    "kernels",
    "painter",
    "pictures",
    "runs",
    "samples",
    "sketch",
    "studies",
    "training",
    "video",
    "web",
    "weights",
)

__all__ = [
    "BackendError",
    "Checkpoint",
    "ColouredSketch",
    "DataError",
    "Evaluation",
    "FilmResult",
    "History",
    "ImageError",
    "Made",
    "Objective",
    "Painter",
    "PainterTraining",
    "ParameterError",
    "Result",
    "Settings",
    "StylecoreError",
    "TooLargeError",
    "Training",
    "TrainingError",
    "WeightsError",
    "__version__",
    "colour_sketch",
    "preset",
    "read_settings",
    "resume",
    "texture",
    "train_autoencoder",
    "train_classifier",
    "train_styles",
    "transfer",
    "transfer_many",
    "transfer_video",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    if name in _SUBPACKAGES:
        return import_module(f"stylecore.{name}")
    raise AttributeError(f"module 'stylecore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_SUBPACKAGES]
