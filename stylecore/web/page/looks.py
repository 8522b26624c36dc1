"""Paint the small pictures of the presets that the page shows: ``python -m stylecore.web.page.looks [NAME ...]``.

Each is a part of the sample photograph, painted in the style of the sample painting with the preset.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylecore import transfer
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.presets import load_presets

SETTINGS: dict[str, Any] = {"size": 288, "iterations": 100}

BOX = (72, 24, 280, 180)
"""Part of the picture that is shown: left, top, right, bottom."""

SHOWN = (176, 132)
"""Width and height of the small picture."""


def main(names: Sequence[str]) -> None:
    """Paint and write the pictures of some presets, or of all."""
    looks: dict[str, dict[str, Any]] = {"default": {}}
    looks |= {name: preset.settings for name, preset in load_presets().items()}
    for name in names or looks:
        picture = transfer(PHOTOGRAPH, PAINTING, **{**SETTINGS, **looks[name]}).image
        picture.resize(SHOWN, box=BOX).save(Path(__file__).with_name(f"look-{name}.webp"), quality=60, method=6)


if __name__ == "__main__":
    main(sys.argv[1:])
