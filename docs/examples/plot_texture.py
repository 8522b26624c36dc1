"""
A texture that repeats
======================

Without a content term, the style terms alone turn white noise into a texture of the painting's strokes and colours
(Gatys, Ecker and Bethge 2015). If the network sees the opposite side of the picture beyond each edge, the texture
repeats without seams.
"""

import matplotlib.pyplot as plt
import numpy as np

import stylecore
from stylecore.samples import PAINTING

# %%
# Each texture is laid two by two. On the left the network saw zeros beyond the edges, and there are seams; on the right
# there are none.

settings = {"size": 128, "iterations": 30}
textures = {
    'texture(..., edges="zeros")': stylecore.texture(PAINTING, edges="zeros", **settings).array,
    "texture(..., tileable=True)": stylecore.texture(PAINTING, tileable=True, **settings).array,
}

figure, axes = plt.subplots(1, 2, figsize=(9, 4.9), layout="constrained")
for ax, (title, picture) in zip(axes, textures.items(), strict=True):
    ax.imshow(np.tile(picture, (2, 2, 1)))
    ax.set_title(title)
    ax.set_axis_off()

# %%
# In numbers: the mean difference of the pixels on both sides of a seam, over that of all other neighbours. Where it is
# 1, the seam is like any other place.

for title, picture in textures.items():
    inside = np.mean([np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1)])
    seam = np.mean([np.abs(picture[0] - picture[-1]).mean(), np.abs(picture[:, 0] - picture[:, -1]).mean()])
    print(f"{title:28}{seam / inside:.2f}")

plt.show()
