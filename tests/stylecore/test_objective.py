"""The whole objective through real networks: its gradient against finite differences, its terms and its refusals.

A difference quotient means nothing across a kink of a ReLU or a max pool. `kinks` notes the sign of every ReLU and the
place of every maximum. Where two images have all of these in common, so has every image on the line between them:
given the layers before it, each value in front of a ReLU is linear along that line, and what is linear and has the
same sign at both ends keeps it in between. `check_derivative` takes the longest step for which that holds. On such a
line every feature is linear and every term a polynomial of degree four at most, whose derivative the five-point
quotient gives exactly, but for rounding. The forward pass alone decides on the step, so that a wrong gradient has
nothing to hide behind.
"""

import re
import tracemalloc
import warnings
from functools import cache

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from stylecore import ImageError, Objective, ParameterError
from stylecore.kernels import cpu
from stylecore.kernels.cpu import vectors
from stylecore.losses import STYLE_LOSSES, Moments, TemporalLoss
from stylecore.network import CONTENT_LAYERS, STYLE_LAYERS, load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.plan import Plan
from stylecore.regions import Region
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.weights.architectures import Conv

pytestmark = pytest.mark.slow

OF_MOMENTS = [kind for kind, distance in STYLE_LOSSES.items() if not distance.of_positions]


def random_images(*shapes):
    rng = np.random.default_rng(0)
    return [rng.random((*shape, 3)) for shape in shapes]


CONTENT, STYLE, X = random_images((12, 10), (9, 15), (11, 13))
SHALLOW = {"content_layers": ("relu2_1", "relu2_2"), "style_layers": ("relu1_1", "relu2_1")}
WEIGHTS = {"content_weight": 0.7, "style_weight": 3.0, "regularization_weight": 0.4, "tv_weight": 0.2}


@cache
def network(name="vgg19", device="cpu", pooling="max", dtype="float64"):
    return load_network(name, device, pooling, dtype)


def small_objective(**settings):
    return Objective(CONTENT, STYLE, **{"network": network(), **SHALLOW, **settings})


def features_of(network, image, layers):
    """Features (M, N) of each layer at an image."""
    features = {}
    plan = Plan(network, *image.shape[:2], layers, gradient=False)
    plan.forward(image, lambda layer, f, start: features.__setitem__(layer, f.copy()))
    return features


_OTHERS = [
    {"style_loss": "mean_std"},
    {"style_loss": "mean_covariance"},
    {"style_loss": "wasserstein"},
    {"style_loss": "sliced_wasserstein"},
    {"regions": "three"},
]


@pytest.mark.parametrize(
    ("size", "settings"),
    [*((size, {}) for size in (256, 512, 1024)), *((512, settings) for settings in _OTHERS)],
)
@pytest.mark.slow
def test_memory_is_predicted(size, settings):
    x = np.random.default_rng(0).random((size, size, 3), np.float32)
    single = network(dtype="float32")
    if settings.get("regions"):
        mask = np.repeat([[1.0], [0.0]], size // 2, axis=0) * np.ones(size)
        settings = {"regions": [(mask, "all"), (1 - mask, "all"), (mask / 2, "all")]}
    small = Objective(x[:64, :64], x[:64, :64], network=single, style_loss=settings.get("style_loss", "gram"))
    small(x[:64, :64])  # The kernels are loaded.
    cpu.release_scratch()
    tracemalloc.start()
    try:
        objective = Objective(x, x[:64, :64], network=single, **settings)
        objective(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak == pytest.approx(objective.bytes(size, size), rel=0.15)


# The gradient


def kinks(network, image, layers):
    """Sign of each ReLU and place of each maximum, layer by layer, down to the deepest of the layers."""
    names = network.layer_names
    names = names[: 1 + max(names.index(layer) for layer in layers)]
    features = features_of(network, image, names)
    maps = [features[step.name].reshape(step.shape) for step in network.steps(*image.shape[:2], names)]
    found = []
    for i, layer in enumerate(network.layers[: len(names)]):
        if isinstance(layer, Conv):
            found.append(maps[i] > 0)
        elif network.pooling == "max":
            windows = sliding_window_view(maps[i - 1], (layer.size, layer.size), axis=(1, 2))
            windows = windows[:, :: layer.stride, :: layer.stride]
            found.append(windows.reshape(*maps[i].shape, -1).argmax(axis=-1))
    return found


def same(kinks, others):
    return all(np.array_equal(a, b) for a, b in zip(kinks, others, strict=True))


def longest_step(objective, x, direction):
    """Longest of a few steps for which no kink lies between x - 2 steps and x + 2 steps."""
    for step in (1e-4, 3e-5, 1e-5, 3e-6):
        ends = (x - 2 * step * direction, x + 2 * step * direction)
        if same(*(kinks(objective.network, end, objective.layers) for end in ends)):
            return step
    raise AssertionError("there is a kink next to this image; take another seed")


def check_derivative(objective, gradients, x, direction, tolerance=1e-6):
    """Compare each gradient's share along a direction of length 1 with the five-point quotient."""
    step = longest_step(objective, x, direction)
    values = {}
    for k in (-2, -1, 1, 2):
        loss, _, terms = objective.evaluate(x + k * step * direction)
        values[k] = {"loss": loss, **terms}
    for name, gradient in gradients.items():
        near, far = (values[k][name] - values[-k][name] for k in (1, 2))
        numeric = (8 * near - far) / (12 * step)
        # Relative to the derivative; where that is small by chance, to its root mean square over the values of x.
        error = abs(np.vdot(gradient, direction) - numeric) / max(abs(numeric), np.sqrt(np.mean(gradient**2)))
        assert error < tolerance, f"{name}: relative error {error:.1e} at a step of {step}"


# One layer of each carries both content and style.
VGG = {"content_layers": ("relu3_1", "relu4_2"), "style_layers": STYLE_LAYERS}
ALEXNET = {"content_layers": ("relu3", "relu4"), "style_layers": ("relu1", "relu2", "relu3", "relu4", "relu5")}


@pytest.mark.parametrize(
    ("name", "device", "pooling", "layers", "shape"),
    [
        ("vgg19", "reference", "max", VGG, (18, 21)),
        ("vgg19", "cpu", "max", VGG, (18, 21)),
        ("vgg19", "reference", "average", VGG, (17, 16)),
        ("vgg16", "reference", "max", VGG, (16, 17)),
        ("alexnet", "reference", "max", ALEXNET, (64, 67)),
        ("alexnet", "cpu", "max", ALEXNET, (64, 67)),
    ],
)
def test_gradient_against_finite_differences(name, device, pooling, layers, shape):
    height, width = shape
    content, style, x = random_images((height + 5, width + 2), (height + 1, width + 9), shape)
    objective = Objective(content, style, network=network(name, device, pooling), **layers, **WEIGHTS)
    terms = objective.terms(x, gradients=True)
    assert len(terms) == 9 and all(value > 0 for value, _ in terms.values())
    gradients = {"loss": objective(x)[1], **{name: gradient for name, (_, gradient) in terms.items()}}

    rng = np.random.default_rng(1)
    for direction in rng.standard_normal((2, *x.shape)):
        check_derivative(objective, gradients, x, direction / np.linalg.norm(direction))
    # A corner, where the padding has its part, and a pixel inside.
    for value in ((0, -1, 0), (*rng.integers(4, np.array(shape) - 4), 2)):
        direction = np.zeros_like(x)
        direction[value] = 1
        check_derivative(objective, gradients, x, direction)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_gradient_of_a_frame_of_a_film(device):
    shape = (18, 21)
    content, style, x, frame, target = random_images((23, 23), (19, 30), shape, (20, 24), shape)
    objective = Objective(content, style, network=network("vgg19", device), **VGG, **WEIGHTS)
    temporal = TemporalLoss(target, np.random.default_rng(2).random(shape))
    of_frame = objective.for_frame(frame, [Region("", None, {0: None})], temporal, 30.0)
    terms = of_frame.terms(x, gradients=True)
    gradients = {"loss": of_frame(x)[1], **{name: gradient for name, (_, gradient) in terms.items()}}
    assert terms["temporal"][0] == temporal.value(x) and of_frame.term_weights["temporal"] == 30
    for direction in np.random.default_rng(1).standard_normal((2, *x.shape)):
        check_derivative(of_frame, gradients, x, direction / np.linalg.norm(direction))
    # Everything else is as in an objective of its own, and the first is left as it was.
    own = Objective(frame, style, network=network("vgg19", device), **VGG, **WEIGHTS)
    values = of_frame.terms(x)
    del values["temporal"]
    assert values == own.terms(x) and "temporal" not in objective.terms(x)


HEIGHT, WIDTH = 18, 21
SLOPE = np.linspace(0, 1, WIDTH) * np.ones((HEIGHT, 1))
MASKS = [
    (SLOPE, "all", "none"),
    (1 - SLOPE, np.arange(30) > 11 * np.ones((19, 1)), np.arange(25)[:, None] > 12 * np.ones((1, 17))),
]


@pytest.mark.vgg19
@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("style_loss", OF_MOMENTS)
@pytest.mark.parametrize("regions", [None, MASKS], ids=["whole", "regions"])
def test_gradient_of_several_styles_regions_and_style_losses(regions, style_loss, device):
    content, first, second, x = random_images((HEIGHT, WIDTH), (19, 30), (25, 17), (HEIGHT, WIDTH))
    objective = Objective(
        content,
        [first, second],
        style_blend=[3, 1],
        regions=regions,
        style_loss=style_loss,
        network=network("vgg19", device),
        content_layers={"relu3_1": 2.0},
        style_layers={"relu1_1": 0.5, "relu2_2": 1, "relu3_1": 2},
        layer_weights="normalized",
        **WEIGHTS,
    )
    terms = objective.terms(x, gradients=True)
    assert len(terms) == 6 + 3 * (regions is not None) and all(value > 0 for value, _ in terms.values())
    gradients = {"loss": objective(x)[1], **{name: gradient for name, (_, gradient) in terms.items()}}
    rng = np.random.default_rng(1)
    # The root in Wasserstein's distance is no polynomial, and where eigenvalues are small it makes rounding large.
    tolerance = 5e-5 if style_loss == "wasserstein" else 1e-6
    for direction in rng.standard_normal((2, *x.shape)):
        check_derivative(objective, gradients, x, direction / np.linalg.norm(direction), tolerance)


def test_single_precision():
    content, style = (resize(read_image(path)[0], (96, 128)) for path in (PHOTOGRAPH, PAINTING))
    single, double = (
        Objective(content, style, network=network(dtype=dtype), **WEIGHTS) for dtype in ("float32", "float64")
    )
    # Of some million ReLUs, rounding turns the sign of one now and then, and the gradient is then that on the other
    # side of a kink: a right one, but another. So the pictures are mixed in proportions at which it turns none.
    for share in np.linspace(0.3, 0.7, 9, dtype=np.float32):
        x = share * content + (1 - share) * style
        if same(*(kinks(objective.network, x, objective.layers) for objective in (single, double))):
            break
    else:
        raise AssertionError("rounding turns a ReLU in each of these pictures")
    (loss, gradient, terms), (exact_loss, exact_gradient, exact_terms) = single.evaluate(x), double.evaluate(x)
    assert gradient.dtype == np.float32 and exact_gradient.dtype == np.float64
    assert loss == pytest.approx(exact_loss, rel=1e-5)
    assert terms == pytest.approx(exact_terms, rel=2e-5)
    assert np.linalg.norm(gradient - exact_gradient) < 1e-4 * np.linalg.norm(exact_gradient)


def test_products_in_bfloat16():
    content, style = (resize(read_image(path)[0], (96, 128)) for path in (PHOTOGRAPH, PAINTING))
    given = {"network": "small", "content_layers": ["relu3_2"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
    x = (0.5 * content + 0.5 * style).astype(np.float32)
    with warnings.catch_warnings(action="ignore"):  # That there are no instructions for it.
        rounded = Objective(content, style, dtype="bfloat16", **given)
    loss, gradient, _ = rounded.evaluate(x)
    exact_loss, exact, _ = Objective(content, style, dtype="float64", **given).evaluate(x)
    assert gradient.dtype == np.float32 and rounded.network.dtype == np.float32
    assert loss == pytest.approx(exact_loss, rel=0.02) and loss != pytest.approx(exact_loss, rel=1e-6)
    assert np.vdot(gradient, exact) > 0.99 * np.linalg.norm(gradient) * np.linalg.norm(exact)


def test_a_processor_without_bfloat16_is_reported(monkeypatch):
    monkeypatch.setattr(vectors, "BFLOAT16", False)
    with pytest.warns(UserWarning, match=r'has no instructions for bfloat16; dtype "bfloat16" takes longer'):
        load_network("small", dtype="bfloat16")


# The terms and their weights


def paper_features():
    """F, P and S: features of X, of the content at the size of X, and of the style, by layer."""
    layers = {*SHALLOW["content_layers"], *SHALLOW["style_layers"]}
    return [features_of(network(), image, layers) for image in (X, resize(CONTENT, X.shape), STYLE)]


def test_terms_are_those_of_the_paper():
    F, P, S = paper_features()
    expected = {f"content:{layer}": np.sum((F[layer] - P[layer]) ** 2) / 2 for layer in SHALLOW["content_layers"]}
    for layer in SHALLOW["style_layers"]:
        M, N = F[layer].shape
        A = S[layer].T @ S[layer] * M / len(S[layer])
        expected[f"style:{layer}"] = np.sum((F[layer].T @ F[layer] - A) ** 2) / (4 * N**2 * M**2)
    # The mean of the pictures that VGG-19 was trained with.
    expected["regularization"] = np.sum((X - np.array([123.68, 116.779, 103.939]) / 255) ** 2) / 2
    expected["tv"] = (np.sum((X[1:] - X[:-1]) ** 2) + np.sum((X[:, 1:] - X[:, :-1]) ** 2)) / 2
    assert small_objective().terms(X) == pytest.approx(expected, rel=1e-9)


def test_relative_weights():
    _, P, S = paper_features()
    expected = {f"content:{layer}": 0.7 / np.sum(P[layer] ** 2) for layer in SHALLOW["content_layers"]}
    for layer in SHALLOW["style_layers"]:
        M, N = P[layer].shape
        A = S[layer].T @ S[layer] * M / len(S[layer])
        expected[f"style:{layer}"] = 3.0 / 2 * (4 * N**2 * M**2) / np.sum(A**2)
    expected |= {"regularization": 0.4 / X.size, "tv": 0.2 / X.size}
    check_weights(small_objective(**WEIGHTS), expected)


def test_paper_weights():
    expected = {f"content:{layer}": 0.7 / 2 for layer in SHALLOW["content_layers"]}
    expected |= {f"style:{layer}": 3.0 / 2 for layer in SHALLOW["style_layers"]}
    expected |= {"regularization": 0.4, "tv": 0.2}
    check_weights(small_objective(layer_weights="paper", **WEIGHTS), expected)


def test_weights_by_layer():
    mapping = {"relu1_1": 0.1, "relu2_1": 0.2, "relu2_2": 0.0}
    expected = {f"content:{layer}": 0.7 * mapping[layer] for layer in SHALLOW["content_layers"]}
    expected |= {f"style:{layer}": 3.0 * mapping[layer] for layer in SHALLOW["style_layers"]}
    expected |= {"regularization": 0.4, "tv": 0.2}
    check_weights(small_objective(layer_weights=mapping, **WEIGHTS), expected)


def check_weights(objective, expected):
    """The weights are these, and the loss and its gradient are the sums of the terms so weighted."""
    loss, gradient, values = objective.evaluate(X)
    assert objective.term_weights == pytest.approx(expected, rel=1e-9)
    terms = objective.terms(X, gradients=True)
    assert values == {name: value for name, (value, _) in terms.items() if expected[name]}
    assert loss == pytest.approx(sum(expected[name] * value for name, (value, _) in terms.items()), rel=1e-9)
    total = sum(expected[name] * term for name, (_, term) in terms.items())
    np.testing.assert_allclose(gradient, total, rtol=0, atol=1e-9 * np.abs(gradient).max())


@pytest.mark.parametrize("settings", [WEIGHTS, dict.fromkeys(WEIGHTS, 0.0), {"layer_weights": "paper"}])
def test_terms_are_the_same_whatever_the_weights(settings):
    plain = small_objective().terms(X, gradients=True)
    weighted = small_objective(**settings).terms(X, gradients=True)
    assert weighted.keys() == plain.keys()
    for name, (value, gradient) in plain.items():
        assert weighted[name][0] == value
        np.testing.assert_array_equal(weighted[name][1], gradient)


def test_terms_with_and_without_gradients_agree():
    terms = small_objective().terms(X, gradients=True)
    assert small_objective().terms(X) == {name: value for name, (value, _) in terms.items()}


def test_no_weights_no_loss():
    loss, gradient, terms = small_objective(**dict.fromkeys(WEIGHTS, 0)).evaluate(X)
    assert loss == 0 and terms == {}
    np.testing.assert_array_equal(gradient, np.zeros_like(X))


def test_content_or_style_alone():
    content, style = small_objective(style_layers=()).terms(X), small_objective(content_layers=()).terms(X)
    assert not any(name.startswith("style") for name in content)
    assert not any(name.startswith("content") for name in style)
    assert content | style == small_objective().terms(X)


def test_the_content_has_no_content_loss_and_the_style_no_style_loss():
    assert all(value == 0 for name, value in small_objective().terms(CONTENT).items() if name.startswith("content"))
    blank = small_objective().terms(np.zeros_like(STYLE))
    for name, value in small_objective().terms(STYLE).items():
        assert not name.startswith("style") or value < 1e-20 * blank[name]


def test_default_layers():
    names = [f"content:{layer}" for layer in CONTENT_LAYERS] + [f"style:{layer}" for layer in STYLE_LAYERS]
    content, style = random_images((16, 16), (17, 18))
    objective = Objective(content, style, network=network())
    objective(content)
    assert objective.term_weights.keys() == {*names, "regularization", "tv"}


# Several styles, regions, style losses and weights

TOP = np.arange(12)[:, None] < 5 * np.ones((1, 10))


def test_one_style_in_a_list():
    for style in ([STYLE], (STYLE,)):
        objective = Objective(CONTENT, style, style_blend=[0.3], network=network(), **SHALLOW)
        assert objective.terms(X) == small_objective().terms(X)


def test_targets_are_blended():
    _, other = random_images((9, 15), (20, 8))
    objective = Objective(CONTENT, [STYLE, other], style_blend=[3, 1], network=network(), **SHALLOW)
    F, _, S = paper_features()
    O = features_of(network(), other, SHALLOW["style_layers"])
    terms = objective.terms(X)
    for layer in SHALLOW["style_layers"]:
        M, N = F[layer].shape
        A = M * (0.75 * S[layer].T @ S[layer] / len(S[layer]) + 0.25 * O[layer].T @ O[layer] / len(O[layer]))
        expected = np.sum((F[layer].T @ F[layer] - A) ** 2) / (4 * N**2 * M**2)
        assert terms[f"style:{layer}"] == pytest.approx(expected, rel=1e-9)


def test_gradient_of_sliced_wasserstein():
    objective = small_objective(style_loss="sliced_wasserstein", layer_weights="normalized")
    (x,) = random_images((14, 17))
    loss, gradient = objective(x)
    assert loss > 0
    for direction in np.random.default_rng(1).standard_normal((3, *x.shape)):
        direction /= np.linalg.norm(direction)
        numeric = (objective(x + 1e-6 * direction)[0] - objective(x - 1e-6 * direction)[0]) / 2e-6
        assert np.vdot(gradient, direction) == pytest.approx(numeric, abs=1e-5 * np.linalg.norm(gradient))


@pytest.mark.parametrize(
    ("settings", "style", "message"),
    [
        ({"tile": 64}, STYLE, "not possible in tiles; leave tile out"),
        ({"regions": [(TOP, "all")]}, STYLE, "compares whole images"),
        ({}, [STYLE, STYLE], "takes a single style image"),
    ],
)
def test_what_sliced_wasserstein_refuses(settings, style, message):
    with pytest.raises(ParameterError, match=message):
        Objective(CONTENT, style, network=network(), style_loss="sliced_wasserstein", **SHALLOW, **settings)


def test_a_style_of_weight_zero_does_not_count():
    _, other = random_images((9, 15), (20, 8))
    objective = Objective(CONTENT, [other, STYLE], style_blend=[0, 2], network=network(), **SHALLOW)
    assert objective.terms(X) == pytest.approx(small_objective().terms(X), rel=1e-12)


@pytest.mark.parametrize("style_loss", OF_MOMENTS)
def test_a_region_that_is_everything_is_no_region(style_loss):
    whole, region = (small_objective(style_loss=style_loss, regions=r) for r in (None, [("all", "all")]))
    expected = {f"{name}:1" if name.startswith("style") else name: value for name, value in whole.terms(X).items()}
    assert region.terms(X) == pytest.approx(expected, rel=1e-9)
    (loss, gradient), (expected_loss, expected_gradient) = region(X), whole(X)
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-9 * np.abs(gradient).max())


def test_terms_of_regions_are_those_of_their_parts():
    # At the first layer, a position is a pixel and sees its neighbours; so no guide crosses the edge of a part.
    regions = [(TOP, "all", "none"), ("rest", "none", "all")]
    _, other = random_images((9, 15), (20, 8))
    layers = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"]}
    objective = Objective(CONTENT, [STYLE, other], regions=regions, network=network(), **layers)
    (x,) = random_images(CONTENT.shape[:2])
    terms, weights = objective.terms(x), objective.term_weights
    F = features_of(network(), x, ["relu1_1"])["relu1_1"]
    for name, part, style in (("1", TOP.reshape(-1), STYLE), ("2", ~TOP.reshape(-1), other)):
        S = features_of(network(), style, ["relu1_1"])["relu1_1"]
        A, G = S.T @ S / len(S), F[part].T @ F[part] / part.sum()
        assert terms[f"style:relu1_1:{name}"] == pytest.approx(np.sum((G - A) ** 2) / (4 * 64**2), rel=1e-9)
        # Each counts by its share of the picture.
        assert weights[f"style:relu1_1:{name}"] == pytest.approx(20 * part.mean() * 4 * 64**2 / np.sum(A**2), rel=1e-6)


def test_a_style_does_not_pull_outside_its_region():
    layers = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"], "content_weight": 0, "tv_weight": 0}
    _, gradient = small_objective(regions=[(TOP, "all")], **layers)(random_images(CONTENT.shape[:2])[0])
    # One pixel further the filters see across the edge.
    assert np.abs(gradient[:6]).min() > 0 and not gradient[6:].any()


def test_labels():
    colours = np.where(TOP[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    style = np.where(np.arange(15)[:, None] < 6, np.uint8([0, 0, 255]), np.uint8([255, 0, 0])) * np.ones(
        (9, 1, 1), np.uint8
    )
    right = np.arange(15) > 5.5 * np.ones((9, 1))
    by_label = small_objective(labels=[colours, style]).terms(X)
    by_mask = small_objective(regions=[(~TOP, ~right), (TOP, right)]).terms(X)
    renamed = {name.replace(":1", ":#0000ff").replace("#0000ff:", "1:"): value for name, value in by_mask.items()}
    assert sorted(by_label.values()) == sorted(renamed.values())
    assert by_label["style:relu1_1:#ff0000"] == by_mask["style:relu1_1:2"]


def test_layers_with_weights_of_their_own():
    plain = small_objective()
    plain(X)
    objective = small_objective(
        content_layers={"relu2_1": 1, "relu2_2": 3}, style_layers={"relu1_1": 0.5, "relu2_1": 0}
    )
    objective(X)
    factors = {"content:relu2_2": 3, "style:relu1_1": 0.5, "style:relu2_1": 0}
    assert objective.term_weights == pytest.approx(
        {name: factors.get(name, 1) * w for name, w in plain.term_weights.items()}
    )
    assert "style:relu2_1" not in objective.evaluate(X)[2]


@pytest.mark.parametrize("style_loss", OF_MOMENTS)
def test_normalized_terms_pull_alike(style_loss):
    objective = small_objective(layer_weights="normalized", style_loss=style_loss, content_weight=1, style_weight=1)
    objective(X)
    weights = objective.term_weights
    _, P, _ = paper_features()
    for layer in SHALLOW["style_layers"]:
        distance = objective._distances[layer, ""]
        moments = Moments(cpu, P[layer].shape, np.float64, with_mean=distance.with_mean)
        moments.accumulate(P[layer])
        _, *gradients = distance(moments.mean, moments.second)
        own = np.zeros_like(P[layer])
        moments.add_gradient(P[layer], *gradients, weights[f"style:{layer}"], own)
        assert np.linalg.norm(own) * np.linalg.norm(P[layer]) == pytest.approx(1, rel=1e-6)
    for layer in SHALLOW["content_layers"]:
        assert weights[f"content:{layer}"] == pytest.approx(1 / np.sum(P[layer] ** 2), rel=1e-9)


def test_normalized_weights_stay_as_they_are():
    # They are those of the content image at this size, whatever image comes first and next.
    objective = small_objective(layer_weights="normalized")
    losses = [objective(x)[0] for x in (X, X / 2, X)]
    assert losses[0] == losses[2] == small_objective(layer_weights="normalized")(X)[0]


def test_a_style_that_is_met_already_is_not_normalized_beyond_measure():
    objective = Objective(CONTENT, CONTENT, layer_weights="normalized", network=network(), **SHALLOW)
    relative = Objective(CONTENT, CONTENT, network=network(), **SHALLOW)
    loss, gradient = objective(CONTENT)
    relative(CONTENT)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    for name, weight in objective.term_weights.items():
        assert weight <= 1001 * relative.term_weights[name]


# In strips


def test_an_odd_height_takes_no_more_memory_than_the_next_even_one():
    odd, even = (Plan(network(dtype="float32"), height, 1024, STYLE_LAYERS).bytes for height in (683, 684))
    assert odd <= even


@pytest.mark.parametrize(
    "settings", [{}, {"style_loss": "mean_covariance", "regions": [(TOP, "all"), ("rest", "all")]}]
)
@pytest.mark.parametrize("height", [37, 38, 39, 40])
def test_strips_change_nothing(height, settings, monkeypatch):
    (x,) = random_images((height, 21))
    layers = {"content_layers": ["relu2_2", "relu3_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
    settings = {**layers, **settings}
    loss, gradient = small_objective(**settings)(x)
    monkeypatch.setattr(cpu, "STRIP_VALUES", 1)
    in_strips, gradient_in_strips = small_objective(**settings)(x)
    assert in_strips == pytest.approx(loss, rel=1e-12)
    assert np.linalg.norm(gradient_in_strips - gradient) < 1e-12 * np.linalg.norm(gradient)


# What it is given


def test_one_objective_takes_images_of_any_size():
    objective = small_objective()
    for x in random_images((11, 13), (16, 9), (11, 13)):
        loss, gradient = objective(x)
        expected, expected_gradient = small_objective()(x)
        assert loss == expected and gradient.shape == x.shape
        np.testing.assert_array_equal(gradient, expected_gradient)


def test_an_image_too_small_changes_nothing():
    objective = small_objective(content_layers=["relu3_1"])
    loss, _ = objective(X)
    with refused(ParameterError, "3 x 9 pixels is too small for relu3_1 of vgg19; .* 4"):
        objective(np.zeros((9, 3, 3)))
    assert objective(X)[0] == loss


def test_the_image_stays_as_it_is():
    x = X.copy()
    small_objective(**WEIGHTS).terms(x, gradients=True)
    np.testing.assert_array_equal(x, X)


def test_paths_pillow_images_and_arrays(tmp_path):
    rng = np.random.default_rng(5)
    pixels = [rng.integers(256, size=(*shape, 3), dtype=np.uint8) for shape in ((12, 10), (9, 15))]
    paths = [tmp_path / name for name in ("content.png", "style.png")]
    for picture, path in zip(pixels, paths, strict=True):
        Image.fromarray(picture).save(path)
    forms = [
        paths,
        [str(path) for path in paths],
        [Image.fromarray(picture) for picture in pixels],
        pixels,
        [picture / np.float32(255) for picture in pixels],
    ]
    losses = {Objective(*form, network=network(), **SHALLOW)(X)[0] for form in forms}
    assert len(losses) == 1


def refused(error, words):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"content_weight": -1}, "content_weight is -1; .* zero or more"),
        ({"style_weight": float("nan")}, "style_weight is nan"),
        ({"regularization_weight": float("inf")}, "regularization_weight is inf"),
        ({"tv_weight": -0.5}, r"tv_weight is -0\.5"),
        ({"content_weight": "1"}, "content_weight is '1'"),
        ({"content_weight": None}, "content_weight is None"),
        ({"content_weight": 1j}, "content_weight is 1j"),
        ({"content_layers": ["relu2_3"]}, 'vgg19 has no layer "relu2_3" .did you mean relu5_3, relu4_3 or'),
        ({"style_layers": ["RELU"]}, 'vgg19 has no layer "RELU"; choose from relu1_1'),
        ({"style_layers": ["relu1_1", "relu2_1", "relu1_1"]}, "style_layers names a layer twice .relu1_1, relu2_1"),
        ({"content_layers": "relu2_2"}, 'content_layers is the string "relu2_2"; give a list'),
        ({"style_layers": "relu1_1"}, 'style_layers is the string "relu1_1"; give a list'),
        ({"content_layers": [], "style_layers": []}, "no layers .*relu1_1"),
        ({"layer_weights": {"relu2_2": 1.0, "relu1_1": 1.0}}, "layer_weights has no weight for relu2_1"),
        ({"layer_weights": {"relu2_2": 1, "relu1_1": -2, "relu2_1": 1}}, "layer weight of relu1_1 is -2"),
        ({"layer_weights": "relativ"}, 'layer_weights is "relativ"; choose "relative"'),
        ({"style_layers": {"relu1_1": -1}}, "weight of relu1_1 in style_layers is -1; .* zero or more"),
        ({"content_layers": {"relu2_2": float("nan")}}, "weight of relu2_2 in content_layers is nan"),
        ({"content_layers": {"relu2_2": "2"}}, "weight of relu2_2 in content_layers is '2'"),
        ({"style_loss": "wasserstien"}, 'style_loss "wasserstien" is not known .did you mean wasserstein'),
        ({"style_blend": [1, 2]}, "style_blend has 2 weights; it must have one for each style image, 1 in all"),
        ({"style_blend": []}, "style_blend has 0 weights"),
        ({"style_blend": [-1]}, "a weight in style_blend is -1"),
        ({"style_blend": [float("nan")]}, "a weight in style_blend is nan"),
        ({"style_blend": [0]}, "weights in style_blend are all zero"),
        ({"style_blend": "3"}, "style_blend is '3'; give a list"),
        ({"style_blend": 3}, "style_blend is 3; give a list"),
        ({"regions": [("all", "none")]}, "region 1 is in no style image"),
        ({"network": "vgg18"}, 'network "vgg18" is not known .did you mean vgg1'),
        ({"network": None, "device": "gpu"}, 'device "gpu" is not known .did you mean cpu'),
        ({"network": None, "dtype": "float16"}, 'dtype "float16" is not known .did you mean .*float32'),
        ({"network": None, "pooling": "sum"}, 'pooling "sum" is not known; choose from .*average'),
    ],
)
def test_bad_settings(settings, words):
    with refused(ParameterError, words):
        small_objective(**settings)


def test_layers_of_another_network():
    with refused(ParameterError, 'alexnet has no layer "relu4_2" .did you mean relu4'):
        small_objective(network=network("alexnet"), content_layers=["relu4_2"], style_layers=["relu1"])


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 4), (1, 12, 10, 3)])
def test_bad_shapes(shape):
    with refused(ParameterError, rf"shape {re.escape(str(shape))}; .*\(height, width, 3\)"):
        small_objective()(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite(value):
    x = X.copy()
    x[3, 4, 1] = value
    with refused(ParameterError, "not finite"):
        small_objective()(x)


def test_several_styles_that_cannot_be():
    with refused(ParameterError, "no style image"):
        Objective(CONTENT, [], network=network(), **SHALLOW)
    with refused(ImageError, "style image 2 has shape"):
        Objective(CONTENT, [STYLE, np.zeros(3)], network=network(), **SHALLOW)
    with refused(ParameterError, "style image 2 of 9 x 1 pixels is too small"):
        Objective(CONTENT, [STYLE, np.zeros((1, 9, 3))], network=network(), **SHALLOW)
    with refused(ParameterError, "region 2 is painted only by styles whose weight in style_blend is zero"):
        regions = [(TOP, "all", "none"), ("rest", "none", "all")]
        Objective(CONTENT, [STYLE, STYLE], style_blend=[1, 0], regions=regions, network=network(), **SHALLOW)


def test_style_image_too_small():
    with refused(ParameterError, "15 x 9 pixels is too small for relu5_1 of vgg19; .*16"):
        small_objective(style_layers=["relu5_1"])


def test_unusable_images_are_named():
    nothing = np.full_like(X, np.nan)
    with refused(ImageError, "content image .*not finite"):
        Objective(nothing, STYLE, network=network(), **SHALLOW)
    with refused(ImageError, "style image .*not finite"):
        Objective(CONTENT, nothing, network=network(), **SHALLOW)


def test_an_interrupted_change_of_size_leaves_the_objective_whole(monkeypatch):
    objective = small_objective()
    other = random_images((20, 18))[0]
    before = objective(X)[0]
    forward = Plan.forward

    def interrupted(self, image, visit):
        raise KeyboardInterrupt

    monkeypatch.setattr(Plan, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        objective(other)
    monkeypatch.setattr(Plan, "forward", forward)
    assert objective(other)[0] == small_objective()(other)[0]
    assert objective(X)[0] == before


def test_weights_are_known_after_an_evaluation_and_not_before(monkeypatch):
    objective = small_objective()
    monkeypatch.setattr(Plan, "forward", lambda *arguments: pytest.fail("a property runs the network"))
    with refused(ParameterError, "term_weights depend on the size of the image"):
        objective.term_weights  # noqa: B018
