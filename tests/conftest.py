import tempfile
from functools import cache

import numpy as np
import pytest
import requests

from stylecore import weights
from stylecore.errors import WeightsError
from stylecore.kernels import devices


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none, and say why."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    problem = marked and devices.problem()
    for item in marked if problem else ():
        item.add_marker(pytest.mark.skip(reason=f"test_cuda_simulator.py runs it without a GPU; here {problem}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip what needs the trained weights of VGG-19 where they cannot be had, and say why."""
    if item.get_closest_marker("vgg19") and not vgg19_is_available():
        pytest.skip("NO NETWORK CONNECTION: VGG-19 is not in the cache and cannot be downloaded")


@cache
def vgg19_is_available():
    """Download the default network into the user's cache, as the program does; False without a network connection."""
    try:
        weights.fetch("vgg19", progress=False)
    except WeightsError as error:
        if not isinstance(error.__cause__, requests.ConnectionError | requests.Timeout):
            raise
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def random_networks(request):
    """Without a network connection, random weights take the place of trained ones in all tests without the mark vgg19.

    The tests in the folders kernels and weights use no network that is downloaded, so they do not download it either.
    """
    folders = {item.path.parent.name for item in request.session.items}
    if folders <= {"kernels", "weights"} or vgg19_is_available():
        yield
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLECORE_CACHE", folder)
        for network in weights.CATALOGUE:
            weights.write(random_weights(network), weights.cached_file(network))
        yield


@pytest.fixture(scope="session")
def weights_at_random():
    """The function `random_weights`."""
    return random_weights


def random_weights(network):
    """Weights with which the activations of all layers are of the order of 1."""
    rng = np.random.default_rng(0)
    layers, filters, biases = weights.ARCHITECTURES[network], {}, {}
    for conv in (layer for layer in layers if layer.name.startswith("conv")):
        shape = (conv.size, conv.size, conv.in_channels, conv.out_channels)
        deviation = np.sqrt(2 / np.prod(shape[:3]))  # which keeps the second moment through a ReLU (He et al. 2015)
        filters[conv.name] = rng.standard_normal(shape, np.float32) * np.float32(deviation)
        biases[conv.name] = np.zeros(conv.out_channels, np.float32)
    filters[layers[0].name] /= 64  # the preprocessed picture is of that order
    return weights.Weights(network, layers, filters, biases, weights.PREPROCESSINGS["caffe"], "random", "0" * 64)
