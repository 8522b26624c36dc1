"""Looks under a name: settings of `transfer` from TOML files.

The package's own are in ``presets.toml`` beside this file. The user's come from `user_file`, and from a file that is
named; of two presets with the same name, the one that was read last counts.
"""

import sys
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import platformdirs

from stylecore._transfer import SETTINGS, transfer
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.pictures.sheets import contact_sheet

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHIPPED = files("stylecore.studies") / "presets.toml"

# Masks are those of a picture, and no part of a look.
_SETTINGS = [name for name in SETTINGS if name not in ("regions", "labels")]


class Preset(NamedTuple):
    """A look.

    Attributes
    ----------
    description : str
    settings : dict
        Arguments of `transfer`; those that are not named keep their defaults.
    """

    description: str
    settings: dict


def user_file():
    """File of the user's own presets, which need not exist.

    Returns
    -------
    Path
        ``presets.toml`` in the system's folder for the user's configuration of the program.
    """
    return Path(platformdirs.user_config_dir("stylecore", appauthor=False), "presets.toml")


def load_presets(file=None):
    """All presets there are.

    Parameters
    ----------
    file : str or path, optional
        A TOML file with more of them.

    Returns
    -------
    dict of str to Preset

    Raises
    ------
    ParameterError
        If a file cannot be read, is not TOML, or names something that is not a setting of `transfer`.
    """
    presets = _read(_SHIPPED)
    if user_file().is_file():
        presets.update(_read(user_file()))
    if file is not None:
        presets.update(_read(Path(file)))
    return presets


def preset(name, file=None):
    """Settings of a preset, for ``transfer(content, style, **preset("bold"))``.

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
        If there is no such preset, or a file of presets cannot be used.
    """
    presets = load_presets(file)
    if name not in presets:
        raise ParameterError(f'preset "{name}" is not known{near_matches(name, list(presets))}.')
    return presets[name].settings


def preset_sheet(content, style, file=None, watch=None, **settings):
    """Show all presets on a pair of pictures.

    Parameters
    ----------
    content, style : path, PIL image or array
    file : str or path, optional
        A TOML file with more presets.
    watch : callable, optional
        Called as ``watch(name)`` before each transfer; gives more arguments for it, such as its callback.
    **settings
        As `transfer` takes them, for all; a preset's own come first.

    Returns
    -------
    ndarray, (H, W, 3), or None
        The labelled sheet: what the defaults give, and then each preset; None if a callback ended the work.
    """
    looks = {"the defaults": {}} | {name: look.settings for name, look in load_presets(file).items()}
    pictures = []
    for name, look in looks.items():
        result = transfer(content, style, **{**settings, **look}, **(watch(name) if watch else {}))
        if result.stopped:
            return None
        pictures.append(result.array)
    return contact_sheet(pictures, list(looks), height=max(map(len, pictures)), columns=3)


def _read(file):
    """Presets of one file, checked."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{file} cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are such.
        raise ParameterError(f"{file} is not a file of presets in TOML ({error}); correct it.") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ParameterError(f'{file} has "{name}" outside of a preset; put it below a line such as [my-look].')
        for key, value in table.items():
            if key == "description":
                continue
            if key not in _SETTINGS:
                raise ParameterError(
                    f'{file} sets "{key}" in [{name}], which is not a setting{near_matches(key, _SETTINGS)}.'
                )
            if not _has_form(key, value):
                raise ParameterError(
                    f'{file} sets "{key}" in [{name}] to {value!r}, which --{key.replace("_", "-")} does not take; see '
                    "`stylecore transfer --help`."
                )
    return {
        name: Preset(str(table.get("description", "")), {key: table[key] for key in table if key != "description"})
        for name, table in tables.items()
    }


def _has_form(key, value):
    """Whether a value is a name or numbers where the setting wants such; what they are, `transfer` checks."""
    if isinstance(SETTINGS[key], str) and key != "layer_weights":
        return isinstance(value, str)
    if isinstance(SETTINGS[key], int):
        numbers = value if isinstance(value, list) else [value]
        return isinstance(value, str) or all(isinstance(number, int) for number in numbers)
    return True
