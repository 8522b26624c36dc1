"""Presets: named sets of settings of `transfer`, read from TOML files.

They are read from ``presets.toml`` in this package, from `user_file`, and from a file that the user names; a preset
overrides those of the same name that were read before it.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHIPPED = files("stylecore.studies") / "presets.toml"

_DEFAULTS = Settings.defaults()

# Masks belong to one picture, so a preset cannot contain them.
_SETTINGS = [name for name in _DEFAULTS if name not in ("regions", "labels")]


class Preset(NamedTuple):
    """A named set of settings.

    Attributes
    ----------
    description : str
    settings : dict
        Fields of `Settings`, as keywords of `transfer`; the others keep their defaults.
    """

    description: str
    settings: dict[str, Any]


def user_file() -> Path:
    """Path of the user's file of presets, which need not exist.

    Returns
    -------
    Path
        ``presets.toml`` in the user's configuration folder for stylecore.
    """
    return Path(platformdirs.user_config_dir("stylecore", appauthor=False), "presets.toml")


def load_presets(file: str | os.PathLike | None = None) -> dict[str, Preset]:
    """Load all presets.

    Parameters
    ----------
    file : str or path, optional
        A TOML file with more presets.

    Returns
    -------
    dict of str to Preset

    Raises
    ------
    ParameterError
        If a file cannot be read, is not valid TOML, or has an unknown setting or a value out of its range.
    """
    presets = _read(_SHIPPED)
    if user_file().is_file():
        presets.update(_read(user_file()))
    if file is not None:
        presets.update(_read(Path(file)))
    return presets


def preset(name: str, file: str | os.PathLike | None = None) -> dict[str, Any]:
    """Settings of a preset, to be used as ``transfer(content, style, **preset("bold"))``.

    Parameters
    ----------
    name : str
    file : str or path, optional
        A TOML file with more presets.

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        If there is no such preset, or as in `load_presets`.
    """
    presets = load_presets(file)
    if name not in presets:
        raise ParameterError(f'preset "{name}" is not known{near_matches(name, list(presets))}.')
    return presets[name].settings


def _read(file: Any) -> dict[str, Preset]:
    """Read the presets of one file, and check them."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{file} cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors.
        raise ParameterError(f"{file} is not valid TOML ({error}); correct it.") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ParameterError(f'{file} has "{name}" outside a preset; move it below a line such as [my-look].')
        _check(file, name, {key: value for key, value in table.items() if key != "description"})
    return {
        name: Preset(str(table.get("description", "")), {key: table[key] for key in table if key != "description"})
        for name, table in tables.items()
    }


def _check(file: Any, name: str, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise ParameterError(
                f'{file} sets "{key}" in [{name}], which is not a setting{near_matches(key, _SETTINGS)}.'
            )
        try:
            Settings.of({key: value})
        except (ParameterError, TypeError) as error:
            raise ParameterError(f"{file}, [{name}]: {error}") from error
