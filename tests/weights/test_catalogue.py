import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from stylecore.errors import WeightsError
from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, SHIPPED, cache_folder, cached_file, catalogue_rows, describe


def test_the_environment_chooses_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cached_file("vgg19") == tmp_path / "vgg19.h5"


@pytest.mark.parametrize("value", [None, ""])
def test_by_default_the_cache_folder_is_the_systems(monkeypatch, value):
    monkeypatch.delenv("STYLECORE_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("STYLECORE_CACHE", value)
    assert cache_folder() == Path(platformdirs.user_cache_dir("stylecore"))


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are Linux's")
def test_the_cache_folder_is_the_one_that_earlier_versions_used(monkeypatch):
    monkeypatch.delenv("STYLECORE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/stylecore")


def test_without_a_home_folder_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.delenv("STYLECORE_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    with pytest.raises(WeightsError, match=r"no home folder .* set the environment variable STYLECORE_CACHE"):
        cache_folder()


def test_nothing_is_fetched_into_a_home_folder_that_is_read_only(tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("STYLECORE_CACHE", "XDG_CACHE_HOME")
    }
    command = [sys.executable, "-m", "stylecore", "weights"]
    environment |= {"HOME": "/proc/nowhere"}
    listed = subprocess.run([*command, "list"], env=environment, capture_output=True, text=True)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "not fetched yet" in listed.stdout
    fetched = subprocess.run([*command, "fetch", "vgg19"], env=environment, capture_output=True, text=True)
    assert fetched.returncode == 2
    assert "the cache folder /proc/nowhere/.cache/stylecore cannot be used" in fetched.stderr
    assert "Traceback" not in fetched.stderr


def test_every_network_has_an_architecture_and_is_pinned():
    for network, origin in CATALOGUE.items():
        assert network in ARCHITECTURES
        assert origin.sdist == f"{origin.project.replace('-', '_')}-{origin.version}.tar.gz"
        for digest in (origin.sdist_sha256, origin.member_sha256):
            assert len(digest) == 64 and int(digest, 16)


def test_the_rows_say_what_has_been_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    shutil.copy(SHIPPED["small"], tmp_path / "vgg16.h5")
    damaged = bytearray(SHIPPED["small"].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "alexnet.h5").write_bytes(damaged)
    rows = {row.network: row for row in catalogue_rows()}
    assert list(rows) == ["vgg19", "vgg16", "alexnet", "small"]
    assert (rows["vgg16"].path, rows["vgg16"].is_damaged) == (tmp_path / "vgg16.h5", False)
    assert (rows["alexnet"].path, rows["alexnet"].is_damaged) == (tmp_path / "alexnet.h5", True)
    assert (rows["vgg19"].path, rows["vgg19"].is_damaged) == (None, False)
    assert (rows["small"].path, rows["small"].is_damaged) == (SHIPPED["small"], False)
    assert rows["vgg19"].download_megabytes == 87.6
    assert "default" in rows["vgg19"].description


def test_a_network_is_described_before_it_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    for network, origin in CATALOGUE.items():
        text = describe(network)
        for part in (*origin[:4], origin.member, origin.member_sha256, origin.licence, f"{origin.megabytes} MB"):
            assert part in text
        assert f"not fetched yet; `stylecore weights fetch {network}`" in text


def test_a_fetched_network_is_described_with_its_layers(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    shutil.copy(SHIPPED["small"], tmp_path / "vgg16.h5")
    text = describe("vgg16")
    assert CATALOGUE["vgg16"].licence in text
    assert f"file           {tmp_path / 'vgg16.h5'}" in text
    assert "conv1_1  3 x 3, stride 1, 3 -> 32 channels" in text


def test_a_damaged_network_is_described_as_such(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    (tmp_path / "vgg16.h5").write_bytes(SHIPPED["small"].read_bytes()[:-1])
    text = describe("vgg16")
    assert CATALOGUE["vgg16"].sdist_sha256 in text
    assert text.endswith("vgg16.h5 is damaged or incomplete; download or convert it again.")


def test_other_networks_are_described():
    assert describe("small").startswith("licence        MIT")
    assert describe(SHIPPED["small"]) in describe("small")
    with pytest.raises(WeightsError, match=r"nowhere\.h5 is not a file"):
        describe("nowhere.h5")
