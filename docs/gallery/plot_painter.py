"""
A painter, and mixtures of its styles
=====================================

A feed-forward network that was trained on several styles paints a picture in a single pass, in any mixture of them
(Dumoulin, Shlens and Kudlur 2017). This one is part of the program.
"""

import matplotlib.pyplot as plt
import numpy as np

import stylecore
from stylecore.samples import PHOTOGRAPH

painter = stylecore.Painter()
figure, axes = plt.subplots(1, len(painter.styles), figsize=(12, 2.2), layout="constrained")
for axis, style in zip(axes, painter.styles, strict=True):
    axis.imshow(painter.paint(PHOTOGRAPH, style, size=320))
    axis.set(title=style, xticks=[], yticks=[])

# %%
# From one style to another:

first, second, *_ = painter.styles
figure, axes = plt.subplots(1, 5, figsize=(12, 2.2), layout="constrained")
for axis, share in zip(axes, np.linspace(0, 1, 5), strict=True):
    axis.imshow(painter.paint(PHOTOGRAPH, {first: 1 - share, second: share}, size=320))
    axis.set(title=f"{share:.0%} {second}", xticks=[], yticks=[])
