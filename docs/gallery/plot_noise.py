"""
From white noise
================

The paper starts from white noise. A callback gets each evaluation with the image so far, and the result has the history
of every term of the loss.
"""

import matplotlib.pyplot as plt

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

images = {}


def keep(evaluation, image):
    if evaluation.number in (1, 10, 100):
        images[evaluation.number] = image.copy()


result = stylecore.transfer(
    PHOTOGRAPH, PAINTING, network="small", size=128, init="noise", pyramid=1, iterations=100, callback=keep
)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, (number, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image.clip(0, 1))
    axis.set(title=f"evaluation {number}", xticks=[], yticks=[])

# %%
# The terms are unweighted, as the paper defines them.

figure, axis = plt.subplots(figsize=(9, 3.5), layout="constrained")
columns = result.history.columns()
for name in columns:
    if name.startswith(("content", "style")):
        axis.semilogy(columns["number"], columns[name], label=name)
axis.set(xlabel="evaluation", ylabel="term")
axis.legend(ncols=2)
