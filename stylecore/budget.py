"""The memory of a transfer: predicted before the work begins, and refused where there is too little."""

from math import prod

from stylecore.errors import ParameterError, TooLargeError
from stylecore.optimizers import bytes_needed
from stylecore.pictures import geometry as images
from stylecore.plan import Plan

GPU_MEMORY = "the GPU's memory"


def evaluation_bytes(network, content_layers, style_layers, height, width, style_loss="gram", regions=1):
    """Memory that evaluations of an objective take beside the network, in bytes.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    height, width : int
        Of the image.
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int

    Returns
    -------
    int
    """
    plan = Plan(network, height, width, {*content_layers, *style_layers})
    matrices = [network.features_shape(height, width, layer) for layer in style_layers]
    scratch = max(plan.scratch_bytes, *(network.backend.gram_scratch_bytes(*m, network.dtype) for m in matrices), 0)
    # Targets; and the image, the mean and the gradient.
    values = sum(prod(network.features_shape(height, width, layer)) for layer in content_layers)
    values += 3 * 3 * height * width
    # A moment of the style, of the image and the gradient by it; and the guides.
    moments = 3 * regions * sum(channels**2 for _, channels in matrices)
    values += moments if style_loss == "gram" else 2 * moments  # In float64.
    values += regions * sum(positions for positions, _ in matrices) if regions > 1 else 0
    return plan.bytes + scratch + values * network.dtype.itemsize


def predicted_bytes(network, content_layers, style_layers, shape, style_shape, optimizer, style_loss="gram", regions=1):
    """Memory that a transfer takes at its largest scale, beyond the images and the network themselves.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgs", "adam", "scipy"}
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int

    Returns
    -------
    dict of str to int
        Bytes of "memory", and of `GPU_MEMORY` where a GPU computes.
    """
    evaluation = evaluation_bytes(network, content_layers, style_layers, *shape, style_loss, regions)
    if style_layers:
        network.check_size(*style_shape, style_layers, "style image")
    analysis = Plan(network, *style_shape, style_layers, gradient=False) if style_layers else None
    optimiser = bytes_needed(optimizer, network.dtype, 3 * shape[0] * shape[1])
    analysis = analysis.bytes + analysis.scratch_bytes if analysis else 0
    if network.backend.available_bytes() is None:
        return {"memory": max(evaluation + optimiser, analysis)}
    return {"memory": optimiser, GPU_MEMORY: max(evaluation, analysis)}


def check_memory(predict, shape, free):
    """Raise TooLargeError, naming a size that fits, if a picture of this shape does not."""
    short = [kind for kind, needed in predict(shape).items() if free[kind] is not None and needed > free[kind]]
    if not short:
        return
    fitting = _fitting_size(predict, shape, free)
    needed, left = predict(shape)[short[0]] / 2**30, free[short[0]] / 2**30
    raise TooLargeError(
        f"a picture of {shape[1]} x {shape[0]} pixels needs {needed:.1f} GB of {short[0]} and {left:.1f} GB are free; "
        + (f"a size of {fitting} would fit." if fitting else "no smaller size would fit, so end other programs.")
    )


def _fitting_size(predict, shape, free):
    """Largest size at which a picture of this shape fits, where that size itself does not; None if none does."""
    fitting, small, large = None, 0, max(shape)
    while large - small > 1:
        middle = (small + large) // 2
        try:
            needed = predict(images.fit(shape, middle))
            if all(free[kind] is None or needed[kind] <= free[kind] for kind in needed):
                fitting = small = middle
            else:
                large = middle
        except ParameterError:  # Too small for the network.
            small = middle
    return fitting
