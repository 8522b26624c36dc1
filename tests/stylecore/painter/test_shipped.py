"""The painter that comes with the program."""

import pytest

from stylecore import Objective
from stylecore.painter.painting import SHIPPED, Painter
from stylecore.painter.settings import PainterSettings
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH


def test_it_is_small_and_has_the_styles_that_are_documented():
    assert SHIPPED.stat().st_size <= 4 * 2**20
    painter = Painter()
    assert len(painter.styles) >= 4
    record = SHIPPED.with_name("PAINTER.md").read_text(encoding="utf-8")
    assert all(f"| `{style}` |" in record for style in painter.styles)


@pytest.mark.vgg19
def test_its_pictures_have_the_style_of_the_painting():
    painter, settings = Painter(), PainterSettings()
    photograph, painting = (read_image(path)[0] for path in (PHOTOGRAPH, PAINTING))
    photograph = resize(photograph, (192, 256))
    layers = {"content_layers": settings.content_layers, "style_layers": settings.style_layers}
    objective = Objective(photograph, resize(painting, fit(painting.shape, settings.style_size)), **layers)

    def style(picture):
        terms = objective.terms(picture)
        weights = objective.term_weights
        return sum(weights[name] * value for name, value in terms.items() if name.startswith("style"))

    painted = {name: style(painter.paint_array(photograph, name)) for name in painter.styles}
    assert min(painted, key=painted.get) == "bay"  # The sample.
    assert painted["bay"] < 0.3 * style(photograph)
    blended = painter.paint_array(photograph, {"bay": 1, "the_scream": 1})
    assert painted["bay"] < style(blended) < painted["the_scream"]
