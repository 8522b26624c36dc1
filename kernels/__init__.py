"""The arithmetic of the program, written once per device.

A backend is a module with the functions below, under the same names and with the same meanings. They take
channels-last arrays with the batch in front, (N, H, W, C), and write into arrays that the caller gives them.

- ``allocate``, ``empty``, ``upload`` and ``download``: arrays in the backend's memory, and the ways into and out of
  it,
- ``scratch_bytes``, ``gram_scratch_bytes``, ``release_scratch`` and ``available_bytes``: how much memory there is,
- ``STRIP_VALUES``: how many values of a feature map are worked on at a time where it is not held as a whole,
- ``preprocess`` and ``preprocess_backward``: the image as the network takes it,
- ``prepare``: filters and bias of a convolution in the form that the backend works with,
- ``conv_relu``, ``conv_relu_pool`` and their ``_backward``: a convolution with what follows it,
- ``max_pool``, ``average_pool`` and their ``_backward``,
- ``gram`` and ``gram_backward``: the Gram matrix of a feature map, added to a matrix, and its gradient,
- ``channel_sums`` and ``channel_sums_backward``: the sum of each channel of a feature map and its gradient,
- ``half_squared_distance`` and ``half_squared_distance_backward``: the content term,
- ``total_variation`` and ``total_variation_backward``: that of the image.

All arrays are NumPy's, or of a class that can be used like them as far as the network and the losses need it: they have
a shape and a type, are cut into rows, viewed as another type, reshaped, copied, and written to by ``array[...] =``.
They stay in the backend's memory; what a function returns as a number is the host's.

The Gram matrix, the sums and their gradients take a *guide* besides, where a region of the map is meant: the weight of
each position, (M,), zero or more, in the dtype of the features. The sum over positions is then weighted by it; without
one every position counts once. They add to what is there, so that a map can be taken in by some of its rows at a time.

For training there are besides

- ``convolve``, its ``_backward`` and its ``_backward_filters``: a convolution without what follows it, and its gradient
  with respect to input and filters,
- ``bias_relu``, ``batch_norm_relu``, ``upsample``, ``dense``, ``dropout`` and their ``_backward``,
- ``softmax_cross_entropy`` and ``mean_squared_error``, each with its gradient.

A convolution may be asked for a strip of rows of its result: it is then given the rows of its input, or gradient, that
the strip needs, with the neighbours above and below (the halo), and told how many of them stand `above`. Where there
is no neighbour, the map ends.

`reference` is plain NumPy in float64: slow, obvious, and the truth that the others are tested against.
`cpu` is Numba on all cores, `cuda` is numba.cuda on an NVIDIA GPU.

Two small encodings tie each forward pass to its backward pass, in place of the activations:

- a *mask* holds one bit per ReLU output, set where the output is positive; eight neighbouring channels share
  a byte, the lowest channel in the lowest bit: (N, H, W, ceil(C / 8)) uint8,
- a *route* holds one byte per pooled maximum: which position of its window it came from, counted row by row,
  or `BLOCKED` where a ReLU in front of the pool lets nothing through: the shape of the pooled map, uint8.
"""

BLOCKED = 255

EPSILON = 1e-5
"""What batch normalisation adds to the variance, so that a channel that is constant can be divided by its deviation."""
