"""The section for GPUs, with a network of one layer; `test_cuda_simulator.py` runs it without a GPU."""

from pathlib import Path

import numpy as np
import pytest

from stylecore.network import load_network
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.weights import Preprocessing, Weights
from stylecore.weights.architectures import Conv

pytestmark = pytest.mark.gpu

PREPROCESSING = Preprocessing("RGB", 1.0, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


@pytest.fixture
def cuda(monkeypatch):
    """The module of the section, which is not installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent)
    from benchmarks import cuda

    return cuda


def test_section(cuda, monkeypatch):
    from benchmarks.setting import Setting

    monkeypatch.setattr(cuda, "STEPS", 1)
    filters = np.random.default_rng(0).standard_normal((3, 3, 3, 16)).astype(np.float32)
    tables = {"conv1_1": filters}, {"conv1_1": np.zeros(16, np.float32)}
    weights = Weights("small", (Conv("conv1_1", 3, 16),), *tables, PREPROCESSING, "made up", "0" * 64)
    setting = Setting(str(PHOTOGRAPH), str(PAINTING), [4], [1], 1, ["lbfgs"], None, 4, 1, 1, [], [], 1)
    setting.__dict__["weights"] = weights
    networks = [load_network(weights, device) for device in ("cpu", "cuda")]
    section = cuda.measure_networks(setting, *networks, ["relu1_1"], ["relu1_1"])
    assert [(row["layer"], row["way"]) for row in section["layers"]] == [
        (layer, way) for layer in ("conv1_1", "Gram of relu1_1") for way in ("forward", "backward")
    ]
    for row in section["layers"]:
        assert row["seconds"]["median"] > 0 and row["cpu seconds"]["median"] > 0
        assert row["TFLOP/s"] > 0 and row["GB/s"] > 0
    (evaluation,), (transfer,) = section["evaluation"], section["transfer"]
    assert evaluation["differences"]["gradient"] < 1e-5
    assert evaluation["ratios"]["cpu"]["median"] == pytest.approx(
        evaluation["cpu"]["median"] / evaluation["cuda"]["median"], rel=1
    )
    assert transfer["cuda seconds"] > 0 and transfer["cpu seconds"] > 0
    shown = "\n".join(cuda.tables(section))
    assert "Layers at 4 px" in shown and "One evaluation" in shown and "A transfer of" in shown


def test_calls_are_timed_together(cuda):
    calls = []
    seconds = cuda.device_seconds(lambda: calls.append(1), 3)
    assert len(seconds) == 3 and all(second >= 0 for second in seconds)
    assert len(calls) > 3
