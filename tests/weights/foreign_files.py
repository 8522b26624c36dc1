"""Writers of other programs' files of weights, for a made-up network, without those programs."""

import io
import json
import pickle
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from stylecore.errors import WeightsError
from stylecore.weights.architectures import Conv, Pool

LAYERS = (
    Conv("conv1_1", 3, 4),
    Conv("conv1_2", 4, 5),
    Pool("pool1"),
    Conv("conv2_1", 5, 6, size=5, padding=2),
    Conv("conv2_2", 6, 6),
)
NAMES = [layer.name for layer in LAYERS if isinstance(layer, Conv)]


def peak(function, *arguments):
    """Call a function that must raise a WeightsError: its message, and the most memory allocated in between, in bytes.

    What the HDF5 library allocates for itself is not counted, but the arrays that h5py reads into are.
    """
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError) as caught:
            function(*arguments)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def made_up(seed=0):
    """Filters (kh, kw, C_in, C_out) and biases of `LAYERS`, by name."""
    rng = np.random.default_rng(seed)
    filters, biases = {}, {}
    for layer in LAYERS:
        if isinstance(layer, Conv):
            shape = (layer.size, layer.size, layer.in_channels, layer.out_channels)
            filters[layer.name] = rng.standard_normal(shape, dtype=np.float32)
            biases[layer.name] = rng.standard_normal(layer.out_channels, dtype=np.float32)
    return filters, biases


def assert_made_up(weights, seed=0):
    """Check that nothing was lost, swapped or transposed."""
    filters, biases = made_up(seed)
    assert list(weights.filters) == list(weights.biases) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(weights.filters[name], filters[name])
        np.testing.assert_array_equal(weights.biases[name], biases[name])


def state_dict(modules=("features.0", "features.2", "features.5", "features.10"), seed=0):
    """PyTorch's dict of the network, in the order of the forward pass; filters are (C_out, C_in, kh, kw)."""
    filters, biases = made_up(seed)
    state = OrderedDict()
    for module, name in zip(modules, NAMES, strict=True):
        state[f"{module}.weight"] = np.ascontiguousarray(filters[name].transpose(3, 2, 0, 1))
        state[f"{module}.bias"] = biases[name]
    return state


class Storage:
    """The numbers that PyTorch tensors are views of."""

    def __init__(self, key, numbers):
        self.key, self.numbers = key, numbers


class Tensor:
    """A PyTorch tensor, pickled as a call of the function of that name with its layout."""

    def __init__(self, storage, shape, strides, offset=0, function="_rebuild_tensor_v2"):
        self.storage, self.layout, self.function = storage, (offset, shape, strides), function

    def __reduce__(self):
        rebuild = getattr(sys.modules["torch._utils"], self.function)
        rest = (False, OrderedDict()) if self.function == "_rebuild_tensor_v2" else ()
        return rebuild, (self.storage, *self.layout, *rest)


@contextmanager
def _fake_torch():
    """Modules with everything that PyTorch's pickles name, while one is written."""
    torch, utils, parameter = (ModuleType(name) for name in ("torch", "torch._utils", "torch.nn.parameter"))
    for name in ("FloatStorage", "HalfStorage", "DoubleStorage", "LongStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        namespace = {"__name__": "torch._utils"}
        exec(f"def {name}(*arguments): pass", namespace)
        setattr(utils, name, namespace[name])
    namespace = {"__module__": "torch.nn.parameter", "__getstate__": lambda self: self.state}
    parameter.Parameter = type("Parameter", (), namespace)
    modules = {"torch": torch, "torch._utils": utils, "torch.nn.parameter": parameter}
    with mock.patch.dict(sys.modules, modules):
        yield modules


_STORAGE_NAMES = {"f2": "HalfStorage", "f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage"}


def _dump(tree, file, view, storage_name=None):
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            storages[value.key] = value.numbers
            name = storage_name or _STORAGE_NAMES[value.numbers.dtype.str[1:]]
            return "storage", getattr(sys.modules["torch"], name), value.key, "cpu", value.numbers.size, *view

    Pickler(file, protocol=2).dump(tree)
    return storages


def tensors(tree, function="_rebuild_tensor_v2"):
    """Replace the arrays in nested dicts by tensors, each with its own storage."""
    counter = iter(range(10_000))

    def walk(value):
        if isinstance(value, dict):
            return type(value)((key, walk(child)) for key, child in value.items())
        if isinstance(value, np.ndarray):
            strides = tuple(stride // value.itemsize for stride in value.strides)
            return Tensor(Storage(str(next(counter)), value.ravel()), value.shape, strides, function=function)
        return value

    return walk(tree)


def write_torch_zip(path, tree, storage_name=None):
    """Write PyTorch's format since version 1.6."""
    with _fake_torch(), zipfile.ZipFile(path, "w") as archive:
        main = io.BytesIO()
        storages = _dump(tensors(tree), main, (), storage_name)
        archive.writestr("some/data.pkl", main.getvalue())
        archive.writestr("some/byteorder", "little")
        for key, numbers in storages.items():
            archive.writestr(f"some/data/{key}", numbers.tobytes())


def write_torch_old(path, tree, function="_rebuild_tensor_v2", parameters=False):
    """Write PyTorch's format before version 1.6; with parameters, as before 0.4."""
    with _fake_torch() as modules, open(path, "wb") as file:
        tree = tensors(tree, function)
        if parameters:
            for key, tensor in tree.items():
                tree[key] = modules["torch.nn.parameter"].Parameter()
                tree[key].state = (tensor, None, OrderedDict(), True, False)
        for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
            pickle.dump(value, file, protocol=2)
        storages = _dump(tree, file, (None,))
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(storages[key].size.to_bytes(8, "little") + storages[key].tobytes())


def write_flax(path, seed=0, protocol=3):
    """Write a pickle of nested dicts, sorted like JAX's, so that Conv_10 comes before Conv_9."""
    filters, biases = made_up(seed)
    layers = {f"Conv_{i}": {"kernel": filters[name], "bias": biases[name]} for i, name in enumerate(NAMES, start=8)}
    layers["Dense_0"] = {"kernel": np.zeros((6, 2), np.float32), "bias": np.zeros(2, np.float32)}
    with open(path, "wb") as file:
        pickle.dump({"params": dict(sorted(layers.items()))}, file, protocol=protocol)


def write_keras(path, layers=("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"), whole=False):
    """Write Keras' file of weights, or that of a whole model."""
    filters, biases = made_up()
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, name in zip(layers, NAMES, strict=True):
            root[f"{layer}/{layer}_W_1:0"] = filters[name]
            root[f"{layer}/{layer}_b_1:0"] = biases[name]
        root.create_group("block1_pool")
        root["predictions/kernel:0"] = np.zeros((6, 2), np.float32)
        root["predictions/bias:0"] = np.zeros(2, np.float32)


def write_without_digest(path, output):
    """Write a file in the project's layout as older versions of the program did."""
    with h5py.File(path) as new, h5py.File(output, "w", libver="earliest") as old:
        old.attrs.update(new.attrs)
        for name, group in new.items():
            for part, dataset in group.items():
                old.create_dataset(f"{name}/{part}", data=dataset, fletcher32=True)


def write_matconvnet(path, old=False, mean=(123.68, 116.779, 103.939)):
    """Write MatConvNet's file, as of 2014 (old) or later; the classifier is a convolution there."""
    filters, biases = made_up()
    filters["fc3"], biases["fc3"] = np.zeros((7, 7, 6, 2), np.float32), np.zeros(2, np.float32)
    layers = []
    for name in filters:
        arrays = filters[name], biases[name].reshape(1 if old else -1, -1 if old else 1)
        if old:
            parameters = {"filters": arrays[0], "biases": arrays[1]}
        else:
            cell = np.empty((1, 2), dtype=object)
            cell[0, 0], cell[0, 1] = arrays
            parameters = {"weights": cell}
        layers += [{"name": name, "type": "conv", **parameters}, {"name": f"relu_{name}", "type": "relu"}]
    cells = np.empty((1, len(layers)), dtype=object)
    cells[0, :] = layers
    average = np.tile(np.float32(mean), (2, 2, 1)) if old else np.float64(mean).reshape(1, 1, 3)
    normalization = {"averageImage": average}
    extra = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    savemat(path, {"layers": cells, **extra})


def write_npz(path, pattern="{}_{}", words=("W", "b")):
    """Write NumPy's file with names such as conv1_1_W."""
    filters, biases = made_up()
    parts = {}
    for name in NAMES:
        parts[pattern.format(name, words[0])] = filters[name]
        parts[pattern.format(name, words[1])] = biases[name]
    np.savez(path, **parts)


def write_safetensors(path, state, header=None):
    """Write a safetensors file, its tensors sorted by name; `header` changes the header's entries."""
    entries, content = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(state):
        end = len(content) + state[name].nbytes
        kind = {"f2": "F16", "f4": "F32", "f8": "F64", "i8": "I64"}[state[name].dtype.str[1:]]
        entries[name] = {"dtype": kind, "shape": state[name].shape, "data_offsets": [len(content), end]}
        content += state[name].tobytes()
    text = json.dumps(header(entries) if header else entries).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + content)
