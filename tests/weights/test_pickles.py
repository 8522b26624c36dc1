import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from foreign_files import (
    LAYERS,
    Storage,
    Tensor,
    assert_made_up,
    made_up,
    peak,
    state_dict,
    write_flax,
    write_torch_old,
    write_torch_zip,
)

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert, extract
from stylecore.weights.network import PREPROCESSINGS
from stylecore.weights.readers import pickles
from stylecore.weights.readers.pickles import read_pickle, read_torch_zip

WRITERS = {"zip": write_torch_zip, "old": write_torch_old}
READERS = {"zip": read_torch_zip, "old": read_pickle}


@pytest.fixture(params=WRITERS)
def torch_file(request, tmp_path):
    """Return a function that writes a tree to a file in either of PyTorch's formats, and reads it."""

    def write_and_read(tree, **options):
        path = tmp_path / "file.pth"
        WRITERS[request.param](path, tree, **options)
        return READERS[request.param](path)

    write_and_read.path = tmp_path / "file.pth"
    write_and_read.format = request.param
    return write_and_read


@pytest.mark.parametrize(
    "modules",
    [
        ("features.0", "features.2", "features.5", "features.10"),
        ("0", "2", "5", "10"),
        ("module.stem", "module.body", "module.neck", "module.head"),
        ("conv1_1", "conv1_2", "conv2_1", "conv2_2"),
    ],
)
def test_a_state_dict_is_read_in_its_order(torch_file, modules):
    torch_file(state_dict(modules))
    weights = extract(torch_file.path, "made-up", LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["torchvision"]


def test_a_checkpoint_holds_the_state_dict_among_other_things(torch_file):
    state = state_dict()
    state["classifier.0.weight"] = np.zeros((10, 6), np.float32)
    state["classifier.0.bias"] = np.zeros(10, np.float32)
    momenta = {"0.weight": state["features.0.weight"]}
    torch_file({"epoch": 3, "best": 0.5, "optimizer": momenta, "state_dict": state})
    assert_made_up(extract(torch_file.path, "made-up", LAYERS))


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_floats_become_float32(torch_file, dtype):
    state = OrderedDict((name, array.astype(dtype)) for name, array in state_dict().items())
    torch_file(state)
    weights = extract(torch_file.path, "made-up", LAYERS)
    assert weights.filters["conv1_1"].dtype == np.float32
    np.testing.assert_allclose(weights.filters["conv1_1"], made_up()[0]["conv1_1"], rtol=1e-3, atol=1e-6)


def test_the_attributes_that_pytorch_gives_a_state_dict_do_not_matter(torch_file):
    state = state_dict()
    state._metadata = OrderedDict(version=1)
    assert len(torch_file(state).convolutions) == 4


def test_files_as_old_as_torchvisions_vgg_are_read(tmp_path):
    write_torch_old(tmp_path / "a.pth", state_dict(), function="_rebuild_tensor")
    assert_made_up(extract(tmp_path / "a.pth", "made-up", LAYERS))
    write_torch_old(tmp_path / "b.pth", state_dict(), function="_rebuild_tensor", parameters=True)
    assert_made_up(extract(tmp_path / "b.pth", "made-up", LAYERS))


def test_tensors_may_share_a_storage_in_any_order(torch_file):
    numbers = np.arange(300, dtype=np.float32)
    storage = Storage("shared", numbers)
    # Channels last: the axes (C_out, C_in, kh, kw) of an array (C_out, kh, kw, C_in).
    weight = Tensor(storage, (4, 3, 3, 3), (27, 1, 9, 3), offset=20)
    found = torch_file({"0.weight": weight, "0.bias": Tensor(storage, (4,), (2,), offset=200)})
    expected = numbers[20 : 20 + 108].reshape(4, 3, 3, 3).transpose(1, 2, 3, 0)
    np.testing.assert_array_equal(found.convolutions[0].filters.read(), expected)
    np.testing.assert_array_equal(found.convolutions[0].bias.read(), [200, 202, 204, 206])


@pytest.mark.parametrize(
    "shape, strides, offset",
    [
        ((4, 3, 3, 3), (27, 9, 3, 1), 1),
        ((4, 3, 3, 3), (27, 9, 3, 2), 0),
        ((4, 3, 3, 3), (27, 9, 3, 1), -1),
        ((4, 3, 3, 3), (27, 9, 3, -1), 2),
        ((4, 3, 3, -3), (27, 9, 3, 1), 0),
        ((1000, 1000, 1000, 1000), (0, 0, 0, 0), 0),
        ((4, 3, 3, 3), (27.0, 9, 3, 1), 0),
        ((4, 3, 3, 3), (27, 9, 3), 0),
        ((2**62, 3, 3, 3), (2**62, 9, 3, 1), 0),
    ],
)
def test_a_tensor_never_reaches_beyond_its_storage(torch_file, shape, strides, offset):
    storage = Storage("0", np.zeros(108, np.float32))
    tree = {"0.weight": Tensor(storage, shape, strides, offset)}
    WRITERS[torch_file.format](torch_file.path, tree)
    with pytest.raises(WeightsError, match=r"file\.pth"):
        extract(torch_file.path, "made-up", LAYERS)


def test_a_file_that_ends_too_early_is_refused(torch_file):
    WRITERS[torch_file.format](torch_file.path, state_dict())
    whole = torch_file.path.read_bytes()
    for length in range(1, len(whole), 293):
        torch_file.path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"file\.pth (ends too early|.*is damaged|has an unknown format)"):
            extract(torch_file.path, "made-up", LAYERS)


def test_an_unsupported_type_of_numbers_is_named(tmp_path):
    write_torch_zip(tmp_path / "file.pth", state_dict(), storage_name="BFloat16Storage")
    with pytest.raises(WeightsError, match="unsupported type, BFloat16Storage"):
        read_torch_zip(tmp_path / "file.pth")


def test_a_compressed_zip_is_refused(tmp_path):
    write_torch_zip(tmp_path / "plain.pth", state_dict())
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match=r"file\.pth is compressed"):
        read_torch_zip(tmp_path / "file.pth")


def test_big_endian_zip_files_are_read(tmp_path):
    write_torch_zip(tmp_path / "little.pth", state_dict())
    with (
        zipfile.ZipFile(tmp_path / "little.pth") as little,
        zipfile.ZipFile(tmp_path / "big.pth", "w") as big,
    ):
        for name in little.namelist():
            content = little.read(name)
            if "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            big.writestr(name, b"big" if name.endswith("byteorder") else content)
    assert_made_up(extract(tmp_path / "big.pth", "made-up", LAYERS))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_flax_pickles_are_read_with_every_protocol(tmp_path, protocol):
    write_flax(tmp_path / "file.ckpt", protocol=protocol)
    weights = extract(tmp_path / "file.ckpt", "made-up", LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["torchvision"]


def test_numpys_names_before_version_2_are_known(tmp_path):
    write_flax(tmp_path / "file.ckpt", protocol=2)
    content = (tmp_path / "file.ckpt").read_bytes()
    other = (b"numpy._core", b"numpy.core") if b"numpy._core" in content else (b"numpy.core", b"numpy._core")
    (tmp_path / "file.ckpt").write_bytes(content.replace(*other))
    assert_made_up(extract(tmp_path / "file.ckpt", "made-up", LAYERS))


def test_arrays_may_be_in_fortran_order_and_big_endian(tmp_path):
    filters, biases = made_up()
    tree = {}
    for name in filters:
        tree[name] = {"kernel": np.asfortranarray(filters[name]).astype(">f4"), "bias": biases[name]}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(tree))
    assert_made_up(extract(tmp_path / "file.pkl", "made-up", LAYERS))


class Call:
    """Pickled, it calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _attacks(marker):
    """Pickles that create a file when they are unpickled freely, by the function that they call."""
    command = f"touch {marker}"
    return {
        "system": Call(os.system, command),
        "eval": Call(eval, f"__import__('os').system({command!r})"),
        "open": {"state_dict": {"0.weight": [Call(open, str(marker), "w")]}},
        "exec": state_dict() | {"last": Call(exec, f"open({str(marker)!r}, 'w')")},
    }


@pytest.mark.parametrize("kind", ["pickle", "zip", "old"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_pickle_is_ever_called(tmp_path, kind, protocol):
    marker = tmp_path / "called"
    path = tmp_path / "evil.pth"
    for name, attack in _attacks(marker).items():
        content = pickle.dumps(attack, protocol=protocol)
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x/data.pkl", content)
        elif kind == "old":
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + content)
        else:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"evil\.pth asks to call \w+\.{name}, which weights"):
            extract(path, "made-up", LAYERS)
        assert not marker.exists()
        pickle.loads(content)
        assert marker.exists(), "the attack itself does not work"
        marker.unlink()


@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nsystem\n",
        b"ccollections\nOrderedDict.fromkeys\n",
        b"cbuiltins\ngetattr\n",
        b"cnumpy\nload\n",
        b"cnumpy\nmemmap\n",
        b"ctorch\nload\n",
        b"ctorch.storage\n_load_from_bytes\n",
        b"cnumpy.core.multiarray\nscalar\n",
        b"ccopyreg\n_reconstructor\n",
        b"c__main__\nexit\n",
    ],
)
def test_other_functions_that_a_pickle_names_are_in_the_message(tmp_path, attack):
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x02" + attack + b".")
    name = attack[1:].decode().strip().replace("\n", ".")
    with pytest.raises(WeightsError, match=f"asks to call {name}, which weights do not need"):
        read_pickle(tmp_path / "evil.pkl")


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """The opcode BUILD sets attributes of any object, even of a class; here of the only class that has a name."""
    attack = b"\x80\x02ctorch.nn.parameter\nParameter\nN}X\x06\x00\x00\x00tensorK\x07s\x86b."
    (tmp_path / "evil.pkl").write_bytes(attack)
    with pytest.raises(WeightsError, match="is damaged"):
        extract(tmp_path / "evil.pkl", "made-up", LAYERS)
    write_torch_old(tmp_path / "good.pth", state_dict(), function="_rebuild_tensor", parameters=True)
    assert_made_up(extract(tmp_path / "good.pth", "made-up", LAYERS))


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a"]), np.zeros(2, "f4,f4"), np.array([1j])])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, array):
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"a": array}))
    with pytest.raises(WeightsError, match=r"file\.pkl has an array of type '.*'; only arrays of numbers are supp"):
        read_pickle(tmp_path / "file.pkl")


def test_an_array_cannot_be_larger_than_its_bytes(tmp_path):
    content = pickle.dumps({"a.weight": np.zeros((3, 3, 3, 4), np.float32)}, protocol=2)
    assert content.count(b"K\x03K\x03K\x03K\x04") == 1
    (tmp_path / "file.pkl").write_bytes(content.replace(b"K\x03K\x03K\x03K\x04", b"K\x03K\x03K\x03K\xff"))
    with pytest.raises(WeightsError, match=r"file\.pkl is damaged"):
        extract(tmp_path / "file.pkl", "made-up", LAYERS)


MEMO = b"N\x72\x00\x00\x00\x10"
"""Memorise None at index 2 ** 28, for which the unpickler would allocate 4 GB."""


@pytest.mark.parametrize(
    "opcodes",
    [
        MEMO,
        b"Np268435456\n",
        b"\x8b" + (2**20).to_bytes(4, "little") + b"\x7f" * 2**20,
        b"I" + b"9" * 100 + b"\n",
        b"\x8e" + (2**40).to_bytes(8, "little"),
        b"\x8d" + (2**40).to_bytes(8, "little"),
        b"\x96" + (2**40).to_bytes(8, "little"),
        b"\x95" + (2**40).to_bytes(8, "little") + b"N",
        b"X\xff\xff\xff\x7f",
        b"N" * 1_100_000,
        # An array of 2 ** 30 numbers without any bytes: numpy.ndarray(), then BUILD.
        b"cnumpy\nndarray\n)R(K\x01J\x00\x00\x00\x40\x85cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89Ntb",
    ],
    ids=["memo", "text memo", "long", "decimal", "bytes", "text", "bytearray", "frame", "text32", "opcodes", "array"],
)
@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_a_pickle_that_asks_for_much_memory_gets_none(tmp_path, kind, opcodes):
    path = tmp_path / "bomb"
    if kind == "pickle":
        path.write_bytes(b"\x80\x04" + opcodes + b".")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x04" + opcodes + b".")
    message, allocated = peak(extract, path, "made-up", LAYERS)
    assert "bomb asks for more memory than weights need" in message or "bomb is damaged" in message
    assert allocated < 100e6


def test_a_tensor_that_repeats_one_number_is_not_expanded(torch_file):
    storage = Storage("0", np.zeros(1, np.float32))
    WRITERS[torch_file.format](torch_file.path, {"0.weight": Tensor(storage, (10**5, 10**3, 3, 3), (0, 0, 0, 0))})
    message, allocated = peak(extract, torch_file.path, "made-up", LAYERS[:1])
    assert "shape of conv1_1's filters" in message
    assert allocated < 10e6


@pytest.mark.parametrize("name", ["some/data.pkl", "some/byteorder", "some/data/0"])
def test_a_member_that_is_too_large_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pickles, "_LARGEST_PICKLE", 2**20)
    monkeypatch.setattr(pickles, "_LARGEST_STORAGE", 2**20)
    write_torch_zip(tmp_path / "small.pth", state_dict())
    with zipfile.ZipFile(tmp_path / "small.pth") as small, zipfile.ZipFile(tmp_path / "large.pth", "w") as large:
        for other in small.namelist():
            large.writestr(other, small.read(other) + bytes(2**21) * (other == name))
    message, allocated = peak(extract, tmp_path / "large.pth", "made-up", LAYERS)
    assert "large.pth" in message and "damaged" in message
    assert allocated < 1e6


# Python 3.14 caches the hashes of tuples, so that this is fast there; it is refused all the same.
NESTED = b"N" + b"".join(b"\x94h%c\x86" % i for i in range(60))
"""A tuple of two times a tuple of two times a tuple ..., whose hash takes centuries."""


@pytest.mark.parametrize("key", [NESTED, b")" + b"\x85" * 900_000], ids=["doubling", "deep"])
def test_a_pickle_that_would_take_forever_or_crash_is_refused(tmp_path, key):
    (tmp_path / "bomb").write_bytes(b"\x80\x04}" + key + b"Ns.")
    with pytest.raises(WeightsError, match=r"bomb (takes more memory or time|is damaged|holds no filters)"):
        convert(tmp_path / "bomb", "alexnet")


def _doubling(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value, "b": value}
    return value


def _endless():
    value = {}
    value["again"] = value
    return value


@pytest.mark.parametrize("tree", [_doubling(18), _doubling(60), _endless()])
def test_small_pickles_of_huge_things_are_refused(tmp_path, tree):
    content = pickle.dumps(tree)
    assert len(content) < 1000
    (tmp_path / "file.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match="is nested too deeply or holds too much"):
        read_pickle(tmp_path / "file.pkl")


@pytest.mark.parametrize("value", [3, "text", [], {}, None, {"a": [1, 2]}])
def test_pickles_without_weights_are_refused(tmp_path, value):
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(WeightsError, match=r"file\.pkl holds no filters of convolutions"):
        read_pickle(tmp_path / "file.pkl")


def test_an_old_file_of_another_machine_is_refused(tmp_path):
    buffer = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}):
        pickle.dump(value, buffer, protocol=2)
    (tmp_path / "file.pth").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match=r"file\.pth is of an unknown kind"):
        read_pickle(tmp_path / "file.pth")


def test_a_storage_cannot_have_another_dtype(tmp_path):
    """Storage types are plain strings to the reader, so a pickle could use any string for one."""

    class Smuggler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", "O", "0", "cpu", 4) if isinstance(value, Storage) else None

    buffer = io.BytesIO()
    Smuggler(buffer, protocol=2).dump({"0.weight": Storage("0", None)})
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("x/data.pkl", buffer.getvalue())
    with pytest.raises(WeightsError, match="unknown kind"):
        read_torch_zip(tmp_path / "evil.pth")
