"""The section on painters, with a small network and small pictures."""

from pathlib import Path

import pytest

from stylecore.painter.architecture import stages
from stylecore.painter.settings import PainterSettings
from stylecore.samples import PAINTING, PHOTOGRAPH


@pytest.mark.slow
def test_kernels_pictures_and_steps_are_timed(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent)  # The benchmark is not installed.
    from benchmarks import painter
    from benchmarks.setting import Setting

    settings = PainterSettings(
        architecture=stages((16, 16, 16), 1),
        network="small",
        content_layers=["relu2_1"],
        style_layers=["relu1_1"],
        crop=32,
        style_size=32,
    )
    for name, value in (("SETTINGS", settings), ("CROP", 32), ("SIDE", 32), ("SIZES", (32,))):
        monkeypatch.setattr(painter, name, value)
    fields = dict.fromkeys(Setting.__dataclass_fields__)
    given = {"content": str(PHOTOGRAPH), "style": str(PAINTING), "threads": [1], "repetitions": 2}
    section = painter.measure(Setting(**{**fields, **given}))
    # Of the stages that are alike the first is measured.
    names = [row["kernel"] for row in section["kernels"] if row["way"] == "backward"]
    stages_shown = [name.partition(":")[0] for name in names if "convolution" in name]
    assert stages_shown == ["down1", "down2", "block1_1", "up1", "colours"]
    assert {"down1: padding", "up1: upsampling and padding", "up1: upsampling alone", "sigmoid"} <= set(names)
    assert sum("instance normalisation" in name for name in names) == 5
    assert [row["way"] for row in section["kernels"] if row["kernel"] == "residual addition"] == ["forward"]
    assert all(row["seconds"]["median"] > 0 for row in section["kernels"])
    (row,) = section["pictures"]
    assert row["size"] == 32 and row["seconds"]["median"] > 0 and row["bytes"] > 2**20
    assert section["training"]["seconds"]["repetitions"] == 2
    kernels, pictures, training = painter.tables(section)
    assert "| down1: padding" in kernels and "| 32" in pictures and "| 32" in training
