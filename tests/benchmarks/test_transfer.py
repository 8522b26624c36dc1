"""The section for whole transfers, with a peer that is made up, since PyTorch is not installed for the tests."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from stylecore import weights
from stylecore.optimizers import OPTIMIZERS
from stylecore.samples import PAINTING, PHOTOGRAPH

pytestmark = pytest.mark.slow


@pytest.fixture
def section(monkeypatch):
    """The module of the section, which is not installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent)
    from benchmarks import transfer

    return transfer


def test_every_optimiser_is_compared_with_every_peer(section):
    from benchmarks.measuring import Trace
    from benchmarks.setting import Setting

    def stay(make_objective, image, trace):
        """An optimiser that never leaves the start."""
        objective = make_objective()
        with suppress(Trace.Ended):
            while True:
                trace.note(objective(image)[0], image)

    def make_objective(content, style, weights, memory_format):
        return setting.ours(len(content))

    peers = SimpleNamespace(
        OPTIMIZERS=dict.fromkeys(section.PEERS.values(), stay),
        Objective=make_objective,
        faster_format=lambda content, style, weights, threads: "contiguous",
    )
    optimizers = list(OPTIMIZERS)[:2]
    starts, names = list(section.STARTS), list(section.PEERS)
    setting = Setting(str(PHOTOGRAPH), str(PAINTING), [64], [1], 1, optimizers, peers, 64, 6, 2, starts, names, 1)
    setting.__dict__["weights"] = weights.load("small")
    measured = section.measure(setting)
    rows = measured["transfer"]
    assert [(row["start"], row["peer"], row["optimizer"]) for row in rows] == [
        (start, peer, optimizer)
        for start in section.STARTS
        for peer in section.PEERS.values()
        for optimizer in optimizers
    ]
    for row in rows:
        assert row["evaluations"]["median"] == 6
        for way in section.PYRAMIDS:
            # The first image is as good as that of the peer, or nearly.
            assert 1 <= row[way]["evaluations"]["median"] <= 12 and row[way]["ratio"]["repetitions"] == 2
    (shown,) = section.tables(measured)
    assert all(f"| {optimizer} " in shown for optimizer in optimizers)
