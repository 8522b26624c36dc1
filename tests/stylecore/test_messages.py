import pytest

from stylecore.messages import near_matches

LAYERS = ["relu1_1", "relu1_2", "relu4_1", "relu4_2", "pool4"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("relu4_3", "; near it are relu4_2, relu4_1, relu1_2"),
        ("pool_4", "; near it are pool4"),
        ("conv", "; there are relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
        ("", "; there are relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
        (None, "; there are relu1_1, relu1_2, relu4_1, relu4_2, pool4"),
    ],
)
def test_near_matches(word, expected):
    assert near_matches(word, LAYERS) == expected


def test_any_collection_of_names():
    assert near_matches("adams", {"lbfgs": 1, "adam": 2}) == "; near it are adam"
