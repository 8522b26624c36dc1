"""Each layer of VGG-19 up to relu5_1, and the losses at their layers: forward and backward pass.

Features are those of the content image, incoming gradients are noise. Operations are those of direct computation; the
bound is the fastest matrix product on this machine times the factor that the algorithm saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import product_rates, use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import CONTENT_LAYERS, STYLE_LAYERS, Setting
from stylecore.kernels import reference
from stylecore.network import ConvReluPool, Network

# Multiplications of direct computation for each of the algorithm: Winograd's F(6 x 6, 3 x 3) takes 64 for 324, and of a
# Gram matrix, which is symmetric, half is computed.
WINOGRAD_SAVING, GRAM_SAVING = 324 / 64, 2

# At larger sizes the float64 reference takes seconds for a layer.
LARGEST_CHECKED = 256


class Work(NamedTuple):
    """Operations to measure, a forward and a backward pass.

    Attributes
    ----------
    name : str
    ours : dict of str to callable
        "forward" and "backward".
    peer : object with the methods forward and backward, or None
    operations : int or None
        Floating-point operations of direct computation, of each pass; None if the time is bound by memory.
    savings : dict of str to float
        Factor by which the algorithm needs fewer.
    errors : callable
        Returns the relative errors against the reference, forward and backward.
    """

    name: str
    ours: dict[str, Callable[[], object]]
    peer: Any
    operations: int | None
    savings: dict[str, float]
    errors: Callable[[], dict[str, float]]


def measure(setting: Setting) -> dict[str, Any]:
    """Time all layers and losses at each size and number of threads.

    Returns
    -------
    dict
        "products": the rates of matrix products; "layers": a row for each layer or loss, pass, size and number of
        threads.
    """
    products: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    true = Network(setting.weights, reference, dtype="float64")
    for threads in setting.threads:
        rates = product_rates(threads, setting.repetitions)
        products.append({"threads": threads, **rates})
        fastest = max(rate["max"] for rate in rates.values())
        for size in setting.sizes:
            memory_format = setting.memory_format(size, threads) if setting.peers else None
            with use_threads(threads):
                for work in _works(setting, true, size, memory_format):
                    progress(f"layers, {size} px, threads: {threads}: {work.name}")
                    errors = work.errors() if size <= LARGEST_CHECKED else {}
                    for way in work.ours:
                        row = _row(work, way, setting.repetitions, fastest)
                        rows.append({"size": size, "threads": threads, **row, "relative error": errors.get(way)})
    return {"products": products, "layers": rows}


def _row(work: Work, way: str, repetitions: int, rate: float) -> dict[str, Any]:
    sides = {"ours": work.ours[way]}
    if work.peer:
        sides["pytorch"] = getattr(work.peer, way)
    seconds = in_turn(sides, repetitions)
    row: dict[str, Any] = {"layer": work.name, "way": way, "seconds": summary(seconds["ours"])}
    if work.operations:
        row["GFLOP/s"] = work.operations / row["seconds"]["median"] / 1e9
        row["bound GFLOP/s"] = rate * work.savings[way]
    if work.peer:
        row["pytorch seconds"] = summary(seconds["pytorch"])
        row["ratio"] = ratios(seconds["pytorch"], seconds["ours"])
    return row


def _works(setting: Setting, true: Network, size: int, memory_format: str | None) -> Iterator[Work]:
    """Yield the layers and losses of an evaluation, in order; each layer is given the output of the one before."""
    layers = {*CONTENT_LAYERS, *STYLE_LAYERS}
    content, _ = setting.pictures(size)
    x = np.empty((1, size, size, 3), np.float32)
    setting.network.preprocess(content, x)
    steps = zip(setting.network.steps(size, size, layers), true.steps(size, size, layers), strict=True)
    for conv, (step, true_step) in zip(setting.weights.convolutions, steps, strict=False):
        work, x = _layer(setting, conv.name, step, true_step, x, memory_format)
        yield work
        if step.name in STYLE_LAYERS:
            yield _gram(setting, step.name, x, memory_format)
        if step.name in CONTENT_LAYERS:
            yield _content(setting, step.name, x, memory_format)


def _layer(
    setting: Setting, name: str, step: Any, true_step: Any, x: np.ndarray, memory_format: str | None
) -> tuple[Work, np.ndarray]:
    """A convolution with its ReLU and maybe a pool, and its output."""
    y, code = np.empty(step.shape, np.float32), np.empty(step.code_shape, np.uint8)
    dy, dx = _noise(step.shape), np.empty_like(x)
    pools = isinstance(step, ConvReluPool)
    filters, bias = setting.weights.filters[name], setting.weights.biases[name]
    saving = 1 if x.shape[3] == 3 else WINOGRAD_SAVING

    def errors():
        # The reference is given this mask or route in the backward pass: its own may differ near zero and at ties.
        true_y, true_code, true_dx = np.empty(y.shape), np.empty_like(code), np.empty(dx.shape)
        true_step.forward(x.astype(np.float64), true_y, true_code)
        true_step.backward(dy.astype(np.float64), code, true_dx)
        step.backward(dy, code, dx)
        return {"forward": _relative_error(y, true_y), "backward": _relative_error(dx, true_dx)}

    work = Work(
        name + " + pool" * pools,
        {"forward": lambda: step.forward(x, y, code), "backward": lambda: step.backward(dy, code, dx)},
        setting.peers.Layer(filters, bias, pools, x, dy, memory_format) if memory_format else None,
        2 * x.shape[1] * x.shape[2] * filters.size,
        {"forward": saving, "backward": saving},
        errors,
    )
    work.ours["forward"]()
    return work, y


def _gram(setting: Setting, layer: str, features: np.ndarray, memory_format: str | None) -> Work:
    """The Gram matrix of a layer."""
    backend, matrix = setting.network.backend, features.reshape(-1, features.shape[3])
    difference = _noise((matrix.shape[1],) * 2)
    difference += difference.T
    gradient, square = np.zeros_like(matrix), np.zeros_like(difference)

    def errors():
        true_matrix, got, true = matrix.astype(np.float64), np.zeros_like(matrix), np.zeros(matrix.shape)
        backend.gram_backward(matrix, difference, 1.0, got)
        reference.gram_backward(true_matrix, difference, 1.0, true)
        got_square, true_square = np.zeros_like(square), np.zeros(square.shape)
        backend.gram(matrix, 1.0, got_square)
        reference.gram(true_matrix, 1.0, true_square)
        return {"forward": _relative_error(got_square, true_square), "backward": _relative_error(got, true)}

    return Work(
        f"Gram of {layer}",
        {
            "forward": lambda: backend.gram(matrix, 1e-6, square),
            "backward": lambda: backend.gram_backward(matrix, difference, 1e-6, gradient),
        },
        setting.peers.Term(setting.peers.gram, features, memory_format, difference) if memory_format else None,
        2 * matrix.size * matrix.shape[1],
        {"forward": GRAM_SAVING, "backward": 1},
        errors,
    )


def _content(setting: Setting, layer: str, features: np.ndarray, memory_format: str | None) -> Work:
    """The content term at a layer, with the same features in reverse order as the target."""
    backend, matrix = setting.network.backend, features.reshape(-1, features.shape[3])
    target, gradient = matrix[::-1].copy(), np.zeros_like(matrix)

    def errors():
        true_matrix, true_target = matrix.astype(np.float64), target.astype(np.float64)
        got, true = np.zeros_like(matrix), np.zeros(matrix.shape)
        backend.half_squared_distance_backward(matrix, target, 1.0, got)
        reference.half_squared_distance_backward(true_matrix, true_target, 1.0, true)
        values = (
            backend.half_squared_distance(matrix, target),
            reference.half_squared_distance(true_matrix, true_target),
        )
        return {"forward": abs(values[0] / values[1] - 1), "backward": _relative_error(got, true)}

    return Work(
        f"content of {layer}",
        {
            "forward": lambda: backend.half_squared_distance(matrix, target),
            "backward": lambda: backend.half_squared_distance_backward(matrix, target, 1e-6, gradient),
        },
        setting.peers.distance_term(features, target.reshape(features.shape), memory_format) if memory_format else None,
        None,
        {},
        errors,
    )


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _relative_error(got: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(got - true) / np.linalg.norm(true))


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: matrix products, then the layers at each size and number of threads."""
    products = [
        [row["threads"], name, spread(rate, "{:.0f}")]
        for row in section["products"]
        for name, rate in row.items()
        if name != "threads"
    ]
    yield table("Products of float32 matrices", ["threads", "product", "GFLOP/s"], products)
    rows = section["layers"]
    for size, threads in dict.fromkeys((row["size"], row["threads"]) for row in rows):
        yield table(
            f"Layers at {size} px, threads: {threads}",
            ["layer", "pass", "ms", "GFLOP/s", "of the bound", "relative error", "PyTorch ms", "times as fast"],
            [_cells(row) for row in rows if (row["size"], row["threads"]) == (size, threads)],
        )


def _cells(row: dict[str, Any]) -> list[object]:
    return [
        row["layer"],
        row["way"],
        spread(row["seconds"], "{:.2f}", 1e3),
        number(row.get("GFLOP/s"), "{:.0f}"),
        number(row.get("GFLOP/s") and row["GFLOP/s"] / row["bound GFLOP/s"], "{:.0%}"),
        number(row["relative error"], "{:.0e}"),
        spread(row.get("pytorch seconds"), "{:.2f}", 1e3),
        spread(row.get("ratio"), "{:.2f}"),
    ]
