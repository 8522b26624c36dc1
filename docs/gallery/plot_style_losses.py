"""
Style losses
============

Each style loss compares other statistics of the features: the Gram matrix (the paper's), the Gram matrix with means and
standard deviations, means and covariances, Gaussians by the Wasserstein distance, or the whole distribution along fixed
directions. They are scaled so that the same style weight has the same strength.
"""

import matplotlib.pyplot as plt

import stylecore
from stylecore.losses import STYLE_LOSSES
from stylecore.samples import PAINTING, PHOTOGRAPH

figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
for axis, style_loss in zip(axes.flat, STYLE_LOSSES, strict=False):
    result = stylecore.transfer(PHOTOGRAPH, PAINTING, network="small", size=160, iterations=40, style_loss=style_loss)
    axis.imshow(result.array)
    axis.set_title(style_loss)
for axis in axes.flat:
    axis.set_axis_off()
