import numpy as np
import pytest

from stylecore.video.hdr import BT2020, DISPLAY_P3, HLG, PEAK, PQ, hlg_to_linear, pq_to_linear, to_srgb

GREY = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None] * np.ones(3, np.float32)


def test_pq_has_the_values_of_the_standard():
    # BT.2408, table 1: 58% of PQ is 203 cd/m^2; BT.2100: the whole range ends at 10000.
    assert pq_to_linear(np.float64(0.58)) == pytest.approx(203, rel=0.01)
    assert pq_to_linear(np.float64(1)) == pytest.approx(10000, rel=1e-6)
    assert pq_to_linear(np.float64(0)) == 0


def test_hlg_has_the_values_of_the_standard():
    # BT.2408, table 1: 75% of HLG is 203 cd/m^2 on a screen of 1000.
    white = np.full((1, 1, 3), 0.75)
    assert hlg_to_linear(white)[0, 0] == pytest.approx([203] * 3, rel=0.01)
    assert hlg_to_linear(np.ones((1, 1, 3)))[0, 0] == pytest.approx([PEAK] * 3, rel=1e-3)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_greys_stay_grey_and_ordered(transfer):
    result = to_srgb(GREY, transfer, BT2020)
    np.testing.assert_allclose(result, result[:, :, :1] * np.ones(3), atol=2e-3)
    assert (np.diff(result[:, 0, 0]) >= 0).all() and result.min() >= 0 and result.max() <= 1


def test_paper_white_is_light_but_not_clipped():
    white = to_srgb(np.full((1, 1, 3), 0.58, np.float32), PQ, BT2020)
    assert white.min() > 0.7 and white.max() < 0.95


@pytest.mark.parametrize("primaries", [BT2020, DISPLAY_P3])
def test_wide_primaries_keep_white_and_saturate_colours(primaries):
    np.testing.assert_allclose(to_srgb(GREY, 1, primaries), GREY, atol=2e-3)
    red = to_srgb(np.float32([[[0.7, 0.4, 0.4]]]), 1, primaries)[0, 0]
    assert red[0] > 0.7 and red[1] < 0.4


def test_the_usual_colours_are_unchanged():
    rgb = np.random.default_rng(0).random((4, 5, 3), np.float32)
    np.testing.assert_allclose(to_srgb(rgb, 1, 1), rgb, atol=1e-6)
