"""
A gradient and finite differences
=================================

The gradient of an image is computed term by term (equations 2, 4 and 6 of the paper). Along a random direction it is
compared with central differences: their error falls with the square of the step until rounding takes over. Here the
gradient has double precision and comes from the NumPy reference, which all kernels are tested against.
"""

import matplotlib.pyplot as plt
import numpy as np

import stylecore
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH

rng = np.random.default_rng(0)
content, style = (resize(read_image(path)[0], (24, 32)) for path in (PHOTOGRAPH, PAINTING))
objective = stylecore.Objective(content, style, network="small", pooling="average", device="reference", dtype="float64")
x, direction = rng.random((24, 32, 3)), rng.standard_normal((24, 32, 3))
expected = np.vdot(objective(x)[1], direction)

steps = np.logspace(-1, -9, 17)
errors = [
    abs((objective(x + h * direction)[0] - objective(x - h * direction)[0]) / (2 * h) - expected) / abs(expected)
    for h in steps
]
figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.loglog(steps, errors, "o-")
axis.set(xlabel="step", ylabel="relative difference")
