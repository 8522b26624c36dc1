"""Training as a whole: tiny networks on made data, in seconds."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time

import numba
import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import cli
from stylecore.errors import DataError, ParameterError, TrainingError
from stylecore.training import train as module
from stylecore.training.checkpoints import checkpoint_path
from stylecore.weights import read
from stylecore.weights.architectures import Conv, Pool

pytestmark = pytest.mark.slow

TABLE = (Conv("conv1_1", 3, 16), Pool("pool1"), Conv("conv2_1", 16, 16))
SETTINGS = {"architecture": TABLE, "side": 16, "batch": 16, "epochs": 4, "held_out": 0.25, "warm_up": 0.5}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Stripes along, across and aslant, of any colour and phase: 40 of each."""
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
    told = []
    done = stylecore.train_classifier(pictures, output, **{**SETTINGS, "epochs": 6}, callback=told.append)
    assert done.result > 0.9 and done.history[-1]["loss"] < done.history[0]["loss"]
    assert told == done.history and [epoch["epoch"] for epoch in told] == [1, 2, 3, 4, 5, 6]
    saved = read(output)
    assert saved.layers == TABLE and saved.network == "cnn"
    assert f"to a test accuracy of {done.result:.4f}" in saved.source
    np.testing.assert_array_equal(saved.filters["conv2_1"], done.weights.filters["conv2_1"])
    with open(tmp_path / "cnn.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test accuracy"]) for row in rows] == [epoch["test accuracy"] for epoch in told]
    assert not checkpoint_path(output).exists()
    picture = next((pictures / "along").iterdir())
    result = stylecore.transfer(picture, picture, size=24, iterations=3, network=output)
    assert result.settings["style_layers"] == ["relu1_1", "relu2_1"]
    assert result.settings["content_layers"] == ["relu1_1"]


def test_an_autoencoder_learns(pictures, tmp_path):
    done = stylecore.train_autoencoder(pictures, tmp_path / "ae.h5", **{**SETTINGS, "epochs": 8, "learning_rate": 0.01})
    # Grey pictures of the right brightness would have about 11 dB.
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


def test_a_training_that_is_stopped_goes_on_as_if_it_had_not_been(pictures, tmp_path):
    whole = stylecore.train_classifier(pictures, tmp_path / "whole.h5", **SETTINGS)

    def stop(epoch):
        if epoch["epoch"] == 2:
            raise KeyboardInterrupt

    output = tmp_path / "parts.h5"
    with pytest.raises(KeyboardInterrupt):
        stylecore.train_classifier(pictures, output, **SETTINGS, callback=stop)
    assert not output.exists()
    with pytest.raises(ParameterError, match=r"parts\.checkpoint\.npz is of an unfinished training; add --resume"):
        stylecore.train_classifier(pictures, output, **SETTINGS)
    with pytest.raises(ParameterError, match=r"belongs to a training with batch 16 and not 8; go on with that"):
        stylecore.train_classifier(pictures, output, **{**SETTINGS, "batch": 8}, resume=True)
    told = []
    done = stylecore.train_classifier(pictures, output, **SETTINGS, resume=True, callback=told.append)
    assert [epoch["epoch"] for epoch in told] == [3, 4] and len(done.history) == 4
    np.testing.assert_array_equal(filters(done), filters(whole))


def test_a_damaged_checkpoint_is_told(pictures, tmp_path):
    path = checkpoint_path(tmp_path / "cnn.h5")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"the checkpoint .* is damaged; delete it"):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **SETTINGS, resume=True)


def test_killed_it_loses_one_epoch_at_most(pictures, tmp_path):
    """SIGKILL in the midst of a training, and then --resume."""
    output = tmp_path / "cnn.h5"
    command = [sys.executable, "-m", "stylecore", "train", "cnn", str(pictures), "-o", str(output)]
    command += ["--side", "16", "--batch", "16", "--epochs", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    seen = [process.stderr.readline() for _ in range(3)]
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    seen += process.stderr.readlines()
    process.wait()
    process.stderr.close()
    assert seen[2].startswith("epoch 3, loss")
    with np.load(checkpoint_path(output)) as file:
        assert len(file["values"])
    with open(output.with_suffix(".csv")) as file:
        assert len(list(csv.DictReader(file))) >= len(seen) - 1
    assert not list(tmp_path.glob("*.h5"))


def test_a_loss_that_is_not_finite_ends_it(pictures, tmp_path):
    settings = {**SETTINGS, "learning_rate": 1e30, "warm_up": 0.0}
    with pytest.raises(
        TrainingError, match=r"no longer finite at step \d+ \(epoch 1\), and nothing was written; lower"
    ):
        stylecore.train_classifier(pictures, tmp_path / "cnn.h5", **settings)
    assert not list(tmp_path.iterdir())


def test_once_the_loss_is_not_finite_the_last_epoch_is_kept(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module._Run, "_rate", lambda run, step: 0.01 if step < 6 else 1e30)
    arguments = ["--side", "16", "--batch", "24", "--epochs", "5", "-q"]
    assert cli.main(["train", "cnn", str(pictures), "-o", str(tmp_path / "cnn.h5"), *arguments]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "(epoch 2), and the checkpoint of the epoch before is kept; lower the learning rate" in told
    with np.load(checkpoint_path(tmp_path / "cnn.h5")) as file:
        assert np.isfinite(file["values"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 1000}, "batch is 1000, but there are 90 pictures to train on; lower it"),
        ({"batch": 0}, "batch is 0; it must be a whole number"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"held_out": 1}, "held_out is 1; it must be a number between 0 and 1"),
        ({"dropout": 1}, "dropout is 1; it must be"),
        ({"optimizer": "sdg"}, 'optimizer "sdg" is not known; near it are sgd'),
        ({"architecture": (Conv("a", 4, 8),)}, "a does not take the 3 channels that it is given"),
        ({"architecture": (Conv("a", 3, 8), Conv("a", 8, 8))}, "two layers have the same name"),
        ({"architecture": "vgg"}, "the architecture cannot be trained"),
        ({"output": "cnn.csv"}, r"cnn\.csv cannot be the name of a network; it must end in \.h5"),
        ({"output": "nowhere/cnn.h5"}, r"there is no folder nowhere; create it"),
        ({"side": 1}, "pictures of 1 x 1 pixels are too small for pool1"),
        ({"plot": "curves.xyz"}, r"curves\.xyz cannot be written as a plot|a plot needs matplotlib"),
    ],
)
def test_settings_that_cannot_be_used_are_told(pictures, tmp_path, wrong, message):
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
    told = capsys.readouterr()
    assert told.out.startswith(f"{output}: accuracy ") and told.out.endswith("on what was held out, after 2 epochs\n")
    assert told.err.splitlines()[1].startswith("epoch 2, loss")
    assert read(output).layers == (Conv("conv1", 3, 16),)
    assert cli.main(["train", "autoencoder", str(pictures), "-o", str(output), *arguments, "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "is no JSON"), ("[{}]", "cannot be used"), ("3", "cannot be used")],
)
def test_a_table_that_cannot_be_read_is_told(pictures, tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "table.json").write_text(content)
    arguments = ["--architecture", str(tmp_path / "table.json"), "-o", str(tmp_path / "cnn.h5")]
    assert cli.main(["train", "cnn", str(pictures), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and len(told.splitlines()) == 1


def test_interrupted_the_command_line_tells_how_to_go_on(pictures, tmp_path, capsys, monkeypatch):
    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(module._Run, "epoch", interrupt)
    assert cli.main(["train", "cnn", str(pictures), "-o", str(tmp_path / "cnn.h5"), "--batch", "16"]) == 130
    assert "--resume goes on" in capsys.readouterr().err


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
