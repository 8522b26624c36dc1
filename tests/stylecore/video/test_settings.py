import json
from pathlib import Path

import pytest

from stylecore.errors import ParameterError
from stylecore.video.settings import FilmSettings


def test_settings_can_be_stored():
    settings = FilmSettings(flow=Path("flows"), long_term=[4, 1, 1])
    assert json.loads(json.dumps(settings.to_json()))["long_term"] == [1, 4]
    assert FilmSettings.defaults()["every"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"passes": 1.5}, "passes is 1.5"),
        ({"frame_iterations": True}, "frame_iterations is True"),
        ({"temporal_weight": -1}, "temporal_weight is -1"),
        ({"start": float("nan")}, "start is nan"),
        ({"start": 2, "stop": 2}, "stop it later"),
        ({"long_term": ()}, "long_term is"),
        ({"long_term": "12"}, "long_term is"),
        ({"long_term": [0]}, "distance in long_term is 0"),
    ],
)
def test_settings_out_of_their_range_are_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        FilmSettings(**given)
