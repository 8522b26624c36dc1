"""The optimisers: each minimises a function of the image within [0, 1], one evaluation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize

from stylecore.kernels.cpu import pairs
from stylecore.kernels.cpu.runtime import one_blas_thread

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From an image (H, W, 3) to its loss and gradient."""

# Pairs of steps and gradient changes that model the curvature. For the same loss 20 were measured to need a sixth fewer
# evaluations than 10, and 40 a tenth fewer than 20. The project's L-BFGS keeps as many as fit into half a gigabyte,
# between these limits. SciPy's takes far more time for each, and stores them in float64.
LEAST_PAIRS, MOST_PAIRS = 10, 40
PAIR_VALUES = 2**26
SCIPY_PAIRS = 10

# The first step, before anything is known of the curvature, and the longest, as root mean square changes of a value.
# Steps that were accepted on pictures were 0.03 at most; after a first step across a bend, far longer ones may be
# proposed.
FIRST_STEP = 0.02
LONGEST_STEP = 0.05

# Least part of the decrease predicted by the gradient that a step must bring (Armijo), and the shortest step tried.
ARMIJO = 1e-4
SHORTEST = 1e-10


def pairs_kept(values: int) -> int:
    """Number of pairs that L-BFGS keeps for an image of this many values."""
    return min(max(PAIR_VALUES // values, LEAST_PAIRS), MOST_PAIRS)


# Shape and type of a value of an optimiser's state; a length that varies is None.
_COUNT, _NUMBER = ((), np.signedinteger), ((), np.floating)


class Stopped(Exception):
    """Raised by the minimised function to end the run early."""


class Optimizer:
    """The part that all optimisers share: it counts the evaluations and keeps the image to return.

    Parameters
    ----------
    start : ndarray, (H, W, 3)
        sRGB in [0, 1]; it is not modified.
    evaluations : int
        Maximum number of evaluations of the function.
    averaging : float
        In [0, 1): the image returned is the exponential moving average of the iterates with this decay. 0 returns the
        image of the lowest loss.

    Attributes
    ----------
    resumable : bool
        Whether `state` holds everything that is needed to resume.
    """

    resumable: ClassVar = True

    def __init__(self, start: np.ndarray, evaluations: int, averaging: float = 0.0) -> None:
        self._shape = start.shape
        self._x = start.reshape(-1)
        self._left = evaluations
        self._averaging = averaging
        self._lowest = np.inf
        self._best = start.astype(np.float32).reshape(-1)
        self._average = np.zeros_like(self._best) if averaging else None
        self._averaged = 0
        self._function: Function | None = None
        self._after: Callable[[], Any] | None = None

    def run(self, function: Function, after: Callable[[], Any] | None = None) -> None:
        """Minimise until the evaluations are used up or no lower loss is found.

        Parameters
        ----------
        function : callable
            From an image (H, W, 3) to (loss, gradient); may raise `Stopped`.
        after : callable, optional
            Called without arguments after each iteration, when `state` holds everything that the next ones depend on.
        """
        self._function, self._after = function, after
        try:
            self._minimize()
        except Stopped:
            pass
        finally:
            # They may refer to this object in turn; the cycle would keep much memory alive.
            self._function = self._after = None

    def _minimize(self) -> None:
        raise NotImplementedError

    @property
    def image(self) -> np.ndarray:
        """The image reached, (H, W, 3) float32: that of the lowest loss, or the average."""
        if self._averaged:
            return (self._average / (1 - self._averaging**self._averaged)).clip(0, 1).reshape(self._shape)
        return self._best.reshape(self._shape)

    @property
    def state(self) -> dict[str, Any]:
        """Everything that later iterations depend on, as a dict of arrays and numbers."""
        return {name: getattr(self, f"_{name}") for name in self._layout()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`; start, evaluations and averaging must be those of the run that it was taken from.

        Parameters
        ----------
        state : dict of str to array or number

        Raises
        ------
        ValueError
            If it is not the state of such a run.
        """
        _check(state, self._layout())
        if state["left"] > self._left:
            raise ValueError("the state has more evaluations left than the run.")
        for name, value in state.items():
            value = np.asarray(value)
            # NumPy's precision differs between arrays of no dimension and Python's numbers.
            setattr(self, f"_{name}", value if value.ndim else value.item())

    def _layout(self) -> dict[str, Any]:
        """Shape and type of each value of `state`."""
        image = self._x.shape, np.floating
        layout = {"left": _COUNT, "lowest": _NUMBER, "best": image, "averaged": _COUNT}
        return {**layout, "average": image} if self._averaging else layout

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and flat gradient at the flat image x."""
        if self._left == 0 or self._function is None:
            raise Stopped
        self._left -= 1
        loss, gradient = self._function(x.reshape(self._shape))
        if loss < self._lowest:
            self._lowest, self._best = loss, x.astype(np.float32)
        return loss, gradient.reshape(-1)

    def _finish_iteration(self) -> None:
        if self._average is not None:
            self._average += (1 - self._averaging) * (self._x - self._average)
            self._averaged += 1
        if self._after is not None:
            self._after()


def _check(state: Mapping[str, Any], layout: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has the values of a layout."""
    if state.keys() != layout.keys():
        raise ValueError(f"the state has the values {', '.join(state)} instead of {', '.join(layout)}.")
    for name, (shape, kind) in layout.items():
        value = np.asarray(state[name])
        fits = len(shape) == value.ndim and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
        if not (fits and np.issubdtype(value.dtype, kind) and value.dtype.itemsize in (4, 8)):
            raise ValueError(f"{name} in the state has shape {value.shape} and type {value.dtype}.")
        if kind is np.signedinteger and (value < 0).any():
            raise ValueError(f"{name} in the state is negative.")


class LBFGS(Optimizer):
    """Projected limited-memory BFGS within [0, 1], with a line search in which the loss never rises.

    The direction is that of the two-loop recursion (algorithm 7.4) over the free values: a value at a bound whose
    gradient points outwards stays there. Steps that leave the range are projected onto it, and shortened until the
    loss decreases sufficiently. The recursion only ever adds multiples of the pairs' vectors and the gradient; so it
    works on their coefficients, with a matrix of all inner products to which each step adds three columns. All vectors
    are then read twice an iteration, whatever their number.

    Unlike SciPy's, it works in float32 and its state can be stored.

    References
    ----------
    Nocedal and Wright (2006), "Numerical Optimization", chapters 3.1 and 7.2.
    Bertsekas (1982), "Projected Newton Methods for Optimization Problems with Simple Constraints".
    Chen, Wang and Zhou (2014), "Large-Scale L-BFGS using MapReduce" (the table of inner products).
    """

    def __init__(self, start: np.ndarray, evaluations: int, averaging: float = 0.0) -> None:
        super().__init__(start, evaluations, averaging)
        self._gradient = None
        # Rows of the pairs in use, the oldest first, and the row of the next one.
        self._pairs, self._next = np.zeros(0, int), 0
        self._most = pairs_kept(self._x.size)
        self._products = np.zeros((2 * self._most + 1, 2 * self._most + 1))

    @property
    def state(self) -> dict[str, Any]:
        """As `Optimizer.state`, with the vectors in use."""
        return {**super().state, "rows": [self._rows[i] for i in self._rows_in_use()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `Optimizer.restore`."""
        rows = state["rows"]
        if isinstance(rows, np.ndarray) and rows.ndim != 2:
            raise ValueError(f"rows in the state has shape {rows.shape}.")
        super().restore({name: value for name, value in state.items() if name != "rows"})
        if {self._next, *self._pairs} - set(range(self._most)) or len(set(self._pairs)) < len(self._pairs):
            raise ValueError("the state has numbers of pairs that are too large or that are not unique.")
        self._allocate()
        for i, row in zip(self._rows_in_use(), rows, strict=True):
            _check({"row": row}, {"row": (self._x.shape, np.floating)})
            self._rows[i] = row

    def _layout(self) -> dict[str, Any]:
        image, pairs = (self._x.shape, np.floating), ((None,), np.signedinteger)
        products = self._products.shape, np.floating
        own = {"x": image, "loss": _NUMBER, "gradient": image, "pairs": pairs, "next": _COUNT, "products": products}
        return {**super()._layout(), **own}

    def _rows_in_use(self):
        return [*self._pairs, *(self._most + self._pairs), 2 * self._most]

    def _allocate(self):
        # Steps s, gradient changes y, and the gradient of the free values. Unused rows take no physical memory.
        self._rows = np.zeros((2 * self._most + 1, self._x.size), self._gradient.dtype)

    def _minimize(self):
        # So that small sums, too, are made in one order.
        with one_blas_thread():
            if self._gradient is None:
                self._begin()
            while self._step() or self._forget_pairs():
                pass
        # Converged: a resumed run must not search again.
        self._left = 0

    def _begin(self):
        loss, gradient = self._evaluate(self._x)
        self._x, self._gradient = self._x.astype(gradient.dtype), gradient
        self._allocate()
        self._arrive(self._x, loss, gradient)

    def _forget_pairs(self):
        """Whether there were any: without them the step is along the gradient, and if that fails no loss is lower."""
        had_any = len(self._pairs) > 0
        self._pairs = self._pairs[:0]
        return had_any

    def _step(self):
        """Move to a point of lower loss; False if none is found."""
        coefficients = self._coefficients()
        slope = coefficients @ self._products[:, -1]
        if not slope < 0:
            return False
        direction = pairs.combine(self._rows, self._rows_in_use(), coefficients, self._x, self._gradient)
        x = np.empty_like(self._x)
        change = np.sqrt(coefficients @ self._products @ coefficients / x.size)
        length = min(1, LONGEST_STEP / change) if len(self._pairs) else FIRST_STEP / change
        shortest = SHORTEST * length
        while length > shortest:
            predicted = pairs.move(self._x, direction, length, self._gradient, x)
            loss, gradient = self._evaluate(x)
            if loss <= self._loss + ARMIJO * predicted < self._loss:
                self._arrive(x, loss, gradient)
                return True
            # The minimum of the parabola through both losses and the slope, as a fraction of this step.
            excess = loss - self._loss - predicted
            length *= np.clip(-predicted / (2 * excess), 0.1, 0.5) if excess > 0 else 0.5
        return False

    def _coefficients(self):
        """Coefficients of the direction -H g over the rows, by the two-loop recursion."""
        products, changes = self._products, self._most + self._pairs
        coefficients = np.zeros(len(products))
        coefficients[-1] = -1
        if not len(self._pairs):
            return coefficients
        curvatures = products[self._pairs, changes]
        parts = np.zeros(len(self._pairs))
        for i in reversed(range(len(self._pairs))):
            parts[i] = coefficients @ products[:, self._pairs[i]] / curvatures[i]
            coefficients[changes[i]] -= parts[i]
        coefficients *= curvatures[-1] / products[changes[-1], changes[-1]]
        for i in range(len(self._pairs)):
            coefficients[self._pairs[i]] += parts[i] - coefficients @ products[:, changes[i]] / curvatures[i]
        return coefficients

    def _arrive(self, x, loss, gradient):
        """Make x the current point, and store the step to it as a pair if the curvature along it is positive."""
        step, change = self._next, self._most + self._next
        new, used = [step, change, 2 * self._most], np.union1d(self._rows_in_use(), [step, change])
        columns = pairs.take(self._rows, used, step, change, self._x, self._gradient, x, gradient)
        self._products[np.ix_(new, used)], self._products[np.ix_(used, new)] = columns, columns.T
        self._x, self._loss, self._gradient = x, loss, gradient
        self._pairs = self._pairs[self._pairs != step]
        curvature, size = self._products[step, change], self._products[step, step] * self._products[change, change]
        if curvature > 1e-8 * np.sqrt(size) > 0:  # The size may underflow to zero for tiny gradients.
            self._pairs = np.append(self._pairs, step)
            self._next = (self._next + 1) % self._most
        self._finish_iteration()


class LBFGSB(Optimizer):
    """SciPy's L-BFGS-B, without bounds: the image is a smooth function of variables that may take any value.

    With bounds, SciPy searches for the set of active ones in every iteration (the Cauchy point and the subspace step),
    in float64 on one core, which at 512 px takes a quarter of the time of an evaluation; without, a twentieth. So the
    variables are folded into [0, 1] by `fold`, which is the identity, up to a shift, for all values but those near
    black and white. They are scaled such that the first step, whose length SciPy sets to 1, is `FIRST_STEP`.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu (1995), "A Limited Memory Algorithm for Bound Constrained Optimization".
    """

    resumable = False

    def _minimize(self) -> None:
        scale = FIRST_STEP * np.sqrt(self._x.size)
        evaluations = self._left

        def evaluate(variables: np.ndarray) -> tuple[float, np.ndarray]:
            # The start is evaluated as it is, without the margin of `unfold`.
            x = fold(variables, scale) if self._left < evaluations else self._x
            loss, gradient = self._evaluate(x)
            return loss, fold_backward(variables, scale, gradient)

        def finish(variables: np.ndarray) -> None:
            self._x = fold(variables, scale)
            self._finish_iteration()

        with one_blas_thread():
            minimize(
                evaluate,
                unfold(self._x, scale),
                jac=True,
                method="L-BFGS-B",
                callback=finish,
                # It checks its limit between iterations only, and a line search may exceed it; `_evaluate` does not.
                options={"maxiter": np.inf, "maxfun": np.inf, "maxcor": SCIPY_PAIRS, "ftol": 0, "gtol": 0},
            )


# The fold bends where a value is below FOLD / 2 or above 1 - FOLD / 2. Measured: 0.02 needs as few evaluations as any
# smooth map tried, sin(z)^2 and logistic ones included, whose bends reach far into the range.
FOLD = 0.02

# Least distance of the start from black and white, where the fold's derivative is zero: below half an 8-bit level.
MARGIN = 1 / 1024

# So many values are folded at a time, to keep the temporary arrays in the cache.
BLOCK = 2**15


def fold(variables: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Map variables onto [0, 1]: x = e^2 / (2 w) where e < w, and e - w / 2 elsewhere.

    Here z = `scale` times the variables is reflected into [0, (1 + w) / 2], e is the distance from the nearer end, and
    w is `FOLD`. The map and its derivative are continuous; it has a minimum wherever x is 0, and a maximum wherever it
    is 1, so that the minimum of a function of x at a bound is an ordinary one with respect to z.

    Parameters
    ----------
    variables : ndarray, (n,) float64
    scale : float

    Returns
    -------
    ndarray, (n,) float32
    """
    x = np.empty(variables.shape, np.float32)
    for block in _blocks(len(x)):
        _, e, is_dark = _folded(scale * variables[block])
        near = np.where(e < FOLD, e * e / (2 * FOLD), e - FOLD / 2)
        x[block] = np.where(is_dark, near, 1 - near)
    return x


def fold_backward(variables: np.ndarray, scale: float, gradient: np.ndarray) -> np.ndarray:
    """Gradient with respect to the variables of `fold`, given that with respect to its result.

    Parameters
    ----------
    variables : ndarray, (n,) float64
    scale : float
    gradient : ndarray, (n,)

    Returns
    -------
    ndarray, (n,) float64
    """
    product = np.empty(variables.shape)
    for block in _blocks(len(product)):
        sign, e, _ = _folded(scale * variables[block])
        product[block] = scale * sign * np.minimum(e / FOLD, 1) * gradient[block]
    return product


def unfold(x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Variables that `fold` maps to an image, but for values within `MARGIN` of 0 and 1.

    Parameters
    ----------
    x : ndarray, (n,)
        In [0, 1].
    scale : float

    Returns
    -------
    ndarray, (n,) float64
    """
    variables = np.empty(x.shape)
    for block in _blocks(len(x)):
        value = x[block].astype(np.float64).clip(MARGIN, 1 - MARGIN)
        near = np.minimum(value, 1 - value)
        e = np.where(near < FOLD / 2, np.sqrt(2 * FOLD * near), near + FOLD / 2)
        variables[block] = np.where(value < 0.5, e, 1 + FOLD - e) / scale
    return variables


def _folded(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sign of the derivative, distance from the nearer end, and whether that is the end at 0."""
    length = 1 + FOLD
    z = z - 2 * length * np.rint(z / (2 * length))
    distance = np.abs(z)
    return np.sign(z), np.minimum(distance, length - distance), distance < length / 2


def _blocks(count: int) -> list[slice]:
    return [slice(i, i + BLOCK) for i in range(0, count, BLOCK)]


class Adam(Optimizer):
    """Adam, clipped to [0, 1]; robust to noise, but needs more evaluations.

    The step begins at `STEP`, in units of the image's range, and decays to a tenth of it along a cosine.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    STEP = 0.02

    def __init__(self, start: np.ndarray, evaluations: int, averaging: float = 0.0) -> None:
        super().__init__(start, evaluations, averaging)
        self._evaluations = evaluations
        self._mean, self._square = np.zeros_like(self._x), np.zeros_like(self._x)
        self._t = 0

    def _layout(self) -> dict[str, Any]:
        image = self._x.shape, np.floating
        return {**super()._layout(), "x": image, "mean": image, "square": image, "t": _COUNT}

    def _minimize(self):
        while True:
            _, gradient = self._evaluate(self._x)
            self._t += 1
            # Not in place, since a caller may hold an earlier state.
            self._mean = self._mean + 0.1 * (gradient - self._mean)
            self._square = self._square + 0.001 * (gradient**2 - self._square)
            rate = self.STEP * (0.55 + 0.45 * np.cos(np.pi * self._t / self._evaluations))
            mean, square = self._mean / (1 - 0.9**self._t), self._square / (1 - 0.999**self._t)
            self._x = np.clip(self._x - rate * mean / (np.sqrt(square) + 1e-8), 0, 1)
            self._finish_iteration()


OPTIMIZERS: dict[str, type[Optimizer]] = {"lbfgsb": LBFGSB, "lbfgs": LBFGS, "adam": Adam}


def bytes_needed(optimizer: str, dtype: np.dtype, values: int) -> int:
    """Memory that an optimiser takes for an image, from measurements: the pairs of L-BFGS, and some vectors more.

    Parameters
    ----------
    optimizer : {"lbfgsb", "lbfgs", "adam"}
    dtype : numpy.dtype
        Of the gradient; SciPy's works in float64 in any case.
    values : int
        Element count of the image.

    Returns
    -------
    int
    """
    if optimizer == "lbfgsb":
        return 8 * (2 * SCIPY_PAIRS + 14) * values
    vectors = 14 if optimizer == "adam" else 2 * pairs_kept(values) + 11
    return vectors * dtype.itemsize * values
