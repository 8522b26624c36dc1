"""Optional packages, which are imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from stylecore.errors import ParameterError


def optional(module: str, package: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Such as "cv2".
    package : str
        The package to install, such as "opencv-python-headless".
    purpose : str
        What needs it, in the plural, such as "films".

    Returns
    -------
    module

    Raises
    ------
    ParameterError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ParameterError(f"{purpose} need {package}; install it with: pip install {package}.") from error
