"""Segmentation of drawings: closed and open outlines, notches, and lines that enclose nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylecore.sketch import Drawing, read_drawing, segment_sketch

OUTLINES = json.loads(Path(__file__).with_name("outlines.json").read_text())


def drawn(*strokes, side=256, width=3):
    """A drawing of polylines."""
    sheet = Image.new("L", (side, side))
    for stroke in strokes:
        ImageDraw.Draw(sheet).line(stroke, fill=255, width=width)
    return Drawing(np.asarray(sheet, np.float32) / 255)


def filled(points, side=256):
    sheet = Image.new("1", (side, side))
    ImageDraw.Draw(sheet).polygon(points, fill=1)
    return np.asarray(sheet)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


SQUARE = [(60, 60), (200, 60), (200, 200), (60, 200), (60, 60)]
ARROW = [(40, 60), (128, 110), (216, 60), (128, 210), (40, 60)]


def test_a_house_is_split_into_roof_wall_and_door(house):
    segmentation = segment_sketch(read_drawing(house))
    assert len(segmentation.regions) == 3
    roof, wall, door = (segmentation.labels[point] for point in ((55, 80), (90, 55), (120, 84)))
    assert len({roof, wall, door, 0}) == 4
    assert segmentation.labels[5, 5] == 0 and segmentation.labels[80, 140] == 0


@pytest.mark.parametrize("gap", [0, 6, 16, 30])
def test_a_square_with_a_gap_is_enclosed(gap):
    foreground = segment_sketch(drawn([(60 + gap, 60), *SQUARE[1:]])).foreground
    assert overlap(foreground, filled(SQUARE)) > 0.93


def test_a_notch_stays_background():
    assert overlap(segment_sketch(drawn(ARROW)).foreground, filled(ARROW)) > 0.93


def test_lines_that_enclose_nothing_have_their_hull():
    with pytest.warns(UserWarning, match="enclose almost nothing"):
        segmentation = segment_sketch(drawn([(40, 40), (128, 200), (216, 40)]))
    assert overlap(segmentation.foreground, filled([(40, 40), (128, 200), (216, 40)])) > 0.93


def test_it_has_the_size_of_the_drawing():
    assert segment_sketch(drawn(SQUARE).at((128, 300))).labels.shape == (128, 300)


def test_the_polygons_of_the_benchmark_are_drawn_as_sketches_and_found():
    """The outlines drawn by hand, as drawings of their own: the segmentation fills each."""
    overlaps = []
    for polygons in list(OUTLINES["sketches"].values())[::3]:
        rings = [[(x * 2.3 + 10, y * 2.3 + 10) for x, y in [*polygon, polygon[0]]] for polygon in polygons]
        truth = np.any([filled(ring) for ring in rings], axis=0)
        overlaps.append(overlap(segment_sketch(drawn(*rings)).foreground, truth))
    assert np.mean(overlaps) > 0.9
