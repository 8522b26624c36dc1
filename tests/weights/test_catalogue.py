from pathlib import Path

import pooch
import pytest

from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, cache_folder, cached_file, catalogue_rows


def test_the_environment_chooses_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cached_file("vgg19") == tmp_path / "vgg19.h5"


@pytest.mark.parametrize("value", [None, ""])
def test_else_the_cache_folder_is_the_systems(monkeypatch, value):
    monkeypatch.delenv("STYLECORE_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("STYLECORE_CACHE", value)
    assert cache_folder() == Path(pooch.os_cache("stylecore"))


def test_every_network_has_an_architecture_and_is_pinned():
    for network, origin in CATALOGUE.items():
        assert network in ARCHITECTURES
        assert origin.sdist == f"{origin.project.replace('-', '_')}-{origin.version}.tar.gz"
        for digest in (origin.sdist_sha256, origin.member_sha256):
            assert len(digest) == 64 and int(digest, 16)


def test_the_rows_tell_what_is_here(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path))
    (tmp_path / "vgg16.h5").touch()
    rows = {row.network: row for row in catalogue_rows()}
    assert list(rows) == ["vgg19", "vgg16", "alexnet", "small"]
    assert rows["vgg16"].path == tmp_path / "vgg16.h5"
    assert rows["vgg19"].path is None
    assert rows["vgg19"].download_megabytes == 87.6
    assert "default" in rows["vgg19"].description
