"""Two sample pictures, drawn by the scripts beside them.

Attributes
----------
PHOTOGRAPH : pathlib.Path
    A content image: a village by a river; drawn by `stylecore.samples.photograph`.
PAINTING : pathlib.Path
    A style image: evening light over a bay in thick brush strokes; drawn by `stylecore.samples.painting`.
"""

from pathlib import Path

PHOTOGRAPH = Path(__file__).with_name("photograph.jpg")
PAINTING = Path(__file__).with_name("painting.jpg")
