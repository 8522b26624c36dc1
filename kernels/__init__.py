"""The arithmetic of the program, written once for each kind of device.

- `backend` is the contract: what a backend must have, and what it means.
- `reference` is plain NumPy in float64: slow, obvious, and the truth that the other backends are tested against.
- `cpu` is Numba on all cores, and `cuda` numba.cuda on an NVIDIA GPU.
- `devices` finds the GPUs of the machine and loads the backend of a device.
"""

from stylecore.kernels import environment  # noqa: F401  (imports Numba, before any other module does)

BLOCKED = 255
"""What a route holds where the ReLU in front of a max pool is zero, so that no gradient passes; see `Backend`."""

EPSILON = 1e-5
"""What batch normalisation adds to the variance, so that the deviation of a constant channel is not zero."""
