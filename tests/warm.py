"""Compile the kernels and fetch the default network before the tests, whose processes would all begin with that."""

import contextlib

from stylecore import WeightsError, weights
from stylecore.warming import compiling

with compiling(progress=False), contextlib.suppress(WeightsError):  # The tests do without the network.
    weights.fetch("vgg19", progress=False)
