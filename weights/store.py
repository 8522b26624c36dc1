"""What a network's weights consist of, and the one HDF5 layout in which they are stored.

The file's attributes are ``format``, ``format_version``, ``network``, ``architecture`` (the layer table as
JSON), ``channel_order``, ``scale``, ``mean``, ``std``, ``source`` and ``sha256``. Each convolution has a
group of its name with the datasets ``filters`` (kh, kw, C_in, C_out) and ``bias`` (C_out,), both float32, or float16
where half the size matters more than the last digits.
"""

import io
import os
from dataclasses import dataclass

import numpy as np

from stylecore.errors import WeightsError
from stylecore.files import replacing
from stylecore.weights.architectures import Conv, Pool, default_layers, from_json, to_json, until

FORMAT = "stylecore-weights"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input: ``(scale * image[..., order] - mean) / std``.

    Parameters
    ----------
    channel_order : str
        "RGB" or "BGR": the order in which the network takes the channels of an sRGB image in [0, 1].
    scale : float
        255 for a network that was trained on bytes, 1 for one that was trained on [0, 1].
    mean, std : tuple of 3 floats
        In the network's channel order, in units of the scaled image.

    Raises
    ------
    WeightsError
        If a value is not one of the above, not finite, or no positive scale or deviation.
    """

    channel_order: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        numbers = np.array([self.scale, *self.mean, *self.std], dtype=float)
        if (
            self.channel_order not in ("RGB", "BGR")
            or len(self.mean) != 3
            or len(self.std) != 3
            or not np.isfinite(numbers).all()
            or min(self.scale, *self.std) <= 0
        ):
            raise WeightsError(
                f"the preprocessing {self} cannot be used; the order must be RGB or BGR, mean and std three "
                f"finite numbers each, scale and std positive."
            )

    def __str__(self):
        numbers = [", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std)]
        return f"({self.scale:g} x {self.channel_order} - ({numbers[0]})) / ({numbers[1]})"


PREPROCESSINGS = {
    # For torchvision's networks, and for the many that were trained like them.
    "torchvision": Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # For the VGG networks as their authors published them for Caffe, and Keras' copies of them.
    "caffe": Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    # For copies of those whose first layer was turned round to take RGB.
    "caffe-rgb": Preprocessing("RGB", 255.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
}


@dataclass(frozen=True, eq=False)
class Weights:
    """A network: its layers, their filters and biases, and how to feed it. Whatever exists, fits together.

    Parameters
    ----------
    network : str
        Name of the architecture, such as "vgg19".
    layers : tuple of Conv and Pool
        In the order in which an image passes through them.
    filters : dict of str to ndarray of float32, shape (kh, kw, C_in, C_out)
        By the name of the convolution.
    biases : dict of str to ndarray of float32, shape (C_out,)
        By the name of the convolution.
    preprocessing : Preprocessing
        From an sRGB image in [0, 1] to the network's input.
    source : str
        Where the numbers came from, in words.
    sha256 : str
        Digest of the file from which they were read.

    Raises
    ------
    WeightsError
        If an array is missing, has another shape or type than the layers want, or holds NaN or infinity.
    """

    network: str
    layers: tuple[Conv | Pool, ...]
    filters: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    preprocessing: Preprocessing
    source: str
    sha256: str

    def __post_init__(self):
        for conv in self.convolutions:
            shape = (conv.size, conv.size, conv.in_channels, conv.out_channels)
            self._check(self.filters.get(conv.name), shape, f"filters of {conv.name}")
            self._check(self.biases.get(conv.name), shape[-1:], f"bias of {conv.name}")

    def _check(self, array, shape, what):
        if array is None:
            raise WeightsError(f"{self.source} has no {what}, which {self.network} needs.")
        if array.shape != shape:
            raise WeightsError(f"{self.source} has {what} of shape {array.shape}, but {self.network} needs {shape}.")
        if array.dtype != np.float32:
            raise WeightsError(f"{self.source} has {what} of type {array.dtype}, but float32 is needed.")
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{self.source} has {what} with NaN or infinite values, so the file is damaged; get it anew."
            )

    @property
    def default_layers(self):
        """Layers to compare content and style by, where nobody names any."""
        return default_layers(self.network, self.layers)

    @property
    def convolutions(self):
        """The convolutions among the layers."""
        return [layer for layer in self.layers if isinstance(layer, Conv)]


def write(weights, path, dtype="float32"):
    """Write weights in the project's HDF5 layout, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    weights : Weights
    path : str or path
    dtype : {"float32", "float16"}
        How filters and biases are stored.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(_encode(weights, dtype))
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists, is writable and has room."
        ) from error


def _encode(weights, dtype):
    """Lay out the file in memory: on a full disk the HDF5 library crashes instead of raising an error."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = _bytes(FORMAT)
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["network"] = _bytes(weights.network)
        file.attrs["architecture"] = _bytes(to_json(weights.layers))
        file.attrs["channel_order"] = _bytes(weights.preprocessing.channel_order)
        for name in ("scale", "mean", "std"):
            file.attrs[name] = getattr(weights.preprocessing, name)
        file.attrs["source"] = _bytes(weights.source)
        file.attrs["sha256"] = _bytes(weights.sha256)
        for conv in weights.convolutions:
            group = file.create_group(conv.name)
            # The checksums turn a flipped bit on the disk into an error.
            group.create_dataset("filters", data=weights.filters[conv.name], dtype=dtype, fletcher32=True)
            group.create_dataset("bias", data=weights.biases[conv.name], dtype=dtype, fletcher32=True)
    return buffer.getbuffer()


def _bytes(text):
    """Text of fixed length: from that of variable length the HDF5 library may never return, if it is damaged."""
    return np.bytes_(text.encode(errors="backslashreplace"))


def read(path, layers=None):
    """Read weights from a file in the project's HDF5 layout.

    Parameters
    ----------
    path : str or path
    layers : collection of str, optional
        The layers that will be asked for; what lies behind the deepest of them is not read.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another kind or of a newer version, or its parts do not fit.
    """
    import h5py

    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file; name an HDF5 file of weights, or a network by its name.")
    try:
        with h5py.File(path, "r") as file:
            _check_format(file.attrs, path)
            return _read(file, path, layers)
    except WeightsError:
        raise
    except PermissionError as error:
        raise WeightsError(f"{path} may not be read; change its permissions.") from error
    except Exception as error:
        # On damaged files h5py raises OSError, KeyError, RuntimeError and more: they have no common base.
        if not h5py.is_hdf5(path):
            raise _foreign(path) from error
        raise WeightsError(f"{path} is damaged or incomplete; get it or convert it anew.") from error


def _check_format(attributes, path):
    if attributes.get("format") != _bytes(FORMAT):
        raise _foreign(path)
    version = int(attributes["format_version"])
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} is of version {version} of the layout, which is newer than this program knows; upgrade stylecore."
        )


def _foreign(path):
    return WeightsError(
        f"{path} is not a file of stylecore's weights; run `stylecore weights convert {path} "
        f"--network NAME -o OUT.h5` and use OUT.h5."
    )


def _read(file, path, wanted):
    layers = from_json(file.attrs["architecture"].decode())
    if wanted:
        layers = until(layers, wanted)
    names = [layer.name for layer in layers if isinstance(layer, Conv)]
    try:
        return Weights(
            network=file.attrs["network"].decode(),
            layers=layers,
            filters={name: _array(file[name]["filters"]) for name in names},
            biases={name: _array(file[name]["bias"]) for name in names},
            preprocessing=Preprocessing(
                channel_order=file.attrs["channel_order"].decode(),
                scale=float(file.attrs["scale"]),
                mean=tuple(file.attrs["mean"].tolist()),
                std=tuple(file.attrs["std"].tolist()),
            ),
            source=file.attrs["source"].decode(),
            sha256=file.attrs["sha256"].decode(),
        )
    except WeightsError as error:
        raise WeightsError(f"{path} does not fit together: {error}") from error


def _array(dataset):
    array = dataset[()]
    return array.astype(np.float32) if array.dtype == np.float16 else array


def describe(path):
    """Tell in a few lines what a file in the project's HDF5 layout holds.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    str
        Several lines: network, source, digest, preprocessing, and a line a layer.

    Raises
    ------
    WeightsError
        As `read` does.
    """
    weights = read(path)
    count = sum(array.size for arrays in (weights.filters, weights.biases) for array in arrays.values())
    lines = [
        f"file           {path} ({os.path.getsize(path) / 1e6:.1f} MB)",
        f"network        {weights.network}",
        f"source         {weights.source}",
        f"sha256         {weights.sha256}",
        f"preprocessing  {weights.preprocessing}",
        f"parameters     {count:,}",
        "layers",
    ]
    return "\n".join(lines + [f"  {_row(layer)}" for layer in weights.layers])


def _row(layer):
    what = f"{layer.in_channels} -> {layer.out_channels} channels" if isinstance(layer, Conv) else "pool"
    return f"{layer.name:<8} {layer.size} x {layer.size}, stride {layer.stride}, {what}"
