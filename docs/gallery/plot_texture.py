"""
A texture that repeats
======================

A texture has the statistics of a painting, and no content (Gatys, Ecker and Bethge 2015). With ``tileable=True`` the
network sees the opposite side beyond each edge, so that copies fit together without seams.
"""

import matplotlib.pyplot as plt
import numpy as np

import stylecore
from stylecore.samples import PAINTING

texture = stylecore.texture(PAINTING, network="small", size=96, tileable=True, iterations=80).array
figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
axes[0].imshow(texture)
axes[1].imshow(np.tile(texture, (3, 3, 1)))
for axis, title in zip(axes, ("the texture", "3 x 3 copies"), strict=True):
    axis.set(title=title, xticks=[], yticks=[])
