"""The table of a painter's stages."""

import pytest

from stylecore.errors import ParameterError
from stylecore.painter.architecture import Stage, check, check_crop, from_json, reduction, stages, to_json


def test_the_stages_are_those_of_the_paper():
    table = stages()
    assert [stage.outputs for stage in table] == [32, 64, 128, *[128] * 10, 64, 32, 3]
    assert [stage.size for stage in table] == [9, *[3] * 14, 9]
    assert [stage.name for stage in table if stage.ends] == [f"block{k}_2" for k in range(1, 6)]
    assert reduction(table) == 4
    side = 52
    for stage in table:
        side = stage.length(side)
    assert side == 52


def test_the_table_survives_json():
    table = stages((16, 32, 48), 2)
    assert from_json(to_json(table)) == table


@pytest.mark.parametrize(
    "table",
    [
        [],
        [Stage("a", 3, 3, size=2)],
        [Stage("a", 4, 3)],
        [Stage("a", 3, 4), Stage("b", 3, 3)],
        [Stage("a", 3, 3, stride=2)],
        [Stage("a", 3, 3, ends=True)],
        [Stage("a", 3, 3, begins=True, ends=True)],
        [Stage("a", 3, 4), Stage("b", 4, 3, begins=True, ends=True)],
        [Stage("a", 3, 3), Stage("b", 3, 3, begins=True)],
        [Stage("a", 3, 3), Stage("b", 3, 3, begins=True), Stage("c", 3, 3, begins=True, ends=True)],
        [
            Stage("a", 3, 3),
            Stage("b", 3, 3, begins=True, ends=True),
            Stage("c", 3, 3, stride=2),
            Stage("d", 3, 3, factor=2),
        ],
        [Stage("a", 3, 0), Stage("b", 0, 3)],
    ],
)
def test_tables_that_make_no_picture_are_refused(table):
    with pytest.raises(ValueError, match=r"no stages|fit|residual block|picture|number"):
        check(table)


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "a"}]', '[{"nome": "a"}]'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize("side", [14, 12, 4])
def test_crops_that_cannot_be_painted_are_refused(side):
    with pytest.raises(ParameterError, match="multiple of 4 of at least 16"):
        check_crop(stages(), side)
