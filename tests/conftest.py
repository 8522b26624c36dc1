import pytest

from stylecore import weights
from stylecore.kernels import devices


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none, and say why."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    problem = marked and devices.problem()
    for item in marked if problem else ():
        item.add_marker(pytest.mark.skip(reason=f"test_cuda_simulator.py runs it without a GPU; here {problem}"))


@pytest.fixture(scope="session", autouse=True)
def vgg19():
    """Fetch the default network into the user's cache, once, as the program does."""
    weights.fetch("vgg19", progress=False)
