"""
A region by a mask
==================

A mask limits a style to a part of the picture, or takes it from a part of the painting (Gatys, Ecker, Bethge, Hertzmann
and Shechtman 2017).
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# A mask is a picture, or an array of values in [0, 1]; between them the edges are soft. This one has the river of the
# photograph. The second has the upper half of the painting: its sky.

width, height = Image.open(PHOTOGRAPH).size  # and that of the painting
rows = np.linspace(0, 1, height)[:, None] * np.ones(width)
river = np.clip((rows - 0.64) / 0.02, 0, 1)
sky = np.clip((0.5 - rows) / 0.1, 0, 1)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for ax, path, mask, title in zip(axes, (PHOTOGRAPH, PAINTING), (river, sky), ("river", "sky"), strict=True):
    ax.imshow(plt.imread(path))
    ax.contour(mask, levels=[0.5], colors="white", linewidths=2)
    ax.set_title(title)
    ax.set_axis_off()

# %%
# Each region is a mask of the photograph and, for each painting, the part of it to paint from. What no region covers
# stays a photograph.

settings = {"size": 256, "iterations": 20}
only_river = stylecore.transfer(PHOTOGRAPH, PAINTING, regions=[(river, "all")], **settings)
regions = [(river, sky), (1 - river, 1 - sky)]
two_parts = stylecore.transfer(PHOTOGRAPH, PAINTING, regions=regions, **settings)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
axes[0].imshow(only_river.array)
axes[0].set_title("the river, from the whole painting")
axes[1].imshow(two_parts.array)
axes[1].set_title("the river from the sky, the town from the rest")
for ax in axes:
    ax.set_axis_off()
plt.show()
