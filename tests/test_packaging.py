"""What setup.cfg packs; and the packed program, installed where nothing else of this checkout is."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FOLDERS = {"stylecore": "stylecore", "kernels": "stylecore/kernels", "weights": "stylecore/weights"}
"""The three source folders, and where they are installed."""
UNPACKED = {"SMALL.md", "PAINTER.md"}
"""Files in these folders that are for the repository only."""
PHOTOGRAPH, PAINTING = (str(ROOT / "stylecore" / "samples" / f"{name}.jpg") for name in ("photograph", "painting"))
QUICK = ["--size", "64", "--iterations", "2", "--network", "small", "--quiet"]


def source_files():
    """Files of the package, as paths in the checkout and as installed."""
    for folder, target in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name not in UNPACKED:
                yield path.relative_to(ROOT), Path(target, path.relative_to(ROOT / folder))


def call(command, folder, **environment):
    """Run a command in a folder, without the variables that would lead Python to this checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(word) for word in command]
    process = subprocess.run(command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


# setup.cfg


@pytest.fixture(scope="module")
def config():
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_every_folder_of_modules_is_a_package(config):
    folders = {str(target.parent).replace("/", ".") for _, target in source_files() if target.suffix == ".py"}
    assert config["options"]["packages"].split() == sorted(folders)


def test_every_other_file_is_package_data(config):
    patterns = {package: lines.split() for package, lines in config["options.package_data"].items()}
    for _, target in source_files():
        allowed = ["*.py", *patterns.get(str(target.parent).replace("/", "."), ())]
        assert any(target.match(pattern) for pattern in allowed), target


# The built files


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it; from a copy of the checkout, in which building leaves its traces."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # Without isolation, setuptools is not downloaded.
    call([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source], source)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(built):
    return built[1]


def test_sdist_has_every_file(built):
    with tarfile.open(built[0]) as archive:
        names = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    assert {source for source, _ in source_files()} <= names
    assert {Path("setup.cfg"), Path("pyproject.toml"), Path("README.md"), Path("LICENSE")} <= names


def test_wheel_has_every_file_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    packed = {path for path in names if not path.parts[0].endswith(".dist-info")}
    assert packed == {target for _, target in source_files()}
    assert {Path("stylecore/weights/small.h5"), Path("stylecore/py.typed")} <= packed


def test_wheel_has_the_command_the_licence_and_the_readme(wheel):
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(name).name: archive.read(name) for name in archive.namelist() if ".dist-info/" in name}
        assert archive.getinfo("stylecore/weights/small.h5").file_size <= 3_000_000
    assert "stylecore = stylecore.cli:main" in texts["entry_points.txt"].decode()
    assert "LICENSE" in texts
    metadata = message_from_bytes(texts["METADATA"])
    assert metadata.get_payload().startswith("# stylecore")
    assert {"colour", "cuda", "dask", "docs", "heif", "notebook", "plot", "sketch", "test", "video", "web"} == set(
        metadata.get_all("Provides-Extra")
    )


# Installed


def environment_of_dependencies(folder):
    """Make a virtual environment that has the dependencies, but not the package; return its Python.

    A path file adds what is installed here, but not what path files there would add, such as an editable installation.
    """
    call([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "dependencies.pth").write_text("\n".join(paths), encoding="utf-8")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Python with the dependencies only."""
    return environment_of_dependencies(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Python with the dependencies and the wheel."""
    python = environment_of_dependencies(tmp_path_factory.mktemp("installed") / "venv")
    options = ["--no-deps", "--no-index", "--ignore-installed", "--quiet"]
    call([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], python.parent)
    return python


WHERE = "import stylecore, stylecore.kernels, stylecore.weights as w; print(stylecore.__file__, w.__file__, sep='\\n')"


def test_the_dependencies_are_there_and_the_package_is_not(bare, tmp_path):
    script = "import importlib.util as u; print(u.find_spec('numba') is not None, u.find_spec('stylecore'))"
    assert call([bare, "-c", script], tmp_path) == "True None\n"


# Prints how many functions the warming compiles, how many a first evaluation compiles after it, and what is expected.
COUNT = """
import numpy as np
from stylecore import Objective, warming
from stylecore.kernels.compilation import each_compiled

functions, later = [], []
with each_compiled(functions.append), warming.compiling(progress=False):
    pass
picture = np.random.default_rng(0).random((48, 40, 3))
with each_compiled(later.append):
    Objective(picture, picture, network="small")(picture)
print(len(functions), len(later), warming.FUNCTIONS)
"""


def test_the_installed_wheel_compiles_ahead_and_paints_a_picture_in_any_folder(installed, tmp_path):
    site = installed.parent.parent
    assert all(Path(file).is_relative_to(site) for file in call([installed, "-c", WHERE], tmp_path).splitlines())
    compiled, later, expected = map(int, call([installed, "-c", COUNT], tmp_path).split())
    assert compiled == expected and later == 0
    call([installed.with_name("stylecore"), "transfer", PHOTOGRAPH, PAINTING, "-o", "out.png", *QUICK], tmp_path)
    assert Image.open(tmp_path / "out.png").size == (64, 48)


@pytest.mark.parametrize("python", ["installed", "bare"])
def test_in_the_checkout_its_own_files_are_used(python, request, tmp_path):
    python = request.getfixturevalue(python)
    assert call([python, "-c", WHERE], ROOT).splitlines() == [
        str(ROOT / "stylecore" / "__init__.py"),
        str(ROOT / "weights" / "__init__.py"),
    ]
    output = tmp_path / "out.png"
    call([python, "-m", "stylecore", "transfer", PHOTOGRAPH, PAINTING, "-o", output, *QUICK], ROOT)
    assert Image.open(output).size == (64, 48)


def test_the_checkout_is_used_from_any_folder(bare, tmp_path):
    command = [bare, "-m", "stylecore", "transfer", PHOTOGRAPH, PAINTING, "-o", "out.png", *QUICK]
    call(command, tmp_path, PYTHONPATH=str(ROOT))
    assert Image.open(tmp_path / "out.png").size == (64, 48)


# The lowest versions


def test_each_requirement_has_a_lowest_version_and_one_only():
    lines = call([sys.executable, ROOT / "tests" / "oldest.py"], ROOT).splitlines()
    names = [re.fullmatch(r"([\w-]+)==[\d.]+(; .+)?", line)[1] for line in lines]
    assert {"numpy", "numba", "scipy", "pillow", "numba-cuda", "pytest"} <= set(names)
    assert len(names) == len(set(names))
