import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecore.errors import DataError
from stylecore.video.flow import SMALLEST, compose, consistency, optical_flow, read_flow, resize_flow, warp


def sampled(image, y, x):
    """The image at a point by bilinear interpolation, with the edge repeated, from the definition."""
    height, width = image.shape[:2]
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = y - top, x - left
    above = (1 - b) * image[top, left] + b * image[top, right]
    below = (1 - b) * image[bottom, left] + b * image[bottom, right]
    return (1 - a) * above + a * below


def naive_consistency(flow, back):
    """The weights pixel by pixel, as the formulas state them."""
    height, width = flow.shape[:2]
    weight = np.ones((height, width))
    for i in range(height):
        for j in range(width):
            w = flow[i, j].astype(float)
            x, y = j + w[0], i + w[1]
            v = sampled(back.astype(float), y, x)
            right, left = flow[i, min(j + 1, width - 1)], flow[i, max(j - 1, 0)]
            below, above = flow[min(i + 1, height - 1), j], flow[max(i - 1, 0), j]
            gradient = np.sum(((right - left) / 2) ** 2) + np.sum(((below - above) / 2) ** 2)
            if np.floor(x) < 0 or np.floor(x) + 1 >= width or np.floor(y) < 0 or np.floor(y) + 1 >= height:
                weight[i, j] = 0
            elif np.sum((v + w) ** 2) >= 0.01 * (v @ v + w @ w) + 0.5:
                weight[i, j] = -1
            elif gradient > 0.01 * (w @ w) + 0.002:
                weight[i, j] = 0
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    kernel /= kernel.sum()
    smooth = np.zeros_like(weight)
    for i in range(height):
        for j in range(width):
            for di in range(-2, 3):
                for dj in range(-2, 3):
                    # Reflected at the border, whose pixels are repeated.
                    rows, columns = 2 * height, 2 * width
                    y, x = (i + di) % rows, (j + dj) % columns
                    y, x = min(y, rows - 1 - y), min(x, columns - 1 - x)
                    smooth[i, j] += kernel[di + 2] * kernel[dj + 2] * weight[y, x]
    return smooth.clip(0, 1)


@pytest.mark.parametrize("shape", [(9, 13), (5, 4), (1, 7), (7, 1), (1, 1), (17, 3)])
@pytest.mark.parametrize("size", [0.0, 0.4, 1.5, 6.0])
def test_weights_follow_the_formulas(shape, size):
    rng = np.random.default_rng(int(10 * size))
    flow = (size * rng.standard_normal((*shape, 2))).astype(np.float32)
    back = (-flow + 0.3 * rng.standard_normal((*shape, 2))).astype(np.float32)
    np.testing.assert_allclose(consistency(flow, back), naive_consistency(flow, back), atol=2e-6)


def test_flows_that_cancel_are_trusted_and_others_are_not():
    flow = np.broadcast_to(np.float32([3, -2]), (30, 40, 2))
    weight = consistency(flow, -flow)
    # The target of the last four columns and of the first two rows is outside, and the smoothing reaches two further.
    assert (weight[5:-3, :-6] > 0.999).all() and (weight[:1] < 0.1).all() and (weight[:, -2:] == 0).all()
    assert (consistency(flow, flow) == 0).all()


def test_motion_edges_are_not_trusted():
    flow = np.zeros((20, 40, 2), np.float32)
    flow[:, 20:, 0] = 1
    weight = consistency(flow, -flow)
    assert (weight[3:-3, 3:17] > 0.999).all() and (weight[3:-3, 19:21] < 0.3).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(-3, 3), st.integers(-3, 3))
def test_warping_by_whole_pixels_moves_the_image(height, width, x, y):
    image = np.random.default_rng(1).random((height, width, 3), np.float32)
    flow = np.broadcast_to(np.float32([x, y]), (height, width, 2))
    rows = (np.arange(height) + y).clip(0, height - 1)
    columns = (np.arange(width) + x).clip(0, width - 1)
    np.testing.assert_allclose(warp(image, flow), image[rows][:, columns], atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (1, 1), (2, 9)])
def test_warping_interpolates_between_pixels(shape):
    rng = np.random.default_rng(2)
    image, flow = rng.random((*shape, 3)), rng.uniform(-2, 2, (*shape, 2))
    expected = [
        [sampled(image, i + flow[i, j, 1], j + flow[i, j, 0]) for j in range(shape[1])] for i in range(shape[0])
    ]
    np.testing.assert_allclose(warp(image, flow), expected, atol=1e-5)
    np.testing.assert_allclose(warp(image[:, :, 0], flow), np.array(expected)[:, :, 0], atol=1e-5)


def test_cubic_splines_keep_more_of_the_texture():
    x = np.linspace(0, 20 * np.pi, 200)
    texture = np.tile(np.sin(x), (20, 1)).astype(np.float32)
    half = np.broadcast_to(np.float32([0.5, 0]), (20, 200, 2))
    linear, cubic = (np.std(warp(texture, half, order=order)[:, 20:-20]) for order in (1, 3))
    assert cubic > 0.999 * texture.std() > linear


def test_flows_are_composed_along_the_path():
    first = np.broadcast_to(np.float32([2, 1]), (12, 15, 2))
    second = np.broadcast_to(np.float32([-1, 3]), (12, 15, 2))
    np.testing.assert_allclose(compose(first, second), np.broadcast_to([1, 4], (12, 15, 2)))


@pytest.mark.parametrize("shape", [(20, 30), (5, 15), (10, 15), (7, 11)])
def test_a_resized_flow_leads_to_the_same_points(shape):
    flow = np.broadcast_to(np.float32([3, -4]), (10, 15, 2))
    resized = resize_flow(flow, shape)
    assert resized.shape == (*shape, 2)
    np.testing.assert_allclose(resized[0, 0], [3 * shape[1] / 15, -4 * shape[0] / 10], rtol=1e-5)


def test_the_motion_of_a_texture_is_estimated():
    rng = np.random.default_rng(3)
    noise = np.kron(rng.random((20, 30, 3)), np.ones((6, 6, 1)))
    texture = (255 * warp(noise, np.full((120, 180, 2), 0.5), order=3).clip(0, 1)).astype(np.uint8)
    flow = optical_flow(texture[:, 3:], texture[:, :-3])
    assert np.abs(np.median(flow, axis=(0, 1)) - [3, 0]).max() < 0.2


def test_frames_below_a_patch_have_no_flow():
    frame = np.zeros((SMALLEST - 1, 40, 3), np.uint8)
    assert (optical_flow(frame, frame) == 0).all()


def write_flow(path, flow, magic=202021.25):
    height, width = flow.shape[:2]
    header = np.array([magic], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(header + flow.astype("<f4").tobytes())


def test_flows_are_read(tmp_path):
    flow = np.random.default_rng(4).standard_normal((3, 5, 2)).astype(np.float32)
    write_flow(tmp_path / "a.flo", flow)
    np.testing.assert_array_equal(read_flow(tmp_path / "a.flo"), flow)


def test_damaged_flows_are_refused(tmp_path):
    flow = np.zeros((3, 5, 2))
    write_flow(tmp_path / "magic.flo", flow, magic=1.0)
    write_flow(tmp_path / "nan.flo", np.full_like(flow, np.nan))
    write_flow(tmp_path / "whole.flo", flow)
    (tmp_path / "short.flo").write_bytes((tmp_path / "whole.flo").read_bytes()[:-1])
    (tmp_path / "empty.flo").write_bytes(b"")
    for name, message in {
        "magic": "not a flow",
        "nan": "not finite",
        "short": "damaged",
        "empty": "not a flow",
        "missing": "cannot be read",
    }.items():
        with pytest.raises(DataError, match=message):
            read_flow(tmp_path / f"{name}.flo")
