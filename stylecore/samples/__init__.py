"""Two pictures to try the program on, drawn by the project's own scripts beside them.

Attributes
----------
PHOTOGRAPH : pathlib.Path
    A village by a river, as content; drawn by `stylecore.samples.photograph`.
PAINTING : pathlib.Path
    Evening light over a bay in thick brush strokes, as style; drawn by `stylecore.samples.painting`.
"""

from importlib.resources import files

PHOTOGRAPH = files(__name__) / "photograph.jpg"
PAINTING = files(__name__) / "painting.jpg"
