"""An NVIDIA GPU compared with the CPU, and with PyTorch and cuDNN on the same GPU: layers, evaluation and transfer.

Kernels are timed by events of the device; a whole evaluation and a transfer, which begin and end on the host, by its
clock. Layers work on random numbers. PyTorch computes in plain float32, and with TF32 allowed, which is the default for
its convolutions and has 10 bits of mantissa.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.evaluation import check_agreement
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import CONTENT_LAYERS, STYLE_LAYERS, Setting
from stylecore import Objective, transfer
from stylecore.kernels import cpu, devices
from stylecore.network import ConvRelu, ConvReluPool, Network, load_network

# Least duration of a timing on the GPU, in seconds.
LEAST = 0.005

# Evaluations of a transfer; few, as the CPU is slow.
STEPS = 20

# Float32 multiply-adds of a multiprocessor in a cycle, by compute capability.
MULTIPLY_ADDS = {(7, 5): 64, (8, 0): 64}
OTHERS = 128

WINOGRAD_SAVING = 4


def measure(setting: Setting) -> dict[str, Any]:
    """Time layers, evaluation and transfer at each size.

    Returns
    -------
    dict
        "device", "layers", "evaluation" and "transfer".
    """
    network = load_network(setting.weights, device="cuda", layers=[*CONTENT_LAYERS, *STYLE_LAYERS])
    return measure_networks(setting, setting.network, network, CONTENT_LAYERS, STYLE_LAYERS)


def measure_networks(
    setting: Setting, processor: Network, gpu: Network, content_layers: Sequence[str], style_layers: Sequence[str]
) -> dict[str, Any]:
    """Time two networks with the same weights, one on the CPU and one on the GPU.

    Parameters
    ----------
    setting : Setting
    processor, gpu : Network
    content_layers, style_layers : sequence of str

    Returns
    -------
    dict
        As `measure` returns it.
    """
    layers: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    transfers: list[dict[str, Any]] = []
    for size in setting.sizes:
        layers += _layers(setting, processor, gpu, size, content_layers, style_layers)
        settings = {"content_layers": content_layers, "style_layers": style_layers}
        evaluations.append(_evaluation(setting, processor, gpu, size, settings))
        transfers.append(_transfer(setting, processor, gpu, size, settings))
    return {"device": _device(), "layers": layers, "evaluation": evaluations, "transfer": transfers}


def _device() -> dict[str, Any]:
    """Name of the GPU, and its peak rates of computation and of memory access."""
    if devices.simulated():
        return {"name": "simulator", "TFLOP/s": None, "GB/s": None}
    from numba import cuda

    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    multiply_adds = MULTIPLY_ADDS.get(tuple(device.compute_capability), OTHERS)
    return {
        "name": name,
        # Clocks are in kHz; memory transfers two words of the width of the bus in a cycle.
        "TFLOP/s": 2 * device.MULTIPROCESSOR_COUNT * multiply_adds * device.CLOCK_RATE * 1e3 / 1e12,
        "GB/s": 2 * device.MEMORY_CLOCK_RATE * 1e3 * device.GLOBAL_MEMORY_BUS_WIDTH / 8 / 1e9,
    }


def device_seconds(function: Callable[[], object], repetitions: int) -> list[float]:
    """Device time of a call in seconds, by repetition, after a warm-up.

    Parameters
    ----------
    function : callable
        Launches work on the device; need not wait for its end.
    repetitions : int

    Returns
    -------
    list of float
    """
    function()
    calls = max(1, round(LEAST / max(_device_time(function, 1), 1e-6)))
    return [_device_time(function, calls) / calls for _ in range(repetitions)]


def _device_time(function: Callable[[], object], calls: int) -> float:
    from numba import cuda

    if devices.simulated():
        began = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - began
    begin, end = cuda.event(), cuda.event()
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return cuda.event_elapsed_time(begin, end) / 1e3


@contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Allow TF32 in PyTorch inside a ``with`` block, or forbid it."""
    import torch

    flags = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = allowed
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def _torch_sides(setting: Setting) -> dict[str, bool]:
    """PyTorch's modes by name, and whether each allows TF32; empty if PyTorch cannot use a GPU."""
    if not setting.peers or devices.simulated():
        return {}
    import torch

    torch.backends.cudnn.benchmark = True
    return {"PyTorch fp32": False, "PyTorch TF32": True} if torch.cuda.is_available() else {}


def _layers(
    setting: Setting,
    processor: Network,
    gpu: Network,
    size: int,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows for each layer and each term of the loss, forward and backward."""
    used = {*content_layers, *style_layers}
    shape: tuple[int, ...] = (1, size, size, 3)
    convolutions = iter(setting.weights.convolutions)
    rows: list[dict[str, Any]] = []
    for own, step in zip(processor.steps(size, size, used), gpu.steps(size, size, used), strict=True):
        if isinstance(step, ConvRelu | ConvReluPool):
            conv = next(convolutions)
            progress(f"cuda, {size} px: {conv.name}")
            rows += _layer(setting, conv, own, step, shape)
        if step.name in used:
            progress(f"cuda, {size} px: terms of {step.name}")
            rows += _terms(setting, processor, gpu, step, style_layers)
        shape = step.shape
    return [{"size": size, **row} for row in rows]


def _layer(setting: Setting, conv: Any, own: Any, step: Any, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    x, dy = _noise(shape), _noise(step.shape)
    y, code, dx = np.empty(step.shape, np.float32), np.zeros(step.code_shape, np.uint8), np.empty_like(x)
    host = {
        "forward": lambda: own.forward(x, y, code),
        "backward": lambda: own.backward(dy, code, dx),
    }
    device = [_on_device(step.backend, array) for array in (x, dy, y, code, dx)]
    gpu = {
        "forward": lambda: step.forward(device[0], device[2], device[3]),
        "backward": lambda: step.backward(device[1], device[3], device[4]),
    }
    peers = {}
    pools = isinstance(step, ConvReluPool)
    filters, bias = setting.weights.filters[conv.name], setting.weights.biases[conv.name]
    for name, allowed in _torch_sides(setting).items():
        with tensor_cores(allowed):
            peers[name] = setting.peers.Layer(filters, bias, pools, x, dy, "channels last", "cuda")
    operations = 2 * shape[1] * shape[2] * filters.size
    moved = x.nbytes + y.nbytes + code.nbytes + filters.nbytes
    saving = WINOGRAD_SAVING if step.conv.fuses_pool else 1
    return [
        _row(setting, conv.name + " + pool" * pools, way, host[way], gpu[way], peers, operations, saving, moved)
        for way in host
    ]


def _terms(
    setting: Setting, processor: Network, gpu: Network, step: Any, style_layers: Sequence[str]
) -> list[dict[str, Any]]:
    """The Gram matrix of a style layer, or the content term of another layer."""
    shape = (step.shape[1] * step.shape[2], step.shape[3])
    features, target, gradient = _noise(shape), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if step.name in style_layers:
        target = _noise((shape[1], shape[1]))
        target += target.T
        work = {
            "forward": lambda backend, f, t, g: backend.gram(f, 1e-9, t),
            "backward": lambda backend, f, t, g: backend.gram_backward(f, t, 1e-9, g),
        }
        name, operations, saving = f"Gram of {step.name}", 2 * features.size * shape[1], 2
    else:
        work = {
            "forward": lambda backend, f, t, g: backend.half_squared_distance(f, t),
            "backward": lambda backend, f, t, g: backend.half_squared_distance_backward(f, t, 1e-9, g),
        }
        name, operations, saving = f"content of {step.name}", 3 * features.size, 1
    arrays = (features, target, gradient)
    device = [_on_device(gpu.backend, array) for array in arrays]
    moved = {"forward": features.nbytes * (1 if saving == 2 else 2), "backward": 3 * features.nbytes}
    return [
        _row(
            setting,
            name,
            way,
            lambda way=way: work[way](processor.backend, *arrays),
            lambda way=way: work[way](gpu.backend, *device),
            {},
            operations,
            saving if way == "forward" else 1,
            moved[way],
        )
        for way in work
    ]


def _row(
    setting: Setting,
    name: str,
    way: str,
    host: Callable[[], object],
    gpu: Callable[[], object],
    peers: dict[str, Any],
    operations: int,
    saving: float,
    moved: int,
) -> dict[str, Any]:
    """One pass of a layer or term, timed on all sides."""
    seconds = device_seconds(gpu, setting.repetitions)
    row: dict[str, Any] = {
        "layer": name,
        "way": way,
        "seconds": summary(seconds),
        "cpu seconds": summary(in_turn({"cpu": host}, setting.repetitions)["cpu"]),
        "TFLOP/s": operations / summary(seconds)["median"] / 1e12,
        "saving": saving,
        "GB/s": moved / summary(seconds)["median"] / 1e9,
    }
    for peer, allowed in _torch_sides(setting).items():
        if peer in peers:
            with tensor_cores(allowed):
                row[peer] = summary(device_seconds(getattr(peers[peer], way), setting.repetitions))
    return row


def _on_device(backend: Any, array: np.ndarray) -> Any:
    """A copy of an array in the memory of a backend."""
    copy = backend.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _evaluation(
    setting: Setting, processor: Network, gpu: Network, size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """One evaluation of the objective, with the transfer of the image to the GPU and of the gradient back."""
    progress(f"cuda, {size} px: evaluation")
    pictures = setting.pictures(size)
    x = np.clip(pictures[0] + 0.1 * _noise(pictures[0].shape), 0, 1)
    ours = {
        "cuda": Objective(*pictures, network=gpu, **settings),
        "cpu": Objective(*pictures, network=processor, **settings),
    }
    differences = check_agreement(ours["cuda"], ours["cpu"], x)
    sides: dict[str, Callable[[], object]] = {
        name: lambda objective=objective: objective(x) for name, objective in ours.items()
    }
    for name, allowed in _torch_sides(setting).items():
        with tensor_cores(allowed):
            theirs = setting.peers.Objective(*pictures, setting.weights, "channels last", "cuda")

        def evaluate(theirs=theirs, allowed=allowed):
            with tensor_cores(allowed):
                theirs(x)

        sides[name] = evaluate
    seconds = in_turn(sides, setting.repetitions)
    return {
        "size": size,
        "differences": differences,
        **{name: summary(times) for name, times in seconds.items()},
        "ratios": {name: ratios(times, seconds["cuda"]) for name, times in seconds.items() if name != "cuda"},
    }


def _transfer(
    setting: Setting, processor: Network, gpu: Network, size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """A whole transfer at one scale, once on each side."""
    progress(f"cuda, {size} px: transfer")
    pictures, optimizer = setting.pictures(size), setting.optimizers[0]
    row: dict[str, Any] = {"size": size, "optimizer": optimizer}
    for name, network in (("cuda", gpu), ("cpu", processor)):
        began = time.perf_counter()
        transfer(*pictures, size=size, iterations=STEPS, pyramid=1, optimizer=optimizer, network=network, **settings)
        row[f"{name} seconds"] = time.perf_counter() - began
    cpu.release_scratch()
    return row


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section."""
    device = section["device"]
    peaks = ", ".join(f"{number(device[unit], '{:.1f}')} {unit}" for unit in ("TFLOP/s", "GB/s"))
    peers = [name for name in ("PyTorch fp32", "PyTorch TF32") if name in section["evaluation"][0]]
    theirs = [f"{peer} ms" for peer in peers]
    for size in dict.fromkeys(row["size"] for row in section["layers"]):
        yield table(
            f"Layers at {size} px on {device['name']} (at most {peaks})",
            ["layer", "pass", "ms", "CPU ms", *theirs, "TFLOP/s", "of peak", "GB/s", "of peak"],
            [_layer_cells(row, device, peers) for row in section["layers"] if row["size"] == size],
        )
    yield table(
        "One evaluation",
        ["px", "ms", "CPU ms", *theirs, "times the CPU", *(f"times {peer}" for peer in peers)],
        [
            [
                row["size"],
                *(spread(row[side], "{:.2f}", 1e3) for side in ("cuda", "cpu", *peers)),
                *(spread(row["ratios"][side], "{:.2f}") for side in ("cpu", *peers)),
            ]
            for row in section["evaluation"]
        ],
    )
    yield table(
        f"A transfer of {STEPS} evaluations",
        ["px", "optimiser", "s", "CPU s"],
        [
            [
                row["size"],
                row.get("optimizer", "lbfgs"),
                *(number(row[f"{side} seconds"], "{:.2f}") for side in ("cuda", "cpu")),
            ]
            for row in section["transfer"]
        ],
    )


def _layer_cells(row: dict[str, Any], device: dict[str, Any], peers: list[str]) -> list[object]:
    """Cells of a row; fractions of the peak count multiplications of the algorithm, not of direct computation."""
    compute = device["TFLOP/s"] and row["TFLOP/s"] / row["saving"] / device["TFLOP/s"]
    memory = device["GB/s"] and row["GB/s"] / device["GB/s"]
    return [
        row["layer"],
        row["way"],
        spread(row["seconds"], "{:.3f}", 1e3),
        spread(row["cpu seconds"], "{:.2f}", 1e3),
        *(spread(row.get(peer), "{:.3f}", 1e3) for peer in peers),
        number(row["TFLOP/s"], "{:.2f}"),
        number(compute, "{:.0%}"),
        number(row["GB/s"], "{:.0f}"),
        number(memory, "{:.0%}"),
    ]
