"""The HDF5 files of painters.

They begin as those of networks do, with a digest (see `stylecore.weights.store`). The attributes are ``format``,
``format_version``, ``styles`` (names as a JSON list), ``architecture`` (the stages as JSON) and ``source``. Each stage
has a group of its name with the datasets ``filters`` (k, k, C, K), ``scale`` and ``shift`` (styles, K), in float32 or
float16.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stylecore.errors import ParameterError, WeightsError
from stylecore.files import replacing
from stylecore.messages import near_matches
from stylecore.painter.architecture import Stage, from_json, to_json
from stylecore.weights import store
from stylecore.weights.readers.hdf5 import member, stored

FORMAT = "stylecore-painter"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class PainterWeights:
    """A trained painter.

    Parameters
    ----------
    styles : tuple of str
        Names of its styles.
    table : tuple of Stage
    arrays : mapping of (str, str) to ndarray of float32
        "filters" (k, k, C, K), "scale" and "shift" (styles, K) of each stage by its name.
    source : str
        Description of the training.
    """

    styles: tuple[str, ...]
    table: tuple[Stage, ...]
    arrays: Mapping[tuple[str, str], np.ndarray]
    source: str

    def mixture(self, style: str | Mapping[str, float]) -> np.ndarray:
        """Weights of all styles, (styles,), which add up to one, given a name or weights by name.

        Raises
        ------
        ParameterError
            If a style is not there, or the weights are negative or all zero.
        """
        weights = {style: 1.0} if isinstance(style, str) else dict(style)
        for name, weight in weights.items():
            if name not in self.styles:
                raise ParameterError(f'the painter has no style "{name}"{near_matches(name, list(self.styles))}.')
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise ParameterError(f"the weight of {name} is {weight!r}; give zero or a positive number.")
        total = sum(weights.values())
        if not total:
            raise ParameterError("all weights of the styles are zero; give one of them a positive weight.")
        return np.array([weights.get(name, 0.0) / total for name in self.styles])


def shapes(table: Sequence[Stage], styles: int) -> dict[tuple[str, str], tuple[int, ...]]:
    """Shapes of the arrays of a painter."""
    result: dict[tuple[str, str], tuple[int, ...]] = {}
    for stage in table:
        result[stage.name, "filters"] = (stage.size, stage.size, stage.inputs, stage.outputs)
        result[stage.name, "scale"] = result[stage.name, "shift"] = (styles, stage.outputs)
    return result


def encode(weights: PainterWeights, dtype: str = "float32") -> memoryview:
    """The content of a file.

    Parameters
    ----------
    weights : PainterWeights
    dtype : {"float32", "float16"}
        Type in which the arrays are stored.

    Returns
    -------
    memoryview
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=store.BLOCK) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        texts = {"format": FORMAT, "styles": json.dumps(weights.styles), "architecture": to_json(weights.table)}
        for name, text in {**texts, "source": weights.source}.items():
            file.attrs[name] = store.text_attribute(text)
        for (stage, name), array in weights.arrays.items():
            file.require_group(stage).create_dataset(name, data=array, dtype=dtype)
    return store.sealed(buffer)


def write(weights: PainterWeights, path: str | os.PathLike[str], dtype: str = "float32") -> None:
    """Write a painter to a file, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    weights : PainterWeights
    path : str or path
    dtype : {"float32", "float16"}

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(encode(weights, dtype))
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists, is writable and has room."
        ) from error


def read(path: str | os.PathLike[str]) -> PainterWeights:
    """Read a painter from a file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    PainterWeights

    Raises
    ------
    WeightsError
        If the file is missing, damaged, something else or of another version.
    """
    import h5py

    advice = "give the file of a painter, as `stylecore train styles` writes it"
    try:
        if not store.has_digest(path):
            raise WeightsError(f"{path} is not a painter; {advice}.")
        store.check_digest(path)
        with h5py.File(path, "r") as file:
            if store.read_text(file, "format") != FORMAT:
                raise WeightsError(f"{path} is a network that `transfer` takes, not a painter; {advice}.")
            version = int(file.attrs["format_version"])
            if version != FORMAT_VERSION:
                raise WeightsError(
                    f"{path} has version {version} of the format and this program reads version {FORMAT_VERSION}; "
                    f"{'upgrade stylecore' if version > FORMAT_VERSION else 'train the painter again'}."
                )
            return _decode(file)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # h5py's errors have no common base.
        raise WeightsError(f"{path} is damaged, or not a painter; {advice}.") from error


def _decode(file: Any) -> PainterWeights:
    table = from_json(store.read_text(file, "architecture"))
    styles = tuple(map(str, json.loads(store.read_text(file, "styles"))))
    if not styles or len(set(styles)) < len(styles):
        raise ValueError("it has no styles, or two of one name")
    arrays = {}
    for (stage, name), shape in shapes(table, len(styles)).items():
        array = stored(member(member(file, stage), name))
        if tuple(array.shape) != shape:
            raise ValueError(f"{stage}/{name} has another shape than its stage")
        arrays[stage, name] = store.read_floats(array).astype(np.float32)
        if not np.isfinite(arrays[stage, name]).all():
            raise ValueError(f"{stage}/{name} is not finite")
    return PainterWeights(styles, table, arrays, store.read_text(file, "source"))
