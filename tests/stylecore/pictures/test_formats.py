import io

import pytest
from made_pictures import (
    noise,
)
from PIL import Image

from stylecore.errors import ImageError
from stylecore.pictures.reading import lossy_format, read_image


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x0a" + bytes(40), "is a JPEG XL picture, which is not supported; export it as PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "is a JPEG XL picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing, which has no pixels; export it as PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand -->\n<SVG>', "is an SVG drawing"),
        (b'<?xml version="1.0"?><html>', "is not a picture"),
        (b"%PDF-1.7\n", "is a PDF document; export the page as PNG"),
        (b"gimp xcf v011\0", "is a GIMP project; export it as PNG"),
        (b"\0\0\0\x18ftypcrx ", "is a camera's raw file; develop it and export it as TIFF or JPEG"),
        (b"\0\0\0\x18ftypisom", "is a video; export a frame of it as PNG"),
    ],
)
def test_other_formats(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    for source, name in ((tmp_path / "x.png", r"x\.png"), (io.BytesIO(content), "style image")):
        with pytest.raises(ImageError, match=f"{name} {message}"):
            read_image(source, name="style image")


@pytest.mark.parametrize(
    ("suffix", "options", "kind"),
    [
        (".jpg", {}, "JPEG"),
        (".webp", {}, "WebP"),
        (".webp", {"lossless": True}, None),
        (".png", {}, None),
        (".tif", {}, None),
    ],
)
def test_lossy_format(tmp_path, suffix, options, kind):
    path = tmp_path / ("x" + suffix)
    Image.fromarray(noise(8, 8, 3)).save(path, **options)
    assert lossy_format(path) == lossy_format(str(path)) == kind
    for other in (tmp_path, tmp_path / "none.jpg", path.read_bytes(), Image.open(path), "", None):
        assert lossy_format(other) is None
