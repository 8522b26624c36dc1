"""
Colours of the photograph
=========================

By default the picture takes the painting's colours along with its strokes. It can also keep those of the photograph
(Gatys, Bethge, Hertzmann and Shechtman 2016).
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# - ``style``: the painting's colours;
# - ``match``: the painting is first recoloured to the photograph's mean and covariance;
# - ``content``: only luminance is transferred, and each pixel keeps the photograph's chrominance.

colours = ["style", "match", "content"]
settings = {"size": 256, "iterations": 20}
results = [stylecore.transfer(PHOTOGRAPH, PAINTING, colour=colour, **settings) for colour in colours]

pictures = {
    "photograph": Image.open(PHOTOGRAPH).resize((256, 192)),
    **{f"colour={colour!r}": result.image for colour, result in zip(colours, results, strict=True)},
}
figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
for ax, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    ax.imshow(picture)
    ax.set_title(title)
    ax.set_axis_off()

# %%
# The colours themselves: each pixel at its chrominance, blue-yellow by red-green, in its own colour.

figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), sharex=True, sharey=True, layout="constrained")
for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
    chrominance = np.asarray(picture.convert("YCbCr")).reshape(-1, 3)[::7, 1:]
    ax.scatter(*chrominance.T, s=2, c=np.asarray(picture.convert("RGB")).reshape(-1, 3)[::7] / 255)
    ax.set(title=title, xlabel="Cb", aspect="equal")
axes[0].set_ylabel("Cr")
plt.show()
