"""Retrieval: similarity of sketches and photographs, and its spreading among photographs."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylecore.sketch import index, read_drawing, retrieve
from stylecore.sketch.descriptors import HOG_CELLS, LAYERS
from stylecore.sketch.retrieval import similarities

NAMES = [*LAYERS, *(f"hog{cells}" for cells in HOG_CELLS)]


def shape(kind, ground, colour, width=0):
    """A filled shape as a photograph, or with a width its outline as a sketch."""
    sheet = Image.new("RGB", (120, 120), ground)
    draw = ImageDraw.Draw(sheet)
    how = {"outline": colour, "width": width} if width else {"fill": colour}
    if kind == "disc":
        draw.ellipse([20, 20, 100, 100], **how)
    else:
        draw.polygon([(60, 15), (105, 100), (15, 100)], **how)
    return sheet


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, colour in enumerate(("red", "navy", "olive")):
        for kind in ("disc", "triangle"):
            shape(kind, "white", colour).save(folder / f"{kind}{i}.png")
    return index(folder)


@pytest.mark.vgg19
@pytest.mark.parametrize("kind", ["disc", "triangle"])
def test_a_sketch_finds_photographs_of_its_shape(photos, kind):
    found = retrieve(read_drawing(shape(kind, "white", "black", 3)), photos, 3)
    assert [match.path.name[:-5] for match in found] == [kind] * 3
    assert sorted(found, key=lambda match: -match.similarity) == found


def test_no_more_photographs_are_found_than_there_are(photos):
    assert len(retrieve(read_drawing(shape("disc", "white", "black", 3)), photos, 100)) == 6


def described(rng, count):
    """Random descriptors of photographs, and those of a sketch that is the first of them."""
    photos = {name: rng.random((count, 30)) for name in [*NAMES, "appearance", "content"]}
    return photos, tuple({name: photos[name][0] for name in NAMES} for _ in range(2))


def test_equal_descriptors_are_most_similar():
    photos, sketch = described(np.random.default_rng(0), 20)
    assert np.argmax(similarities(sketch, photos)) == 0


def test_similarity_spreads_to_photographs_that_look_alike():
    rng = np.random.default_rng(1)
    photos, sketch = described(rng, 40)
    photos["content"][1:9] = photos["content"][0] + 0.01 * rng.random((8, 30))
    assert set(np.argsort(-similarities(sketch, photos))[:9]) == set(range(9))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_few_photographs_suffice(count):
    photos, sketch = described(np.random.default_rng(2), count)
    assert np.isfinite(similarities(sketch, photos)).all()
