import io
import os
import resource
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_pictures import decode, gradient, ordinary_user
from PIL import Image, ImageCms, PngImagePlugin

from stylecore.errors import ImageError
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.reading import read_image, read_settings
from stylecore.pictures.writing import check_output, write_image

SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"]
SETTINGS = {"style": "Überfluß ✓ \udc80", "weight": 1e-3, "layers": ["relu1_1"], "seed": None}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("transparent", [False, True])
def test_round_trip(tmp_path, suffix, transparent):
    rgb, alpha = gradient(45, 64), gradient(45, 64)[:, :, 2] if transparent else None
    path = tmp_path / ("out" + suffix)
    write_image(path, rgb, alpha=alpha, settings=SETTINGS)
    assert os.listdir(tmp_path) == [path.name]
    assert read_settings(path) == SETTINGS
    back, back_alpha = read_image(path)
    tolerance = {".png": 0.5 / 255, ".tif": 0.5 / 65535, ".tiff": 0.5 / 65535}.get(suffix, 0.04)
    if transparent and suffix.startswith(".j"):
        rgb, alpha = rgb * alpha[:, :, None] + (1 - alpha[:, :, None]), None
    np.testing.assert_allclose(back, rgb, atol=tolerance + 1e-6)
    if alpha is None:
        assert back_alpha is None
    else:
        np.testing.assert_allclose(back_alpha, alpha, atol=min(tolerance, 0.5 / 255) + 1e-6)
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        if suffix.startswith(".j"):
            assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 6), st.integers(1, 6), st.sampled_from([3, 4]))))
def test_png_keeps_all_8_bits(tmp_path_factory, levels):
    path = tmp_path_factory.getbasetemp() / "exact.png"
    rgb, alpha = read_image(levels)
    write_image(path, rgb, alpha=alpha)
    np.testing.assert_array_equal(np.rint(decode(path) * 255), levels)
    np.testing.assert_array_equal(read_image(path)[0], rgb)


def test_values_are_rounded_and_clipped(tmp_path):
    rgb = np.zeros((2, 3, 3))
    rgb[0, :, 0] = [-0.5, 1.5, 100.6 / 255]
    write_image(tmp_path / "r.png", rgb)
    np.testing.assert_array_equal(decode(tmp_path / "r.png")[0, :, 0] * 255, [0, 255, 101])
    assert to_pil(rgb, np.ones((2, 3))).mode == "RGBA" and to_pil(rgb).mode == "RGB"


def test_equal_pictures_give_equal_files(tmp_path):
    for suffix in SUFFIXES:
        for name in ("a", "b"):
            write_image(tmp_path / (name + suffix), gradient(8, 8), settings=SETTINGS)
        assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


def test_settings_of_others(tmp_path):
    path = tmp_path / "none.tif"
    write_image(path, gradient(4, 4))
    assert read_settings(path) is None
    for description in ('{"shape": [4, 4]}', "my holidays", "[1]", "7"):
        Image.new("RGB", (4, 4)).save(path, description=description)
        assert read_settings(path) is None
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("stylecore", '{"a": "ä"}')
    Image.new("RGB", (4, 4)).save(tmp_path / "i.png", pnginfo=chunks)
    assert read_settings(tmp_path / "i.png") == {"a": "ä"}
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        read_settings(tmp_path / "gone.png")


def test_new_files_have_ordinary_permissions_and_links_stay(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_image(tmp_path / "link.png", gradient(4, 4))
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xyz", r"a\.xyz has no suffix of a known picture format; use one of \.png, \.jpg"),
        ("a", "has no suffix"),
        ("none/a.png", r"a\.png cannot be written: there is no folder .*none"),
        ("folder.png", r"folder\.png is a folder"),
        ("x" * 300 + ".png", "cannot be written"),
        ("a\0b.png", "cannot be written"),
    ],
)
def test_unusable_outputs(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    for attempt in (check_output, lambda path: write_image(path, gradient(4, 4))):
        with pytest.raises(ImageError, match=message):
            attempt(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["folder.png"]


def test_check_output_leaves_nothing_and_harms_nothing(tmp_path):
    check_output(tmp_path / "new.PNG")
    assert os.listdir(tmp_path) == []
    (tmp_path / "old.tif").write_bytes(b"old")
    check_output(tmp_path / "old.tif")
    assert (tmp_path / "old.tif").read_bytes() == b"old"


def test_formats_limit_the_size(tmp_path):
    check_output(tmp_path / "a.png", (70_000, 10))
    for name, shape in (("a.webp", (16_384, 5, 3)), ("a.jpg", (5, 65_501))):
        with pytest.raises(ImageError, match="pixels a side; use PNG"):
            check_output(tmp_path / name, shape)
    with pytest.raises(ImageError, match="WebP holds at most 16383 pixels a side"):
        write_image(tmp_path / "a.webp", np.zeros((16_384, 1, 3), np.float32))


def test_no_permission_to_write(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    tmp_path.chmod(0o555)
    with ordinary_user():
        for name in ("old.png", "new.png"):
            for attempt in (check_output, lambda path: write_image(path, gradient(4, 4))):
                with pytest.raises(ImageError, match="cannot be written"):
                    attempt(tmp_path / name)
    tmp_path.chmod(0o755)
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / ("old" + suffix)
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # writing more fails as on a full disk
    try:
        with pytest.raises(ImageError, match=r"old\.\w+ cannot be written"):
            write_image(path, np.random.default_rng(0).random((100, 100, 3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("rgb", "alpha", "settings", "message"),
    [
        (np.full((4, 4, 3), np.nan), None, None, "not finite"),
        (np.zeros((4, 4, 3)), np.full((4, 4), np.inf), None, "not finite"),
        (np.zeros((4, 4)), None, None, r"floats of shape \(H, W, 3\)"),
        (np.zeros((4, 4, 4)), None, None, r"floats of shape \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), None, None, "floats of shape"),
        (np.zeros((0, 4, 3)), None, None, "floats of shape"),
        (np.zeros((4, 4, 3)), np.zeros((4, 5)), None, r"its alpha \(H, W\)"),
        (np.zeros((4, 4, 3)), None, {"a": object()}, "settings cannot be converted to JSON"),
    ],
)
def test_unusable_pictures(tmp_path, rgb, alpha, settings, message):
    with pytest.raises(ImageError, match=message):
        write_image(tmp_path / "a.png", rgb, alpha=alpha, settings=settings)
    assert os.listdir(tmp_path) == []


# Streams and special files


class Sink:
    """A stream that is neither seekable nor flushed, such as a socket's."""

    def __init__(self):
        self.content = b""

    def write(self, data):
        self.content += bytes(data)


@pytest.mark.parametrize("format", ["png", "jpg", "jpeg", "webp", "tif", "TIFF", ".png"])
def test_streams(tmp_path, format):
    rgb, alpha = gradient(20, 30), gradient(20, 30)[:, :, 0]
    path = tmp_path / ("a." + format.lower().lstrip("."))
    write_image(path, rgb, alpha=alpha, settings=SETTINGS)
    sink, memory = Sink(), io.BytesIO()
    with (tmp_path / "b").open("wb") as file:
        for stream in (sink, memory, file):
            write_image(stream, rgb, alpha=alpha, settings=SETTINGS, format=format)
    assert sink.content == memory.getvalue() == (tmp_path / "b").read_bytes() == path.read_bytes()
    assert read_settings(io.BytesIO(sink.content)) == SETTINGS


def test_format_overrides_the_suffix(tmp_path):
    write_image(tmp_path / "a.png", gradient(4, 4), format="tif")
    write_image(tmp_path / "a", gradient(4, 4), format="webp")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"II*\0" and (tmp_path / "a").read_bytes()[:4] == b"RIFF"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    rgb, pipe = gradient(20, 30), tmp_path / "pipe.png"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    check_output(pipe)  # opens nothing, or the reader would take it for the end
    write_image(pipe, rgb)
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    np.testing.assert_allclose(read_image(io.BytesIO(received[0]))[0], rgb, atol=0.51 / 255)


def test_standard_output(tmp_path):
    program = """if True:
        import sys, numpy as np
        from stylecore.pictures.writing import write_image
        write_image(sys.stdout.buffer, np.full((4, 6, 3), 0.2), format="png")
        write_image("/dev/stdout", np.full((4, 6, 3), 0.2), format="png")
    """
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    half = len(output) // 2
    assert output[:half] == output[half:]
    np.testing.assert_allclose(read_image(io.BytesIO(output[:half]))[0], 0.2, atol=1e-6)


class Broken(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("make", "format", "message"),
    [
        (io.BytesIO, None, "a stream has no suffix to choose a format by; give format= as one of png, jpg, webp, tif"),
        (io.BytesIO, "gif", 'format "gif" is not known; choose one of png, jpg, webp, tif'),
        (lambda: "a.png", "", 'format "" is not known'),
        (io.StringIO, "png", "the output stream is a text stream; open it in binary mode"),
        (Broken, "png", r"the output stream cannot be written \(Broken pipe\)"),
        (lambda: open(os.devnull, "rb"), "png", r"the output stream cannot be written \("),  # noqa: SIM115
        (lambda: "", None, "the file name of the output is empty; give the path of the picture to write"),
        (lambda: "", "png", "the file name of the output is empty"),
        (lambda: 7, "png", "the output is of type int; give a path or a binary stream"),
    ],
)
def test_unusable_streams_and_formats(make, format, message):
    target = make()
    with pytest.raises(ImageError, match=message):
        write_image(target, gradient(4, 4), format=format)


def test_limits_of_the_format_hold_for_streams():
    with pytest.raises(ImageError, match="the output stream cannot be written: JPEG holds at most 65500 pixels a side"):
        check_output(io.BytesIO(), (65_501, 4), format="jpeg")


def test_settings_too_long_for_jpeg(tmp_path):
    def exif_bytes(length):
        exif = Image.Exif()
        exif[270] = '{"stylecore": {"a": "' + "x" * length + '"}}'
        return len(exif.tobytes())

    most = max(length for length in range(65_450, 65_533) if exif_bytes(length) <= 65_533)
    for length, stored in ((most, True), (most + 1, False), (10**6, False)):
        settings = {"a": "x" * length}
        with nullcontext() if stored else pytest.warns(UserWarning, match=r"a\.jpg is written without its settings"):
            write_image(tmp_path / "a.jpg", gradient(4, 4), settings=settings)
        assert read_settings(tmp_path / "a.jpg") == (settings if stored else None)
        for suffix in (".png", ".webp", ".tif"):
            write_image(tmp_path / ("a" + suffix), gradient(4, 4), settings=settings)
            assert read_settings(tmp_path / ("a" + suffix)) == settings


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_resolution_of_a_print(tmp_path, suffix):
    write_image(tmp_path / f"a.{suffix}", np.zeros((4, 5, 3), np.float32), dpi=300)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
