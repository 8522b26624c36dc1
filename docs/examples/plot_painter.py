"""
Painters
========

A painter is a network that was trained to paint in several styles, each in a single pass (Dumoulin, Shlens and Kudlur
2017). One comes with the program; it needs no other network.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import stylecore
from stylecore.samples import PHOTOGRAPH

# %%
# Each row is a photograph, and each column a style that the painter has learnt.

painter = stylecore.Painter()
photographs = [PHOTOGRAPH, data.astronaut()[:384], data.chelsea()[:, 25:425]]

columns = 1 + len(painter.styles)
figure, axes = plt.subplots(len(photographs), columns, figsize=(2.2 * columns, 5.2), layout="constrained")
for row, photograph in zip(axes, photographs, strict=True):
    row[0].imshow(plt.imread(photograph) if photograph is PHOTOGRAPH else photograph)
    for ax, style in zip(row[1:], painter.styles, strict=True):
        ax.imshow(painter.paint(photograph, style, size=(240, 180)))
for ax, title in zip(axes[0], ["photograph", *painter.styles], strict=True):
    ax.set_title(title)
for ax in axes.flat:
    ax.set_axis_off()

# %%
# Styles can be mixed: a mixture has a weight for each.

first, second = painter.styles[:2]
shares = np.linspace(0, 1, 5)

figure, axes = plt.subplots(1, len(shares), figsize=(12, 2.2), layout="constrained")
for ax, share in zip(axes, shares, strict=True):
    ax.imshow(painter.paint(PHOTOGRAPH, {first: 1 - share, second: share}, size=240))
    ax.set_title(f"{first} {1 - share:.2f}\n{second} {share:.2f}", fontsize=9)
    ax.set_axis_off()
plt.show()
