import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"stylecore": "stylecore", "kernels": "stylecore/kernels", "weights": "stylecore/weights"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the package, built from a copy that building may litter."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_all_modules_and_nothing_else_at_the_top(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"stylecore"}
    modules = {name for name in names if name.endswith(".py")}
    assert {"stylecore/kernels/cpu/__init__.py", "stylecore/weights/readers/__init__.py"} <= modules
    assert modules == {
        str(Path(target, path.relative_to(ROOT / name)))
        for name, target in PACKAGES.items()
        for path in (ROOT / name).rglob("*.py")
    }


def test_wheel_holds_the_samples_the_presets_the_command_and_the_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    data = {"stylecore/samples/photograph.jpg", "stylecore/samples/painting.jpg", "stylecore/presets.toml"}
    assert data <= set(names)
    assert archive.getinfo("stylecore/weights/small.h5").file_size <= 3_000_000
    assert any(name.endswith("LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "stylecore = stylecore.cli:main" in archive.read(entry_points).decode()


def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = (
        "from stylecore import cli, pictures, kernels, samples, weights; "
        "print(cli.__file__, kernels.__file__, weights.__file__, samples.PAINTING, sep='\\n'); "
        "images.read_image(samples.PHOTOGRAPH); "
        "raise SystemExit(cli.main(['weights', 'list']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    *files, _, _, _, _ = process.stdout.splitlines()
    assert len(files) == 4 and all(Path(file).is_relative_to(tmp_path / "site") for file in files)
