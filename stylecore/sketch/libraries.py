"""The libraries that only sketches need; they are optional."""

from __future__ import annotations

from typing import Any

from stylecore.extras import optional


def skimage(module: str) -> Any:
    """Import a module of scikit-image, such as "feature"; raises ParameterError if it is not installed."""
    return optional(f"skimage.{module}", "scikit-image", "sketches")


def opencv() -> Any:
    """Import OpenCV; raises ParameterError if it is not installed."""
    return optional("cv2", "opencv-python-headless", "sketches")
