"""
Style weight
============

The loss is the weighted sum of a content term and a style term. The style weight sets their ratio: the higher it is,
the more of the painting and the less of the photograph is in the picture.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# The content image is a village by a river, and the style image is a starry sky over a bay. Both were drawn by programs
# of this project.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for ax, path, title in zip(axes, (PHOTOGRAPH, PAINTING), ("content", "style"), strict=True):
    ax.imshow(plt.imread(path))
    ax.set_title(title)
    ax.set_axis_off()

# %%
# The same pair with four style weights. The default is 20.

style_weights = [1, 5, 20, 100]
settings = {"size": 256, "iterations": 24}
results = [stylecore.transfer(PHOTOGRAPH, PAINTING, style_weight=w, **settings) for w in style_weights]

figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
for ax, weight, result in zip(axes.flat, style_weights, results, strict=True):
    ax.imshow(result.array)
    ax.set_title(f"style weight {weight}")
    ax.set_axis_off()

# %%
# The history of a run has the value of every term, and its weight. With the default, relative layer weights, the
# content term is 1 for a blank image, and so is the style term before it is multiplied by the style weight. Where the
# content term is small, the style term is large: no picture has the best of both.

content, style = [], []
for weight, result in zip(style_weights, results, strict=True):
    last = result.history[-1]
    weighted = {name: last.weights[name] * value for name, value in last.terms.items()}
    content.append(sum(value for name, value in weighted.items() if name.startswith("content:")))
    style.append(sum(value for name, value in weighted.items() if name.startswith("style:")) / weight)

figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
ax.plot(content, style, "o-")
for weight, x, y in zip(style_weights, content, style, strict=True):
    ax.annotate(f"  {weight}", (x, y), va="bottom")
ax.set(xlabel="content term", ylabel="style term", xlim=(0, None), ylim=(0, None))
plt.show()
