"""Optimisers that minimise a function of the image within [0, 1], one evaluation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy

from stylecore.kernels.cpu import pairs
from stylecore.kernels.cpu.runtime import one_blas_thread

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From an image (H, W, 3) to its loss and gradient."""

# Pairs of steps and gradient changes that model the curvature. In measurements, 20 pairs needed a sixth fewer
# evaluations than 10 for the same loss, and 40 a tenth fewer than 20. The project's L-BFGS keeps as many as fit into
# half a gigabyte, within these limits. SciPy's spends far more time on each pair, and stores them in float64. At print
# sizes there are few evaluations: after the 14 of a last scale, the loss with 5 pairs was .4% above that with all, with
# 3 pairs 1 to 3%, and with Adam 50 to 80%.
LEAST_PAIRS, MOST_PAIRS = 3, 40
PAIR_VALUES = 2**26
SCIPY_PAIRS = 10

# The length of the first step and the maximum length, as root mean square changes of a value. Steps that were accepted
# on pictures were at most 0.03 long. Far longer ones may be proposed after a first step across a kink.
FIRST_STEP = 0.02
LONGEST_STEP = 0.05

# The fraction of the decrease predicted by the gradient that a step must achieve (Armijo), and the length of the last
# step that a line search tries, as a fraction of the first.
ARMIJO = 1e-4
SHORTEST = 1e-10


def pairs_kept(values: int) -> int:
    """Number of pairs that the project's L-BFGS keeps for an image with this element count."""
    return min(max(PAIR_VALUES // values, LEAST_PAIRS), MOST_PAIRS)


# Shape and type of a value in an optimiser's state; the length of an axis is None if it varies.
_COUNT, _NUMBER = ((), np.signedinteger), ((), np.floating)


class Stopped(Exception):
    """Raised by the minimised function to end the run early."""


class Optimizer:
    """Base class of the optimisers: counts the evaluations and keeps the image to return.

    Parameters
    ----------
    start : ndarray, (H, W, 3)
        sRGB in [0, 1]; not modified.
    evaluations : int
        Maximum number of evaluations of the function.
    averaging : float
        In [0, 1): `image` is the exponential moving average of the iterates with this decay. With 0, it is the image of
        lowest loss.
    first_step : float
        Length of the first step of L-BFGS, before the curvature is known, as the root mean square change of a value.

    Attributes
    ----------
    resumable : bool
        Whether `state` holds everything that is needed to resume.
    """

    resumable: ClassVar = True

    def __init__(
        self, start: np.ndarray, evaluations: int, averaging: float = 0.0, first_step: float = FIRST_STEP
    ) -> None:
        self._shape = start.shape
        self._x: np.ndarray = start.reshape(-1)
        self._left = evaluations
        self._averaging = averaging
        self._first_step = first_step
        self._lowest = np.inf
        self._best = start.astype(np.float32).reshape(-1)
        self._average = np.zeros_like(self._best) if averaging else None
        self._averaged = 0
        self._function: Function | None = None
        self._after: Callable[[], Any] | None = None

    def run(self, function: Function, after: Callable[[], Any] | None = None) -> None:
        """Minimise until the evaluations are used up or the optimiser has converged.

        Parameters
        ----------
        function : callable
            From an image (H, W, 3) to (loss, gradient); may raise `Stopped` to end the run.
        after : callable, optional
            Called without arguments after each iteration, when `state` determines all later iterations.
        """
        self._function, self._after = function, after
        try:
            self._minimize()
        except Stopped:
            pass
        finally:
            # They may refer to this object in turn, and the reference cycle would keep much memory alive.
            self._function = self._after = None

    def _minimize(self) -> None:
        raise NotImplementedError

    @property
    def image(self) -> np.ndarray:
        """The image of lowest loss so far, or the average of the iterates, (H, W, 3) float32."""
        if self._average is not None and self._averaged:
            return (self._average / (1 - self._averaging**self._averaged)).clip(0, 1).reshape(self._shape)
        return self._best.reshape(self._shape)

    @property
    def state(self) -> dict[str, Any]:
        """Everything that determines later iterations, as a dict of arrays and numbers."""
        return {name: getattr(self, f"_{name}") for name in self._layout()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of a run with the same start, evaluations and averaging.

        Parameters
        ----------
        state : mapping of str to array or number

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
            # In NumPy's arithmetic, 0-dimensional arrays and Python's numbers result in different precisions.
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
            self._lowest, self._best = loss, np.asarray(x, np.float32)  # No optimiser changes x afterwards.
        return loss, gradient.reshape(-1)

    def _finish_iteration(self) -> None:
        if self._average is not None:
            self._average += (1 - self._averaging) * (self._x - self._average)
            self._averaged += 1
        if self._after is not None:
            self._after()


def _check(state: Mapping[str, Any], layout: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has the values that a layout describes."""
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
    """Projected limited-memory BFGS within [0, 1], with a line search in which the loss never increases.

    The direction is that of the two-loop recursion (algorithm 7.4) over the free values; a value is not free if it is
    at a bound and a step against the gradient would leave the range. Steps that leave the range are projected onto it,
    and shortened until the loss decreases sufficiently. The recursion only adds multiples of the pairs' vectors and of
    the gradient; it therefore works on their coefficients, with a matrix of all inner products of which each step
    updates three columns. All vectors are thus read only twice in each iteration, regardless of their number.

    In contrast to SciPy's L-BFGS-B, it works in float32 and its state can be stored.

    References
    ----------
    Nocedal and Wright (2006), "Numerical Optimization", chapters 3.1 and 7.2.
    Bertsekas (1982), "Projected Newton Methods for Optimization Problems with Simple Constraints".
    Chen, Wang and Zhou (2014), "Large-Scale L-BFGS using MapReduce" (the table of inner products).
    """

    def __init__(
        self, start: np.ndarray, evaluations: int, averaging: float = 0.0, first_step: float = FIRST_STEP
    ) -> None:
        super().__init__(start, evaluations, averaging, first_step)
        self._gradient = np.empty(0)  # Before the first evaluation.
        # Indices of the pairs in use, the oldest first, and of the next pair.
        self._pairs, self._next = np.zeros(0, int), 0
        self._most = pairs_kept(self._x.size)
        self._products = np.zeros((2 * self._most + 1, 2 * self._most + 1))

    @property
    def state(self) -> dict[str, Any]:
        """As `Optimizer.state`, with the vectors of the pairs in use."""
        return {**super().state, "rows": [self._rows[i] for i in self._rows_in_use()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `Optimizer.restore`."""
        rows = state["rows"]
        if isinstance(rows, np.ndarray) and rows.ndim != 2:
            raise ValueError(f"rows in the state has shape {rows.shape}.")
        super().restore({name: value for name, value in state.items() if name != "rows"})
        if {self._next, *self._pairs} - set(range(self._most)) or len(set(self._pairs)) < len(self._pairs):
            raise ValueError("the state has indices of pairs that are too large or not unique.")
        self._allocate()
        for i, row in zip(self._rows_in_use(), rows, strict=True):
            _check({"row": row}, {"row": (self._x.shape, np.floating)})
            self._rows[i] = row

    def _layout(self) -> dict[str, Any]:
        image, pairs = (self._x.shape, np.floating), ((None,), np.signedinteger)
        products = self._products.shape, np.floating
        own = {"x": image, "loss": _NUMBER, "gradient": image, "pairs": pairs, "next": _COUNT, "products": products}
        return {**super()._layout(), **own}

    def _rows_in_use(self) -> list[int]:
        return [*self._pairs, *(self._most + self._pairs), 2 * self._most]

    def _allocate(self) -> None:
        # Steps s, gradient changes y, and the gradient of the free values. Unused rows take no physical memory.
        self._rows = np.zeros((2 * self._most + 1, self._x.size), self._gradient.dtype)

    def _minimize(self) -> None:
        # One thread, so that the order of additions does not depend on the number of threads.
        with one_blas_thread():
            if not self._gradient.size:
                self._begin()
            while self._step() or self._forget_pairs():
                pass
        # Converged; a resumed run must not search again.
        self._left = 0

    def _begin(self) -> None:
        loss, gradient = self._evaluate(self._x)
        self._x, self._gradient = self._x.astype(gradient.dtype), gradient
        self._allocate()
        self._arrive(self._x, loss, gradient)

    def _forget_pairs(self) -> bool:
        """Discard the pairs, so that the next step is along the gradient; False if there are none to discard."""
        had_any = len(self._pairs) > 0
        self._pairs = self._pairs[:0]
        return had_any

    def _step(self) -> bool:
        """Move to a point of lower loss; False if the line search finds none."""
        coefficients = self._coefficients()
        slope = coefficients @ self._products[:, -1]
        if not slope < 0:
            return False
        direction = pairs.combine(self._rows, self._rows_in_use(), coefficients, self._x, self._gradient)
        change = np.sqrt(coefficients @ self._products @ coefficients / self._x.size)
        length = min(1, LONGEST_STEP / change) if len(self._pairs) else self._first_step / change
        shortest = SHORTEST * length
        while length > shortest:
            x = np.empty_like(self._x)
            predicted = pairs.move(self._x, direction, length, self._gradient, x)
            loss, gradient = self._evaluate(x)
            if loss <= self._loss + ARMIJO * predicted < self._loss:
                self._arrive(x, loss, gradient)
                return True
            # The minimum of the parabola through both losses and the slope, as a fraction of this step.
            excess = loss - self._loss - predicted
            length *= np.clip(-predicted / (2 * excess), 0.1, 0.5) if excess > 0 else 0.5
        return False

    def _coefficients(self) -> np.ndarray:
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

    def _arrive(self, x: np.ndarray, loss: float, gradient: np.ndarray) -> None:
        """Make x the current point, and store the step to it as a pair if the curvature along it is positive."""
        step, change = self._next, self._most + self._next
        new, used = np.array([step, change, 2 * self._most]), np.union1d(self._rows_in_use(), [step, change])
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
    """SciPy's L-BFGS-B without bounds: the image is a smooth function of unbounded variables.

    With bounds, SciPy determines the set of active ones in every iteration (the Cauchy point and the subspace step), in
    float64 on one core; without, its own time was measured to be less than half. The variables are therefore mapped to
    [0, 1] by `fold`, which is the identity, up to a shift, except near black and white. They are scaled such that the
    first step, whose length SciPy sets to 1, is `first_step`.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu (1995), "A Limited Memory Algorithm for Bound Constrained Optimization".
    """

    resumable = False

    def _minimize(self) -> None:
        scale, evaluations = self._first_step * np.sqrt(self._x.size), self._left
        gradient = np.empty(self._x.size)

        def evaluate(variables: np.ndarray) -> float:
            # The start is evaluated exactly, without the margin of `unfold`.
            x = fold(variables, scale) if self._left < evaluations else self._x
            loss, by_image = self._evaluate(x)
            fold_backward(variables, scale, by_image, gradient)
            return loss

        def finish(variables: np.ndarray) -> None:
            self._x = fold(variables, scale)
            self._finish_iteration()

        with one_blas_thread():
            scipy.optimize.minimize(
                evaluate,
                unfold(self._x, scale),
                # SciPy requests it right after the loss. With jac=True, it would keep one more copy of the variables.
                jac=lambda variables: gradient,
                method="L-BFGS-B",
                # An iterate is needed for averages only; SciPy copies it for the callback.
                callback=finish if self._averaging else None,
                # SciPy checks its limits only between iterations, so a line search may exceed them; `_evaluate` does
                # not let it.
                options={"maxiter": np.inf, "maxfun": np.inf, "maxcor": SCIPY_PAIRS, "ftol": 0, "gtol": 0},
            )


# The fold is curved for values below FOLD / 2 or above 1 - FOLD / 2. In measurements, 0.02 needed as few evaluations as
# any other smooth map, including sin(z)^2 and logistic ones, which are curved over most of the range.
FOLD = 0.02

# Minimum distance of the start from black and white, where the fold's derivative is zero: below half an 8-bit level.
MARGIN = 1 / 1024

# Number of values to fold at a time, such that the temporary arrays fit into the cache.
BLOCK = 2**15


def fold(variables: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Map variables onto [0, 1]: x = f(e) near 0 and 1 - f(e) near 1, f(e) = e^2 / (2 w) if e < w, else e - w / 2.

    Here z = `scale` times the variables is reflected into [0, 1 + w], e is the distance from the nearer end, and w is
    `FOLD`. The map and its derivative are continuous. It has a minimum wherever x is 0, and a maximum wherever x is 1;
    a minimum of a function of x at a bound is therefore an ordinary minimum with respect to z.

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
        z, e = _reflected(scale * variables[block])
        bent = np.minimum(e, FOLD)
        e -= bent
        bent *= bent
        bent /= 2 * FOLD
        e += bent
        np.abs(z, out=z)
        np.subtract(e, z > (1 + FOLD) / 2, out=e)
        x[block] = np.abs(e, out=e)
    return x


def fold_backward(variables: np.ndarray, scale: float, gradient: np.ndarray, result: np.ndarray) -> None:
    """Gradient with respect to the variables of `fold`, given the gradient with respect to its result.

    Parameters
    ----------
    variables : ndarray, (n,) float64
    scale : float
    gradient : ndarray, (n,)
    result : ndarray, (n,) float64
        Overwritten with the gradient.
    """
    for block in _blocks(len(result)):
        z, e = _reflected(scale * variables[block])
        np.minimum(e, FOLD, out=e)
        e *= scale / FOLD
        np.copysign(e, z, out=e)
        np.multiply(e, gradient[block], out=result[block])


def unfold(x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Variables that `fold` maps to an image, whose values are first clipped to [`MARGIN`, 1 - `MARGIN`].

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


def _reflected(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce z to one period, [-L, L] with L = 1 + w, where its sign is the derivative's; and the distance e."""
    length = 1 + FOLD
    if np.abs(z).max(initial=0) > length:
        z -= 2 * length * np.rint(z / (2 * length))
    e = np.abs(z)
    return z, np.minimum(e, length - e, out=e)


def _blocks(count: int) -> list[slice]:
    return [slice(i, i + BLOCK) for i in range(0, count, BLOCK)]


class Adam(Optimizer):
    """Adam, with the image clipped to [0, 1]; needs more evaluations, but less memory.

    The step size starts at `STEP`, relative to the image's range, and decays to a tenth of that along a cosine.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    STEP = 0.02

    def __init__(
        self, start: np.ndarray, evaluations: int, averaging: float = 0.0, first_step: float = FIRST_STEP
    ) -> None:
        super().__init__(start, evaluations, averaging, first_step)
        self._evaluations = evaluations
        self._mean, self._square = np.zeros_like(self._x), np.zeros_like(self._x)
        self._t = 0

    def _layout(self) -> dict[str, Any]:
        image = self._x.shape, np.floating
        return {**super()._layout(), "x": image, "mean": image, "square": image, "t": _COUNT}

    def _minimize(self) -> None:
        while True:
            _, gradient = self._evaluate(self._x)
            self._t += 1
            # Not in place, since a caller may keep an earlier `state`.
            self._mean = self._mean + 0.1 * (gradient - self._mean)
            self._square = self._square + 0.001 * (gradient**2 - self._square)
            rate = self.STEP * (0.55 + 0.45 * np.cos(np.pi * self._t / self._evaluations))
            mean, square = self._mean / (1 - 0.9**self._t), self._square / (1 - 0.999**self._t)
            self._x = np.clip(self._x - rate * mean / (np.sqrt(square) + 1e-8), 0, 1)
            self._finish_iteration()


OPTIMIZERS: dict[str, type[Optimizer]] = {"lbfgsb": LBFGSB, "lbfgs": LBFGS, "adam": Adam}
"""The optimisers by the names that the setting ``optimizer`` takes."""


def bytes_needed(optimizer: str, dtype: np.dtype, values: int) -> int:
    """Predict the memory that an optimiser needs for an image: the pairs of L-BFGS, and a measured number of vectors.

    Parameters
    ----------
    optimizer : {"lbfgsb", "lbfgs", "adam"}
    dtype : numpy.dtype
        Of the gradient; "lbfgsb" works in float64 in any case.
    values : int
        Element count of the image.

    Returns
    -------
    int
        In bytes.
    """
    if optimizer == "lbfgsb":
        return 8 * (2 * SCIPY_PAIRS + 16) * values
    vectors = 14 if optimizer == "adam" else 2 * pairs_kept(values) + 10
    return vectors * dtype.itemsize * values
