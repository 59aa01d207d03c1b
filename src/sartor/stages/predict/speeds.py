"""What each kind of kernel takes in a runtime on a device, learnt from timed graphs; prediction needs numpy alone.

The time of a call is a non-negative sum over the parts of its kernels (``features``), so more work never takes less
time. It is fitted on the logarithm, robustly; where the graphs say little of a part, physics does: its share is drawn
to what the device's arithmetic and bandwidth would take. Intervals are conformal: each family of graphs is left out
once, and the residuals of all say how far off a family is that nobody has timed.

Source: split conformal prediction, Lei et al. 2018, arXiv:1604.04173.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.jobs import Kernel
from sartor.stages.predict.features import NAMES, PRODUCTS, WHOLE, features

if TYPE_CHECKING:
    import numpy as np

    from sartor.types import Device

    Array = np.ndarray[Any, np.dtype[Any]]

COVERAGE = 0.95
FEWEST_GRAPHS = 24
ROUNDS, HUBER = 8, 0.1  # of the fit; residuals (logarithms) beyond it count less
PRIOR = 0.03  # weight of physics against one graph
SHARED = 0.3  # variance that the networks of a family share, against that of one
LEAST_SPREAD, LARGEST_SPREAD = 1.1, 50.0
BEYOND = 0.25  # exponent of how far outside the times it was fitted to a prediction lies
UNKNOWN_FACTOR = 2.0  # wider where kernels of a kind that was never timed make up more than …
UNKNOWN_SHARE = 0.05  # … this share of the call


@dataclass(frozen=True)
class Predicted:
    """Milliseconds of a call, and the range that holds ``COVERAGE`` of calls of graphs from families never timed."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Speed:
    """Of one runtime at one precision with one number of threads.

    Args:
        weights: milliseconds per amount of a part (``features.NAMES``); what is missing takes none.
        shorter, longer: factors on a prediction that enclose ``COVERAGE`` of the residuals of families left out.
        least_ms, most_ms: of the graphs it was fitted to.
        timed: parts that some graph had.
        graphs: how many there were.
        error: mean of the relative errors of families left out.
    """

    weights: Mapping[str, float]
    shorter: float
    longer: float
    least_ms: float
    most_ms: float
    timed: tuple[str, ...]
    graphs: int
    error: float

    def predict(self, kernels: Sequence[Kernel], floor_ms: float = 0.0) -> Predicted:
        """Time of a call of these kernels; nothing of it is below ``floor_ms``."""
        shares = features(kernels) * self._vector()
        value = max(float(shares.sum()), floor_ms, 1e-6)
        known = frozenset(self.timed)
        unknown = sum(share for name, share in zip(NAMES, shares, strict=True) if name not in known)
        beyond = max(value / self.most_ms, self.least_ms / value, 1.0) ** BEYOND
        if unknown > UNKNOWN_SHARE * value:
            beyond *= UNKNOWN_FACTOR
        low = value * max(self.shorter / beyond, 1 / LARGEST_SPREAD)
        high = value * min(self.longer * beyond, LARGEST_SPREAD)
        return Predicted(max(floor_ms, low), value, high)

    def _vector(self) -> Array:
        import numpy as np

        return np.array([self.weights.get(name, 0.0) for name in NAMES])


@dataclass(frozen=True)
class TimedKernels:
    """A graph of a family as kernels, and the milliseconds that a call took.

    ``whole`` is a network; a graph of one kind of kernel is learnt from, but says nothing of how far off a network is.
    ``p10_ms``: what a tenth of the calls undercut, which others on the machine disturb less; 0 where it is not known.
    """

    family: str
    kernels: tuple[Kernel, ...]
    ms: float
    whole: bool = True
    p10_ms: float = 0.0


def learn(timed: Iterable[TimedKernels], device: Device, precision: str, threads: int) -> Speed | None:
    """The speed that timed graphs show; None from too few."""
    import numpy as np

    # in one order whatever order they were timed in: the last digit of a sum depends on it
    graphs = sorted(timed, key=lambda one: (one.family, one.ms))
    if len(graphs) < FEWEST_GRAPHS:
        return None
    table = np.array([features(one.kernels) for one in graphs])
    wanted = np.array([one.ms for one in graphs])
    prior = physics(device, precision, threads)
    weights = fitted(table, calm(graphs), prior, kin(graphs))
    residuals = left_out(graphs, table, wanted, prior)
    shorter, longer = conformal(residuals)
    return Speed(
        {name: float(weight) for name, weight in zip(NAMES, weights, strict=True) if weight > 0},
        shorter,
        longer,
        float(wanted.min()),
        float(wanted.max()),
        tuple(name for name, column in zip(NAMES, table.T, strict=True) if column.any()),
        len(graphs),
        float(np.abs(np.expm1(-residuals)).mean()) if len(residuals) else math.nan,
    )


def left_out(graphs: Sequence[TimedKernels], table: Array, wanted: Array, prior: Array) -> Array:
    """Logarithms of true over predicted time of every network, its family left out: (networks,)."""
    import numpy as np

    families = np.array([one.family if one.whole else "" for one in graphs])
    taught, related = calm(graphs), kin(graphs)
    found: list[float] = []
    for family in sorted({*families} - {""}):
        out = families == family
        if not out.all():
            left = fitted(table[~out], taught[~out], prior, related[~out])
            found += np.log(wanted[out] / np.maximum(table[out] @ left, 1e-6)).tolist()
    return np.array(found)


def calm(graphs: Sequence[TimedKernels]) -> Array:
    """Milliseconds to learn from: the quick tenth of the calls, times what a median is of it: (graphs,)."""
    import numpy as np

    wanted, quick = np.array([one.ms for one in graphs]), np.array([one.p10_ms for one in graphs])
    return quick * np.median(wanted / quick) if (quick > 0).all() else wanted


def kin(graphs: Sequence[TimedKernels]) -> Array:
    """Which graphs are off together: the networks of a family; a graph of one kind of kernel has no kin: (graphs,)."""
    import numpy as np

    families = {name: place for place, name in enumerate(sorted({one.family for one in graphs}))}
    return np.array([families[one.family] if one.whole else -1 - place for place, one in enumerate(graphs)])


def conformal(residuals: Array, coverage: float = COVERAGE) -> tuple[float, float]:
    """Factors below and above a prediction that hold ``coverage`` of further residuals (logarithms)."""
    ordered = sorted(abs(float(one)) for one in residuals) or [math.inf]
    place = min(len(ordered) - 1, math.ceil((len(ordered) + 1) * coverage) - 1)
    spread = min(max(math.exp(min(ordered[place], 10.0)), LEAST_SPREAD), LARGEST_SPREAD)
    return 1 / spread, spread


def physics(device: Device, precision: str, threads: int) -> Array:
    """Milliseconds per amount of each part, from the device's profile alone: (len(NAMES),)."""
    import numpy as np

    ceiling = device.ceilings.get(precision) or device.ceilings.get("fp32")
    cores = min(threads, device.cores) / max(device.cores, 1) if device.kind == "cpu" else 1.0
    operation = 1e3 / (0.5 * cores * ceiling.operations_per_s) if ceiling else 1e-7
    number = 4e3 / (2.0 * device.bandwidth_bytes_per_s) if device.bandwidth_bytes_per_s else 4e-7
    amounts = {
        "arithmetic": operation,
        "vain": operation,
        "odd": operation,
        "strided": operation / 4,
        "light": number / 4,
        "heavy": number,
        "fused light": number / 4,
        "fused heavy": number,
        "count": 2e-3,
        "call": 5e-3,
        **{"flat": 0.3 * operation, "flat depthwise": 0.3 * operation},
        **dict.fromkeys(("flat packed", "far filters", "far weights"), 0.3 * number),
    }
    found = []
    for name in NAMES:
        kind, part = ("", name) if name in WHOLE else name.split(" ", 1)
        slow = 8.0 if kind in ("conv-depthwise", "recurrence") and part == "arithmetic" else 1.0
        found.append(slow * amounts.get(part, number / (1.0 if kind not in PRODUCTS else 2.0)))
    return np.array(found)


def fitted(table: Array, wanted: Array, prior: Array, related: Array | None = None) -> Array:
    """Non-negative weights with ``table @ weights`` near ``wanted`` in the logarithm, robustly, drawn to ``prior``.

    What the networks of one family are off by is partly common to them, so that a family of many does not outvote
    others: generalised least squares with ``SHARED`` of the variance, after Sherman and Morrison.

    Args:
        table: (graphs, parts) amounts.
        wanted: (graphs,) milliseconds.
        prior: (parts,) weights; kept where a part has no amount in any graph.
        related: (graphs,) equal where graphs are of one family.
    """
    import numpy as np

    used = table.any(axis=0)
    found = prior.copy()
    columns = table[:, used]
    # a part is measured in the largest share of a call that physics gives it: then one PRIOR fits all
    scale = np.maximum((columns / wanted[:, None]).max(axis=0), 1e-300)
    start = np.minimum(prior[used] * scale, 1.0)
    guess, trust = wanted.copy(), np.ones(len(wanted))
    free: Array | None = None
    families = [np.flatnonzero(related == one) for one in np.unique(related)] if related is not None else []
    for turn in range(ROUNDS):
        rows = columns / guess[:, None] / scale
        target = 1.0 - np.log(guess / wanted)
        weighed = rows * trust[:, None]
        gram, moments = rows.T @ weighed + PRIOR * np.eye(len(scale)), weighed.T @ target + PRIOR * start
        for family in families:
            common, votes = weighed[family].sum(axis=0), trust[family]
            share = SHARED / (1.0 + SHARED * votes.sum())
            gram -= share * np.outer(common, common)
            moments -= share * common * (votes @ target[family])
        solved = nonnegative(gram, moments, free)
        free = solved > 0
        now = np.maximum(columns @ (solved / scale), 1e-6)
        trust = np.minimum(1.0, HUBER / np.maximum(np.abs(np.log(now / wanted)), 1e-9))
        guess = np.sqrt(guess * now) if turn < 2 else now  # in small steps while far away
    found[used] = solved / scale
    return found


def nonnegative(gram: Array, moments: Array, free: Array | None = None) -> Array:
    """The x ≥ 0 that minimises ½ x·gram·x − moments·x, for a positive definite ``gram``.

    Args:
        gram: (n, n).
        moments: (n,).
        free: which are positive at first, from a problem nearby.

    Source: Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23, on the normal equations.
    """
    import numpy as np

    count = len(moments)
    found = np.zeros(count)
    positive = np.zeros(count, dtype=bool) if free is None else free.copy()
    tolerance = 1e-9 * max(1.0, float(np.abs(moments).max(initial=0.0)))
    for turn in range(3 * count):
        if turn or free is None:
            gradient = np.where(positive, -np.inf, moments - gram @ found)
            best = int(gradient.argmax())
            if gradient[best] <= tolerance:
                break
            positive[best] = True
        while positive.any():
            places = np.flatnonzero(positive)
            solved = np.linalg.solve(gram[np.ix_(places, places)], moments[places])
            if (solved > 0).all():
                found = np.zeros(count)
                found[places] = solved
                break
            old, falling = found[places], solved <= 0
            step = float((old[falling] / np.maximum(old[falling] - solved[falling], 1e-300)).min())
            moved = np.maximum(old + step * (solved - old), 0.0)
            found = np.zeros(count)
            found[places] = moved
            positive[places[moved <= 1e-14]] = False
    return found


@dataclass(frozen=True)
class Speeds:
    """What a calibration of a device found.

    Args:
        device: id of it.
        of: ``"runtime precision threads"`` to the speed.
        seconds: that it took, all parts together.
    """

    device: str
    of: Mapping[str, Speed]
    seconds: float

    def find(self, runtime: str, precision: str, threads: int) -> Speed | None:
        """The speed that speaks of a way to run, or None."""
        return self.of.get(f"{runtime} {precision} {threads}")

    @property
    def graphs(self) -> int:
        """Timings that it learnt from."""
        return sum(one.graphs for one in self.of.values())
