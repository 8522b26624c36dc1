"""Sheets that show several pictures side by side: the demonstration, the networks, and the presets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stylecore._transfer import Result, transfer
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import check_output, write_image
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.presets import load_presets
from stylecore.weights import NAMES

PathLike = str | os.PathLike


def demo(output: PathLike = "demo.png", sheet: PathLike = "demo-sheet.png", **settings: Any) -> Result:
    """Paint the sample photograph in the style of the sample painting, and show both beside the result.

    Parameters
    ----------
    output, sheet : str or path
        Files for the picture, and for the sheet with content, style and result.
    **settings
        As `stylecore.transfer` takes them.

    Returns
    -------
    Result

    Raises
    ------
    StylecoreError
        As in `stylecore.transfer`; or if a picture cannot be written, which is checked before the transfer.
    """
    check_output(output)
    check_output(sheet)
    result = transfer(PHOTOGRAPH, PAINTING, **settings)
    result.save(output)
    _write_sheet(sheet, {"content": PHOTOGRAPH, "style": PAINTING}, {"result": result.array}, result.metadata())
    return result


def compare(
    content: Any, style: Any, sheet: PathLike, networks: Sequence[Any] = NAMES, **settings: Any
) -> list[Result]:
    """Paint the same picture with several networks, and show the results beside content and style.

    Parameters
    ----------
    content, style : path, PIL image or array
    sheet : str or path
        File for the sheet.
    networks : sequence of str, path or Weights
        As `stylecore.transfer` takes them; each is used with its own default layers.
    **settings
        Other settings of `stylecore.transfer`.

    Returns
    -------
    list of Result
        One for each network; fewer if the callback ended a transfer early.

    Raises
    ------
    StylecoreError
        As in `stylecore.transfer`; or if the sheet cannot be written, which is checked before the transfers.
    """
    check_output(sheet)
    results: list[Result] = []
    for network in networks:
        results.append(transfer(content, style, network=network, **settings))
        if results[-1].stopped:
            break
    pictures = {str(network): result.array for network, result in zip(networks, results, strict=False)}
    metadata = {**(results[0].metadata() or {}), "network": list(pictures)}
    _write_sheet(sheet, {"content": content, "style": style}, pictures, metadata)
    return results


def preset_sheet(
    content: Any,
    style: Any,
    file: PathLike | None = None,
    watch: Callable[[str], dict[str, Any]] | None = None,
    **settings: Any,
) -> np.ndarray | None:
    """Paint the same picture with every preset.

    Parameters
    ----------
    content, style : path, PIL image or array
    file : str or path, optional
        A TOML file with more presets.
    watch : callable, optional
        Called as ``watch(name)`` before each transfer; returns further arguments for it, such as its callback.
    **settings
        Settings of `stylecore.transfer` for all pictures; a preset overrides them.

    Returns
    -------
    ndarray, (H, W, 3), or None
        The labelled sheet of the pictures, with the defaults and then with each preset; None if a callback ended a
        transfer early.

    Raises
    ------
    StylecoreError
        As in `stylecore.transfer` and `load_presets`.
    """
    presets: dict[str, dict[str, Any]] = {"the defaults": {}}
    presets |= {name: preset.settings for name, preset in load_presets(file).items()}
    pictures = []
    for name, preset in presets.items():
        result = transfer(content, style, **{**settings, **preset}, **(watch(name) if watch else {}))
        if result.stopped:
            return None
        pictures.append(result.array)
    return contact_sheet(pictures, list(presets), height=max(map(len, pictures)), columns=3)


def _write_sheet(path: PathLike, sources: dict[str, Any], results: dict[str, np.ndarray], metadata: Any) -> None:
    """Write sources and results side by side, at the height of the results."""
    pictures = {name: read_image(source, name=name)[0] for name, source in sources.items()} | results
    height = max(map(len, results.values()))
    write_image(path, contact_sheet(list(pictures.values()), list(pictures), height=height), settings=metadata)
