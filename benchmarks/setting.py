"""What the sections measure on: pictures, network and objectives, those of stylecore and of the peer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from stylecore import Objective, weights
from stylecore.network import Network, load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.weights import Weights
from stylecore.weights.architectures import DEFAULT_LAYERS

NETWORK = "vgg19"
CONTENT_LAYERS, STYLE_LAYERS = DEFAULT_LAYERS[NETWORK]

# Side length of the pictures on which kernels are compiled or loaded, in pixels.
SMALL = 64


def square(path: str, size: int) -> np.ndarray:
    """The picture in a file, resized to (size, size, 3)."""
    return resize(read_image(path)[0], (size, size))


def warm_up(content: str, style: str) -> None:
    """Compile or load the kernels, and start the threads of stylecore.

    It must be called before PyTorch is imported: both use OpenMP, and the first to start threads determines which
    OpenMP library is loaded. So stylecore works with the one that it has without PyTorch.
    """
    x = square(content, SMALL)
    Objective(x, square(style, SMALL), network=NETWORK)(x)


@dataclass(frozen=True)
class Setting:
    """The parameters of the benchmark, and the objects that the sections share.

    Attributes
    ----------
    content, style : str
        Paths of pictures.
    sizes, threads : list of int
        Side lengths that the pictures are resized to, in pixels; and numbers of threads.
    repetitions : int
    optimizers : list of str
        Optimisers of stylecore, as `transfer` takes them.
    peers : module or None
        `benchmarks.peers`, or None to leave out the comparison with PyTorch.
    transfer_size, transfer_evaluations, transfer_repetitions : int
        Of whole transfers; the evaluations are those of the peers.
    transfer_starts, transfer_peers : list of str
        Starting points of transfers, and optimisers of the peers.
    training_pictures : int
        Number of pictures in an epoch of training.
    films, film_pairs : list of str
        Paths of films, and of folders with two frames of a scene and their true flow.
    sketches, photographs : str or None
        Folders of sketches and of photographs, each with a subfolder for each class.
    photo_index : str or None
        File of the index of `photographs`; None for the default.
    coloured_sketches : int
        Number of sketches to colour.
    picture_pairs, presets : list of str
        Pairs "PHOTOGRAPH:PAINTING" of paths that are painted side by side, and the presets that they are painted with.
    pictures_folder : str or None
        Where these pictures are written.
    picture_size : int
        Their longer side in pixels.
    """

    content: str
    style: str
    sizes: list[int]
    threads: list[int]
    repetitions: int
    optimizers: list[str]
    peers: Any
    transfer_size: int
    transfer_evaluations: int
    transfer_repetitions: int
    transfer_starts: list[str]
    transfer_peers: list[str]
    training_pictures: int
    films: list[str] = field(default_factory=list)
    film_pairs: list[str] = field(default_factory=list)
    sketches: str | None = None
    photographs: str | None = None
    photo_index: str | None = None
    coloured_sketches: int = 20
    picture_pairs: list[str] = field(default_factory=list)
    pictures_folder: str | None = None
    picture_size: int = 512
    presets: list[str] = field(default_factory=list)
    _formats: dict[tuple[int, int], str] = field(default_factory=dict, repr=False)

    @cached_property
    def weights(self) -> Weights:
        """Weights of the network, the same for stylecore and the peer."""
        return weights.load(NETWORK)

    @cached_property
    def network(self) -> Network:
        """The network on the CPU kernels."""
        return load_network(self.weights)

    def pictures(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Content and style image, (size, size, 3)."""
        return square(self.content, size), square(self.style, size)

    def ours(self, size: int, network: Network | None = None) -> Objective:
        """The objective of stylecore, by default with `network`."""
        return Objective(*self.pictures(size), network=network or self.network)

    def theirs(self, size: int, threads: int) -> Any:
        """The objective of the peer, in its faster memory format at this size with this number of threads."""
        return self.peers.Objective(*self.pictures(size), self.weights, self.memory_format(size, threads))

    def memory_format(self, size: int, threads: int) -> str:
        """The memory format in which the peer is faster; measured once."""
        if (size, threads) not in self._formats:
            self._formats[size, threads] = self.peers.faster_format(*self.pictures(size), self.weights, threads)
        return self._formats[size, threads]
