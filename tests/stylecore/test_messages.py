import pytest

from stylecore.messages import near_matches

LAYERS = ["relu1_1", "relu1_2", "relu4_1", "relu4_2", "pool4"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("relu4_3", " (did you mean relu4_2, relu4_1 or relu1_2?)"),
        ("pool_4", " (did you mean pool4?)"),
        ("conv", "; choose from relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
        ("", "; choose from relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
        (None, "; choose from relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
    ],
)
def test_near_matches(word, expected):
    assert near_matches(word, LAYERS) == expected


def test_any_collection_of_names():
    assert near_matches("adams", {"lbfgs": 1, "adam": 2}) == " (did you mean adam?)"
