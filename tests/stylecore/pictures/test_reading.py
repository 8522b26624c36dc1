import io
import os
import shlex
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from made_pictures import (
    heic,
    noise,
    ordinary_user,
    rgb16_tags,
    srgb_profile,
    tiff,
)
from PIL import Image, ImageOps, features

from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures import formats, reading
from stylecore.pictures.reading import read_image, read_settings
from stylecore.pictures.writing import write_image


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".ppm", ".gif"])
def test_reads_what_pillow_decodes(tmp_path, suffix):
    path = tmp_path / ("picture" + suffix)
    Image.fromarray(noise(7, 11, 3)).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"), np.float32) / 255
    for source in (path, str(path)):
        rgb, alpha = read_image(source)
        assert rgb.dtype == np.float32 and rgb.flags.c_contiguous and alpha is None
        np.testing.assert_allclose(rgb, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "grey16.png", "pillow"])
def test_exif_orientation(tmp_path, kind, orientation):
    upright = Image.new("RGB", (30, 20), "black")
    upright.paste("red", (0, 0, 15, 10))
    upright.paste("blue", (15, 10, 30, 20))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposition that makes the stored image
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    expected = np.asarray(upright, np.float32) / 255
    if kind.startswith("grey16"):
        stored = Image.fromarray(np.asarray(stored.convert("L"), np.uint16) * 257)
        expected = np.repeat(np.asarray(upright.convert("L"), np.float32)[:, :, None], 3, axis=2) / 255
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "pillow":
        stored.getexif()[274] = orientation
        source = stored
    else:
        source = tmp_path / ("o." + kind)
        stored.save(
            source,
            exif=exif,
            **({"quality": 100} if kind == "jpg" else {"lossless": True} if kind == "webp" else {}),
        )
        with Image.open(source) as image:  # the test's own table of transpositions is Pillow's
            assert ImageOps.exif_transpose(image).size == (30, 20)
    rgb, _ = read_image(source)
    assert rgb.shape == (20, 30, 3) and rgb.flags.c_contiguous
    assert np.abs(rgb - expected)[2:8, 2:12].max() < 0.02 and np.abs(rgb - expected)[12:18, 17:28].max() < 0.02
    assert np.abs(rgb - expected).mean() < 0.03


def test_orientation_turns_alpha_too(tmp_path):
    pixels = noise(4, 6, 4)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    rgb, alpha = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(np.dstack([rgb, alpha]) * 255, np.rot90(pixels, -1), atol=1e-4)


def test_broken_exif_is_no_obstacle(tmp_path):
    Image.fromarray(noise(4, 6, 3)).save(tmp_path / "e.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with pytest.warns(UserWarning, match=r"e\.png has a flaw, but can be read: Corrupt EXIF data; .*\.$") as caught:
        assert read_image(tmp_path / "e.png")[0].shape == (4, 6, 3)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"e\.png has a flaw"):
        assert read_settings(tmp_path / "e.png") is None
    with pytest.warns(UserWarning, match="style image has a flaw"):
        read_image((tmp_path / "e.png").open("rb"), name="style image")


def test_warnings_of_others_stay_as_they_are(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "w.png")
    monkeypatch.setattr(
        formats, "recognise", lambda header: warnings.warn("not of Pillow", FutureWarning, stacklevel=1)
    )
    with pytest.warns(FutureWarning, match=r"^not of Pillow$"):
        read_image(tmp_path / "w.png")


# Streams and pipes


class Pipe:
    """A stream that can be read once, from its start to its end, in pieces of any size."""

    def __init__(self, data):
        self._data, self.name = io.BytesIO(data), 3

    def read(self, size=-1):
        return self._data.read(min(size, 1000))

    def seekable(self):
        return False


@pytest.fixture
def file_and_pixels(tmp_path):
    pixels = noise(40, 50, 3)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path / "p.png", pixels / np.float32(255)


def test_streams(file_and_pixels):
    path, pixels = file_and_pixels
    with open(path, "rb") as file:
        for stream in (file, Pipe(path.read_bytes()), io.BytesIO(path.read_bytes())):
            rgb, alpha = read_image(stream)
            np.testing.assert_allclose(rgb, pixels, atol=1e-6)
            assert alpha is None and not stream.read(1)
            with pytest.raises(ImageError, match="content image is empty; check the program that writes it"):
                read_image(stream, name="content image")
    write_image(path, pixels, settings={"a": 1})
    assert read_settings(Pipe(path.read_bytes())) == {"a": 1}


def test_pipes(file_and_pixels, tmp_path):
    path, pixels = file_and_pixels
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=[path.read_bytes()])
    writer.start()
    np.testing.assert_allclose(read_image(tmp_path / "fifo")[0], pixels, atol=1e-6)
    writer.join()


def test_standard_input(file_and_pixels):
    path, pixels = file_and_pixels
    program = "from stylecore.pictures.reading import read_image; print(read_image('/dev/stdin')[0].sum())"
    for redirect in ("cat {} | {}", "{1} < {0}"):
        command = redirect.format(path, shlex.join([sys.executable, "-c", program]))
        output = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
        assert float(output) == pytest.approx(pixels.sum(), rel=1e-5)


def test_streams_that_cannot_be_read(file_and_pixels, monkeypatch):
    path, _ = file_and_pixels
    with open(path) as file, pytest.raises(ImageError, match="mask is a text stream; open it in binary mode"):
        read_image(file, name="mask")
    with pytest.raises(ImageError, match=r"mask cannot be read \(.*closed file\)"):
        read_image(file.buffer, name="mask")
    with pytest.raises(ImageError, match="mask is not a picture that Pillow can read"):
        read_image(io.BytesIO(b"words"), name="mask")
    monkeypatch.setattr(reading, "MAX_STREAM_BYTES", 2**20)
    with open("/dev/zero", "rb") as endless:
        for source, name in ((endless, "mask"), ("/dev/zero", "/dev/zero")):
            with pytest.raises(ImageError, match=f"{name} is a stream of over 1 MB; save it to a file first"):
                read_image(source, name="mask")


# Errors


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png does not exist; check"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder; name a picture"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="the file name of the style image is empty; give the path of a picture"):
        read_image("", name="style image")
    for path in ("a\0b.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError, match=r"b?\.png cannot be opened"):
            read_image(path)


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(path)
    path.chmod(0)
    with ordinary_user(), pytest.raises(ImageError, match=r"secret\.png may not be read"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_not_a_picture(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.png is not a picture that Pillow can read; convert"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif", ".bmp"])
def test_truncated(tmp_path, suffix):
    whole = tmp_path / ("whole" + suffix)
    Image.fromarray(noise(64, 64, 3)).save(whole)
    cut = tmp_path / ("cut" + suffix)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"cut\.\w+ (cannot be read|is not a picture)"):
        read_image(cut)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif", "heic", "deep.tif", "planar.tif"])
def test_damaged_files_raise_nothing_else(tmp_path, kind):
    rng = np.random.default_rng(1)
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"damaged.{kind}"
    image = Image.fromarray(noise(16, 16, 3))
    if kind == "heic":
        heic(whole, image)
    elif kind == "deep.tif":
        write_image(whole, np.asarray(image) / 255, settings={"a": 1})
    elif kind == "planar.tif":
        planes = [plane.tobytes() for plane in np.moveaxis(noise(16, 16, 4, dtype=np.uint16), 2, 0)]
        whole.write_bytes(tiff(rgb16_tags(16, 16, 4) | {284: (2,), 34675: bytes(srgb_profile())}, planes))
    elif kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    else:
        image.save(whole, icc_profile=bytes(srgb_profile()), exif=b"Exif\0\0II*\0\x08\0\0\0")
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    structures = [(0, min(len(content), 800)), (max(0, len(content) - 300), len(content))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(100):
            data = content[: rng.integers(1, len(content))] if step % 4 == 3 else content.copy()
            if step % 4 != 3:
                data[rng.integers(*structures[step % 2], 5)] = rng.integers(0, 256, 5)
            path.write_bytes(data.tobytes())
            for reader in (read_image, read_settings):
                try:
                    reader(path)
                except (ImageError, TooLargeError) as error:
                    assert str(path) in str(error)


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(ImageError, match=r"dot\.png has only 1 x 1 pixels; use a larger picture"):
        read_image(tmp_path / "dot.png")


def test_file_larger_than_the_memory(tmp_path, monkeypatch):
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr("stylecore.memory.available", lambda: 10**6)
    with pytest.raises(TooLargeError, match=r"large\.png has 300 x 200 pixels, which need .* GB are free; scale"):
        read_image(tmp_path / "large.png")


def test_arrays_of_other_libraries():
    levels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)

    class Array:
        """As those of Dask and Zarr, which are computed or read when they are asked for."""

        shape, dtype, ndim = levels.shape, levels.dtype, 3

        def __array__(self, dtype=None, copy=None):
            return levels

    np.testing.assert_array_equal(read_image(Array())[0], read_image(levels)[0])


def test_arrays_of_dask():
    dask_array = pytest.importorskip("dask.array", reason="Dask is not installed")
    levels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    rgb, alpha = read_image(dask_array.from_array(levels, chunks=(16, 16, 3)))
    np.testing.assert_array_equal(rgb, read_image(levels)[0])
    assert alpha is None
