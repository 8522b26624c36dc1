"""Compiled code goes out of use when a source changes."""

import os

from stylecore.kernels.code_cache import forget_outdated_code, keeps_code


def test_code_older_than_any_source_is_forgotten(tmp_path):
    code = tmp_path / "__pycache__"
    code.mkdir()
    for name, age in (("a.py", 100), ("b.py", 50), ("__pycache__/old.nbi", 75), ("__pycache__/new.nbi", 25)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    forget_outdated_code(code, tmp_path)
    assert os.listdir(code) == ["new.nbi"]


def test_code_of_a_file_is_kept():
    assert keeps_code(test_code_of_a_file_is_kept)
