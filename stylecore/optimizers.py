"""The optimisers: each minimises a function of the image within [0, 1], and can be set aside and taken up again."""

import numpy as np
from scipy.optimize import Bounds, minimize

from stylecore.kernels.cpu import pairs
from stylecore.kernels.cpu.runtime import one_blas_thread

# Pairs of steps and gradient changes that model the curvature. For the same loss 20 were measured to need a sixth fewer
# evaluations than 10, and 40 a tenth fewer than 20. L-BFGS keeps as many as take half a gigabyte, so many values each
# of steps and of changes, between the least and the most. SciPy's takes far more time for each, and keeps 10.
LEAST_PAIRS, MOST_PAIRS = 10, 40
PAIR_VALUES = 2**26
SCIPY_PAIRS = 10

# The first step of L-BFGS, when nothing is known of the curvature, and the longest, as root mean square changes of a
# value. Steps that were accepted on pictures came to 0.03 at most; after a first step into a bend, far longer ones may
# be proposed.
FIRST_STEP = 0.02
LONGEST_STEP = 0.05

# Least part of the decrease foretold by the gradient that a step must bring (Armijo), and the shortest step tried.
ARMIJO = 1e-4
SHORTEST = 1e-10


def pairs_kept(values):
    """Number of pairs that L-BFGS keeps for an image of so many values."""
    return min(max(PAIR_VALUES // values, LEAST_PAIRS), MOST_PAIRS)


# Shape and type of a value of an optimiser's state; a length that varies is None.
_COUNT, _NUMBER = ((), np.signedinteger), ((), np.floating)


class Stopped(Exception):
    """Raised by the function that is minimised, to end the run early."""


class Optimizer:
    """What the optimisers have in common: the evaluations are counted, and the image to hand out is kept.

    Parameters
    ----------
    start : ndarray, (H, W, 3)
        sRGB in [0, 1]; it is left as it is.
    evaluations : int
        Most evaluations of the function.
    averaging : float
        In [0, 1): the image handed out is the average of the iterates, in which each counts this much less than the
        one after it. 0 hands out the image of the lowest loss.

    Attributes
    ----------
    resumable : bool
        Whether `state` is all that is needed to go on.
    """

    resumable = True

    def __init__(self, start, evaluations, averaging=0.0):
        self._shape = start.shape
        self._x = start.reshape(-1)
        self._left = evaluations
        self._averaging = averaging
        self._lowest = np.inf
        self._best = start.astype(np.float32).reshape(-1)
        self._average = np.zeros_like(self._best) if averaging else None
        self._averaged = 0

    def run(self, function, after=None):
        """Minimise until the evaluations are used up or nothing lower is found.

        Parameters
        ----------
        function : callable
            From an image (H, W, 3) to (loss, gradient); may raise `Stopped`.
        after : callable, optional
            Called without arguments after each iteration, when `state` holds all that the next ones depend on.
        """
        self._function, self._after = function, after
        try:
            self._minimize()
        except Stopped:
            pass
        finally:
            # They may refer to this object in turn, which would keep both, and much memory, alive.
            self._function = self._after = None

    @property
    def image(self):
        """The image reached, (H, W, 3) float32: that of the lowest loss, or the average."""
        if self._averaged:
            return (self._average / (1 - self._averaging**self._averaged)).clip(0, 1).reshape(self._shape)
        return self._best.reshape(self._shape)

    @property
    def state(self):
        """All that the iterations to come depend on, as a dict of arrays and numbers."""
        return {name: getattr(self, f"_{name}") for name in self._layout()}

    def restore(self, state):
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
            # NumPy computes to another precision with arrays without dimensions than with numbers.
            setattr(self, f"_{name}", value if value.ndim else value.item())

    def _layout(self):
        """Shape and type of each value of `state`."""
        image = self._x.shape, np.floating
        layout = {"left": _COUNT, "lowest": _NUMBER, "best": image, "averaged": _COUNT}
        return {**layout, "average": image} if self._averaging else layout

    def _evaluate(self, x):
        """Loss and flat gradient at the flat image x."""
        if self._left == 0:
            raise Stopped
        self._left -= 1
        loss, gradient = self._function(x.reshape(self._shape))
        if loss < self._lowest:
            self._lowest, self._best = loss, x.astype(np.float32)
        return loss, gradient.reshape(-1)

    def _finish_iteration(self):
        if self._averaging:
            self._average += (1 - self._averaging) * (self._x - self._average)
            self._averaged += 1
        if self._after is not None:
            self._after()


def _check(state, layout):
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
    """Limited-memory BFGS within [0, 1], with a line search that never lets the loss rise.

    The step is the two-loop recursion's (algorithm 7.4), for the values that are free: one at an end of the range
    whose gradient points out of it stays there. What leads out of the range is cut off (projection), and the step is
    shortened until the loss falls in proportion to it. The recursion only ever adds multiples of the pairs' vectors
    and the gradient; so it is done on their coefficients, with a table of all inner products that each step adds
    three columns to. All vectors are then read twice an iteration, whatever their number.

    References
    ----------
    Nocedal and Wright (2006), "Numerical Optimization", chapters 3.1 and 7.2.
    Bertsekas (1982), "Projected Newton Methods for Optimization Problems with Simple Constraints".
    Chen, Wang and Zhou (2014), "Large-Scale L-BFGS using MapReduce" (the table of inner products).
    """

    def __init__(self, start, evaluations, averaging=0.0):
        super().__init__(start, evaluations, averaging)
        self._gradient = None
        # Rows of the pairs in use, from the oldest on, and the row that the next one goes to.
        self._pairs, self._next = np.zeros(0, int), 0
        self._most = pairs_kept(self._x.size)
        self._products = np.zeros((2 * self._most + 1, 2 * self._most + 1))

    @property
    def state(self):
        """As `Optimizer.state`, with the vectors in use."""
        return {**super().state, "rows": [self._rows[i] for i in self._rows_in_use()]}

    def restore(self, state):
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

    def _layout(self):
        image, pairs = (self._x.shape, np.floating), ((None,), np.signedinteger)
        products = self._products.shape, np.floating
        own = {"x": image, "loss": _NUMBER, "gradient": image, "pairs": pairs, "next": _COUNT, "products": products}
        return {**super()._layout(), **own}

    def _rows_in_use(self):
        return [*self._pairs, *(self._most + self._pairs), 2 * self._most]

    def _allocate(self):
        # Steps s, gradient changes y, and the gradient of the free values. Rows that are not in use take no memory.
        self._rows = np.zeros((2 * self._most + 1, self._x.size), self._gradient.dtype)

    def _minimize(self):
        # The sums over few numbers as well are to be made in one order.
        with one_blas_thread():
            if self._gradient is None:
                self._begin()
            while self._step() or self._forget_pairs():
                pass
        # Whoever takes this state up again is not to look once more.
        self._left = 0

    def _begin(self):
        loss, gradient = self._evaluate(self._x)
        self._x, self._gradient = self._x.astype(gradient.dtype), gradient
        self._allocate()
        self._arrive(self._x, loss, gradient)

    def _forget_pairs(self):
        """Whether there were any: without them the step is along the gradient, and if that fails nothing is lower."""
        had_any = len(self._pairs) > 0
        self._pairs = self._pairs[:0]
        return had_any

    def _step(self):
        """Go to a point where the loss is lower; False if none is found."""
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
            foretold = pairs.move(self._x, direction, length, self._gradient, x)
            loss, gradient = self._evaluate(x)
            if loss <= self._loss + ARMIJO * foretold < self._loss:
                self._arrive(x, loss, gradient)
                return True
            # The lowest point of the parabola through both losses and the slope, as a part of this step.
            excess = loss - self._loss - foretold
            length *= np.clip(-foretold / (2 * excess), 0.1, 0.5) if excess > 0 else 0.5
        return False

    def _coefficients(self):
        """The direction -H g in terms of the rows, by the two-loop recursion."""
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
        """Make x the present point, and the step there a pair if the curvature along it is positive."""
        step, change = self._next, self._most + self._next
        new, used = [step, change, 2 * self._most], np.union1d(self._rows_in_use(), [step, change])
        columns = pairs.take(self._rows, used, step, change, self._x, self._gradient, x, gradient)
        self._products[np.ix_(new, used)], self._products[np.ix_(used, new)] = columns, columns.T
        self._x, self._loss, self._gradient = x, loss, gradient
        self._pairs = self._pairs[self._pairs != step]
        curvature, size = self._products[step, change], self._products[step, step] * self._products[change, change]
        if curvature > 1e-8 * np.sqrt(size) > 0:  # The size of tiny gradients' changes may come out as zero.
            self._pairs = np.append(self._pairs, step)
            self._next = (self._next + 1) % self._most
        self._finish_iteration()


class SciPyLBFGSB(Optimizer):
    """SciPy's L-BFGS-B: what `LBFGS` is held against.

    It looks for the best set of values at the ends of the range in every iteration (the Cauchy point), all in float64
    on one core, which takes about a quarter of the time of an evaluation; and it keeps its pairs to itself.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu (1995), "A Limited Memory Algorithm for Bound Constrained Optimization".
    """

    resumable = False

    def _minimize(self):
        def evaluate(x):
            loss, gradient = self._evaluate(x)
            return loss, gradient.astype(np.float64)

        def note(x):
            self._x = x
            self._finish_iteration()

        with one_blas_thread():
            minimize(
                evaluate,
                self._x.astype(np.float64),
                jac=True,
                method="L-BFGS-B",
                bounds=Bounds(0.0, 1.0),
                callback=note,
                # It looks at its limit between iterations only, and a line search may go past it; `_evaluate` does not.
                options={"maxiter": np.inf, "maxfun": np.inf, "maxcor": SCIPY_PAIRS, "ftol": 0, "gtol": 0},
            )


class Adam(Optimizer):
    """Adam, kept within [0, 1] by cutting off; takes any noise in its stride, needs more evaluations.

    The step begins at `STEP`, in units of the image's range, and falls to a tenth of it along a cosine.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    STEP = 0.02

    def __init__(self, start, evaluations, averaging=0.0):
        super().__init__(start, evaluations, averaging)
        self._evaluations = evaluations
        self._mean, self._square = np.zeros_like(self._x), np.zeros_like(self._x)
        self._t = 0

    def _layout(self):
        image = self._x.shape, np.floating
        return {**super()._layout(), "x": image, "mean": image, "square": image, "t": _COUNT}

    def _minimize(self):
        while True:
            _, gradient = self._evaluate(self._x)
            self._t += 1
            # Not in place: a state that was handed out stays as it was.
            self._mean = self._mean + 0.1 * (gradient - self._mean)
            self._square = self._square + 0.001 * (gradient**2 - self._square)
            rate = self.STEP * (0.55 + 0.45 * np.cos(np.pi * self._t / self._evaluations))
            mean, square = self._mean / (1 - 0.9**self._t), self._square / (1 - 0.999**self._t)
            self._x = np.clip(self._x - rate * mean / (np.sqrt(square) + 1e-8), 0, 1)
            self._finish_iteration()


OPTIMIZERS = {"lbfgs": LBFGS, "adam": Adam, "scipy": SciPyLBFGSB}


def bytes_needed(optimizer, dtype, values):
    """Memory that an optimiser takes for an image of so many values, measured: L-BFGS's pairs, and some vectors more.

    Parameters
    ----------
    optimizer : {"lbfgs", "adam", "scipy"}
    dtype : numpy.dtype
        Of the gradient. SciPy's works in float64 whatever it is, and makes lists of the bounds.
    values : int

    Returns
    -------
    int
    """
    if optimizer == "scipy":
        return (8 * (2 * SCIPY_PAIRS + 25) + 120) * values
    vectors = 14 if optimizer == "adam" else 2 * pairs_kept(values) + 11
    return vectors * dtype.itemsize * values
