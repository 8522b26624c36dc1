"""The peer: the same objective in PyTorch with autograd, and the optimisers available to its users.

The objective is that of `stylecore.Objective` with its default settings: relative layer weights, one content and five
style layers, max pooling. `benchmarks.evaluation` checks that the two agree before it times them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional

from benchmarks.machine import use_threads
from benchmarks.measuring import Trace, in_turn, progress
from benchmarks.setting import CONTENT_LAYERS, STYLE_LAYERS
from stylecore.kernels import EPSILON
from stylecore.painter.architecture import Stage
from stylecore.painter.files import PainterWeights
from stylecore.painter.model import PainterModel
from stylecore.painter.settings import PainterSettings
from stylecore.painter.training import named_arrays
from stylecore.training.model import Model
from stylecore.weights import Weights
from stylecore.weights.architectures import Conv, until

CONTENT_WEIGHT, STYLE_WEIGHT, TV_WEIGHT = 1.0, 20.0, 20.0

MEMORY_FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}


def to_torch(array: np.ndarray, memory_format: str) -> torch.Tensor:
    """A tensor (N, C, H, W) from an array (N, H, W, C)."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=MEMORY_FORMATS[memory_format])


def filters_to_torch(filters: np.ndarray, memory_format: str) -> torch.Tensor:
    """Filters (K, C, k, k), as conv2d takes them, from an array (k, k, C, K)."""
    return torch.from_numpy(filters).permute(3, 2, 0, 1).contiguous(memory_format=MEMORY_FORMATS[memory_format])


def gram(features: torch.Tensor) -> torch.Tensor:
    """Gram matrix (C, C) of features (1, C, H, W); no copy is made in either memory format."""
    matrix = features.flatten(2)[0]
    return (matrix @ matrix.T).float()


def squared_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum of squared differences."""
    return functional.mse_loss(a, b, reduction="sum")


class Objective:
    """Loss and gradient of an image by autograd.

    Parameters
    ----------
    content, style : ndarray, (H, W, 3)
    weights : Weights
        Of a network with 3 x 3 convolutions and 2 x 2 pools.
    memory_format : str
        A key of MEMORY_FORMATS.
    device : {"cpu", "cuda"}
    dtype : {"float32", "bfloat16"}
        Of weights and features; losses are summed in float32.
    compiled : bool
        Whether to use torch.compile.
    """

    def __init__(
        self,
        content: np.ndarray,
        style: np.ndarray,
        weights: Weights,
        memory_format: str,
        device: str = "cpu",
        dtype: str = "float32",
        compiled: bool = False,
    ) -> None:
        self._format, self._device, self._dtype = memory_format, device, getattr(torch, dtype)
        self._loss = torch.compile(self.loss) if compiled else self.loss
        self._layers = [
            (
                layer.relu,
                filters_to_torch(weights.filters[layer.name], memory_format).to(device, self._dtype),
                torch.from_numpy(weights.biases[layer.name]).to(device, self._dtype),
            )
            if isinstance(layer, Conv)
            else (layer.name, None, None)
            for layer in weights.layers
        ]
        p = weights.preprocessing
        self._order = ["RGB".index(channel) for channel in p.channel_order]
        factor, shift = [p.scale / std for std in p.std], [m / std for m, std in zip(p.mean, p.std, strict=True)]
        self._factor = torch.tensor(factor, device=device)[:, None, None]
        self._shift = torch.tensor(shift, device=device)[:, None, None]
        with torch.no_grad():
            features = self._features(torch.from_numpy(content).to(device))
            self._contents = {layer: features[layer].float().clone() for layer in CONTENT_LAYERS}
            positions = {layer: features[layer][0, 0].numel() for layer in STYLE_LAYERS}
            features = self._features(torch.from_numpy(style).to(device))
            self._grams = {
                layer: gram(features[layer]) * (positions[layer] / features[layer][0, 0].numel())
                for layer in STYLE_LAYERS
            }
            self._content_factors = {
                layer: CONTENT_WEIGHT / len(CONTENT_LAYERS) / (target**2).sum()
                for layer, target in self._contents.items()
            }
            self._style_factors = {
                layer: STYLE_WEIGHT / len(STYLE_LAYERS) / (target**2).sum() for layer, target in self._grams.items()
            }

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of an image (H, W, 3) at the content and style layers."""
        x = image.permute(2, 0, 1)[self._order] * self._factor - self._shift
        x = x[None].to(self._dtype).contiguous(memory_format=MEMORY_FORMATS[self._format])
        layers = {*CONTENT_LAYERS, *STYLE_LAYERS}
        features: dict[str, torch.Tensor] = {}
        for name, filters, bias in self._layers:
            if filters is None:
                x = functional.max_pool2d(x, 2)
            else:
                x = torch.relu_(functional.conv2d(x, filters, bias, padding=1))
            if name in layers:
                features[name] = x
            if len(features) == len(layers):
                return features
        raise AssertionError("the network lacks a layer")

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        """Loss of an image (H, W, 3), as a tensor."""
        features = self._features(image)
        content = sum(
            factor * squared_distance(features[layer].float(), self._contents[layer])
            for layer, factor in self._content_factors.items()
        )
        style = sum(
            factor * squared_distance(gram(features[layer]), self._grams[layer])
            for layer, factor in self._style_factors.items()
        )
        differences = (image[1:] - image[:-1], image[:, 1:] - image[:, :-1])
        variation = 0.5 * sum((difference**2).sum() for difference in differences)
        return content + style + TV_WEIGHT / image.numel() * variation

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at an image, as `stylecore.Objective` returns them."""
        image = torch.tensor(x, dtype=torch.float32, device=self._device, requires_grad=True)
        loss = self._loss(image)
        loss.backward()
        return loss.item(), image.grad.cpu().numpy()


def faster_format(content: np.ndarray, style: np.ndarray, weights: Weights, threads: int) -> str:
    """Name of the memory format with the faster evaluation, measured in turn, the best of two."""
    with use_threads(threads):
        sides: dict[str, Callable[[], object]] = {}
        for name in MEMORY_FORMATS:
            objective = Objective(content, style, weights, name)
            sides[name] = lambda objective=objective: objective(content)
        seconds = in_turn(sides, 2)
    faster = min(seconds, key=lambda name: min(seconds[name]))
    both = ", ".join(f"{name} {1e3 * min(times):.0f} ms" for name, times in seconds.items())
    progress(f"PyTorch at {len(content)} px, threads: {threads}: {both}; {faster} is used")
    return faster


class Layer:
    """A convolution with its ReLU, and optionally a 2 x 2 max pool, on one input.

    Parameters
    ----------
    filters : ndarray, (3, 3, C, K)
    bias : ndarray, (K,)
    pool : bool
    x : ndarray, (1, H, W, C)
    dy : ndarray
        Gradient with respect to the output, of its shape.
    memory_format : str
    device : {"cpu", "cuda"}
    """

    def __init__(
        self,
        filters: np.ndarray,
        bias: np.ndarray,
        pool: bool,
        x: np.ndarray,
        dy: np.ndarray,
        memory_format: str,
        device: str = "cpu",
    ) -> None:
        self._filters = filters_to_torch(filters, memory_format).to(device)
        self._bias = torch.from_numpy(bias).to(device)
        self._pool = pool
        self._x = to_torch(x, memory_format).to(device).requires_grad_()
        self._dy = to_torch(dy, memory_format).to(device)
        self._y = self.forward()

    def forward(self) -> torch.Tensor:
        """The output, with its graph for the backward pass."""
        y = torch.relu_(functional.conv2d(self._x, self._filters, self._bias, padding=1))
        return functional.max_pool2d(y, 2) if self._pool else y

    def backward(self) -> torch.Tensor:
        """Gradient with respect to the input."""
        return torch.autograd.grad(self._y, self._x, self._dy, retain_graph=True)[0]


class Term:
    """A function of a feature map and its gradient.

    Parameters
    ----------
    function : callable
        From a tensor (1, C, H, W) to a tensor of any shape.
    features : ndarray, (1, H, W, C)
    memory_format : str
    dy : ndarray, optional
        Gradient with respect to the output, of its shape; 1 by default.
    """

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        features: np.ndarray,
        memory_format: str,
        dy: np.ndarray | None = None,
    ) -> None:
        self._function = function
        self._x = to_torch(features, memory_format).requires_grad_()
        self._y = self.forward()
        self._dy = torch.ones_like(self._y) if dy is None else torch.from_numpy(dy)

    def forward(self) -> torch.Tensor:
        """The value, with its graph for the backward pass."""
        return self._function(self._x)

    def backward(self) -> torch.Tensor:
        """Gradient with respect to the features."""
        return torch.autograd.grad(self._y, self._x, self._dy, retain_graph=True)[0]


def distance_term(features: np.ndarray, target: np.ndarray, memory_format: str) -> Term:
    """The content term 1/2 sum (F - P)^2 of arrays (1, H, W, C)."""
    tensor = to_torch(target, memory_format)
    return Term(lambda x: squared_distance(x, tensor) / 2, features, memory_format)


class Classifier:
    """The training of one of stylecore's classifiers by SGD, from the same parameters.

    Parameters
    ----------
    model : stylecore.training.model.Model
    smoothing : float
        Label smoothing.
    memory_format : str
    momentum, weight_decay, rate : float
    """

    def __init__(
        self, model: Model, smoothing: float, memory_format: str, momentum: float, weight_decay: float, rate: float
    ) -> None:
        self._format = MEMORY_FORMATS[memory_format]
        modules: list[nn.Module] = []
        layer: Any
        for layer in model.layers:
            kind = type(layer).__name__
            if kind == "ConvolutionRelu":
                row = layer.row
                conv = nn.Conv2d(row.in_channels, row.out_channels, row.size, row.stride, row.padding, bias=False)
                conv.weight.data = filters_to_torch(layer.filters, memory_format)
                modules += [conv, nn.BatchNorm2d(row.out_channels, eps=EPSILON), nn.ReLU(inplace=True)]
            elif kind == "MaxPool":
                modules.append(nn.MaxPool2d(layer.row.size, layer.row.stride))
            elif kind == "Mean":
                modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            elif kind == "Dense":
                dense = nn.Linear(*layer.weights.shape)
                dense.weight.data, dense.bias.data = torch.tensor(layer.weights.T), torch.tensor(layer.bias)
                modules.append(dense)
        self._model = nn.Sequential(*modules).to(memory_format=self._format)
        filters = [p for p in self._model.parameters() if p.dim() > 1]
        others = [p for p in self._model.parameters() if p.dim() == 1]
        groups = [{"params": filters, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0}]
        self._optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum)
        self._loss = nn.CrossEntropyLoss(label_smoothing=smoothing)

    def step(self, x: np.ndarray, labels: np.ndarray) -> float:
        """One step on a batch (N, H, W, C); returns the loss before it."""
        self._optimizer.zero_grad()
        batch = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=self._format)
        loss = self._loss(self._model(batch), torch.from_numpy(labels))
        loss.backward()
        self._optimizer.step()
        return loss.item()


def padded(x: torch.Tensor, padding: int, factor: int = 1) -> torch.Tensor:
    """A map upsampled to the nearest neighbour, then padded by reflection."""
    x = functional.interpolate(x, scale_factor=factor, mode="nearest") if factor > 1 else x
    return functional.pad(x, [padding] * 4, mode="reflect") if padding else x


def normalised(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, relu: bool) -> torch.Tensor:
    """Conditional instance normalisation with scales and shifts (N, C), and maybe the ReLU."""
    x = functional.instance_norm(x, eps=EPSILON)
    if x.requires_grad:
        # Its result is contiguous, and PyTorch 2.13 misreads a gradient that comes back to it in another format.
        x.register_hook(torch.Tensor.contiguous)
    x = x * scale[:, :, None, None] + shift[:, :, None, None]
    return functional.relu(x) if relu else x


class Operation:
    """A function of a map and of parameters, with the gradients with respect to all of them.

    Parameters
    ----------
    function : callable
        From tensors to a tensor (N, K, H', W').
    x : ndarray, (N, H, W, C)
    parameters : sequence of ndarray
        Filters (k, k, C, K), or values of other shapes.
    dy : ndarray, (N, H', W', K)
        Gradient with respect to the result.
    memory_format : str
    """

    def __init__(
        self,
        function: Callable[..., torch.Tensor],
        x: np.ndarray,
        parameters: Sequence[np.ndarray],
        dy: np.ndarray,
        memory_format: str,
    ) -> None:
        self._function = function
        self._inputs = [to_torch(x, memory_format)] + [
            filters_to_torch(values, memory_format) if values.ndim == 4 else torch.from_numpy(values)
            for values in parameters
        ]
        for tensor in self._inputs:
            tensor.requires_grad_()
        self._y = self.forward()
        self._dy = to_torch(dy, memory_format)

    def forward(self) -> torch.Tensor:
        """The result, with its graph for the backward pass."""
        return self._function(*self._inputs)

    def backward(self) -> tuple[torch.Tensor, ...]:
        """Gradients with respect to the map and the parameters."""
        return torch.autograd.grad(self._y, self._inputs, self._dy, retain_graph=True)

    def results(self) -> list[np.ndarray]:
        """The result and the gradients, as stylecore arranges them."""
        dx, *others = self.backward()
        maps = [tensor.detach().permute(0, 2, 3, 1).numpy() for tensor in (self._y, dx)]
        return maps + [(each.permute(2, 3, 1, 0) if each.dim() == 4 else each).numpy() for each in others]


class _PainterNetwork(nn.Module):
    """The stages of a painter; each image of a batch in one style.

    Parameters
    ----------
    table : sequence of stylecore.painter.architecture.Stage
    arrays : mapping of (str, str) to ndarray
        "filters", "scale" and "shift" of each stage.
    memory_format : str
    """

    def __init__(
        self, table: Sequence[Stage], arrays: Mapping[tuple[str, str], np.ndarray], memory_format: str
    ) -> None:
        super().__init__()
        self._table = table
        self.filters = nn.ParameterList(
            filters_to_torch(np.array(arrays[stage.name, "filters"]), memory_format) for stage in table
        )
        self._scales, self._shifts = (
            nn.ParameterList(torch.tensor(arrays[stage.name, name]) for stage in table) for name in ("scale", "shift")
        )

    def forward(self, x: torch.Tensor, styles: list[int]) -> torch.Tensor:
        before = x
        for stage, filters, scales, shifts in zip(self._table, self.filters, self._scales, self._shifts, strict=True):
            if stage.begins:
                before = x
            x = functional.conv2d(padded(x, stage.padding, stage.factor), filters, stride=stage.stride)
            x = normalised(x, scales[styles], shifts[styles], stage.relu)
            x = x + before if stage.ends else x
        return torch.sigmoid(x)


class Painter:
    """A painter at work, in its first style.

    Parameters
    ----------
    weights : stylecore.painter.files.PainterWeights
    memory_format : str
    """

    def __init__(self, weights: PainterWeights, memory_format: str) -> None:
        self._format = memory_format
        self._network = _PainterNetwork(weights.table, weights.arrays, memory_format)

    def paint(self, photograph: np.ndarray) -> np.ndarray:
        """Paint a photograph (H, W, 3), whose sides are multiples of four."""
        with torch.inference_mode():
            painted = self._network(to_torch(photograph[None], self._format), [0])
        return painted[0].permute(1, 2, 0).numpy()


class PainterTraining:
    """Loss and gradients of a painter for a batch, with style n for image n and one target for all styles.

    Parameters
    ----------
    model : stylecore.painter.model.PainterModel
        Whose parameters it starts from.
    weights : Weights
        Of the network that compares pictures.
    style : ndarray, (H, W, 3)
    settings : stylecore.painter.settings.PainterSettings
    memory_format : str
    """

    def __init__(
        self, model: PainterModel, weights: Weights, style: np.ndarray, settings: PainterSettings, memory_format: str
    ) -> None:
        self._format, self._settings = memory_format, settings
        self._painter = _PainterNetwork(model.table, named_arrays(model), memory_format)
        order = ["RGB".index(channel) for channel in weights.preprocessing.channel_order]
        p = weights.preprocessing
        self._order, self._scale = order, torch.tensor(p.scale / np.array(p.std), dtype=torch.float32)[:, None, None]
        self._shift = torch.tensor(np.array(p.mean) / np.array(p.std), dtype=torch.float32)[:, None, None]
        layers = until(weights.layers, [*settings.content_layers, *settings.style_layers])
        self._layers = [
            (
                layer,
                filters_to_torch(weights.filters[layer.name], memory_format),
                torch.tensor(weights.biases[layer.name]),
            )
            if isinstance(layer, Conv)
            else (layer, None, None)
            for layer in layers
        ]
        with torch.no_grad():
            features = self._features(to_torch(style[None], memory_format))
            self._style = {name: self._moment(features[name]) for name in settings.style_layers}

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x, features = image[:, self._order] * self._scale - self._shift, {}
        for layer, filters, bias in self._layers:
            if filters is None:
                x = functional.max_pool2d(x, layer.size, layer.stride)
            else:
                x = functional.relu(functional.conv2d(x, filters, bias, padding=layer.padding))
                features[layer.relu] = x
        return features

    @staticmethod
    def _moment(features: torch.Tensor) -> torch.Tensor:
        matrix = features.flatten(2)
        return matrix @ matrix.transpose(1, 2) / matrix.shape[2]

    def step(self, photographs: np.ndarray) -> float:
        """Loss of a batch (N, H, W, 3), after a backward pass."""
        s, batch = self._settings, to_torch(photographs, self._format)
        self._painter.zero_grad()
        with torch.no_grad():
            targets = self._features(batch)
        features = self._features(self._painter(batch, list(range(len(batch)))))
        loss = torch.zeros(())
        for name in s.content_layers:
            blank = targets[name].square().sum((1, 2, 3))
            terms = (features[name] - targets[name]).square().sum((1, 2, 3)) / blank
            loss = loss + s.content_weight / len(s.content_layers) * terms.mean()
        for name, target in self._style.items():
            terms = (self._moment(features[name]) - target).square().sum((1, 2)) / target.square().sum()
            loss = loss + s.style_weight / len(s.style_layers) * terms.mean()
        loss.backward()
        return float(loss.detach())

    def filter_gradients(self) -> list[np.ndarray]:
        """The gradients of the last step with respect to the filters of each stage, (k, k, C, K)."""
        return [filters.grad.permute(2, 3, 1, 0).numpy() for filters in self._painter.filters]


def torch_lbfgs(make_objective: Callable[[], Objective], start: np.ndarray, trace: Trace) -> None:
    """Minimise without bounds by torch.optim.LBFGS with its strong Wolfe line search.

    Parameters
    ----------
    make_objective : callable
        Creates an `Objective`; it is called here so that its time counts.
    start : ndarray, (H, W, 3)
    trace : Trace
    """
    objective = make_objective()
    image = torch.tensor(start, requires_grad=True)
    # Without the tolerances, which suit losses of another magnitude: it ends when the evaluations are used up.
    optimizer = torch.optim.LBFGS(
        [image], max_iter=10**6, max_eval=10**6, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def evaluate():
        optimizer.zero_grad()
        loss = objective.loss(image)
        loss.backward()
        trace.note(loss.item(), image.detach().numpy())
        return loss

    with suppress(Trace.Ended):
        optimizer.step(evaluate)


def scipy_lbfgs(make_objective: Callable[[], Objective], start: np.ndarray, trace: Trace) -> None:
    """Minimise in [0, 1] by SciPy's L-BFGS-B; parameters as of `torch_lbfgs`."""
    objective = make_objective()

    def evaluate(x):
        image = x.reshape(start.shape).astype(np.float32)
        loss, gradient = objective(image)
        trace.note(loss, image)
        return loss, gradient.astype(np.float64).reshape(-1)

    with suppress(Trace.Ended):
        minimize(
            evaluate,
            start.astype(np.float64).reshape(-1),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * start.size,
            options={"maxiter": 10**6, "maxfun": 10**6, "maxcor": 10, "ftol": 0, "gtol": 0},
        )


OPTIMIZERS = {"torch.optim.LBFGS": torch_lbfgs, "PyTorch + SciPy L-BFGS-B": scipy_lbfgs}
