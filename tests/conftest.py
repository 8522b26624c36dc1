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
def default_network(request):
    """Without a network connection, let random weights take the place of VGG-19's, for the tests that can do with them.

    The tests of kernels and weights do not use the default network, so they do not download it either.
    """
    folders = {item.path.parent.name for item in request.session.items}
    if folders <= {"kernels", "weights"} or vgg19_is_available():
        yield
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLECORE_CACHE", folder)
        weights.write(random_vgg19(), weights.cached_file("vgg19"))
        yield


def random_vgg19():
    """A network with the layers of VGG-19 whose activations stay of the order of 1, as those of the default network."""
    rng = np.random.default_rng(0)
    filters, biases = {}, {}
    for conv in weights.ARCHITECTURES["vgg19"]:
        if conv.name.startswith("conv"):
            shape = (conv.size, conv.size, conv.in_channels, conv.out_channels)
            inputs = conv.size**2 * conv.in_channels
            size = np.sqrt(2 / inputs)  # which keeps the variance through a ReLU (He et al. 2015)
            filters[conv.name] = rng.standard_normal(shape, np.float32) * np.float32(size)
            biases[conv.name] = np.zeros(conv.out_channels, np.float32)
    filters["conv1_1"] /= 64  # the standard deviation of a picture's values from 0 to 255
    preprocessing = weights.PREPROCESSINGS["caffe"]
    return weights.Weights("vgg19", weights.ARCHITECTURES["vgg19"], filters, biases, preprocessing, "random", "0" * 64)
