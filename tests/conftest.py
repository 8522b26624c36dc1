import pytest

from stylecore import weights


@pytest.fixture(scope="session", autouse=True)
def vgg19():
    """Fetch the default network into the user's cache, once, as the program does."""
    weights.fetch("vgg19", progress=False)
