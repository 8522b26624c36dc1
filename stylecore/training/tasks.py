"""What a network is trained for: its loss with the gradient, and the score by which people judge it."""

from math import log10


class Classification:
    """Tell the class of a picture.

    Parameters
    ----------
    backend : module
    smoothing : float
        Share of the truth that is spread over all classes while training.
    """

    score = "accuracy"

    def __init__(self, backend, smoothing=0.1):
        self._backend, self.smoothing = backend, smoothing

    def loss(self, output, x, labels, gradient, training=True):
        """Mean cross-entropy of a batch, and in `gradient` its gradient with respect to the output."""
        smoothing = self.smoothing if training else 0
        return self._backend.softmax_cross_entropy(output, labels, smoothing, gradient)

    def quality(self, output, x, labels, loss):
        """Share of the batch that is told rightly; the mean over batches is that over all."""
        return float((output.argmax(axis=1) == labels).mean())

    def summary(self, quality):
        """The score of many batches from their mean quality: itself."""
        return quality


class Reconstruction:
    """Make the picture again out of its code.

    Parameters
    ----------
    backend : module
    std : float
        Deviation that the network's input was divided by.
    """

    score = "PSNR"

    def __init__(self, backend, std):
        self._backend, self._std = backend, std

    def loss(self, output, x, labels, gradient, training=True):
        """Mean squared error of a batch, and in `gradient` its gradient with respect to the output."""
        return self._backend.mean_squared_error(output, x, gradient)

    def quality(self, output, x, labels, loss):
        """Mean squared error in units of [0, 1]."""
        return loss * self._std**2

    def summary(self, quality):
        """Peak signal-to-noise ratio in dB."""
        return -10 * log10(max(quality, 1e-12))
