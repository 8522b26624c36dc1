import numpy as np
import pytest

from stylecore import StylecoreError, transfer
from stylecore.optimizers import Optimizer
from stylecore.runs.run import Run

TINY = {"network": "small", "size": 32, "iterations": 12, "pyramid": 1, "style_weight": 1e3}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.random((24, 32, 3)), rng.random((20, 20, 3))


@pytest.mark.parametrize("colour", ["style", "content"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_callback_can_keep_its_images_but_not_change_them(optimizer, colour, images):
    kept, copies = [], []

    def callback(evaluation, image):
        with pytest.raises(ValueError, match="read-only"):
            image.fill(0)
        kept.append(image)
        copies.append(image.copy())

    settings = {**TINY, "optimizer": optimizer, "colour": colour}
    watched = transfer(*images, **settings, callback=callback)
    np.testing.assert_array_equal(watched.array, transfer(*images, **settings).array)
    assert len(kept) == 12 and len({image.tobytes() for image in copies}) == 12
    for image, copy in zip(kept, copies, strict=True):
        assert image.shape == (24, 32, 3)
        np.testing.assert_array_equal(image, copy)


class Steps(Optimizer):
    """Evaluates a few images, each in the same buffer."""

    def _minimize(self):
        x = np.empty_like(self._x)
        while True:
            x[:] = self._left / 10
            self._evaluate(x)


class Levels:
    """The loss is the level of the image, and at one evaluation something that is not finite."""

    def __init__(self, wrong=None, gradient=1.0):
        self.term_weights = {"level": 2.0}
        self._wrong = wrong
        self._gradient = gradient
        self._evaluations = 0

    def evaluate(self, x):
        self._evaluations += 1
        at_wrong = self._evaluations == self._wrong
        gradient = np.full_like(x, self._gradient if at_wrong else 1)
        return (np.nan if at_wrong and self._gradient == 1 else 2 * x.mean()), gradient, {"level": x.mean()}


SCALES = [((2, 3), 4), ((4, 6), 3)]


def start(shape, count):
    return Steps(np.zeros((*shape, 3), np.float32), count)


def test_history_and_images_over_the_scales():
    images = []
    run = Run(lambda evaluation, image: images.append(image), False, None, {})
    with run.over(SCALES):
        for shape, count in SCALES[run.first :]:
            run.minimize(Levels(), start(shape, count), lambda x: x)
    assert [evaluation.number for evaluation in run.history] == list(range(1, 8))
    assert [evaluation.size for evaluation in run.history] == 4 * [(2, 3)] + 3 * [(4, 6)]
    losses = np.array([0.8, 0.6, 0.4, 0.2, 0.6, 0.4, 0.2])
    np.testing.assert_allclose([evaluation.loss for evaluation in run.history], losses, rtol=1e-6)
    np.testing.assert_allclose([image.mean() for image in images], losses / 2, rtol=1e-6)
    assert all(evaluation.weights == {"level": 2.0} for evaluation in run.history)
    seconds = [evaluation.seconds for evaluation in run.history]
    assert seconds == sorted(seconds) and not run.stopped


def test_a_true_result_of_the_callback_ends_the_run():
    run = Run(lambda evaluation, image: evaluation.number == 2 and "enough", False, None, {})
    with run.over(SCALES):
        run.minimize(Levels(), start(*SCALES[0]), lambda x: x)
    assert run.stopped and len(run.history) == 2


@pytest.mark.parametrize("gradient", [1.0, np.inf, np.nan, 1e30])
def test_what_is_not_finite_ends_the_run(gradient):
    run = Run(None, False, None, {})
    with (
        run.over(SCALES),
        pytest.raises(StylecoreError, match=r"too large or not a number at evaluation 3; lower the weights\.$"),
    ):
        run.minimize(Levels(3, gradient), start(*SCALES[0]), lambda x: x)


def test_progress_bar(capsys):
    run = Run(None, True, None, {})
    with run.over(SCALES):
        for shape, count in SCALES:
            run.minimize(Levels(), start(shape, count), lambda x: x)
    shown = capsys.readouterr().err
    assert "7/7" in shown and "6 x 4, loss 0.2" in shown
