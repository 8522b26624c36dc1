"""
From white noise
================

The paper starts from white noise. The default here is to start from the photograph, which keeps more of its shapes and
needs fewer steps.
"""

import matplotlib.pyplot as plt

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# A callback gets every evaluation of the loss, and the picture at which it was evaluated.

stages = {}


def keep(evaluation, picture):
    """Keep the picture of some evaluations."""
    if evaluation.number in (1, 5, 10, 20, 30, 40):
        stages[evaluation.number] = picture


settings = {"size": 160, "iterations": 40, "pyramid": 1}
from_noise = stylecore.transfer(PHOTOGRAPH, PAINTING, init="noise", callback=keep, **settings)

figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
for ax, (number, picture) in zip(axes.flat, stages.items(), strict=False):
    ax.imshow(picture)
    ax.set_title(f"evaluation {number}")
    ax.set_axis_off()

# %%
# The loss, from both starts. One scale is used here (``pyramid=1``), so that the values can be compared. The steps that
# the line search takes back are the peaks of the curve.

from_content = stylecore.transfer(PHOTOGRAPH, PAINTING, **settings)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, result in {"white noise": from_noise, "content image": from_content}.items():
    columns = result.history.columns()
    ax.semilogy(columns["number"], columns["loss"], label=f"from {name}")
ax.set(xlabel="evaluation", ylabel="loss")
ax.legend()

# %%
# The final pictures of both.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, name, result in zip(axes, ("white noise", "the content image"), (from_noise, from_content), strict=True):
    ax.imshow(result.array)
    ax.set_title(f"from {name}")
    ax.set_axis_off()
plt.show()
