"""Runs that are saved and resumed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import stylecore
from stylecore import Checkpoint, ImageError, ParameterError, StylecoreError, optimizers, resume, transfer
from stylecore.runs.environment import environment
from stylecore.samples import PAINTING, PHOTOGRAPH

pytestmark = pytest.mark.slow

SETTINGS = {
    "size": 80,
    "iterations": [14, 30],
    "pyramid": [48],
    "init": "noise",
    "content_layers": ["relu2_2"],
    "style_layers": ["relu1_1", "relu2_1"],
    "optimizer": "lbfgs",
}


class Killed(BaseException):
    """Ends a run as abruptly as a test can."""


def kill_at(number):
    """A callback that ends the run at an evaluation."""

    def callback(evaluation, image):
        if evaluation.number == number:
            raise Killed

    return callback


def interrupted(path, at=20, content=PHOTOGRAPH, style=PAINTING, **settings):
    with pytest.raises(Killed):
        transfer(content, style, checkpoint=Checkpoint(path, 0), callback=kill_at(at), **{**SETTINGS, **settings})


def refused(error, words):
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


def unpacked(path):
    """The entries of a checkpoint, by name."""
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, entries, compression=0):
    with ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def rewrite(path, change):
    """Change what run.json holds, by a function that is given it."""
    entries = unpacked(path)
    run = json.loads(entries["run.json"])
    change(run)
    pack(path, {**entries, "run.json": json.dumps(run)})


KILLED = """
import os, signal, sys
from stylecore import Checkpoint, optimizers, transfer
from stylecore.samples import PAINTING, PHOTOGRAPH

optimizers.MOST_PAIRS = int(sys.argv[4])

def kill(evaluation, image):
    if evaluation.number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

transfer(PHOTOGRAPH, PAINTING, checkpoint=Checkpoint(sys.argv[1], 0), callback=kill, **eval(sys.argv[3]))
"""


PAIRS = 12


# In the first iteration, within the small scale, at its end, at the start of the large one, and beyond a full set of
# pairs there.
@pytest.mark.parametrize(("optimizer", "evaluations"), [("lbfgs", (2, 9, 14, 15, 42)), ("adam", (9, 20))])
def test_a_killed_run_ends_with_the_same_bits(optimizer, evaluations, path, monkeypatch):
    monkeypatch.setattr(optimizers, "MOST_PAIRS", PAIRS)
    settings = {**SETTINGS, "optimizer": optimizer}
    whole = transfer(PHOTOGRAPH, PAINTING, **settings)
    for evaluation in evaluations:
        command = [sys.executable, "-c", KILLED, str(path), str(evaluation), repr(settings), str(PAIRS)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        reached = []
        result = resume(path, callback=lambda evaluation, image, reached=reached: reached.append(evaluation.number))
        # It goes on where it was, and does not begin anew.
        assert reached[0] in range(evaluation - 3, evaluation + 1) and reached[-1] == 44
        np.testing.assert_array_equal(result.array, whole.array)
        assert [e[:4] for e in result.history] == [e[:4] for e in whole.history]
        assert result.settings == whole.settings
        assert all(a.seconds <= b.seconds for a, b in zip(result.history, result.history[1:], strict=False))
        path.unlink()


def test_the_same_call_goes_on(path):
    whole = transfer(PHOTOGRAPH, PAINTING, **SETTINGS)
    interrupted(path, 20)
    interrupted(path, 31)
    again = transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)
    np.testing.assert_array_equal(again.array, whole.array)


def test_a_finished_run_is_kept(path):
    whole = transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)
    evaluations = []
    again = resume(path, callback=lambda evaluation, image: evaluations.append(evaluation))
    assert evaluations == []
    np.testing.assert_array_equal(again.array, whole.array)


def test_pictures_in_memory_are_kept_in_the_file(path):
    rng = np.random.default_rng(0)
    content = Image.fromarray(rng.integers(0, 256, (40, 50, 4), np.uint8))
    settings = {"style": rng.random((60, 50, 3)), "init": rng.random((30, 40, 3), np.float32), "averaging": 0.5}
    settings["layer_weights"] = {"relu2_2": 1, "relu1_1": np.float32(0.1), "relu2_1": 0.3}
    whole = transfer(content, **{**SETTINGS, **settings})
    interrupted(path, content=content, **settings)
    result = resume(path)
    np.testing.assert_array_equal(result.array, whole.array)
    np.testing.assert_allclose(result.alpha, whole.alpha, rtol=0, atol=1e-6)


def test_styles_and_masks_are_kept_too(path, tmp_path):
    Image.fromarray(np.uint8(np.arange(96) < 40) * np.full((72, 1), 255, np.uint8)).save(tmp_path / "left.png")
    left = str(tmp_path / "left.png")
    right = (np.arange(96) >= 40) * np.ones((72, 1), bool)
    settings = {"style": [PAINTING, PHOTOGRAPH], "content": np.random.default_rng(0).random((72, 96, 3))}
    settings["regions"] = [(left, "all", "none"), ("not:" + left, "none", "all"), (right, "all", None)]
    settings["style_layers"] = {"relu1_1": 1, "relu2_1": 0.5}
    whole = transfer(**{**SETTINGS, **settings})
    interrupted(path, **settings)
    np.testing.assert_array_equal(resume(path).array, whole.array)


def test_words_are_no_files(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in ("content", "all", "vgg19"):
        (tmp_path / word).write_text("something else")
    interrupted(path, regions=[("all", "all")])
    resume(path)


def test_writing_waits_its_turn(path):
    written = []

    def callback(evaluation, image):
        written.append(os.stat(path).st_mtime_ns if path.exists() else None)

    transfer(PHOTOGRAPH, PAINTING, checkpoint=Checkpoint(path, 3600), callback=callback, **SETTINGS)
    # After the first iteration, and then at the end of each scale only.
    assert written[:2] == [None, written[2]] and written[1:14] == 13 * [written[1]]
    assert written[14:] == 30 * [written[14]] and written[14] > written[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 81}, "run with size 80 instead of 81; delete it"),
        ({"seed": 3}, "run with seed 0 instead of 3"),
        ({"style": PHOTOGRAPH}, "run with another style"),
        ({"init": np.zeros((5, 5, 3))}, "run with another init"),
        ({"style_layers": ["relu1_1"]}, r"style_layers \['relu1_1', 'relu2_1'\] instead of \['relu1_1'\]"),
    ],
)
def test_a_checkpoint_of_another_run(change, words, path):
    interrupted(path)
    before = path.read_bytes()
    with refused(ParameterError, words):
        transfer(**{"content": PHOTOGRAPH, "style": PAINTING, **SETTINGS, **change}, checkpoint=path)
    assert path.read_bytes() == before


def test_a_picture_that_has_changed(path, tmp_path):
    content = tmp_path / "content.png"
    Image.new("RGB", (40, 30), "red").save(content)
    interrupted(path, content=content)
    Image.new("RGB", (40, 30), "blue").save(content)
    with refused(ParameterError, r"content\.png has changed since .*run\.ckpt was written"):
        resume(path)
    path.unlink()
    interrupted(path, style=[PAINTING, str(content)])
    Image.new("RGB", (40, 30), "red").save(content)
    with refused(ParameterError, r"content\.png has changed since .*run\.ckpt was written"):
        resume(path)
    content.unlink()
    with refused(ImageError, r"content\.png, an input of the run in .*run\.ckpt, no longer exists"):
        resume(path)


def test_files_that_are_no_checkpoint(path):
    with refused(StylecoreError, "is not a file; name the checkpoint"):
        resume(path)
    path.write_bytes(b"something else, which is to be kept")
    for attempt in (lambda: resume(path), lambda: transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)):
        with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
            attempt()
    assert path.read_bytes() == b"something else, which is to be kept"
    path.unlink()
    for content in ({"format": "something else"}, {}, [], None, "stylecore checkpoint"):
        pack(path, {"run.json": json.dumps(content)})
        with refused(StylecoreError, "is not a checkpoint of stylecore;"):
            resume(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint(part, path):
    interrupted(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with refused(StylecoreError, "is damaged, incomplete"):
        resume(path)


def test_a_damaged_checkpoint(path):
    interrupted(path)
    with ZipFile(path) as archive:
        row = archive.getinfo("state/rows/1.npy")
    damaged = bytearray(path.read_bytes())
    damaged[row.header_offset + row.compress_size // 2] ^= 1
    path.write_bytes(damaged)
    with refused(StylecoreError, "is damaged, incomplete"):
        resume(path)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_checkpoint_of_format_2_is_resumed_with_a_warning(optimizer, path):
    whole = transfer(PHOTOGRAPH, PAINTING, **{**SETTINGS, "optimizer": optimizer})
    interrupted(path, optimizer=optimizer)

    def age(run):
        run["format_version"], run["stylecore"] = 2, run.pop("environment")["stylecore"]
        del run["arguments"]["averaging"]  # As if it had been added since.

    rewrite(path, age)
    with pytest.warns(UserWarning, match=r"run\.ckpt was written with an earlier version of stylecore; the run cont"):
        result = resume(path)
    np.testing.assert_array_equal(result.array, whole.array)


OTHERS = {"stylecore": "0.0.1", "source code": "0123456789ab", "Numba": "0.1", "processor": "abacus-0123456789ab"}


def test_another_environment_is_warned_of(path):
    interrupted(path)
    rewrite(path, lambda run: run["environment"].update(OTHERS))
    with pytest.warns(UserWarning) as warned:
        resume(path)
    now = environment()
    different = " and ".join(f"{name} {then} instead of {now[name]}" for name, then in OTHERS.items())
    assert [str(warning.message) for warning in warned] == [
        f"{path} was written with {different}; the run continues, but its picture may not be the same bit for bit as "
        "without the interruption."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(path)  # It was written again.


def test_what_a_later_version_wrote_is_refused(path):
    interrupted(path)
    whole = path.read_bytes()
    rewrite(path, lambda run: run.update(format_version=99))
    with refused(StylecoreError, rf"has format 99, which stylecore {re.escape(stylecore.__version__)} does not know"):
        resume(path)
    path.write_bytes(whole)
    rewrite(path, lambda run: run["arguments"].update(sparkle=2))
    with refused(StylecoreError, "has the setting sparkle, which stylecore .* does not know"):
        resume(path)


@pytest.fixture(scope="module", params=["lbfgs", "adam"])
def small(request, tmp_path_factory):
    """A checkpoint of a tiny run, with arrays for inputs, in its second scale."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.ckpt"
    rng = np.random.default_rng(0)
    images = {"content": rng.random((24, 32, 3)), "style": [rng.random((20, 20, 3)), PAINTING]}
    tiny = {"network": "small", "size": 32, "iterations": [3, 4], "pyramid": [20], "averaging": 0.5}
    interrupted(path, at=5, optimizer=request.param, **images, **tiny, content_layers=None, style_layers=None)
    return path


def outcome(path):
    """Whether a checkpoint is resumed, or refused in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            resume(path, callback=lambda evaluation, image: evaluation.number > 9)
        except StylecoreError as error:
            assert re.fullmatch(r"[^\n]*\.", str(error))
            return "refused"
    return "resumed"


def places(tree, at=()):
    """Where the values of a JSON document are."""
    yield at
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(value, (*at, key))


def replaced(tree, at, value):
    """A JSON document in which one value is another, or is missing."""
    if not at:
        return value
    changed = tree.copy()
    changed[at[0]] = replaced(tree[at[0]], at[1:], value)
    if changed[at[0]] is MISSING:
        del changed[at[0]]
    return changed


MISSING = object()
JSON = st.recursive(
    st.sampled_from([None, True, 0, 1, -1, 3, 0.5, -2.5, 2**70, 10**400, float("nan"), float("inf"), "", "x", "not:"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "path", "array", "sha256"]), inner)
    ),
    max_leaves=4,
)


# What the settings may be is checked where they are used.
def is_setting(at):
    return at[0] == "arguments" and not (len(at) > 1 and at[1] in ("content", "style"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_other_json_is_resumed_or_refused(small, tmp_path_factory, data):
    entries = unpacked(small)
    run = json.loads(entries["run.json"])
    at = data.draw(st.sampled_from([at for at in places(run) if at and not is_setting(at)]))
    changed = replaced(run, at, data.draw(st.just(MISSING) | JSON))
    path = tmp_path_factory.mktemp("changed") / "run.ckpt"
    pack(path, {**entries, "run.json": json.dumps(changed)})
    outcome(path)


ARRAYS = [
    lambda array: array.reshape(-1)[:-1],
    lambda array: array[None],
    lambda array: np.full_like(array, -1),
    lambda array: np.full_like(array, 100),
    lambda array: np.float64(0.5),
    *(
        lambda array, dtype=dtype: array.astype(dtype)
        for dtype in ("f2", "g", "u8", "c8", "?", "S3", "U2", ">f4", ">i8")
    ),
]


def encoded(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_other_arrays_are_resumed_or_refused(small, tmp_path_factory, data):
    entries = unpacked(small)
    name = data.draw(st.sampled_from([name for name in entries if name != "run.json"]))
    content = entries.pop(name)
    if change := data.draw(st.none() | st.sampled_from(ARRAYS)):
        entries[name] = encoded(change(np.load(io.BytesIO(content))))
    else:
        names = ["state/other.npy", "state/shape.npy", "state/rows.npy", "state/x/0.npy", "state/rows/99.npy", "other"]
        entries[data.draw(st.sampled_from(names))] = content
    path = tmp_path_factory.mktemp("changed") / "run.ckpt"
    pack(path, entries)
    outcome(path)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_other_bytes_are_resumed_or_refused(small, tmp_path_factory, data):
    content = bytearray(small.read_bytes())
    # Where the entries are listed, at the end, most often.
    positions = st.integers(0, len(content) - 1) | st.integers(len(content) - 2000, len(content) - 1)
    for position in data.draw(st.lists(positions, min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "run.ckpt"
    path.write_bytes(content)
    outcome(path)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("scale",), 2),
        (("scale",), -1),
        (("scale",), "0"),
        (("history",), {}),
        (("history", 0), []),
        (("history", 0, 0), 2),
        (("history", 0, 1), [0, 5]),
        (("history", 0, 2), None),
        (("history", 0, 3), []),
        (("history", 0, 5), {"tv": "1"}),
        (("every",), None),
        (("every",), float("nan")),
        (("output",), 3),
        (("environment",), []),
        (("environment",), {"NumPy": 2}),
        (("arguments",), []),
        (("arguments", "content"), {"array": 99, "sha256": ""}),
        (("arguments", "content"), {"array": "0", "sha256": ""}),
        (("arguments", "content"), {"path": 3, "before": "", "sha256": ""}),
        (("arguments", "iterations"), {"array": 0, "sha256": ""}),
    ],
)
def test_a_wrong_entry_is_refused(small, at, value, tmp_path):
    entries = unpacked(small)
    run = replaced(json.loads(entries["run.json"]), at, value)
    path = tmp_path / "run.ckpt"
    pack(path, {**entries, "run.json": json.dumps(run)})
    with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
        resume(path)


def test_another_state_is_refused(small, tmp_path):
    # What would run for ever, or end with another picture than the one of the run.
    entries = unpacked(small)
    changes = {"left": np.int64(9), "best": np.zeros(5, np.float32), "averaged": np.int64(-1), "lowest": np.int64(1)}
    for name, value in changes.items():
        path = tmp_path / "run.ckpt"
        pack(path, {**entries, f"state/{name}.npy": encoded(value)})
        with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
            resume(path)


def test_what_would_take_far_more_memory_than_the_file_is_refused(small, tmp_path):
    path, entries = tmp_path / "run.ckpt", unpacked(small)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    pack(path, {**entries, "state/x.npy": header.getvalue()})
    with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
        resume(path)
    pack(path, {**entries, "state/x.npy": encoded(np.zeros(10**6))}, ZIP_DEFLATED)
    with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
        resume(path)
    # The same bytes listed twice.
    with ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        largest = max(archive.filelist, key=lambda entry: entry.file_size)
        archive.filelist += 2 * [largest]
    with refused(StylecoreError, "is damaged, incomplete or not a checkpoint"):
        resume(path)


def test_two_runs_on_one_checkpoint(path):
    attempts = []

    def attempt(evaluation, image):
        if evaluation.number == 3:
            for again in (lambda: resume(path), lambda: transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)):
                with refused(
                    StylecoreError, rf"run\.ckpt is in use by stylecore, process {os.getpid()} on .*; wait until"
                ):
                    again()
                attempts.append(again)
        return evaluation.number == 4

    transfer(PHOTOGRAPH, PAINTING, checkpoint=Checkpoint(path, 0), callback=attempt, **SETTINGS)
    assert len(attempts) == 2 and os.listdir(path.parent) == ["run.ckpt"]
    # Not after an error either, be it before or in the run.
    with pytest.raises(ParameterError):
        transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **{**SETTINGS, "size": 3})
    interrupted(path, 6)
    assert os.listdir(path.parent) == ["run.ckpt"]
    resume(path)


def test_what_cannot_be_written_down(path):
    with refused(ParameterError, 'optimizer "lbfgsb" cannot be resumed'):
        transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **{**SETTINGS, "optimizer": "lbfgsb"})
    network = stylecore.network.load_network("vgg19")
    with refused(ParameterError, "network is a Network, which a checkpoint cannot hold"):
        transfer(PHOTOGRAPH, PAINTING, network=network, checkpoint=path, **SETTINGS)
    with refused(StylecoreError, "no checkpoint can be written to .*nowhere"):
        transfer(PHOTOGRAPH, PAINTING, checkpoint=path.parent / "nowhere" / "run.ckpt", **SETTINGS)
    for every in (-1, float("nan"), "often", None, 1j):
        with refused(ParameterError, "checkpoint_every is"):
            Checkpoint(path, every)
    assert not path.exists()


FULL = """
import resource, sys
import numpy as np
import stylecore

# A limit of the size of files stands in for a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    stylecore.resume(sys.argv[1])
except stylecore.StylecoreError as error:
    print(error)
"""


def test_the_state_stays_when_a_new_one_cannot_be_written(path):
    interrupted(path)
    before = path.read_bytes()
    process = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"the checkpoint {path} cannot be written: File too large.\n"
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run.ckpt"]


# On the command line

STYLECORE = [sys.executable, "-m", "stylecore"]
OPTIONS = ["--size", "64", "--pyramid", "1", "--content-layers", "relu2_2", "--style-layers", "relu1_1", "relu2_1"]


def command(*arguments, folder):
    return subprocess.run([*STYLECORE, *arguments], cwd=folder, capture_output=True, text=True)


def test_the_command_line_goes_on_after_a_kill(tmp_path):
    arguments = ["transfer", PHOTOGRAPH, PAINTING, *OPTIONS, "--iterations", "300", "--checkpoint", "run.ckpt"]
    process = subprocess.Popen([*STYLECORE, *arguments, "--checkpoint-every", "0", "-o", "out.png"], cwd=tmp_path)
    try:
        while not (tmp_path / "run.ckpt").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        second = command("resume", "run.ckpt", "-q", folder=tmp_path)
        assert second.returncode == 2 and f"run.ckpt is in use by stylecore, process {process.pid} on " in second.stderr
    finally:
        process.kill()
        process.wait()
    left = {name for name in os.listdir(tmp_path) if not name.endswith(".tmp")}
    assert left == {"run.ckpt", "run.ckpt.lock"}
    process = command("resume", "run.ckpt", "-q", "--sheet", "out.png", folder=tmp_path)
    assert process.returncode == 2 and "out.png would be written twice" in process.stderr
    process = command("resume", "run.ckpt", "-q", "--sheet", "sheet.png", "--save-every", "300", folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "out-0300.png").exists()
    assert "out.png: 64 x 48 pixels, 300 steps in " in process.stdout
    assert (tmp_path / "out.png").exists()
    assert not {"run.ckpt", "run.ckpt.lock"} & set(os.listdir(tmp_path))


def test_what_a_run_is_made_from_is_not_replaced(path, tmp_path):
    size = {"mask": (96, 72), "painting": (30, 20)}
    for name in size:
        Image.new("L", size[name], 255).save(tmp_path / f"{name}.png")
    regions = [(str(tmp_path / "mask.png"), "all")]
    interrupted(path, style=[str(tmp_path / "painting.png")], regions=regions, content=np.ones((72, 96, 3)))
    for name in size:
        process = command("resume", "run.ckpt", "-o", f"{name}.png", folder=tmp_path)
        assert process.returncode == 2 and f"{name}.png is one of the input pictures" in process.stderr


def test_the_command_line_refuses(tmp_path):
    process = command("resume", "nowhere.h5", folder=tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "stylecore: error: nowhere.h5 is not a file; name the checkpoint of a run.\n"
    output = ["-o", "out.png", "--checkpoint", "out.png"]
    (tmp_path / "out.png").write_bytes(b"")
    process = command("transfer", PHOTOGRAPH, PAINTING, *OPTIONS, *output, folder=tmp_path)
    assert process.returncode == 2 and "out.png would be written twice" in process.stderr
