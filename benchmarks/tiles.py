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
        agreement = [_agreement(setting, dtype) for dtype in ("float64", "float32")]
        timed = _time(setting)
    return {"agreement": agreement, "time": timed, "memory": [_memory(setting, size, threads) for size in MEMORY]}


def _agreement(setting: Setting, dtype: str) -> dict[str, Any]:
    progress(f"tiles, agreement in {dtype}")
    content, style = (resize(picture, AGREEMENT_SHAPE) for picture in setting.pictures(1024))
    x = np.clip(content + 0.1 * np.random.default_rng(0).standard_normal(content.shape), 0, 1)
    network = load_network(NETWORK, dtype=dtype)
    (loss, whole), (tiled_loss, tiled) = (
        Objective(content, style, network=network, tile=tile)(x) for tile in (None, AGREEMENT_TILE)
    )
    return {
        "dtype": dtype,
        "loss": abs(tiled_loss - loss) / loss,
        "gradient": float(np.linalg.norm(tiled - whole) / np.linalg.norm(whole)),
    }


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
        f"Tiles of {AGREEMENT_TILE} px against one piece, {width} x {height} px, relative differences",
        ["dtype", "loss", "gradient"],
        [
            [row["dtype"], number(row["loss"], "{:.0e}"), number(row["gradient"], "{:.0e}")]
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
