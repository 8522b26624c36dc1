import shutil
from pathlib import Path

import numpy as np
import pytest

import stylecore
from stylecore import kernels, weights
from stylecore.kernels import devices
from stylecore.runs import environment as module
from stylecore.runs.environment import differences, environment, sources_digest


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package's sources as an installation has them, all below one folder."""
    package = tmp_path / "stylecore"
    sources = {"": Path(stylecore.__file__).parent, "kernels": Path(kernels.__path__[0])}
    for name, folder in {**sources, "weights": Path(weights.__path__[0])}.items():
        shutil.copytree(folder, package / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    monkeypatch.setattr(module, "__file__", str(package / "runs" / "environment.py"))
    monkeypatch.setattr(kernels, "__path__", [str(package / "kernels")])
    monkeypatch.setattr(weights, "__path__", [str(package / "weights")])
    return package


def digest():
    return sources_digest.__wrapped__()


def test_the_digest_is_the_same_in_a_checkout_and_in_an_installation(installed):
    assert digest() == sources_digest()
    file = installed / "kernels" / "reference.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert digest() == sources_digest()


@pytest.mark.parametrize("name", ["optimizers.py", "kernels/cpu/pairs.py", "weights/store.py", "kernels/new.py"])
def test_the_digest_depends_on_every_source(name, installed):
    with open(installed / name, "a") as file:
        file.write("# changed\n")
    assert digest() != sources_digest()


def test_the_environment_is_of_this_machine():
    here = environment()
    assert here["NumPy"] == np.__version__ and here["stylecore"] == stylecore.__version__ and here["GPU"] == "none"
    assert all(isinstance(value, str) and value for value in here.values())
    assert environment() == here


def test_the_gpu_that_computes(monkeypatch):
    cards = [devices.Device(name, 8 * 2**30, (9, 0)) for name in ("A", "B")]
    monkeypatch.setattr(devices, "find_driver", lambda: devices.Driver((13, 0), cards))
    names = {device: environment(device)["GPU"] for device in ("cpu", "reference", "auto", "cuda", "cuda:1", "cuda:2")}
    assert names == {"cpu": "none", "reference": "none", "auto": "A", "cuda": "A", "cuda:1": "B", "cuda:2": "none"}


def test_processors_differ_by_their_vector_instructions(monkeypatch):
    here = environment()
    features = dict(module.llvm.get_host_cpu_features())
    name = next(name for name, supported in features.items() if supported)
    monkeypatch.setattr(module.llvm, "get_host_cpu_features", lambda: {**features, name: False})
    assert [phrase.split()[0] for phrase in differences(here, environment())] == ["processor"]


def test_differences():
    then = {"stylecore": "1", "Numba": "2"}
    assert differences(then, then) == []
    assert differences(then, {"stylecore": "1", "Numba": "3"}) == ["Numba 2 instead of 3"]
    assert differences({"stylecore": "1"}, then) == ["an earlier version of stylecore"]
