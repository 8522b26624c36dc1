"""
Style losses
============

A style loss compares the features of two pictures at a layer of the network, wherever in the picture they are. The Gram
matrix of Gatys, Ecker and Bethge (2016) was the first; others followed.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# - ``gram``: the Gram matrix, per position;
# - ``mean_std``: the same, and the mean and standard deviation of each channel (Galerne, Raad, Lezama and Morel 2023);
# - ``wasserstein``: Gaussians of the same mean and covariance, by the squared 2-Wasserstein distance;
# - ``sliced_wasserstein``: the whole distribution, along fixed directions (Heitz, Vanhoey, Chambon and Belcour 2021).
#
# They are scaled such that the same style weight has about the same strength with each of them.

style_losses = ["gram", "mean_std", "wasserstein", "sliced_wasserstein"]
settings = {"size": 192, "iterations": 16}
results = [stylecore.transfer(PHOTOGRAPH, PAINTING, style_loss=loss, **settings) for loss in style_losses]

figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
for ax, loss, result in zip(axes.flat, style_losses, results, strict=True):
    ax.imshow(result.array)
    ax.set_title(loss)
    ax.set_axis_off()

# %%
# How near does each picture come to the painting, as each of the losses measures it? ``Objective`` is the function that
# is minimised. Without content and TV terms it is the style loss alone, here over that of the photograph: 1 means that
# nothing was gained. Only values within a column can be compared.

inputs = [np.asarray(Image.open(path).resize((128, 96))) / 255 for path in (PHOTOGRAPH, PAINTING)]
pictures = [np.asarray(result.image.resize((128, 96))) / 255 for result in results]
left = np.zeros((len(style_losses), len(style_losses)))
for column, loss in enumerate(style_losses):
    objective = stylecore.Objective(*inputs, style_loss=loss, content_weight=0, tv_weight=0)
    before = objective(inputs[0])[0]
    left[:, column] = [objective(picture)[0] / before for picture in pictures]

figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
ax.imshow(left, cmap="viridis_r", vmin=0)
for (row, column), value in np.ndenumerate(left):
    ax.text(column, row, f"{value:.3f}", ha="center", va="center", bbox={"color": "white", "alpha": 0.7})
ax.set_xticks(range(len(style_losses)), style_losses, rotation=20)
ax.set_yticks(range(len(style_losses)), style_losses)
ax.set(xlabel="measured by", ylabel="painted with")
plt.show()
