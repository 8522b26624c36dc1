"""A painter beside the same network in PyTorch: kernels, pictures, their memory, and a step of its training.

Both sides have the same parameters. The results of kernels, the pictures, and the first losses and gradients are
compared before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_own_process, in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting, square
from stylecore.errors import StylecoreError
from stylecore.kernels import cpu
from stylecore.network import load_network
from stylecore.painter.architecture import Stage
from stylecore.painter.files import PainterWeights, shapes
from stylecore.painter.loss import PainterLoss
from stylecore.painter.model import PainterModel
from stylecore.painter.painting import Painter
from stylecore.painter.settings import PainterSettings

SIZES = (256, 512)
CROP, BATCH = 256, 4
SETTINGS = PainterSettings(crop=CROP, batch=BATCH)

# Side length of the picture whose maps the kernels are measured on.
SIDE = 512

# PyTorch's memory format.
FORMAT = "channels last"

# Largest relative differences of the two sides by rounding, which in gradients includes ReLUs near zero.
KERNELS, PICTURES, LOSSES, GRADIENTS = 5e-3, 1e-3, 1e-3, 2e-2


class Work(NamedTuple):
    """A kernel to measure.

    Attributes
    ----------
    name : str
    ours : dict of str to callable
        "forward", and "backward" unless the gradient takes no work.
    results : list of ndarray
        Where they write the result and the gradients.
    peer : peers.Operation or None
    """

    name: str
    ours: dict[str, Callable[[], object]]
    results: list[np.ndarray]
    peer: Any


def random_painter() -> Painter:
    """A painter of four styles with random parameters, which take as long as others."""
    rng = np.random.default_rng(0)
    arrays = {
        (stage, name): (0.05 if name == "filters" else 1) * rng.standard_normal(shape, np.float32)
        for (stage, name), shape in shapes(SETTINGS.architecture, BATCH).items()
    }
    names = tuple(map(str, range(BATCH)))
    return Painter(PainterWeights(names, tuple(SETTINGS.architecture), arrays, "random"))


def measure(setting: Setting) -> dict[str, Any]:
    """Time kernels, pictures and a step of the training, and measure the memory of pictures (on Linux only).

    Returns
    -------
    dict
        "kernels": a row for each kernel and pass; "pictures": a row for each size; "training": one row.
    """
    threads = max(setting.threads)
    with use_threads(threads):
        kernels = [row for work in _works(setting.peers) for row in _kernel(setting, work)]
        rows = [_pictures(setting, size, threads) for size in SIZES]
        training = _training(setting)
    return {"kernels": kernels, "pictures": rows, "training": training}


def _kernel(setting: Setting, work: Work) -> Iterator[dict[str, Any]]:
    """A row for each pass of a kernel."""
    progress(f"painter, {work.name}")
    for run in work.ours.values():
        run()
    if work.peer:
        for got, true in zip(work.results, work.peer.results(), strict=False):
            difference = np.linalg.norm(got - true) / np.linalg.norm(true)
            if difference > KERNELS:
                raise StylecoreError(f"{work.name}: the two sides differ by {difference}; run the tests to see why.")
    for way, run in work.ours.items():
        sides = {"ours": run}
        if work.peer:
            sides["PyTorch"] = getattr(work.peer, way)
        seconds = in_turn(sides, setting.repetitions)
        row = {"kernel": work.name, "way": way, "seconds": summary(seconds["ours"])}
        if work.peer:
            row["PyTorch seconds"] = summary(seconds["PyTorch"])
            row["ratio"] = ratios(seconds["PyTorch"], seconds["ours"])
        yield row


def _works(peers: Any) -> Iterator[Work]:
    """Yield the kernels of the stages, of those that are alike only the first; then those between and after them."""
    side, seen = SIDE, set()
    for stage in SETTINGS.architecture:
        kind = (stage.inputs, stage.outputs, stage.size, stage.stride, stage.factor)
        if kind not in seen:
            seen.add(kind)
            yield _padding(stage, side, peers)
            yield _convolution(stage, side, peers)
            yield _norm(stage, side, peers)
        if stage.factor > 1:
            yield _upsampling(stage, side, peers)
        side = stage.length(side)
        if stage.ends:
            block = _noise(side, stage.outputs)
    yield _addition(block, peers)
    yield _sigmoid(peers)


def _padding(stage: Stage, side: int, peers: Any) -> Work:
    x, dy = _noise(side, stage.inputs), _noise(stage.factor * side + 2 * stage.padding, stage.inputs)
    y, dx = np.empty_like(dy), np.empty_like(x)
    how = stage.padding, stage.factor
    function = peers and partial(peers.padded, padding=stage.padding, factor=stage.factor)
    return Work(
        f"{stage.name}: {'upsampling and ' * (stage.factor > 1)}padding",
        {
            "forward": lambda: cpu.pad_reflected(x, *how, y),
            "backward": lambda: cpu.pad_reflected_backward(dy, *how, dx),
        },
        [y, dx],
        peers and peers.Operation(function, x, [], dy, FORMAT),
    )


def _upsampling(stage: Stage, side: int, peers: Any) -> Work:
    x, dy = _noise(side, stage.inputs), _noise(stage.factor * side, stage.inputs)
    y, dx = np.empty_like(dy), np.empty_like(x)
    function = peers and partial(peers.padded, padding=0, factor=stage.factor)
    return Work(
        f"{stage.name}: upsampling alone",
        {
            "forward": lambda: cpu.upsample(x, stage.factor, y),
            "backward": lambda: cpu.upsample_backward(dy, stage.factor, dx),
        },
        [y, dx],
        peers and peers.Operation(function, x, [], dy, FORMAT),
    )


def _convolution(stage: Stage, side: int, peers: Any) -> Work:
    """A convolution of a padded map; backward, the gradients with respect to the map and the filters."""
    x = _noise(stage.factor * side + 2 * stage.padding, stage.inputs)
    dy = _noise(stage.length(side), stage.outputs)
    filters = _values(stage.size, stage.size, stage.inputs, stage.outputs)
    conv = cpu.prepare(filters, np.zeros(stage.outputs), stage.stride, 0, np.float32)
    y, dx, dfilters = np.empty_like(dy), np.empty_like(x), np.empty_like(filters)

    def backward() -> None:
        cpu.convolve_backward(dy, conv, dx)
        cpu.convolve_backward_filters(x, dy, conv, dfilters)

    function = peers and partial(peers.functional.conv2d, stride=stage.stride)
    return Work(
        f"{stage.name}: {stage.size} x {stage.size} convolution",
        {"forward": lambda: cpu.convolve(x, conv, y), "backward": backward},
        [y, dx, dfilters],
        peers and peers.Operation(function, x, [filters], dy, FORMAT),
    )


def _norm(stage: Stage, side: int, peers: Any) -> Work:
    x = _noise(stage.length(side), stage.outputs)
    y, dx, dy = np.empty_like(x), np.empty_like(x), x[:, ::-1].copy()
    scale, shift = _values(2, 1, stage.outputs)
    (dscale, dshift), measured = np.empty((2, *scale.shape), np.float32), np.empty((2, *scale.shape))
    given = x, scale, shift, stage.relu
    function = peers and partial(peers.normalised, relu=stage.relu)
    return Work(
        f"{stage.name}: conditional instance normalisation{' and ReLU' * stage.relu}",
        {
            "forward": lambda: cpu.instance_norm(*given, y, *measured),
            "backward": lambda: cpu.instance_norm_backward(dy, *given, *measured, dx, dscale, dshift),
        },
        [y, dx, dscale, dshift],
        peers and peers.Operation(function, x, [scale, shift], dy, FORMAT),
    )


def _addition(x: np.ndarray, peers: Any) -> Work:
    y = x[:, ::-1].copy()
    peer = peers and peers.Operation(partial(peers.torch.add, other=peers.to_torch(y.copy(), FORMAT)), x, [], x, FORMAT)
    return Work("residual addition", {"forward": lambda: cpu.add(x, y)}, [y], peer)


def _sigmoid(peers: Any) -> Work:
    x = _noise(SIDE, 3)
    y, dx, dy = np.empty_like(x), np.empty_like(x), x[:, ::-1].copy()
    return Work(
        "sigmoid",
        {"forward": lambda: cpu.sigmoid(x, y), "backward": lambda: cpu.sigmoid_backward(dy, y, dx)},
        [y, dx],
        peers and peers.Operation(peers.torch.sigmoid, x, [], dy, FORMAT),
    )


def _noise(side: int, channels: int) -> np.ndarray:
    """A map."""
    return _values(1, side, side, channels)


def _values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _pictures(setting: Setting, size: int, threads: int) -> dict[str, Any]:
    progress(f"painter, {size} px")
    painter, x = random_painter(), square(setting.content, size)
    sides = {"ours": lambda: painter.paint_array(x, "0")}
    if setting.peers:
        peer = setting.peers.Painter(painter.weights, FORMAT)
        sides["PyTorch"] = lambda: peer.paint(x)
        difference = np.abs(peer.paint(x) - painter.paint_array(x, "0")).max()
        if difference > PICTURES:
            raise StylecoreError(f"the two painters differ by {difference}; run the tests to see which is wrong.")
    seconds = in_turn(sides, setting.repetitions)
    row = {"size": size, "threads": threads, "seconds": summary(seconds["ours"])}
    given = {"content": setting.content, "size": size, "threads": threads}
    row["bytes"] = in_own_process("painter_memory", side="ours", **given)["above import"]
    if setting.peers:
        row["PyTorch seconds"] = summary(seconds["PyTorch"])
        row["ratio"] = ratios(seconds["PyTorch"], seconds["ours"])
        row["PyTorch bytes"] = in_own_process("painter_memory", side="PyTorch", **given)["above import"]
    return row


def _training(setting: Setting) -> dict[str, Any]:
    progress(f"painter, a step of training with {BATCH} squares of {CROP} px")
    network = load_network(SETTINGS.network, layers=[*SETTINGS.content_layers, *SETTINGS.style_layers])
    weights = SETTINGS.content_weight, SETTINGS.style_weight
    loss = PainterLoss(network, SETTINGS.content_layers, SETTINGS.style_layers, *weights, CROP)
    photograph, painting = square(setting.content, CROP), square(setting.style, SETTINGS.style_size)
    photographs = np.stack([np.roll(photograph, 17 * n, axis=1) for n in range(BATCH)])
    style, model = loss.style(painting), PainterModel(SETTINGS.architecture, BATCH, cpu)
    model.initialise(np.random.default_rng(0))
    model.set_styles(np.eye(BATCH))

    def step() -> float:
        painted = model.forward(photographs)
        evaluations = [loss(x, y, style) for x, y in zip(photographs, painted, strict=True)]
        model.backward(np.stack([each.gradient for each in evaluations]) / BATCH)
        return sum(each.content + each.style for each in evaluations) / BATCH

    sides = {"ours": step}
    if setting.peers:
        peer = setting.peers.PainterTraining(model, setting.weights, painting, SETTINGS, FORMAT)
        sides["PyTorch"] = lambda: peer.step(photographs)
        first = {name: side() for name, side in sides.items()}
        if abs(first["PyTorch"] / first["ours"] - 1) > LOSSES:
            raise StylecoreError(f"the two sides have the losses {first}; run the tests to see which is wrong.")
        for conv, true in zip(model.convolutions, peer.filter_gradients(), strict=True):
            difference = np.linalg.norm(conv.d_filters - true) / np.linalg.norm(true)
            if difference > GRADIENTS:
                raise StylecoreError(f"{conv.stage.name}: the two gradients differ by {difference}; run the tests.")
    seconds = in_turn(sides, setting.repetitions)
    row = {"crop": CROP, "batch": BATCH, "seconds": summary(seconds["ours"])}
    if setting.peers:
        row["PyTorch seconds"] = summary(seconds["PyTorch"])
        row["ratio"] = ratios(seconds["PyTorch"], seconds["ours"])
    return row


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: kernels, pictures, and the step of training."""
    megabytes = 1 / 2**20
    if "kernels" in section:  # Older records lack them.
        yield table(
            f"The kernels of a painter at {SIDE} px",
            ["kernel", "pass", "ms", "PyTorch ms", "times as fast"],
            [
                [
                    row["kernel"],
                    row["way"],
                    spread(row["seconds"], "{:.2f}", 1e3),
                    spread(row.get("PyTorch seconds"), "{:.2f}", 1e3),
                    spread(row.get("ratio"), "{:.2f}"),
                ]
                for row in section["kernels"]
            ],
        )
    yield table(
        "A picture by a painter",
        ["px", "threads", "s", "PyTorch s", "times as fast", "MB above import", "PyTorch MB"],
        [
            [
                row["size"],
                row["threads"],
                spread(row["seconds"], "{:.3f}"),
                spread(row.get("PyTorch seconds"), "{:.3f}"),
                spread(row.get("ratio"), "{:.2f}"),
                number(row["bytes"] * megabytes, "{:.0f}"),
                number(row["PyTorch bytes"] * megabytes, "{:.0f}") if "PyTorch bytes" in row else "-",
            ]
            for row in section["pictures"]
        ],
    )
    row = section["training"]
    yield table(
        "A step of a painter's training, without the update",
        ["px", "batch", "s", "PyTorch s", "times as fast"],
        [
            [
                row["crop"],
                row["batch"],
                spread(row["seconds"], "{:.2f}"),
                spread(row.get("PyTorch seconds"), "{:.2f}"),
                spread(row.get("ratio"), "{:.2f}"),
            ]
        ],
    )
