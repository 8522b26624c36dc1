"""
Colours
=======

The picture gets the colours of the painting; or it keeps those of the photograph, pixel by pixel or as a whole.
"""

import matplotlib.pyplot as plt

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, colour in zip(axes, ("style", "content", "match"), strict=True):
    result = stylecore.transfer(PHOTOGRAPH, PAINTING, network="small", size=192, iterations=60, colour=colour)
    axis.imshow(result.array)
    axis.set(title=f'colour="{colour}"', xticks=[], yticks=[])
