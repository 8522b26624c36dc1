"""Compiled code is kept by what decides it, and is whole or not there at all; in processes of their own."""

import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from stylecore.kernels import code_cache, compilation

# Prints the result, after the message if a kernel was compiled.
RUN = """
from stylecore.kernels.compilation import on_compile
from stylecore.kernels.cpu.add import add
with on_compile(print):
    print(add(0))
"""
FOLDER = "from stylecore.kernels.code_cache import folder; print(folder())"
COMPILED, EVERY_TIME = compilation.ONCE + "\n", compilation.EVERY_TIME + "\n"

# Before `RUN`: what happens as the first file is to take its place.
INTERRUPT = "import os, signal\ndef interrupted(*paths): {}\nos.replace = interrupted\n"


def code_files(package):
    return [path for path in package.root.rglob("*.nbc") if "home" not in path.parts]


def test_code_is_compiled_once(package):
    assert package.run(RUN) == COMPILED + "2\n"
    assert package.run(RUN) == "2\n"
    assert all(package.kernels / "__pycache__" in path.parents for path in code_files(package))


def test_a_change_in_a_called_function_counts_even_if_the_source_is_old(package):
    package.run(RUN)
    package.set_number(101)
    assert package.run(RUN) == COMPILED + "101\n"
    package.set_number(2)
    assert package.run(RUN) == "2\n"


def change(package, value):
    return f"""
import os
from pathlib import Path
path = Path({str(package.number)!r})
path.write_text(path.read_text().replace("return 2", "return {value}"))
"""


def test_a_process_that_runs_while_sources_change_keeps_code_of_those_it_imported(package):
    imported = "from stylecore.kernels.cpu import add\n"
    assert package.run(imported + change(package, 101) + RUN) == COMPILED + "2\n"
    assert package.run(RUN) == COMPILED + "101\n"
    package.set_number(2)
    assert package.run(RUN) == "2\n"


def test_code_of_sources_that_changed_before_they_were_imported_is_not_kept(package):
    imported = "from stylecore.kernels import code_cache\n"
    assert package.run(imported + change(package, 101) + RUN) == EVERY_TIME + "101\n"
    assert code_files(package) == []


def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(package):
    killed = INTERRUPT.format("os.kill(os.getpid(), signal.SIGKILL)")
    package.run(killed + RUN, status=-signal.SIGKILL)
    assert code_files(package) == []
    assert package.run(RUN) == COMPILED + "2\n"
    assert package.run(RUN) == "2\n"


def test_an_interrupt_while_code_is_written_leaves_no_file(package):
    package.run(INTERRUPT.format("raise KeyboardInterrupt") + RUN, status=-signal.SIGINT)
    folders = [path for path in (package.kernels / "__pycache__").rglob("*") if path.is_dir()]
    assert [path for folder in folders for path in folder.iterdir() if path.is_file()] == []


def test_files_are_checked(tmp_path):
    files = code_cache._Files(tmp_path / "kernel", pickle.dumps)
    files.save(("float32",), "code")
    files.save(("float64",), "other code")
    assert files.load(("float32",)) == "code" and files.load(("float64",)) == "other code"
    assert files.load(("int32",)) is None
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert files.load(("float32",)) is None
    files.save(("float32",), "code")
    assert files.load(("float32",)) == "code"
    files.flush()
    assert list(tmp_path.iterdir()) == []


def test_damaged_code_is_compiled_again(package):
    package.run(RUN)
    for path in code_files(package):
        code = path.read_bytes()
        path.write_bytes(code[:100] + b"\0" * 50 + code[150:])
    assert package.run(RUN) == COMPILED + "2\n"
    assert package.run(RUN) == "2\n"


def test_a_full_disk_does_not_matter(package):
    full = INTERRUPT.format("raise OSError(28, 'No space left on device')")
    assert package.run(full + RUN) == COMPILED + "2\n"


def test_two_processes_at_once_that_compile_for_different_types(package):
    programs = [RUN.replace("add(0)", f"add({value})") for value in ("0", "0.5")]
    for process in [package.start(program) for program in programs]:
        package.finish(process)
    assert [package.run(program) for program in programs] == ["2\n", "2.5\n"]


@pytest.fixture
def read_only(package):
    """A package beside whose sources no file can be made, not even by root."""
    (package.kernels / "__pycache__").write_text("not a folder")
    return package


def test_read_only_sources_are_compiled_into_the_cache_of_the_user(read_only):
    assert read_only.run(RUN) == COMPILED + "2\n"
    assert read_only.run(RUN) == "2\n"
    assert read_only.run(FOLDER).startswith(str(read_only.root / "home"))
    assert code_files(read_only) == []


@pytest.mark.parametrize(
    "start", ["", "import platformdirs\nplatformdirs.user_cache_dir = lambda *a, **k: '~/.cache'\n"]
)
def test_nothing_is_kept_without_a_home_folder(start, read_only):
    home = str(read_only.root / "home") if start else os.devnull
    assert read_only.run(start + RUN, HOME=home) == EVERY_TIME + "2\n"
    assert read_only.run(start + FOLDER, HOME=home) == "None\n"
    assert not (read_only.root / "~").exists()


def test_the_users_choice_of_a_folder_is_honoured(package):
    chosen = package.root / "chosen"
    other = f"import numba\n{RUN}\nassert numba.config.CACHE_DIR == 'chosen'\n"
    assert package.run(other, NUMBA_CACHE_DIR="chosen") == COMPILED + "2\n"
    assert all(chosen in path.parents for path in code_files(package))
    assert package.run(FOLDER, NUMBA_CACHE_DIR="chosen").startswith(str(chosen))


def test_the_compilers_settings_count(package):
    folders = {package.run(FOLDER, **settings) for settings in ({}, {"NUMBA_OPT": "1"}, {"NUMBA_BOUNDSCHECK": "1"})}
    assert len(folders) == 3


def test_folders_that_have_long_been_unused_are_deleted(package):
    place = package.kernels / "__pycache__" / "stylecore"
    for name, days in (("old", 40), ("recent", 20)):
        (place / name).mkdir(parents=True)
        (place / name / "code.nbc").touch()
        os.utime(place / name, (time.time() - days * 24 * 3600,) * 2)
    package.run(FOLDER)
    assert (place / "old").is_dir()
    package.run(RUN)
    assert not (place / "old").exists() and (place / "recent").is_dir()


def test_kernels_of_the_package_run_where_no_folder_can_be_written_to():
    program = """
import platformdirs
platformdirs.user_cache_dir = lambda *a, **k: "relative"
from pathlib import Path
def refuse(*a, **k): raise PermissionError
Path.mkdir = refuse
import numpy as np
from stylecore.kernels import code_cache, cpu
assert code_cache.folder() is None
print(cpu.half_squared_distance(np.ones((3, 2)), np.zeros((3, 2))))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert result.stdout == "3.0\n", result.stderr
