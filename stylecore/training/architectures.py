"""The networks that are trained: tables of the rows that `stylecore.weights.architectures` has.

A table says what is saved and what pictures are compared by. The rest follows from it: a classifier has the mean over
all positions, dropout and a dense layer behind it, an auto-encoder its own mirror image.
"""

from stylecore.weights.architectures import Conv, Pool

CNN = (
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

# Its code, behind the last row, has 8 x 8 x 12 numbers for 32 x 32 x 3: a quarter.
AUTOENCODER = (
    Conv("conv1_1", 3, 32),
    Conv("conv1_2", 32, 64),
    Pool("pool1"),
    Conv("conv2_1", 64, 64),
    Conv("conv2_2", 64, 128),
    Pool("pool2"),
    Conv("conv3_1", 128, 128),
    Conv("conv3_2", 128, 12),
)
