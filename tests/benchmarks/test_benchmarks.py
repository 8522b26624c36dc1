"""The benchmark at tiny sizes: its figures mean nothing, but all of it runs."""

import importlib.util
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from stylecore.kernels import devices
from stylecore.optimizers import OPTIMIZERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
TINY = [
    *("--sizes", "32", "--threads", "1", "--repetitions", "2", "--training-pictures", "256"),
    *("--transfer-size", "64", "--transfer-evaluations", "5"),
]


WITHOUT_DRIVER = pytest.mark.skipif(devices.find_driver() is not None, reason="this machine has an NVIDIA driver")


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def run_here(monkeypatch, capfd):
    """The same as `run` in this process, which saves a few seconds."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks import __main__ as command

    def run_here(*arguments):
        capfd.readouterr()
        try:
            status = command.main([str(word) for word in arguments])
        except SystemExit as end:
            status = end.code
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    return run_here


def figures(part):
    """All summaries in a record."""
    if isinstance(part, dict) and "median" in part:
        yield part
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from figures(inner)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What a run in this process printed, and the path of its record; the timings are as short as can be."""
    path, arguments = tmp_path_factory.mktemp("results") / "record.json", ["--only", "layers", "evaluation", "threads"]
    printed, reported = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        patch.chdir(ROOT)
        from benchmarks import __main__ as command
        from benchmarks import machine, measuring

        patch.setattr(measuring, "LEAST", 1e-6)
        patch.setattr(measuring, "REST", 0)
        patch.setattr(machine._numpy_product, "__defaults__", (256,))
        with redirect_stdout(printed), redirect_stderr(reported):
            arguments += [*TINY, "--no-peers", "--machine", "a machine", "--output", str(path)]
            assert command.main(arguments) == 0
    return printed.getvalue(), reported.getvalue(), path


@pytest.fixture(scope="module")
def record(finished):
    return json.loads(finished[2].read_text())


def test_the_record_has_date_machine_and_settings(record):
    assert record["date"] == str(date.today())
    assert record["machine"]["name"] == "a machine" and record["machine"]["numpy"]
    assert record["settings"]["repetitions"] == 2
    assert record["settings"]["optimizers"] == list(OPTIMIZERS)[:1]
    assert list(record["sections"]) == ["layers", "evaluation", "threads"]
    assert str(ROOT) not in json.dumps(record)


def test_every_figure_has_its_range(record):
    found = list(figures(record))
    assert len(found) > 50
    for figure in found:
        assert 0 <= figure["min"] <= figure["median"] <= figure["max"] and figure["repetitions"] == 2


def test_all_layers_are_measured_and_close_to_the_reference(record):
    rows = record["sections"]["layers"]["layers"]
    names = [row["layer"] for row in rows if row["way"] == "forward"]
    assert sum(name.startswith("conv") for name in names) == 13
    assert sum(name.startswith("Gram") for name in names) == 5
    assert names.count("content of relu4_2") == 1
    assert len(rows) == 2 * len(names)
    for row in rows:
        assert row["relative error"] < 1e-5
        assert row["layer"].startswith("content") or row["bound GFLOP/s"] > row["GFLOP/s"] > 0


def test_the_parts_of_an_evaluation_add_up(record):
    (row,) = record["sections"]["evaluation"]["evaluation"]
    convolutions = [part["median"] for name, part in row["parts seconds"].items() if name.startswith("conv")]
    assert len(convolutions) == 4
    assert 0 < row["outside convolutions"]["median"] < 1
    assert sum(convolutions) < 2 * row["seconds"]["max"]


def test_threads_give_the_same_bits(record):
    rows = record["sections"]["threads"]["threads"]
    assert rows[0]["threads"] == 1
    assert all(row["same bits"] for row in rows)


def test_tables_are_printed_and_can_be_printed_again(finished):
    printed, reported, path = finished
    for title in ("Products", "Layers at 32 px", "One evaluation", "Parts of one evaluation", "by number of threads"):
        assert title in printed
    assert "conv5_1" in printed and "without transfer: PyTorch" in reported
    again = run("--show", path)
    assert again.returncode == 0 and again.stdout == printed


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_memory(run_here, tmp_path):
    path = tmp_path / "record.json"
    process = run_here("--only", "memory", *TINY, "--no-peers", "--output", path)
    assert process.returncode == 0, process.stderr
    (row,) = json.loads(path.read_text())["sections"]["memory"]["memory"]
    assert row["optimizer"] == next(iter(OPTIMIZERS))
    assert 2**25 < row["bytes"]["median"] < 2**30
    assert row["bytes"]["repetitions"] == 2
    for work in ("evaluation", "transfer"):
        assert row[work]["measured bytes"]["repetitions"] == 1
        assert 0.2 < row[work]["predicted bytes"] / row[work]["measured bytes"]["median"] < 5
    assert "Peak memory" in process.stdout and f"a transfer with {row['optimizer']}" in process.stdout


def test_the_page(run_here, tmp_path, monkeypatch):
    from benchmarks import web

    monkeypatch.setattr(web, "STEPS", 5)
    path = tmp_path / "record.json"
    process = run_here("--only", "web", *TINY, "--repetitions", "1", "--no-peers", "--output", path)
    assert process.returncode == 0, process.stderr
    page = json.loads(path.read_text())["sections"]["web"]["page"]
    assert page["compressed"] < page["bytes"] and page["files"] > 10
    assert page["first picture"]["median"] > 0 and page["server"]["median"] > 0
    assert "The page" in process.stdout


def test_training(run_here, tmp_path):
    path = tmp_path / "record.json"
    process = run_here("--only", "training", *TINY, "--no-peers", "--output", path)
    assert process.returncode == 0, process.stderr
    (row,) = json.loads(path.read_text())["sections"]["training"]["training"]
    assert row["pictures"] == 256 and row["threads"] == 1 and row["stylecore"]["median"] > 0
    assert "An epoch of training" in process.stdout


def test_start_up_in_its_own_process():
    given = {name: str(ROOT / f"stylecore/samples/{name}.jpg") for name in ("photograph", "painting")}
    arguments = json.dumps({"content": given["photograph"], "style": given["painting"], "size": 32})
    command = [sys.executable, "-m", "benchmarks.child", "startup", arguments]
    seconds = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert 0 < seconds["import"] < seconds["first evaluation"] < seconds["first transfer"]


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs PyTorch, which `make bench-peers` installs")
def test_peers_minimise_the_same(tmp_path):
    path = tmp_path / "record.json"
    optimizers = list(OPTIMIZERS)[:2]
    sections = ["--only", "evaluation", "transfer", "training", "--transfer-repetitions", "1"]
    process = run(*sections, *TINY, "--optimizers", *optimizers, "--output", path)
    assert process.returncode == 0, process.stderr
    sections = json.loads(path.read_text())["sections"]
    assert sections["evaluation"]["evaluation"][0]["differences"]["loss"] < 1e-5
    rows = sections["transfer"]["transfer"]
    assert [row["start"] for row in rows] == ["content"] * 4 + ["noise"] * 4
    assert [row["optimizer"] for row in rows] == optimizers * 4
    for row in rows:
        assert row["evaluations"]["median"] == 5
        # Five evaluations are too few for the loss of the peer to be reached in every case.
        reached = [row[ours] for ours in ("one scale", "pyramid") if ours in row]
        assert reached and all(way["ratio"]["median"] > 0 and way["seconds"]["median"] > 0 for way in reached)
    assert "until the loss of the peer" in process.stdout
    assert sections["training"]["training"][0]["ratio"]["median"] > 0


@pytest.mark.parametrize("record", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_every_record_can_be_shown(record, monkeypatch, capsys):
    """Those of earlier versions too, which lack some of today's figures."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import __main__ as command

    assert command.main(["--show", str(record)]) == 0
    assert "|" in capsys.readouterr().out


def test_a_stopped_run_keeps_the_finished_sections(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import __main__ as command

    def stop(setting):
        raise KeyboardInterrupt

    sections = {
        "layers": SimpleNamespace(measure=lambda setting: {"layers": [1]}),
        "threads": SimpleNamespace(measure=stop),
    }
    monkeypatch.setattr(command, "SECTIONS", sections)
    monkeypatch.setattr(command, "_setting", lambda given, with_peers: None)
    monkeypatch.setattr(command.machine, "describe", dict)
    path = tmp_path / "record.json"
    assert command.main(["--no-peers", "--output", str(path)]) == 130
    assert json.loads(path.read_text())["sections"] == {"layers": {"layers": [1]}}
    assert "the record holds the sections that were finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "transfer", "--no-peers"], "make bench-peers"),
        (["--only", "evaluation", "--sizes", "8", "--no-peers"], "too small"),
        (["--output", "setup.cfg/record.json"], "cannot be written"),
        pytest.param(["--only", "cuda"], "cuda cannot be measured: this machine has no", marks=WITHOUT_DRIVER),
        (["--show", "setup.cfg"], "not a record"),
        (["--sizes", "0"], "whole number"),
        (["--threads", "100000"], "more than"),
        (["--only", "layer"], "invalid choice"),
        (["--optimizers", "sgd"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_sentence(arguments, message, run_here, tmp_path):
    process = run_here("--output", tmp_path / "record.json", *arguments)
    assert process.returncode == 2
    assert message in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr
    assert not any(tmp_path.iterdir())


def test_films_are_measured(run_here, tmp_path):
    from fractions import Fraction

    import numpy as np

    from stylecore.pictures.reading import read_image
    from stylecore.samples import PHOTOGRAPH
    from stylecore.video.outputs import write_film

    picture = read_image(PHOTOGRAPH)[0][::8, ::8]
    frames = [(Fraction(i, 10), np.ascontiguousarray(picture[:, i : i + 64])) for i in range(3)]
    write_film(tmp_path / "film.mkv", frames, Fraction(10), frames[0][1].shape[:2])
    path = tmp_path / "record.json"
    process = run_here("--only", "video", *TINY, "--no-peers", "--films", tmp_path / "film.mkv", "--output", path)
    assert process.returncode == 0, process.stderr
    section = json.loads(path.read_text())["sections"]["video"]
    (pair,), (film,) = section["pairs"], section["films"]
    assert pair["ours"] > 0 and pair["alone"] > 0 and pair["seconds"] > 0
    assert film["frames"] == 3 and film["cuts"] == [] and all(film["parts"].values())
    assert sum(film["parts"].values()) < 1.2 * film["seconds per frame"]
    assert "E / alone" in process.stdout and "first frames" in process.stdout
