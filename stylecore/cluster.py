"""Work on the processes of a Dask cluster: many pictures, the shots of films, or the tiles of one large picture.

The caller brings a `dask.distributed.Client`, or `workers` starts processes on this machine. A picture's tiles stay on
the workers, with the targets of their content; an evaluation sends the picture out, the moments' shares back, their
differences out, and the gradients back. All sums are made here, in the order of the tiles, so that the result has the
same bits with any number of workers, and when one of them dies: its tiles are then computed by another.
"""

from __future__ import annotations

import asyncio
import platform
import signal
import uuid
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from stylecore.errors import ParameterError, StylecoreError
from stylecore.extras import optional
from stylecore.kernels.devices import load_backend
from stylecore.losses import ContentLoss, Distance
from stylecore.network import Network
from stylecore.tiles import Key, Part, Passes, Tile, Tiles
from stylecore.version import __version__
from stylecore.weights import CATALOGUE, load

# Packages whose versions the bits of a result depend on, and those that have to understand each other.
_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "pillow", "dask", "distributed")

_TIMEOUT = 10.0
"""Seconds after which a scheduler that does not answer is given up."""


@contextmanager
def workers(count: int) -> Iterator[Any]:
    """Start processes on this machine that compute with one thread each.

    Parameters
    ----------
    count : int

    Yields
    ------
    dask.distributed.Client

    Raises
    ------
    ParameterError
        If the number is not one or more, or Dask is not installed.
    """
    if count < 1:
        raise ParameterError(f"the number of workers is {count}; it must be one or more.")
    distributed, dask = _distributed(), optional("dask", "dask", "clusters")
    given = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.scheduler.work-stealing": False,  # Tiles stay where their targets are.
    }
    # Not by Dask's "pre-spawn-environ", which is set in this process: a worker imports Numba with its first task.
    one_thread = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with (
        dask.config.set(given),
        # The budget decides what fits into the memory, and the page of Dask would need another package.
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=None,
            dashboard_address=":0",
            silence_logs=50,
            env=one_thread,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(_ignore_interrupts())
        yield client


def _ignore_interrupts() -> Any:
    """A plugin of workers: Ctrl-C reaches all processes of a terminal, but it is the first one that ends the work."""

    class IgnoreInterrupts(_distributed().WorkerPlugin):  # type: ignore[misc]
        name = "stylecore-interrupts"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return IgnoreInterrupts()


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a Dask scheduler.

    Parameters
    ----------
    address : str
        Such as "tcp://10.0.0.5:8786".

    Yields
    ------
    dask.distributed.Client

    Raises
    ------
    ParameterError
        If Dask is not installed.
    StylecoreError
        If there is no scheduler at the address.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=_TIMEOUT)
    except (OSError, ValueError, TimeoutError) as error:
        raise StylecoreError(
            f"there is no Dask scheduler at {address} ({error}); start one with `dask scheduler`, or check the address."
        ) from error
    with client:
        yield client


def prepare(client: Any) -> None:
    """Check that workers are there and have the versions of this process, and compile the kernels on each machine.

    Parameters
    ----------
    client : dask.distributed.Client

    Raises
    ------
    StylecoreError
        If there are no workers, or one of them lacks stylecore or has another version of it.

    Warns
    -----
    UserWarning
        If Python or other packages differ, so that the last bits of the results may.
    """
    try:
        with reporting():
            if not client.nthreads():  # One may be being started again.
                with suppress(TimeoutError):
                    client.wait_for_workers(1, timeout=_TIMEOUT)
            found = client.run(_versions)
    except ImportError as error:
        raise StylecoreError(
            f"a worker of the Dask cluster cannot import stylecore ({error}); install stylecore {__version__} there."
        ) from error
    if not found:
        raise StylecoreError("the Dask cluster has no workers; start some with `dask worker ADDRESS`.")
    own = _versions()
    for address, theirs in found.items():
        if theirs["stylecore"] != own["stylecore"]:
            raise StylecoreError(
                f"the worker {address} has stylecore {theirs['stylecore']}, and this process {own['stylecore']}; "
                "install the same version everywhere."
            )
        others = [f"{name} {theirs[name]} (here {own[name]})" for name in own if theirs[name] != own[name]]
        if others:
            warnings.warn(
                f"the worker {address} has {', '.join(others)}; results may differ in their last bits.", stacklevel=2
            )
    with reporting():
        # One worker of each machine compiles, the others then load what it has stored.
        hosts = {address.rsplit(":", 1)[0]: address for address in found}
        client.run(_compile, workers=list(hosts.values()))
        client.run(_compile)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = {name: version(name) for name in _PACKAGES}
    return {"stylecore": __version__, "Python": platform.python_version(), **packages}


def _compile() -> None:
    from stylecore import Objective
    from stylecore.samples import PAINTING, PHOTOGRAPH

    blank = np.full((32, 32, 3), 0.5, np.float32)
    Objective(PHOTOGRAPH, PAINTING, network="small")(blank)


class KilledError(StylecoreError):
    """A task whose workers were killed again and again, for example by the system for want of memory."""


@contextmanager
def reporting() -> Iterator[None]:
    """Turn the errors of a cluster that goes away into a StylecoreError."""
    distributed = _distributed()
    lost = OSError, distributed.comm.CommClosedError, asyncio.CancelledError, futures.CancelledError, TimeoutError
    try:
        yield
    except lost as error:
        raise StylecoreError(
            f"the Dask cluster does not answer any more ({type(error).__name__}: {error}); start it again. A run with "
            "a checkpoint can be resumed."
        ) from error


def result_of(future: Any) -> Any:
    """The result of a task, once it is there.

    Parameters
    ----------
    future : dask.distributed.Future

    Returns
    -------
    object

    Raises
    ------
    KilledError
        If the workers that computed it were killed again and again.
    StylecoreError
        If the cluster does not answer any more.
    Exception
        The error that the task itself raised.
    """
    distributed = _distributed()
    with reporting():
        distributed.wait([future])
        if future.status not in ("finished", "error"):
            raise futures.CancelledError(future.status)
        error = future.exception() if future.status == "error" else None
        if error is None:
            return future.result()
    if isinstance(error, distributed.KilledWorker):
        raise KilledError(
            "the workers that computed it were killed again and again; perhaps their memory does not suffice."
        ) from error
    raise error


def _distributed() -> Any:
    return optional("distributed", "distributed", "clusters")


# Tiles of one picture


class _Spec(NamedTuple):
    """What a worker needs to compute tiles, which is sent with every task.

    `weights` is the name of a network, which the worker has or fetches, or its weights.
    """

    token: str
    weights: Any
    pooling: str
    dtype: str
    layers: tuple[str, ...]
    distance: type[Distance]
    tiles: tuple[Tile, ...]


class _Constants(NamedTuple):
    """What stays the same for a tile in all evaluations."""

    content: np.ndarray
    layers: tuple[str, ...]
    parts: dict[Key, Part]


class _Work:
    """The tiles of a picture on a worker."""

    def __init__(self, spec: _Spec) -> None:
        network = Network(spec.weights, load_backend("cpu"), spec.pooling, spec.dtype, spec.layers)
        self.backend = network.backend
        self.tiles = spec.tiles  # Their identity tells whether the last pass was over the same tile.
        self.passes = Passes(network, spec.layers, spec.distance, spec.tiles)
        self.parts: dict[int, dict[Key, Part]] = {}
        self.targets: dict[int, dict[str, Any]] = {}
        self.images: dict[int, tuple[int, np.ndarray]] = {}  # With the number of the evaluation.


# Of the picture that a worker computes at present, since it may have memory for one only.
_works: dict[str, _Work] = {}


def _stored(spec: _Spec, i: int, constants: _Constants | None) -> _Work:
    """The work on this worker, with the constants of a tile if they are given."""
    if spec.token not in _works:
        _works.clear()
        _works[spec.token] = _Work(spec)
    work = _works[spec.token]
    if constants is not None:
        layers = constants.layers
        work.parts[i] = constants.parts
        work.targets[i] = work.passes.features(work.tiles[i], constants.content, layers) if layers else {}
    return work


def _blanks(spec: _Spec, i: int, constants: _Constants) -> dict[str, float]:
    """Value of each content term of a tile for a blank image."""
    work = _stored(spec, i, constants)
    return {layer: ContentLoss(target, work.backend).blank() for layer, target in work.targets[i].items()}


def _run(
    spec: _Spec,
    i: int,
    evaluation: int,
    image: np.ndarray | None,
    constants: _Constants | None,
    given: tuple[Mapping[Key, tuple[float, Any, Any]], Mapping[str, float]] | None,
) -> Any:
    """Compute a tile: forward, or backward if the differences of the moments and the content's weights are given.

    Returns None if this worker neither has nor was given the constants of the tile and its image in this evaluation.
    """
    work = _stored(spec, i, constants)
    tile, is_new = work.tiles[i], image is not None
    if image is not None:
        work.images[i] = evaluation, image
    number, image = work.images.get(i, (None, None))
    if i not in work.parts or image is None or number != evaluation:
        return None
    # Before a backward pass, too: the features that the worker has may be those of the content or an earlier image.
    if given is None or is_new:
        moments, contents = work.passes.forward(tile, image, work.parts[i], work.targets[i])
    if given is None:
        return {key: tuple(map(np.array, pair)) for key, pair in moments.items()}, contents
    differences, weights = given
    return np.array(work.passes.backward(tile, image, work.parts[i], differences, work.targets[i], weights))


class Cluster:
    """The workers of a Dask cluster, as a place for the tiles of pictures.

    Parameters
    ----------
    client : dask.distributed.Client
    weights : str, path or Weights
        The network's.

    Raises
    ------
    ParameterError
        If the network has been loaded already.
    StylecoreError
        As in `prepare`.
    """

    def __init__(self, client: Any, weights: Any) -> None:
        if isinstance(weights, Network):
            raise ParameterError("a network that has been loaded cannot be sent to workers; give its name or its file.")
        prepare(client)
        self.client = client
        self.weights = weights
        if not (isinstance(weights, str) and weights in CATALOGUE):
            # Not scattered: what a task returned is computed again when the workers that have it die.
            with reporting():
                self.weights = client.submit(_itself, load(weights), pure=False)

    def tiles(
        self,
        network: Network,
        layers: Collection[str],
        distance: type[Distance],
        tiles: Sequence[Tile],
        masks: Mapping[Key, np.ndarray | None],
        gradient: bool = True,
        edges: str = "zeros",
    ) -> Tiles:
        """Make `stylecore.tiles.Tiles`; if there are several tiles, the workers compute them."""
        if len(tiles) == 1 or not gradient:
            return Tiles(network, layers, distance, tiles, masks, gradient, edges)
        return ClusterTiles(self, network, layers, distance, tiles, masks, edges)


class ClusterTiles(Tiles):
    """All tiles of pictures of one size, computed by the workers of a cluster.

    Parameters
    ----------
    cluster : Cluster
    network, layers, distance, tiles, masks, edges
        As for `stylecore.tiles.Tiles`.
    """

    def __init__(
        self,
        cluster: Cluster,
        network: Network,
        layers: Collection[str],
        distance: type[Distance],
        tiles: Sequence[Tile],
        masks: Mapping[Key, np.ndarray | None],
        edges: str,
    ) -> None:
        super().__init__(network, layers, distance, tiles, masks, edges=edges)
        self._client, self._weights = cluster.client, cluster.weights
        kind = network.pooling, str(network.dtype), tuple(layers), distance
        self._spec = _Spec(uuid.uuid4().hex, None, *kind, tuple(tiles))
        self._content: Any = None
        self._homes: list[str] = []
        self._evaluation = 0

    def set_content(self, image: Any, layers: Collection[str]) -> dict[str, float]:
        """As `Tiles.set_content`; the workers keep the targets."""
        self._content, self._content_layers = image, tuple(layers)
        blanks = dict.fromkeys(layers, 0.0)
        with reporting():
            self._find_homes()
            tasks = [self._submit(_blanks, i, self._constants(i)) for i in range(len(self.tiles))]
        for task in tasks:
            for layer, value in result_of(task).items():
                blanks[layer] += value
        return blanks

    def _forward_each(self, image: Any) -> Iterator[tuple[dict[Key, tuple[Any, Any]], dict[str, float]]]:
        self._evaluation += 1
        parts = [self._part_of(image, tile) for tile in self.tiles]
        return self._each(image, range(len(self.tiles)), parts, None)

    def _backward_each(self, image: Any, differences: Any, weights: Any) -> Iterator[tuple[Tile, Any]]:
        download = self._network.backend.download
        given = {key: (weight, download(mean), download(second)) for key, (weight, mean, second) in differences.items()}
        order = range(len(self.tiles))[::-1]
        gradients = self._each(image, order, [None] * len(order), (given, dict(weights)))
        for i, gradient in zip(order, gradients, strict=True):
            yield self.tiles[i], gradient

    def _each(self, image: Any, order: Sequence[int], parts: Sequence[Any], given: Any) -> Iterator[Any]:
        """Yield the result of each tile, in the order; a worker that has lost its data gets them again."""
        with reporting():
            self._find_homes()
            tasks = deque(self._submit(_run, i, self._evaluation, parts[i], None, given) for i in order)
        for i in order:
            result = result_of(tasks.popleft())
            if result is None:
                part = self._part_of(image, self.tiles[i])
                with reporting():
                    again = self._submit(_run, i, self._evaluation, part, self._constants(i), given)
                result = result_of(again)
            yield result

    def _find_homes(self) -> None:
        """Choose a worker for each tile; those of workers that have gone are given to others."""
        if self._client.scheduler is None:
            raise OSError("its scheduler has gone")
        alive = sorted(self._client.nthreads())
        if not alive:
            self._client.wait_for_workers(1, timeout=_TIMEOUT)
            alive = sorted(self._client.nthreads())
        if not self._homes:
            self._homes = [alive[i * len(alive) // len(self.tiles)] for i in range(len(self.tiles))]
        self._homes = [home if home in alive else alive[i % len(alive)] for i, home in enumerate(self._homes)]

    def _submit(self, function: Any, i: int, *given: Any) -> Any:
        """Have a function called on the tile's worker, or on another one if that dies."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            placed = {"workers": [self._homes[i]], "allow_other_workers": True, "pure": False}
            return self._client.submit(_call, function, self._spec, self._weights, i, *given, **placed)

    def _constants(self, i: int) -> _Constants:
        return _Constants(self._part_of(self._content, self.tiles[i]), tuple(self._content_layers), self.part(i))


def _call(function: Any, spec: _Spec, weights: Any, i: int, *given: Any) -> Any:
    """Call a function with the weights, which are a future of the cluster until they are an argument of a task."""
    return function(spec._replace(weights=weights), i, *given)


def _itself(value: Any) -> Any:
    """A task that makes a value a part of the cluster."""
    return value
