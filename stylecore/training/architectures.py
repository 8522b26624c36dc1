"""The built-in networks to train: tables of layers as in `stylecore.weights.architectures`.

A table lists the layers that are saved, and that images are compared by. The rest of the network follows from it: a
classifier adds global average pooling, dropout and a dense layer, an autoencoder a decoder that mirrors the table.
"""

from __future__ import annotations

from stylecore.weights.architectures import Conv, Pool

CNN: tuple[Conv | Pool, ...] = (
    Conv("conv1_1", 3, 32),
    Conv("conv1_2", 32, 64),
    Pool("pool1"),
    Conv("conv2_1", 64, 96),
    Conv("conv2_2", 96, 128),
    Pool("pool2"),
    Conv("conv3_1", 128, 192),
    Conv("conv3_2", 192, 192),
    Pool("pool3"),
    Conv("conv4_1", 192, 192),
)
"""A classifier."""

AUTOENCODER: tuple[Conv | Pool, ...] = (
    Conv("conv1_1", 3, 32),
    Conv("conv1_2", 32, 64),
    Pool("pool1"),
    Conv("conv2_1", 64, 64),
    Conv("conv2_2", 64, 128),
    Pool("pool2"),
    Conv("conv3_1", 128, 128),
    Conv("conv3_2", 128, 12),
)
"""The encoder of an autoencoder. Its code for a 32 x 32 x 3 image is 8 x 8 x 12, a quarter of the size."""
