"""
Regions
=======

Each region of the photograph is painted from its own part of the painting: here the upper half from the sky of the
painting, and the rest from its water. A mask is white, or true, within the region.
"""

import matplotlib.pyplot as plt
import numpy as np

import stylecore
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH


def upper(path, share):
    """A mask of the upper part of a picture."""
    height, width = read_image(path)[0].shape[:2]
    return np.broadcast_to(np.arange(height)[:, None] < share * height, (height, width))


settings = {"network": "small", "size": 192, "iterations": 60, "style_weight": 60}
whole = stylecore.transfer(PHOTOGRAPH, PAINTING, **settings)
regions = [(upper(PHOTOGRAPH, 0.5), upper(PAINTING, 0.5)), ("rest", "rest")]
parts = stylecore.transfer(PHOTOGRAPH, PAINTING, regions=regions, **settings)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for axis, (title, result) in zip(axes, {"one region": whole, "two regions": parts}.items(), strict=True):
    axis.imshow(result.array)
    axis.set(title=title, xticks=[], yticks=[])
