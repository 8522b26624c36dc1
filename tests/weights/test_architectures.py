import json

import pytest

from stylecore.training.architectures import CNN
from stylecore.weights.architectures import (
    ARCHITECTURES,
    DEFAULT_LAYERS,
    Conv,
    Pool,
    default_layers,
    from_json,
    to_json,
    with_detail,
)


@pytest.mark.parametrize("network, convolutions", [("vgg19", 16), ("vgg16", 13), ("alexnet", 5)])
def test_the_networks_are_as_deep_as_published(network, convolutions):
    assert sum(isinstance(layer, Conv) for layer in ARCHITECTURES[network]) == convolutions


def test_a_relu_carries_the_number_of_its_convolution():
    assert Conv("conv4_2", 512, 512).relu == "relu4_2"


@pytest.mark.parametrize("network", ARCHITECTURES)
def test_a_table_survives_json(network):
    assert from_json(to_json(ARCHITECTURES[network])) == ARCHITECTURES[network]


def _changed(layer, **fields):
    rows = json.loads(to_json((Conv("conv1_1", 3, 4), Pool("pool1"), Conv("conv2_1", 4, 5))))
    rows[layer].update(fields)
    return json.dumps(rows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[3]",
        "[{}]",
        _changed(0, kind="lambda"),
        _changed(0, colour="red"),
        _changed(0, in_channels=1),
        _changed(2, in_channels=5),
        _changed(0, out_channels="4"),
        _changed(2, out_channels=0),
        _changed(0, size=0),
        _changed(0, padding=-1),
        _changed(1, stride=0),
        _changed(1, stride=True),
        _changed(2, name="conv1_1"),
        _changed(2, name="a/b"),
        _changed(2, name=""),
        "[]",
        to_json([Pool("pool1")]),
        to_json([Conv("conv1_1", 3, 4_000_000)]),
    ],
)
def test_other_text_than_an_architecture_is_refused(text):
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize("network", DEFAULT_LAYERS)
def test_default_layers_exist(network):
    table = {**ARCHITECTURES, "cnn": CNN}[network]
    content, style = default_layers(network, table)
    assert (content, style) == DEFAULT_LAYERS[network]
    relus = [layer.relu for layer in table if isinstance(layer, Conv)]
    assert content and style and {*content, *style} <= {*relus}


def test_a_custom_architecture_has_default_layers():
    table = (Conv("conv1_1", 3, 8), Conv("conv1_2", 8, 8), Pool("a"), Conv("conv2_1", 8, 8), Conv("conv2_2", 8, 8))
    assert default_layers("own", (*table, Pool("b"), Conv("conv3_1", 8, 8))) == (
        {"relu2_2": 1},
        {"relu1_1": 1, "relu2_1": 1, "relu3_1": 1},
    )
    assert default_layers("own", table) == ({"relu1_2": 1}, {"relu1_1": 1, "relu2_1": 1})
    assert default_layers("own", table[:1]) == ({"relu1_1": 1}, {"relu1_1": 1})
    # The name of a network with other layers does not matter.
    assert default_layers("alexnet", table[:1]) == ({"relu1_1": 1}, {"relu1_1": 1})


def test_the_content_can_be_held_in_more_or_less_detail():
    content, style = DEFAULT_LAYERS["vgg19"]
    assert with_detail(content, style, "shapes") == content
    assert with_detail(content, style, "objects") == {"relu4_2": 1}
    assert with_detail(content, style, "edges") == {"relu2_1": 1}
    content, style = DEFAULT_LAYERS["vgg16"]
    assert with_detail(content, style, "objects") == {"relu4_1": 1}
    assert with_detail(content, style, "edges") == {"relu3_1": 1}
    assert with_detail({"relu1_1": 1}, {"relu1_1": 1}, "edges") == {"relu1_1": 1}
