"""Training of networks that pictures can be made with."""

from stylecore.training.settings import AutoencoderSettings, ClassifierSettings
from stylecore.training.train import Training, train_autoencoder, train_classifier

__all__ = ["AutoencoderSettings", "ClassifierSettings", "Training", "train_autoencoder", "train_classifier"]
