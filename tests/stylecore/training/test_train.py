"""Whole trainings of tiny networks, on data that is made here."""

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import takewhile

import numba
import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import cli
from stylecore.cli.training import SETTINGS as SETTINGS_OF
from stylecore.errors import DataError, ParameterError, TooLargeError, TrainingError
from stylecore.training import train as module
from stylecore.weights import read
from stylecore.weights.architectures import Conv, Pool

pytestmark = pytest.mark.slow

TABLE = (Conv("conv1_1", 3, 16), Pool("pool1"), Conv("conv2_1", 16, 16))
SETTINGS = {"architecture": TABLE, "side": 16, "batch": 16, "epochs": 4, "held_out": 0.25, "warm_up": 0.5}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Vertical, horizontal and diagonal stripes of random colour and phase: 40 of each."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    down, right = np.mgrid[:24, :24]
    for name, place in (("across", right), ("along", down), ("aslant", down + right)):
        (folder / name).mkdir()
        for number in range(40):
            wave = 0.5 + 0.4 * np.sin(1.2 * place + rng.uniform(0, 6))[..., None] * rng.choice([-1, 1], 3)
            noisy = wave + 0.05 * rng.standard_normal((24, 24, 3))
            Image.fromarray((255 * noisy.clip(0, 1)).astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder


def filters(training):
    return np.concatenate([array.reshape(-1) for array in training.weights.filters.values()])


def test_a_classifier_learns_and_its_file_makes_pictures(pictures, tmp_path):
    output = tmp_path / "cnn.h5"
    epochs = []
    done = stylecore.train_classifier(pictures, output, **{**SETTINGS, "epochs": 6}, callback=epochs.append)
    assert done.result > 0.9 and done.history[-1]["loss"] < done.history[0]["loss"]
    assert epochs == done.history and [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    saved = read(output)
    assert saved.layers == TABLE and saved.network == "cnn"
    assert f"to a test accuracy of {done.result:.4f}" in saved.source
    assert '"classes": ["across", "along", "aslant"], "side": 16' in saved.source
    np.testing.assert_array_equal(saved.filters["conv2_1"], done.weights.filters["conv2_1"])
    with open(tmp_path / "cnn.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test accuracy"]) for row in rows] == [epoch["test accuracy"] for epoch in epochs]
    assert not (tmp_path / "cnn.checkpoint.npz").exists()
    picture = next((pictures / "along").iterdir())
    result = stylecore.transfer(picture, picture, size=24, iterations=3, network=output)
    assert result.settings["style_layers"] == ["relu1_1", "relu2_1"]
    assert result.settings["content_layers"] == ["relu1_1"]


def test_an_autoencoder_learns(pictures, tmp_path):
    done = stylecore.train_autoencoder(pictures, tmp_path / "ae.h5", **{**SETTINGS, "epochs": 8, "learning_rate": 0.01})
    # Uniform pictures of the right brightness would have about 11 dB.
    assert done.result > 15 and done.result > done.history[0]["test PSNR"] + 2
    assert done.score == "PSNR" and read(tmp_path / "ae.h5").network == "autoencoder"


@pytest.mark.parametrize("train", [stylecore.train_classifier, stylecore.train_autoencoder])
def test_the_same_seed_gives_the_same_network(pictures, tmp_path, train):
    settings = {**SETTINGS, "epochs": 1}
    first, second = (train(pictures, tmp_path / f"{i}.h5", **settings, seed=1) for i in range(2))
    np.testing.assert_array_equal(filters(first), filters(second))
    assert (filters(train(pictures, tmp_path / "3.h5", **settings, seed=2)) != filters(first)).any()
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = train(pictures, tmp_path / "4.h5", **settings, seed=1)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(filters(alone), filters(first))


def test_a_resumed_training_gives_the_same_network(pictures, tmp_path):
    whole = stylecore.train_classifier(pictures, tmp_path / "whole.h5", **SETTINGS)

    def stop(epoch):
        if epoch["epoch"] == 2:
            raise KeyboardInterrupt

    output = tmp_path / "parts.h5"
    with pytest.raises(KeyboardInterrupt):
        stylecore.train_classifier(pictures, output, **SETTINGS, callback=stop)
    assert not output.exists()
    with pytest.raises(
        ParameterError, match=r"parts\.checkpoint\.npz is the checkpoint of an unfinished training; resume"
    ):
        stylecore.train_classifier(pictures, output, **SETTINGS)
    with pytest.raises(ParameterError, match=r"belongs to a training with batch 16 and not 8; resume it with that"):
        stylecore.train_classifier(pictures, output, **{**SETTINGS, "batch": 8}, resume=True)
    epochs = []
    done = stylecore.train_classifier(pictures, output, **SETTINGS, resume=True, callback=epochs.append)
    assert [epoch["epoch"] for epoch in epochs] == [3, 4] and len(done.history) == 4
    np.testing.assert_array_equal(filters(done), filters(whole))


def test_a_training_is_not_resumed_on_other_data(pictures, tmp_path):
    changed, output = shutil.copytree(pictures, tmp_path / "changed"), tmp_path / "cnn.h5"

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stylecore.train_classifier(pictures, output, **SETTINGS, callback=stop)
    picture = changed / "along" / "00.png"
    with Image.open(picture) as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(picture)
    with pytest.raises(
        ParameterError, match=r"checkpoint\.npz belongs to a training on other data; resume it with those"
    ):
        stylecore.train_classifier(changed, output, **SETTINGS, resume=True)
    same = shutil.copytree(pictures, tmp_path / "same")
    assert len(stylecore.train_classifier(same, output, **SETTINGS, resume=True).history) == 4


def test_a_table_of_something_else_is_not_overwritten(pictures, tmp_path):
    notes = tmp_path / "cnn.csv"
    notes.write_text("name,grade\nAda,1\n")
    with pytest.raises(ParameterError, match=r"cnn\.csv would be replaced by the learning curves"):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **SETTINGS)
    assert notes.read_text() == "name,grade\nAda,1\n" and list(tmp_path.iterdir()) == [notes]


def test_no_picture_is_overwritten(pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    picture = folder / "along" / "00.png"
    content = picture.read_bytes()
    pytest.importorskip("matplotlib")
    with pytest.raises(ParameterError, match=r"00\.png belongs to the data and would be overwritten"):
        stylecore.train_classifier(folder, tmp_path / "cnn.h5", **SETTINGS, plot=picture)
    assert picture.read_bytes() == content


def test_a_damaged_checkpoint_is_refused(pictures, tmp_path):
    (tmp_path / "cnn.checkpoint.npz").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"cnn\.checkpoint\.npz is damaged or not the checkpoint of a training"):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **SETTINGS, resume=True)


def test_a_killed_training_loses_one_epoch_at_most(pictures, tmp_path):
    """SIGKILL in the middle of an epoch."""
    output = tmp_path / "cnn.h5"
    command = [sys.executable, "-m", "stylecore", "train", "cnn", str(pictures), "-o", str(output)]
    command += ["--side", "16", "--batch", "16", "--epochs", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    seen = list(takewhile(lambda line: not line.startswith("epoch 3, loss"), process.stderr))
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    seen += process.stderr.readlines()
    process.wait()
    process.stderr.close()
    epochs = 1 + sum(line.startswith("epoch ") for line in seen)  # Other lines tell of kernels being compiled.
    with np.load(output.with_suffix(".checkpoint.npz")) as file:
        assert len(file["values"])
    with open(output.with_suffix(".csv")) as file:
        assert len(list(csv.DictReader(file))) >= epochs - 1
    assert not list(tmp_path.glob("*.h5"))


def test_a_loss_that_is_not_finite_ends_it(pictures, tmp_path):
    settings = {**SETTINGS, "learning_rate": 1e30, "warm_up": 0.0}
    with pytest.raises(
        TrainingError, match=r"no longer finite at step \d+ \(epoch 1\), and nothing was written; reduce"
    ):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **settings)
    assert not list(tmp_path.iterdir())


def test_once_the_loss_is_not_finite_the_last_epoch_is_kept(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module._Run, "_rate", lambda run, step: 0.01 if step < 6 else 1e30)
    arguments = ["--side", "16", "--batch", "24", "--epochs", "5", "-q"]
    assert cli.main(["train", "cnn", str(pictures), "-o", str(tmp_path / "cnn.h5"), *arguments]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "(epoch 2), and the checkpoint of the last epoch is kept; reduce the learning rate" in message
    with np.load(tmp_path / "cnn.checkpoint.npz") as file:
        assert np.isfinite(file["values"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 1000}, "batch is 1000, but there are only 90 pictures to train on; reduce it"),
        ({"batch": 0}, "batch is 0; it must be an integer"),
        ({"lerning_rate": 0.1}, r'there is no setting "lerning_rate".*learning_rate'),
        ({"output": "cnn.csv"}, r"cnn\.csv cannot be the name of a network; it must end in \.h5"),
        ({"output": "nowhere/cnn.h5"}, r"there is no folder nowhere; create it"),
        ({"side": 1}, "pictures of 1 x 1 pixels are too small for pool1"),
        ({"plot": "curves.xyz"}, r"curves\.xyz cannot be written as a plot|a plot needs Matplotlib"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(pictures, tmp_path, wrong, message):
    with pytest.raises(ParameterError, match=message):
        stylecore.train_classifier(pictures, **{"output": tmp_path / "cnn.h5", **SETTINGS, **wrong})
    assert not list(tmp_path.iterdir())


def test_the_command_line_trains(pictures, tmp_path, capsys):
    table = tmp_path / "table.json"
    table.write_text('[{"kind": "conv", "name": "conv1", "in_channels": 3, "out_channels": 16}]')
    arguments = [
        "--architecture",
        str(table),
        "--side",
        "8",
        "--batch",
        "16",
        "--epochs",
        "2",
        "--classes",
        "along",
        "across",
    ]
    output = tmp_path / "cnn.h5"
    assert cli.main(["train", "cnn", str(pictures), "-o", str(output), *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{output}: accuracy ") and shown.out.endswith("on the test set, after 2 epochs\n")
    assert shown.err.splitlines()[1].startswith("epoch 2, loss")
    assert read(output).layers == (Conv("conv1", 3, 16),)
    assert cli.main(["train", "autoencoder", str(pictures), "-o", str(output), *arguments, "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("[{}]", "cannot be used"), ("3", "cannot be used")],
)
def test_an_architecture_that_cannot_be_read_is_refused(pictures, tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "table.json").write_text(content)
    arguments = ["--architecture", str(tmp_path / "table.json"), "-o", str(tmp_path / "cnn.h5")]
    assert cli.main(["train", "cnn", str(pictures), *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1


def test_an_interrupted_command_says_how_to_resume(pictures, tmp_path, capsys, monkeypatch):
    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(module._Run, "epoch", interrupt)
    assert cli.main(["train", "cnn", str(pictures), "-o", str(tmp_path / "cnn.h5"), "--batch", "16"]) == 130
    assert "--resume continues from the last checkpoint" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(pictures, tmp_path, capsys):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        arguments = ["--side", "16", "--batch", "16", "--epochs", "1"]
        status = cli.main(["train", "cnn", str(pictures), "-o", str(tmp_path / "cnn.h5"), *arguments])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, former)
    assert status == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_plot_of_the_curves(pictures, tmp_path):
    stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **{**SETTINGS, "epochs": 2}, plot=tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500


def test_a_batch_that_does_not_fit_into_memory_is_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(module.memory, "available", lambda: 2**24)
    with pytest.raises(
        TooLargeError, match=r"training on batches of 90 pictures of 256 x 256 pixels needs .* are free; reduce batch"
    ):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **{**SETTINGS, "batch": 90, "side": 256})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", ["cnn", "autoencoder"])
def test_the_help_shows_every_setting_with_its_default(network, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", network, "--help-all"])
    shown = " ".join(capsys.readouterr().out.split())
    for name, default in SETTINGS_OF[network].defaults().items():
        assert f"--{name.replace('_', '-')} " in shown
        if isinstance(default, int | float):
            assert f"(default: {default:g})" in shown


def test_a_signal_ends_a_training_with_a_sentence(pictures, tmp_path):
    output = tmp_path / "cnn.h5"
    command = [sys.executable, "-m", "stylecore", "train", "cnn", str(pictures), "-o", str(output)]
    command += ["--side", "16", "--batch", "16", "--epochs", "100000"]
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        process.stderr.readline()
        process.send_signal(number)
        _, last = process.communicate()
        assert process.returncode == 130
        assert last.splitlines()[-1].startswith("stylecore: stopped; --resume continues")
        assert "Traceback" not in last and not output.exists()
        command.append("--resume")
