"""
The gradient of the Gram loss, checked
======================================

Every gradient in this project is written out by hand. How do we know that it is right? By finite differences, as in the
project's tests.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import stylecore
from stylecore.samples import PAINTING, PHOTOGRAPH

# %%
# The Gram loss of features :math:`F`, with :math:`M` positions and :math:`N` channels, is
#
# .. math:: E = \frac{1}{4 N^2 M^2} \sum_{a,b} (G - M A)_{ab}^2, \qquad G = F^T F,
#
# where :math:`A` is the Gram matrix of the style, per position. Its gradient is
#
# .. math:: \frac{\partial E}{\partial F} = \frac{1}{N^2 M^2} F (G - M A).

rng = np.random.default_rng(0)
positions, channels = 200, 16
features, style = rng.random((2, positions, channels))
target = style.T @ style / positions


def loss(features):
    """The Gram loss E."""
    return np.sum((features.T @ features - positions * target) ** 2) / (2 * channels * positions) ** 2


def gradient(features):
    """The gradient of E with respect to the features."""
    return features @ (features.T @ features - positions * target) / (channels * positions) ** 2


# %%
# Along a direction :math:`d`, the gradient predicts the slope :math:`\langle \partial E / \partial F, d \rangle`. The
# central difference :math:`(E(F + h d) - E(F - h d)) / 2 h` approaches it, with an error that falls as :math:`h^2`
# until the rounding of the two losses, which is divided by :math:`h`, outweighs it.


def errors(loss, gradient, x, steps):
    """Relative error of central differences along a random direction, for each step."""
    direction = rng.standard_normal(x.shape)
    slope = np.sum(gradient * direction)
    differences = [(loss(x + step * direction) - loss(x - step * direction)) / (2 * step) for step in steps]
    return np.abs(differences - slope) / abs(slope)


steps = np.logspace(-9, 0, 19)
found = errors(loss, gradient(features), features, steps)

# %%
# The same for the whole objective, from the picture through a network to all of its terms, in float64. The network is
# ``small``, which comes with the program. ReLU and maximum pooling have kinks: where a step crosses one, the difference
# is off by more than :math:`h^2`.

inputs = [np.asarray(Image.open(path).resize((32, 24))) / 255 for path in (PHOTOGRAPH, PAINTING)]
objective = stylecore.Objective(*inputs, network="small", device="reference", dtype="float64")
picture = rng.uniform(0.2, 0.8, inputs[0].shape)
value, by_picture = objective(picture)
through_network = errors(lambda x: objective(x)[0], by_picture, picture, steps)

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.loglog(steps, found, "o-", label="Gram loss of features")
ax.loglog(steps, through_network, "s-", label="whole objective of a picture")
ax.loglog(steps[-10:], found[-1] * steps[-10:] ** 2, "k:", label="$h^2$")
ax.set(xlabel="step $h$", ylabel="relative error of the central difference")
ax.legend()
plt.show()

# %%
# The best step agrees to this many digits:

print(f"Gram loss of features:        {-np.log10(found.min()):.1f}")
print(f"whole objective of a picture: {-np.log10(through_network.min()):.1f}")
