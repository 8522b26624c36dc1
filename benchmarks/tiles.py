"""Evaluations in tiles: their agreement with one piece, their time beside it, and their memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_own_process, in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import NETWORK, Setting, square
from stylecore import Objective
from stylecore.network import load_network
from stylecore.pictures.geometry import resize
from stylecore.tiles import SIDE

AGREEMENT_SHAPE, AGREEMENT_TILE = (1000, 1300), 512
TIMED = 2048
MEMORY = (1024, 2048, 4096, 8192)


def measure(setting: Setting) -> dict[str, Any]:
    """Compare tiles with one piece; the memory on Linux only.

    Returns
    -------
    dict
        "agreement": a row for each dtype; "time": a row; "memory": a row for each size.
    """
    threads = max(setting.threads)
    with use_threads(threads):
        agreement = _agreement(setting)
        timed = _time(setting)
    return {"agreement": agreement, "time": timed, "memory": [_memory(setting, size, threads) for size in MEMORY]}


def _agreement(setting: Setting) -> list[dict[str, Any]]:
    """Relative differences of tiles from one piece; and in float32, of one piece from float64, for comparison.

    Where rounding decides which of two values passes a ReLU or a max pool, the gradient differs by far more than by
    rounding, in tiles as in one piece; the median over the values shows the rest.
    """
    content, style = (resize(picture, AGREEMENT_SHAPE) for picture in setting.pictures(1024))
    x = np.clip(content + 0.1 * np.random.default_rng(0).standard_normal(content.shape), 0, 1)
    found: dict[tuple[str, int | None], tuple[float, np.ndarray, Any]] = {}
    for dtype in ("float64", "float32"):
        progress(f"tiles, agreement in {dtype}")
        network = load_network(NETWORK, dtype=dtype)
        for tile in (None, AGREEMENT_TILE):
            objective = Objective(content, style, network=network, tile=tile)
            loss, gradient = objective(x)
            found[dtype, tile] = loss, np.array(gradient), _moments(objective, x)
    pairs: list[tuple[tuple[str, int | None], tuple[str, int | None]]] = [
        *(((dtype, AGREEMENT_TILE), (dtype, None)) for dtype in ("float64", "float32")),
        (("float32", None), ("float64", None)),
    ]
    return [
        {"of": _named(*one), "from": _named(*other), **_differences(found[one], found[other])} for one, other in pairs
    ]


def _named(dtype: str, tile: int | None) -> str:
    return f"{dtype} in {'one piece' if tile is None else 'tiles'}"


def _differences(got: tuple[float, np.ndarray, Any], expected: tuple[float, np.ndarray, Any]) -> dict[str, float]:
    (loss, gradient, moments), (expected_loss, expected_gradient, expected_moments) = got, expected
    scale = np.sqrt(np.square(expected_gradient).mean())
    return {
        "loss": abs(loss - expected_loss) / expected_loss,
        "moments": max(
            _difference(*pair) for key in moments for pair in zip(moments[key], expected_moments[key], strict=True)
        ),
        "gradient": _difference(gradient, expected_gradient),
        "median": float(np.median(np.abs(gradient - expected_gradient)) / scale),
    }


def _moments(objective: Objective, x: np.ndarray) -> dict[Any, list[np.ndarray]]:
    """Mean and second moments of each style term, copied: the next evaluation in one piece writes over them."""
    tiles = objective._prepare(x).tiles
    moments = tiles.forward(x.astype(objective.network.dtype))[0]
    return {key: [np.array(part) for part in pair] for key, pair in moments.items()}


def _difference(got: np.ndarray, expected: np.ndarray) -> float:
    norm = float(np.linalg.norm(expected))  # The means are zero where no distance depends on them.
    return float(np.linalg.norm(got - expected)) / (norm or 1.0)


def _time(setting: Setting) -> dict[str, Any]:
    progress(f"tiles, {TIMED} px")
    x, style = square(setting.content, TIMED), square(setting.style, 1024)
    whole, tiled = (Objective(x, style, network=setting.network, tile=tile) for tile in (None, SIDE))
    seconds = in_turn({"whole": lambda: whole(x), "tiles": lambda: tiled(x)}, setting.repetitions)
    return {
        "size": TIMED,
        "tile": SIDE,
        "whole seconds": summary(seconds["whole"]),
        "seconds": summary(seconds["tiles"]),
        "ratio": ratios(seconds["tiles"], seconds["whole"]),
    }


def _memory(setting: Setting, size: int, threads: int) -> dict[str, Any]:
    progress(f"tiles, memory, {size} px")
    given = {"content": setting.content, "style": setting.style, "size": size, "threads": threads}
    return {"size": size, **in_own_process("tiles_memory", tile=SIDE if size > SIDE else SIDE // 2, **given)}


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: agreement, time and memory."""
    height, width = AGREEMENT_SHAPE
    yield table(
        f"Tiles of {AGREEMENT_TILE} px, {width} x {height} px, relative differences",
        ["of", "from", "loss", "moments", "gradient", "median of the gradient's"],
        [
            [
                row["of"],
                row["from"],
                *(number(row[name], "{:.0e}") for name in ("loss", "moments", "gradient", "median")),
            ]
            for row in section["agreement"]
        ],
    )
    row = section["time"]
    yield table(
        "Time of one evaluation in tiles",
        ["px", "tile", "one piece s", "tiles s", "times as long"],
        [
            [
                row["size"],
                row["tile"],
                spread(row["whole seconds"], "{:.1f}"),
                spread(row["seconds"], "{:.1f}"),
                spread(row["ratio"], "{:.2f}"),
            ]
        ],
    )
    megabytes = 1 / 2**20
    yield table(
        "Peak memory of a first evaluation in tiles, with the targets of the content",
        ["px", "tile", "above import MB", "beyond network and images MB", "predicted MB", "predicted / measured", "s"],
        [
            [
                row["size"],
                row["tile"],
                *(number(row[name] * megabytes, "{:.0f}") for name in ("above import", "measured", "predicted")),
                number(row["predicted"] / row["measured"], "{:.2f}"),
                number(row["seconds"], "{:.0f}"),
            ]
            for row in section["memory"]
        ],
    )
