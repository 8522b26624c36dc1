"""Training networks of one's own, to compare pictures by."""

from stylecore.training.train import Training, train_autoencoder, train_classifier

__all__ = ["Training", "train_autoencoder", "train_classifier"]
