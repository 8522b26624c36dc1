from io import BytesIO

import pytest
from PIL import Image

from stylecore.errors import ParameterError
from stylecore.training import curves

HISTORY = [
    dict(zip(curves.columns("accuracy"), (number, 0.5, 0.9, 0.6, 0.8, 0.1, 2.5), strict=True)) for number in (1, 2)
]


def test_the_table_has_a_row_for_each_epoch():
    assert curves.table(HISTORY, "accuracy").decode().splitlines() == [
        "epoch,loss,accuracy,test loss,test accuracy,rate,seconds",
        "1,0.5,0.9,0.6,0.8,0.1,2.5",
        "2,0.5,0.9,0.6,0.8,0.1,2.5",
    ]


@pytest.mark.parametrize(
    ("content", "is_table"),
    [
        (curves.table(HISTORY, "accuracy"), True),
        (curves.table([], "PSNR"), True),
        (b"epoch,loss,accuracy,test loss,test accuracy,rate,seconds\r\n", True),
        (b"epoch,loss\n1,2\n", False),
        (b"", False),
        (b"\xff" * 5000, False),
    ],
)
def test_a_table_is_recognised_by_its_header(tmp_path, content, is_table):
    (tmp_path / "cnn.csv").write_bytes(content)
    assert curves.is_table(tmp_path / "cnn.csv") == is_table


def test_a_plot_is_a_picture():
    pytest.importorskip("matplotlib")
    with Image.open(BytesIO(curves.plot(HISTORY, "accuracy", "png"))) as picture:
        assert picture.format == "PNG" and picture.width > 500


def test_a_plot_needs_a_known_format(tmp_path):
    pytest.importorskip("matplotlib")
    curves.check_plot(tmp_path / "curves.png")
    with pytest.raises(ParameterError, match=r"curves\.xyz cannot be written as a plot; its name must end in one of"):
        curves.check_plot(tmp_path / "curves.xyz")
