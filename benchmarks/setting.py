"""What is measured on: pictures, network and objectives, ours and the peer's."""

from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

from stylecore import Objective, weights
from stylecore.network import Network, load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image

NETWORK = "vgg19"

# Side of the pictures on which compiled code is loaded, in pixels.
SMALL = 64


def square(path, size):
    """The picture in a file, as a square array (size, size, 3)."""
    return resize(read_image(path)[0], (size, size))


def warm_up(content, style):
    """Load the compiled kernels, and start our threads.

    It must be done before PyTorch is imported: both run on OpenMP then, and the one that comes first brings it along.
    Here that is what stylecore works with where there is no PyTorch.
    """
    x = square(content, SMALL)
    Objective(x, square(style, SMALL), network=NETWORK)(x)


@dataclass(frozen=True)
class Setting:
    """What the sections are given to measure.

    Attributes
    ----------
    content, style : str
        Paths of pictures.
    sizes, threads : list of int
        Sides of the squares that the pictures are brought to, in pixels; and numbers of threads.
    repetitions : int
    peers : module or None
        `benchmarks.peers` if PyTorch is to be compared with.
    transfer_size, transfer_evaluations, transfer_repetitions : int
        Of the whole transfer; the evaluations are the peers'.
    transfer_starts, transfer_peers : list of str
        What transfers start from, and the peers' optimisers.
    training_pictures : int
        Of an epoch of training.
    """

    content: str
    style: str
    sizes: list
    threads: list
    repetitions: int
    peers: ModuleType | None
    transfer_size: int
    transfer_evaluations: int
    transfer_repetitions: int
    transfer_starts: list
    transfer_peers: list
    training_pictures: int
    _formats: dict = field(default_factory=dict, repr=False)

    @cached_property
    def weights(self):
        """Weights of the network, the same for all sides."""
        return weights.load(NETWORK)

    @cached_property
    def network(self) -> Network:
        """The network on our CPU kernels."""
        return load_network(self.weights)

    def pictures(self, size):
        """Content and style as squares."""
        return square(self.content, size), square(self.style, size)

    def ours(self, size, network=None):
        """Our objective, on our CPU kernels or on another network's."""
        return Objective(*self.pictures(size), network=network or self.network)

    def theirs(self, size, threads):
        """The peer's objective, in the memory format that is faster for it at this size with so many threads."""
        return self.peers.Objective(*self.pictures(size), self.weights, self.memory_format(size, threads))

    def memory_format(self, size, threads):
        """The memory format in which the peer is faster; measured once."""
        if (size, threads) not in self._formats:
            self._formats[size, threads] = self.peers.faster_format(*self.pictures(size), self.weights, threads)
        return self._formats[size, threads]
