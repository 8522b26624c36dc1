"""The libraries that only sketches need; they are optional."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from stylecore.errors import ParameterError


def skimage(module: str) -> Any:
    """Import a module of scikit-image, such as "feature"; raises ParameterError if it is not installed."""
    return _imported(f"skimage.{module}", "scikit-image")


def opencv() -> Any:
    """Import OpenCV; raises ParameterError if it is not installed."""
    return _imported("cv2", "opencv-python-headless")


def _imported(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ParameterError(f"sketches need {package}; install it with `pip install {package}`.") from error
