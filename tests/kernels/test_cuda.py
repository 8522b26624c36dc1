"""The CUDA kernels against the float64 reference, on a GPU or, at the smallest sizes, on Numba's simulator.

`test_cuda_simulator.py` runs this file on the simulator, in a process of its own.
"""

import threading

import numpy as np
import pytest

from stylecore import Objective, transfer
from stylecore.kernels import devices, reference
from stylecore.network import CONTENT_LAYERS, STYLE_LAYERS, Network, load_network
from stylecore.painter import painting
from stylecore.painter.architecture import Stage
from stylecore.painter.files import PainterWeights, shapes
from stylecore.painter.painting import Painter
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.weights import Preprocessing, Weights
from stylecore.weights.architectures import Conv, Pool

pytestmark = pytest.mark.gpu

SIMULATED = devices.simulated()
TOLERANCE = 1e-5


def sizes(small, large):
    """The simulator takes milliseconds for every thread."""
    return small if SIMULATED else [*small, *large]


@pytest.fixture(scope="module")
def cuda():
    """The backend, on arrays of the host: they go down before each call, and come up after it."""
    from stylecore.kernels import cuda
    from stylecore.kernels.cuda.arrays import Array, empty

    def down(array):
        target = empty(array.shape, array.dtype)
        target[...] = array
        return target

    class OnHost:
        STRIP_VALUES = cuda.STRIP_VALUES

        def __getattr__(self, name):
            function = getattr(cuda, name)

            def call(*arguments):
                # An array that is given twice is one on the GPU, too.
                copies = {id(a): down(a) for a in arguments if isinstance(a, np.ndarray)}
                own = [copies.get(id(a), a) for a in arguments]
                result = function(*own)
                for argument, array in zip(arguments, own, strict=True):
                    if isinstance(array, Array):
                        argument[...] = np.asarray(array)
                return np.asarray(result) if isinstance(result, Array) else result

            return call

        def prepare(self, *arguments):
            return cuda.prepare(*arguments)

    cuda.select(0)
    return OnHost()


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30)


def single(*shape, seed=0):
    """Random numbers in float32, and garbage for results."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def mask_like(shape):
    return np.full((*shape[:3], -(-shape[3] // 8)), 255, np.uint8)


def make_convolution(cuda, size, inputs, outputs, stride=1, padding=1):
    filters = single(size, size, inputs, outputs) / np.float32(size * np.sqrt(inputs))
    bias = single(outputs, seed=1) / 10
    true = reference.prepare(filters, bias, stride, padding, "float64")
    return cuda.prepare(filters, bias, stride, padding, "float32"), true


# Convolutions


@pytest.mark.parametrize(
    "shape", sizes([(1, 5, 7)], [(2, 5, 7), (1, 1, 9), (2, 4, 4), (2, 13, 6), (1, 37, 41)]), ids=str
)
@pytest.mark.parametrize(
    "channels", sizes([(16, 32)], [(16, 48), (16, 64), (64, 64), (80, 144), (128, 192), (512, 512)])
)
def test_winograd(shape, channels, cuda):
    check_convolution(cuda, shape, channels)


@pytest.mark.parametrize("shape", sizes([(1, 1, 1), (2, 5, 7), (1, 18, 35)], [(2, 37, 41), (1, 64, 64)]), ids=str)
@pytest.mark.parametrize("outputs", sizes([24], [8, 16, 64]))
def test_first_layer(shape, outputs, cuda):
    check_convolution(cuda, shape, (3, outputs))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "channels"),
    sizes(
        [(1, 1, 0, (6, 10)), (5, 1, 2, (3, 70)), (3, 2, 1, (6, 10)), (2, 3, 0, (6, 10)), (3, 1, 1, (5, 3))],
        [(11, 4, 2, (3, 64)), (5, 1, 2, (64, 192)), (3, 1, 0, (6, 10)), (7, 2, 3, (6, 10)), (3, 1, 1, (24, 40))],
    ),
    ids=str,
)
@pytest.mark.parametrize("shape", sizes([(2, 5, 6)], [(2, 11, 11), (2, 12, 17), (1, 40, 23)]), ids=str)
def test_other_convolutions(shape, kernel, stride, padding, channels, cuda):
    if min(shape[1:]) + 2 * padding >= kernel:
        check_convolution(cuda, shape, channels, kernel, stride, padding)


def check_convolution(cuda, positions, channels, kernel=3, stride=1, padding=1):
    inputs, outputs = channels
    ours, true = make_convolution(cuda, kernel, inputs, outputs, stride, padding)
    x = single(*positions, inputs, seed=2)
    shape = (positions[0], *((side + 2 * padding - kernel) // stride + 1 for side in positions[1:]), outputs)
    expected, y, mask = np.empty(shape), single(*shape), mask_like(shape)
    reference.conv_relu(x.astype(float), true, expected, mask_like(shape))
    cuda.conv_relu(x, ours, y, mask)
    assert relative_error(y, expected) < TOLERANCE
    np.testing.assert_array_equal(mask, reference.relu_mask(y))

    dy = single(*shape, seed=3)
    expected_dx, dx = np.empty(x.shape), single(*x.shape)
    reference.conv_relu_backward(dy.astype(float), mask, true, expected_dx)
    cuda.conv_relu_backward(dy, mask, ours, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE


@pytest.mark.parametrize(
    "shape", sizes([(1, 5, 7)], [(2, 5, 7), (2, 2, 3), (2, 4, 4), (2, 13, 6), (1, 37, 41)]), ids=str
)
@pytest.mark.parametrize("channels", sizes([(32, 16)], [(16, 48), (64, 64), (128, 192)]))
def test_convolution_with_pool(shape, channels, cuda):
    inputs, outputs = channels
    ours, true = make_convolution(cuda, 3, inputs, outputs)
    x, pooled = single(*shape, inputs, seed=2), (shape[0], shape[1] // 2, shape[2] // 2, outputs)
    expected, y = np.empty(pooled), single(*pooled)
    expected_route, route = np.empty(pooled, np.uint8), np.empty(pooled, np.uint8)
    reference.conv_relu_pool(x.astype(float), true, expected, expected_route)
    cuda.conv_relu_pool(x, ours, y, route)
    assert relative_error(y, expected) < TOLERANCE
    # Rounding may turn a near tie or a near zero; anything more is a fault.
    assert np.mean(route != expected_route) < 1e-3

    dy = single(*pooled, seed=3)
    expected_dx, dx = np.empty(x.shape), single(*x.shape)
    reference.conv_relu_pool_backward(dy.astype(float), route, true, expected_dx)
    cuda.conv_relu_pool_backward(dy, route, ours, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE


def test_tiles_may_be_worked_on_in_turns(cuda, monkeypatch):
    from stylecore.kernels.cuda import winograd

    monkeypatch.setattr(winograd, "LIMIT", 36 * 8)
    monkeypatch.setattr(winograd, "multiprocessors", lambda: 4)
    assert winograd.scratch_size(16, 16, (1, 1, 5)) == 36 * 32  # One tile of two.
    check_convolution(cuda, (1, 1, 5), (16, 16))


# Rows of the whole; rows of the result; rows that are read, from a few above to a few below.
STRIPS = [(13, (8, 13), (4, 13)), (24, (8, 16), (6, 18))]


@pytest.mark.parametrize("channels", sizes([(3, 16), (16, 16), (5, 6)], [(3, 64), (160, 144)]))
@pytest.mark.parametrize(("height", "rows", "read"), sizes(STRIPS[:1], [*STRIPS[1:], (24, (0, 8), (0, 10))]))
def test_strips(height, rows, read, channels, cuda):
    """A strip of a convolution, given the rows around it, is that strip of the whole."""
    (begin, end), above, read = rows, rows[0] - read[0], slice(*read)
    ours, true = make_convolution(cuda, 3, *channels)
    x, dy = (single(1, height, 5, count, seed=2) for count in channels)
    whole, whole_mask, whole_dx = np.empty(dy.shape), mask_like(dy.shape), np.empty(x.shape)
    reference.conv_relu(x.astype(float), true, whole, whole_mask)
    reference.conv_relu_backward(dy.astype(float), whole_mask, true, whole_dx)
    y, dx = single(1, end - begin, 5, channels[1]), single(1, end - begin, 5, channels[0])
    mask = mask_like(y.shape)
    cuda.conv_relu(x[:, read], ours, y, mask, above)
    assert relative_error(y, whole[:, begin:end]) < TOLERANCE
    np.testing.assert_array_equal(mask, reference.relu_mask(y))
    cuda.conv_relu_backward(dy[:, read], whole_mask[:, read], ours, dx, above)
    assert relative_error(dx, whole_dx[:, begin:end]) < TOLERANCE


@pytest.mark.parametrize(("height", "rows", "read"), STRIPS[1:])
def test_strips_with_pool(height, rows, read, cuda):
    (begin, end), above, channels = rows, rows[0] - read[0], (16, 16)
    ours, true = make_convolution(cuda, 3, *channels)
    x, shape = single(1, height, 5, channels[0], seed=2), (1, height // 2, 2, channels[1])
    whole, route, whole_dx, dy = np.empty(shape), np.empty(shape, np.uint8), np.empty(x.shape), single(*shape, seed=3)
    reference.conv_relu_pool(x.astype(float), true, whole, route)
    reference.conv_relu_pool_backward(dy.astype(float), route, true, whole_dx)
    pooled, pooled_read = slice(begin // 2, end // 2), slice(read[0] // 2, read[1] // 2)
    y, own_route = single(*whole[:, pooled].shape), np.empty(whole[:, pooled].shape, np.uint8)
    cuda.conv_relu_pool(x[:, slice(*read)], ours, y, own_route, above)
    assert relative_error(y, whole[:, pooled]) < TOLERANCE
    assert np.mean(own_route != route[:, pooled]) < 1e-3
    dx = single(1, end - begin, 5, channels[0])
    cuda.conv_relu_pool_backward(dy[:, pooled_read], route[:, pooled_read], ours, dx, above)
    assert relative_error(dx, whole_dx[:, begin:end]) < TOLERANCE


# What else there is


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (2, 1)])
@pytest.mark.parametrize("size", sizes([(4, 7)], [(3, 3), (9, 12)]), ids=str)
def test_pools(size, window, stride, cuda):
    # Whole numbers make ties, which must go to the first of equals.
    x = np.random.default_rng(2).integers(-3, 4, (2, *size, 5)).astype(np.float32)
    shape = (2, *((side - window) // stride + 1 for side in size), 5)
    dy, y, expected, dx, expected_dx = (
        single(*shape),
        single(*shape),
        np.empty(shape),
        single(*x.shape),
        x.astype(float),
    )
    route, expected_route = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    reference.max_pool(x, window, stride, expected, expected_route)
    cuda.max_pool(x, window, stride, y, route)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(route, expected_route)
    reference.max_pool_backward(dy.astype(float), route, window, stride, expected_dx)
    cuda.max_pool_backward(dy, route, window, stride, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE
    reference.average_pool(x.astype(float), window, stride, expected)
    cuda.average_pool(x, window, stride, y)
    assert relative_error(y, expected) < TOLERANCE
    reference.average_pool_backward(dy.astype(float), window, stride, expected_dx)
    cuda.average_pool_backward(dy, window, stride, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE


@pytest.mark.parametrize(
    ("positions", "channels"),
    sizes(
        [(1, 1), (7, 3), (300, 8), (5, 72)],
        [(600, 8), (1, 64), (1000, 64), (300, 512), (5001, 16), (70000, 128), (99, 130)],
    ),
)
def test_features(positions, channels, cuda):
    features, before = single(2, positions, channels)
    difference = single(channels, channels, seed=1)
    difference += difference.T
    true = features.astype(float)
    guide = np.random.default_rng(2).random(positions).astype(np.float32)
    guide[::3] = 0
    row = single(channels, seed=3)
    # With more channels the simulator takes long.
    for weights in (None, guide) if channels < 64 or not SIMULATED else (guide,):
        expected, gram = difference.astype(float), difference.copy()
        reference.gram(true, 0.7, expected, weights)
        cuda.gram(features, 0.7, gram, weights)
        assert relative_error(gram, expected) < TOLERANCE
        np.testing.assert_array_equal(gram, gram.T)
        expected, sums = row.astype(float), row.astype(float)
        reference.channel_sums(true, 0.7, expected, weights)
        cuda.channel_sums(features, 0.7, sums, weights)
        assert np.abs(sums - expected).max() < TOLERANCE * np.abs(true).sum(axis=0).max()

        expected, gradient = before.astype(float), before.copy()
        reference.gram_backward(true, difference.astype(float), 0.7, expected, weights)
        cuda.gram_backward(features, difference, 0.7, gradient, weights)
        assert relative_error(gradient, expected) < TOLERANCE
        reference.channel_sums_backward(row.astype(float), 0.7, expected, weights)
        cuda.channel_sums_backward(row, 0.7, gradient, weights)
        assert relative_error(gradient, expected) < TOLERANCE


@pytest.mark.parametrize(("channels", "count"), sizes([(3, 1), (8, 3)], [(3, 3), (8, 1)]))
def test_sums_are_divided_among_the_multiprocessors(channels, count, cuda, monkeypatch):
    """Whatever their number, sums are right, come out the same every time, and take the scratch memory predicted."""
    from stylecore.kernels.cuda import arrays, features, runtime

    for module in (features, runtime):
        monkeypatch.setattr(module, "multiprocessors", lambda: count)
    for name, value in {"GRAM_POSITIONS": 16, "GRAM_BLOCKS": 3, "SUM_BLOCKS": 2, "SUM_NUMBERS": 1}.items():
        monkeypatch.setattr(features, name, value)
    positions = 48 * count + 1
    map_ = single(positions, channels)
    true = map_.astype(float)
    _, parts = features._parts(positions, features._padded(channels))
    assert parts == 3 * count
    cuda.release_scratch()
    results = []
    for _ in range(2):
        total, sums = np.zeros((channels, channels), np.float32), np.zeros(channels)
        cuda.gram(map_, 1.0, total)
        cuda.gram_backward(map_, total, 1.0, map_.copy())
        assert len(arrays._local.scratch) <= cuda.gram_scratch_bytes(positions, channels, "float32") + 3 * 256
        cuda.channel_sums(map_, 1.0, sums)
        results.append((total, sums, cuda.half_squared_distance(map_)))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    total, sums, distance = results[0]
    assert relative_error(total, true.T @ true) < TOLERANCE
    assert np.abs(sums - true.sum(axis=0)).max() < TOLERANCE * np.abs(true).sum(axis=0).max()
    assert distance == pytest.approx(0.5 * np.sum(true**2), rel=1e-6)


@pytest.mark.parametrize("shape", sizes([(1, 1), (7, 3), (700, 8)], [(300, 512), (70000, 64)]))
def test_distances(shape, cuda):
    a, b, before = single(3, *shape)
    expected = reference.half_squared_distance(a.astype(float), b.astype(float))
    assert cuda.half_squared_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert cuda.half_squared_distance(a) == pytest.approx(0.5 * np.sum(a.astype(float) ** 2), rel=1e-6)
    expected, gradient = before.astype(float), before.copy()
    reference.half_squared_distance_backward(a.astype(float), b.astype(float), 0.7, expected)
    cuda.half_squared_distance_backward(a, b, 0.7, gradient)
    assert relative_error(gradient, expected) < TOLERANCE


@pytest.mark.parametrize("shape", sizes([(1, 1, 3), (1, 8, 3), (7, 1, 3), (9, 11, 3)], [(33, 50, 3), (500, 700, 3)]))
def test_total_variation(shape, cuda):
    x, before = single(2, *shape)
    assert cuda.total_variation(x) == pytest.approx(reference.total_variation(x.astype(float)), rel=1e-6)
    expected, gradient = before.astype(float), before.copy()
    reference.total_variation_backward(x.astype(float), 0.7, expected)
    cuda.total_variation_backward(x, 0.7, gradient)
    assert relative_error(gradient, expected) < TOLERANCE


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_preprocessing(order, cuda):
    image, scale, shift = single(5, 4, 3), single(3, seed=1), single(3, seed=2)
    out, expected = single(1, 5, 4, 3), np.empty((1, 5, 4, 3))
    reference.preprocess(image.astype(float), order, scale, shift, expected)
    cuda.preprocess(image, order, scale.tolist(), shift.tolist(), out)
    assert relative_error(out, expected) < TOLERANCE
    dy = single(1, 5, 4, 3)
    expected = reference.preprocess_backward(dy.astype(float), order, scale)
    assert relative_error(cuda.preprocess_backward(dy, order, scale.tolist()), expected) < TOLERANCE


# What a painter needs


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "channels"),
    sizes(
        [
            (3, 1, 0, (16, 16)),
            (3, 1, 1, (3, 8)),
            (3, 2, 0, (5, 10)),
            (9, 1, 0, (2, 9)),
            (5, 1, 1, (4, 3)),
        ],
        [
            (3, 1, 0, (128, 64)),
            (3, 1, 1, (64, 64)),
            (3, 2, 0, (32, 64)),
            (3, 2, 1, (64, 128)),
            (9, 1, 0, (3, 32)),
            (9, 1, 0, (32, 3)),
        ],
    ),
    ids=str,
)
@pytest.mark.parametrize("positions", sizes([(1, 9, 10)], [(1, 40, 23), (4, 64, 64)]), ids=str)
def test_plain_convolutions(positions, kernel, stride, padding, channels, cuda, monkeypatch):
    """The result, and the gradients with respect to the input and the filters."""
    from stylecore.kernels.cuda import lowering, winograd

    if SIMULATED:
        monkeypatch.setattr(lowering, "POSITIONS", 8)
        # `test_winograd` has the products, which take most of the time there.
        monkeypatch.setattr(winograd, "multiply", multiply_on_host)
    inputs, outputs = channels
    ours, true = make_convolution(cuda, kernel, inputs, outputs, stride, padding)
    x = single(*positions, inputs, seed=2)
    shape = (positions[0], *((side + 2 * padding - kernel) // stride + 1 for side in positions[1:]), outputs)
    dy = single(*shape, seed=3)
    results = [single(*shape), single(*x.shape), single(kernel, kernel, inputs, outputs)]
    expected = [result.astype(float) for result in results]
    cuda.convolve(x, ours, results[0])
    cuda.convolve_backward(dy, ours, results[1])
    cuda.convolve_backward_filters(x, dy, ours, results[2])
    x, dy = x.astype(float), dy.astype(float)
    reference.convolve(x, true, expected[0])
    reference.convolve_backward(dy, true, expected[1])
    reference.convolve_backward_filters(x, dy, true, expected[2])
    for got, wanted in zip(results, expected, strict=True):
        assert relative_error(got, wanted) < TOLERANCE


def multiply_on_host(a, b, c, rows, columns, depth, count):
    a, b = a.copy_to_host().reshape(count, rows, depth), b.copy_to_host().reshape(count, depth, columns)
    c.copy_to_device((a @ b).reshape(-1))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", sizes([(2, 5, 4, 3), (1, 2, 3, 66)], [(4, 64, 61, 32), (1, 300, 200, 128)]), ids=str)
def test_instance_norm(shape, relu, cuda, monkeypatch):
    from stylecore.kernels.cuda import channels

    if SIMULATED:
        monkeypatch.setattr(channels, "GRAM_POSITIONS", 16)
    x, dy, (scale, shift) = 3 * single(*shape) + 1, single(*shape, seed=1), single(2, shape[0], shape[3], seed=2)
    results = []
    for backend, dtype in ((cuda, np.float32), (reference, np.float64)):
        y, by_scale, by_shift = np.empty(shape, dtype), *np.empty((2, *scale.shape), dtype)
        mean, variance = np.empty((2, *scale.shape))
        given = [array.astype(dtype) for array in (x, scale, shift)]
        backend.instance_norm(*given, relu, y, mean, variance)
        # The gradient may be written over that of the result.
        dx = dy.astype(dtype)
        backend.instance_norm_backward(dx, *given, relu, mean, variance, dx, by_scale, by_shift)
        results.append((y, mean, variance, dx, by_scale, by_shift))
    for got, expected in zip(*results, strict=True):
        assert relative_error(got, expected) < TOLERANCE


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", sizes([(1, 4, 7, 5)], [(1, 100, 512, 64)]), ids=str)
def test_sums_of_rows_and_scale_shift(shape, relu, cuda):
    x, factor, offset = single(*shape), *single(2, shape[3], seed=1)
    sums, expected = np.empty((2, shape[1], 2, shape[3]))
    cuda.row_sums(x, sums)
    reference.row_sums(x.astype(float), expected)
    assert relative_error(sums, expected) < TOLERANCE
    y, true = np.empty_like(x), np.empty(shape)
    cuda.scale_shift(x, factor, offset, relu, y)
    reference.scale_shift(x.astype(float), factor, offset, relu, true)
    assert relative_error(y, true) < TOLERANCE


@pytest.mark.parametrize(("padding", "factor"), [(0, 2), (1, 1), (1, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("sides", sizes([(5, 6)], [(5, 5), (90, 41)]), ids=str)
def test_pad_reflected(sides, padding, factor, cuda):
    large = (2, *(factor * side + 2 * padding for side in sides), 3)
    x, dy = single(2, *sides, 3), single(*large, seed=1)
    y, expected = single(*large), np.empty(large)
    cuda.pad_reflected(x, padding, factor, y)
    reference.pad_reflected(x.astype(float), padding, factor, expected)
    np.testing.assert_array_equal(y, expected)
    dx, expected = single(*x.shape), np.empty(x.shape)
    cuda.pad_reflected_backward(dy, padding, factor, dx)
    reference.pad_reflected_backward(dy.astype(float), padding, factor, expected)
    assert relative_error(dx, expected) < TOLERANCE


def test_a_strip_of_a_padded_map_needs_only_the_rows_it_depends_on(cuda):
    x, whole = single(1, 9, 5, 3), np.empty((1, 22, 14, 3))
    reference.pad_reflected(x, 2, 2, whole)
    for top, end, begin, stop in ((0, 7, 0, 3), (8, 13, 3, 6), (17, 22, 7, 9)):
        strip = single(1, end - top, 14, 3)
        cuda.pad_reflected(x[:, begin:stop], 2, 2, strip, top, begin, 9)
        np.testing.assert_array_equal(strip, whole[:, top:end])


def test_upsampling(cuda):
    x, y, dx = single(2, 3, 4, 5), single(2, 6, 8, 5), single(2, 3, 4, 5)
    expected, expected_dx = np.empty(y.shape), np.empty(x.shape)
    dy = single(*y.shape, seed=1)
    cuda.upsample(x, 2, y)
    cuda.upsample_backward(dy, 2, dx)
    reference.upsample(x.astype(float), 2, expected)
    reference.upsample_backward(dy.astype(float), 2, expected_dx)
    np.testing.assert_array_equal(y, expected)
    assert relative_error(dx, expected_dx) < TOLERANCE


def test_add_and_sigmoid(cuda):
    x, y = single(2, 7, 5, 3)
    total = y.copy()
    cuda.add(x, total)
    np.testing.assert_array_equal(total, x + y)
    x[0, 0] = -1e4, 1e4, 0
    expected, dy = np.empty(x.shape), single(*x.shape, seed=1)
    reference.sigmoid(x.astype(float), expected)
    cuda.sigmoid(x, x)
    assert relative_error(x, expected) < TOLERANCE
    np.testing.assert_array_equal(x[0, 0], [0, 1, 0.5])
    expected_dx = np.empty(x.shape)
    reference.sigmoid_backward(dy.astype(float), expected, expected_dx)
    cuda.sigmoid_backward(dy, x, dy)
    assert relative_error(dy, expected_dx) < TOLERANCE


def test_arrays(cuda):
    from stylecore.kernels.cuda.arrays import allocate, empty, upload

    host = single(6, 4)
    array = upload(host)
    assert array.shape == (6, 4) and len(array) == 6 and array.dtype == np.float32 and array.nbytes == host.nbytes
    assert upload(array) is array
    np.testing.assert_array_equal(array[2:5], host[2:5])
    np.testing.assert_array_equal(array.reshape(1, -1, 2, 4)[:, 1:], host.reshape(1, 3, 2, 4)[:, 1:])
    np.testing.assert_array_equal(array[4:9], host[4:])
    copy = array.copy()
    array[1:3] = copy[3:5]
    array[5:] = 2.5
    host[1:3], host[5:] = host[3:5], 2.5
    np.testing.assert_array_equal(array, host)
    assert not np.array_equal(copy, host)
    memory = allocate(64)
    memory.view(np.float32)[...] = np.arange(16)
    np.testing.assert_array_equal(memory[16:32].view(np.float32), [4, 5, 6, 7])
    for key in (slice(0, 6, 2), (slice(None), slice(1))):
        with pytest.raises(IndexError):
            empty((6, 4))[key]


@pytest.fixture
def second_gpu(cuda, monkeypatch):
    """Has a GPU 1 that is the first one as well; returns who was sent to which, as threads and numbers."""
    import numba.cuda

    from stylecore.kernels.cuda import runtime

    sent = []
    monkeypatch.setattr(numba.cuda, "select_device", lambda number: sent.append((threading.current_thread(), number)))
    monkeypatch.setattr(runtime, "_chosen", None)
    monkeypatch.setattr(runtime, "_local", threading.local())
    return sent


def test_every_thread_works_on_the_selected_gpu(second_gpu):
    from stylecore.kernels.cuda import select, upload
    from stylecore.kernels.cuda.arrays import scratch

    select(1)
    array, memory = upload(single(3)), scratch(64)
    memory[...] = 1

    def work():
        array[...] = 2
        scratch(64)[...] = 3

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert second_gpu == [(threading.main_thread(), 1), (thread, 1)]
    np.testing.assert_array_equal(array, 2)
    np.testing.assert_array_equal(memory, 1)


def test_a_process_works_on_one_gpu(second_gpu, monkeypatch):
    from stylecore.kernels.cuda import arrays, select

    with monkeypatch.context() as broken:
        broken.setattr(arrays, "download", lambda array: np.zeros(3))
        with pytest.raises(RuntimeError, match="GPU 0"):
            select(0)
    select(1)
    select(1)
    with pytest.raises(ValueError, match="already uses GPU 1"):
        select(0)
    assert [number for _, number in second_gpu] == [0, 1]


# The whole


LAYERS = (Conv("conv1_1", 3, 16), Conv("conv1_2", 16, 16), Pool("pool1"), Conv("conv2_1", 16, 24))


def small_network(backend, dtype):
    convolutions = [layer for layer in LAYERS if isinstance(layer, Conv)]
    filters = {c.name: single(3, 3, c.in_channels, c.out_channels) / 10 for c in convolutions}
    biases = {c.name: single(c.out_channels, seed=1) / 10 for c in convolutions}
    preprocessing = Preprocessing("BGR", 255.0, (103.9, 116.8, 123.7), (100.0, 120.0, 130.0))
    return Network(Weights("small", LAYERS, filters, biases, preprocessing, "made up", "0" * 64), backend, dtype=dtype)


@pytest.mark.parametrize("strip_values", sizes([1], [None]), ids=sizes(["strips"], ["whole"]))
def test_objective(strip_values, cuda, monkeypatch):
    from stylecore.kernels import cuda

    if strip_values:
        monkeypatch.setattr(cuda, "STRIP_VALUES", strip_values)
    content, style, x = (
        np.random.default_rng(0).random((height, 5, 3)) for height in sizes([7, 4, 6], [11, 4, 9])[-3:]
    )
    settings = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}
    results = []
    for network in (small_network(cuda, "float32"), small_network(reference, "float64")):
        objective = Objective(content, style, network=network, regularization_weight=0.4, **settings)
        results.append(objective.evaluate(x))
    (loss, gradient, terms), (true_loss, true_gradient, true_terms) = results
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert terms == pytest.approx(true_terms, rel=1e-5)
    assert isinstance(gradient, np.ndarray) and gradient.dtype == np.float32
    assert relative_error(gradient, true_gradient) < 1e-5


LEFT = np.broadcast_to(np.arange(3) < 2, (4, 3))


@pytest.mark.parametrize(
    ("style_loss", "regions"),
    sizes([("gram", [(LEFT, "all"), (~LEFT, ~LEFT)]), ("mean_covariance", None)], [("gram", None), ("mean_std", None)]),
    ids=sizes(["regions", "mean_covariance"], ["gram", "mean_std"]),
)
def test_what_crosses_the_bus(style_loss, regions, cuda, monkeypatch):
    """In an evaluation the image goes down, and the gradient comes up with the partial sums of each term."""
    from stylecore.kernels import cuda
    from stylecore.kernels.cuda.arrays import Array

    downwards, upwards = [], []
    write, read = Array.__setitem__, Array.__array__

    def spy_write(array, key, value):
        if isinstance(value, np.ndarray):
            downwards.append(value.shape)
        write(array, key, value)

    def spy_read(array, *arguments, **settings):
        upwards.append(array.shape)
        return read(array, *arguments, **settings)

    monkeypatch.setattr(Array, "__setitem__", spy_write)
    monkeypatch.setattr(Array, "__array__", spy_read)
    content, style, x = np.random.default_rng(0).random((3, 4, 3, 3))
    settings = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"], "style_loss": style_loss}
    ours, true = (
        Objective(content, style, network=network, regions=regions, **settings)
        for network in (small_network(cuda, "float32"), small_network(reference, "float64"))
    )
    ours(x)
    downwards.clear()
    upwards.clear()
    (loss, gradient), (true_loss, true_gradient) = ours(x), true(x)
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert relative_error(gradient, true_gradient) < 1e-5

    # Covariances are compared on the host.
    moments = [] if style_loss == "gram" else [(16,), (16, 16)]
    assert downwards == [x.shape, *moments]
    partial_sums = [(1,)]
    content_and_tv, style = 2, (2 if regions else 1)
    terms = partial_sums * content_and_tv + (moments or partial_sums * style)
    assert sorted(upwards) == sorted([*terms, x.shape])


def test_sliced_wasserstein(cuda):
    from stylecore.kernels import cuda

    content, style, x = np.random.default_rng(0).random((3, 6, 5, 3))
    settings = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"], "style_loss": "sliced_wasserstein"}
    networks = small_network(cuda, "float32"), small_network(reference, "float64")
    (loss, gradient), (true_loss, true_gradient) = (
        Objective(content, style, network=network, **settings)(x) for network in networks
    )
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert relative_error(gradient, true_gradient) < 1e-5


def test_transfer(cuda):
    from stylecore.kernels import cuda

    content, style = (np.random.default_rng(seed).random((4, 5, 3)) for seed in range(2))
    settings = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"], "size": 5, "pyramid": 1, "iterations": 2}
    networks = small_network(cuda, "float32"), small_network(reference, "float64")
    ours, true = (transfer(content, style, network=network, **settings) for network in networks)
    assert [evaluation.loss for evaluation in ours.history] == pytest.approx(
        [evaluation.loss for evaluation in true.history], rel=1e-3
    )


@pytest.mark.parametrize("in_strips", sizes([True], [False]))
def test_painter(in_strips, cuda, monkeypatch):
    """A stage of each kind: strided, a residual block, and upsampled to few outputs."""
    table = (
        Stage("down", 3, 8, stride=2),
        Stage("block_1", 8, 8, begins=True),
        Stage("block_2", 8, 8, relu=False, ends=True),
        Stage("colours", 8, 3, factor=2, relu=False),
    )
    arrays = {key: single(*shape, seed=len(shape)) for key, shape in shapes(table, 2).items()}
    photograph = np.random.default_rng(0).random((9 if in_strips else 7, 5, 3))
    if in_strips:
        for name, value in {"STORED_VALUES": 0, "STRIP_VALUES": 1, "ROWS": 3}.items():
            monkeypatch.setattr(painting, name, value)
    ours, true = (
        Painter(PainterWeights(("a", "b"), table, arrays, "made up"), device).paint_array(photograph, {"a": 1, "b": 2})
        for device in ("cuda", "reference")
    )
    assert ours.dtype == true.dtype == np.float32
    np.testing.assert_allclose(ours, true, atol=1e-4)


ON_A_GPU = pytest.mark.skipif(SIMULATED, reason="the simulator would take hours")


def squares(size):
    return [resize(read_image(path)[0], (size, size)) for path in (PHOTOGRAPH, PAINTING)]


@ON_A_GPU
@pytest.mark.parametrize("size", [64, 193])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_gradient_on_real_weights(size, pooling, cuda):
    content, style = squares(size)
    x = np.clip(content + 0.1 * np.random.default_rng(0).standard_normal(content.shape), 0, 1)
    (loss, gradient), (true_loss, true_gradient) = (
        Objective(content, style, device=device, pooling=pooling)(x) for device in ("cuda", "reference")
    )
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert relative_error(gradient, true_gradient) < 1e-4


@ON_A_GPU
def test_the_device_is_a_setting_of_a_transfer(cuda):
    result = transfer(PHOTOGRAPH, PAINTING, device="cuda", size=64, pyramid=1, iterations=2)
    assert result.settings["device"] == "cuda"


@ON_A_GPU
def test_alexnet(cuda):
    content, style = squares(128)
    layers = {"content_layers": ["relu3"], "style_layers": ["relu1", "relu2", "relu3"]}
    (_, gradient), (_, true_gradient) = (
        Objective(content, style, network="alexnet", device=device, **layers)(style) for device in ("cuda", "reference")
    )
    assert relative_error(gradient, true_gradient) < 1e-4


@ON_A_GPU
def test_evaluations_take_no_more_memory_and_give_the_same_bits(cuda):
    from stylecore.kernels.cuda import available_bytes

    content, style = squares(256)
    objective = Objective(content, style, device="cuda")
    loss, gradient = objective(style)
    before = available_bytes()
    for _ in range(100):
        again, gradient_again = objective(style)
        assert again == loss
        np.testing.assert_array_equal(gradient_again, gradient)
    assert available_bytes() == before


@ON_A_GPU
def test_memory_that_is_given_back_is_available(cuda):
    from stylecore.kernels.cuda import allocate, available_bytes

    before = available_bytes()
    array = allocate(2**28)
    assert available_bytes() <= before - 2**28
    del array
    assert available_bytes() == before


@ON_A_GPU
@pytest.mark.parametrize("size", [256, 1024])
def test_memory_is_predicted(size, cuda):
    from stylecore.kernels.cuda import available_bytes, release_scratch

    content, style = squares(size)
    network = load_network("vgg19", device="cuda", layers=[*CONTENT_LAYERS, *STYLE_LAYERS])
    Objective(content[:64, :64], style[:64, :64], network=network)(style[:64, :64])
    release_scratch()
    before = available_bytes()
    objective = Objective(content, style[:64, :64], network=network)
    objective(style)
    assert before - available_bytes() == pytest.approx(objective.bytes(size, size), rel=0.15)
