"""Sketches that colour themselves (section 8.1 of the paper).

`colour_sketch` takes a line drawing and a folder of photographs. Each of its stages can be called by itself:

1. `index` describes the photographs of a folder, and `retrieve` finds those that are most similar to the drawing.
2. `segment_sketch` and `segment_photo` split both pictures into foreground and background, and into regions.
3. `match_regions` pairs the regions by their area, perimeter and position.
4. `colour` transfers the style from each region of the photograph to its match.
5. `overlay` lays the lines on top.
"""

from stylecore.sketch.colouring import colour
from stylecore.sketch.drawing import Drawing, read_drawing
from stylecore.sketch.indexing import PhotoIndex, index
from stylecore.sketch.ink import overlay
from stylecore.sketch.matching import match_regions
from stylecore.sketch.photo_segmentation import segment_photo
from stylecore.sketch.pipeline import ColouredSketch, colour_sketch
from stylecore.sketch.retrieval import Match, retrieve
from stylecore.sketch.segmentation import Segmentation
from stylecore.sketch.sketch_segmentation import segment_sketch

__all__ = [
    "ColouredSketch",
    "Drawing",
    "Match",
    "PhotoIndex",
    "Segmentation",
    "colour",
    "colour_sketch",
    "index",
    "match_regions",
    "overlay",
    "read_drawing",
    "retrieve",
    "segment_photo",
    "segment_sketch",
]
