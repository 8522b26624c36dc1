"""
Style weight
============

The style weight beta is the strength of the painting. Only its ratio to the content weight alpha matters (equation 5 of
the paper), and 20 is the default.
"""

import matplotlib.pyplot as plt

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, weight in zip(axes, (2, 20, 200), strict=True):
    result = stylecore.transfer(PHOTOGRAPH, PAINTING, network="small", size=192, iterations=60, style_weight=weight)
    axis.imshow(result.array)
    axis.set(title=f"style_weight={weight}", xticks=[], yticks=[])
