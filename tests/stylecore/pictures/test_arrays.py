import numpy as np
import pytest
from made_pictures import noise

from stylecore.errors import ImageError
from stylecore.pictures.reading import read_image


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_integer_arrays(dtype, shape):
    array = noise(*shape, dtype=np.dtype(dtype).newbyteorder("=")).astype(dtype)
    rgb, alpha = read_image(array)
    expected = (array / np.iinfo(dtype).max).reshape(4, 5, -1)
    np.testing.assert_allclose(rgb, np.broadcast_to(expected[:, :, :3], (4, 5, 3)), atol=1e-6)
    assert rgb.dtype == np.float32 and rgb.flags.c_contiguous and rgb.flags.writeable
    if shape[2:] == (4,):
        np.testing.assert_allclose(alpha, expected[:, :, 3], atol=1e-6)
    else:
        assert alpha is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_arrays_are_copied(dtype):
    array = np.random.default_rng(0).random((4, 5, 3)).astype(dtype)[:, ::-1]
    rgb, _ = read_image(array)
    np.testing.assert_allclose(rgb, array, atol=1e-6)
    rgb[:] = 0
    assert array.max() > 0


def test_rounding_beyond_the_range_is_clipped():
    rgb, _ = read_image(np.full((2, 2, 3), 1 + 1e-6))
    assert rgb.max() == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4, 3), np.nan), "content image holds values that are not finite"),
        (np.full((4, 4), np.inf), "content image holds values that are not finite"),
        (np.dstack([np.ones((4, 4, 3)), np.full((4, 4), np.nan)]), "not finite"),
        (np.linspace(0, 255, 48).reshape(4, 4, 3), r"from 0 to 255, outside \[0, 1\]; divide by 255 first"),
        (np.linspace(0, 65535, 48).reshape(4, 4, 3), "divide by 65535 first"),
        (np.linspace(-1, 1, 48).reshape(4, 4, 3), r"from -1 to 1, outside \[0, 1\]; scale them first"),
        (np.linspace(0, 1.2, 48).reshape(4, 4, 3), r"from 0 to 1\.2, outside .* scale them"),
        (np.dstack([np.ones((4, 4, 3)), np.full((4, 4), 255.0)]), "divide by 255"),
        (np.zeros((4, 4, 2)), r"content image has shape \(4, 4, 2\); give"),
        (np.zeros((1, 4, 4, 3)), r"shape \(1, 4, 4, 3\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((4, 4, 3), int), "is of type int64; give uint8"),
        (np.zeros((4, 4, 3), bool), "is of type bool"),
        (np.zeros((4, 4, 3), complex), "is of type complex128"),
        (np.full((4, 4, 3), "x"), "is of type <U1"),
        (np.zeros((0, 4, 3)), "has only 4 x 0 pixels"),
        (np.zeros((1, 1, 3)), "has only 1 x 1 pixels; use a larger"),
        ([[1]], "content image is of type list; give a path"),
        (None, "content image is of type NoneType"),
    ],
)
def test_unusable_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array, name="content image")
