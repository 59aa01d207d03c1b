"""Latency of what was measured on a device, fitted to static cost, so that the rest can be estimated better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.jobs import NetworkCost
from sartor.types import Candidate, Measurement

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_PAIRS = 4
PAIRS_FOR_ALL_FEATURES = 8
LEAST_SPREAD, LARGEST_SPREAD = 1.3, 50.0
WIDENING = 1.5  # of the worst leave-one-out residual (a logarithm): few pairs show too small a worst case
LATENCY = "latency_p50_ms"
FP32_BYTES = 4


@dataclass(frozen=True)
class Fit:
    """Median latency in ms as a sum of non-negative shares of a network's static cost.

    Args:
        weights: ms per operation, byte written or looked up, parameter read whole, layer, and per call.
        spread: factor by which the truth may lie above or below.
        smallest, largest: work of the networks it was fitted to.
        pairs: how many there were.
    """

    weights: tuple[float, ...]
    spread: float
    smallest: float
    largest: float
    pairs: int

    def predict(self, cost: NetworkCost) -> float:
        """Median latency in ms."""
        return sum(weight * feature for weight, feature in zip(self.weights, features(cost), strict=True))

    def spread_at(self, cost: NetworkCost) -> float:
        """The spread, wider for networks outside the range it was fitted to."""
        work = max(cost.work, 1)
        beyond = max(work / max(self.largest, 1), max(self.smallest, 1) / work, 1.0)
        return float(min(self.spread * beyond**0.25, LARGEST_SPREAD))


@dataclass(frozen=True)
class Calibration:
    """A fit per (runtime, precision, threads) with enough measured pairs."""

    fits: Mapping[tuple[str, str, int], Fit]

    def of(self, candidate: Candidate) -> Fit | None:
        """The fit that speaks of a candidate, or None."""
        return self.fits.get((candidate.runtime, candidate.precision, candidate.threads))


def features(cost: NetworkCost) -> tuple[float, ...]:
    """What latency is a non-negative sum of."""
    moved, read = cost.activation_bytes + FP32_BYTES * cost.rows, cost.parameters - cost.looked_up
    return (float(cost.operations), float(moved), float(read), float(cost.layers), 1.0)


def calibrate(pairs: Iterable[tuple[NetworkCost, Candidate, Measurement]]) -> Calibration:
    """Fit each runtime and precision to its measured median latencies; pairs of other metrics are ignored.

    Non-negative least squares on the relative error; the interval comes from leaving each pair out in turn. Over 26
    random CNNs such a fit was off by 10-12 % from 15 measured networks and by 11-18 % from 8, where operations alone
    were off by 28 % in OpenVINO bf16.
    """
    groups: dict[tuple[str, str, int], list[tuple[NetworkCost, float]]] = defaultdict(list)
    for cost, candidate, measurement in pairs:
        if measurement.metric.name == LATENCY and measurement.basis == "measured" and measurement.value > 0:
            groups[candidate.runtime, candidate.precision, candidate.threads].append((cost, measurement.value))
    return Calibration({key: _fit(group) for key, group in groups.items() if len(group) >= FEWEST_PAIRS})


def _fit(group: list[tuple[NetworkCost, float]]) -> Fit:
    import numpy as np

    # in one order whatever order they were measured in: the last digit of a sum depends on it
    group = sorted(group, key=lambda pair: (pair[0].work, pair[0].network, pair[1]))
    table = np.array([features(cost) for cost, _ in group])
    wanted = np.array([value for _, value in group])
    used = [0, 1, 2, 3, 4] if len(group) >= PAIRS_FOR_ALL_FEATURES else [0, 1, 4]
    residuals = []
    for left_out in range(len(group)):
        rest = np.arange(len(group)) != left_out
        predicted = float(table[left_out] @ _weights(table[rest], wanted[rest], used))
        residuals.append(abs(float(np.log(wanted[left_out] / max(predicted, 1e-9)))))
    spread = min(max(LEAST_SPREAD, float(np.exp(min(WIDENING * max(residuals), 10.0)))), LARGEST_SPREAD)
    weights = _weights(table, wanted, used)
    work = [cost.work for cost, _ in group]
    return Fit(tuple(map(float, weights)), spread, float(min(work)), float(max(work)), len(group))


def _weights(table: Array, wanted: Array, used: list[int]) -> Array:
    """Weights of the features ``used``, the others 0."""
    import numpy as np

    relative = table[:, used] / wanted[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-300)  # operations and "1" are ten decades apart
    weights = np.zeros(table.shape[1])
    weights[used] = nonnegative_least_squares(relative / scale, np.ones(len(wanted))) / scale
    return weights


def nonnegative_least_squares(table: Array, wanted: Array) -> Array:
    """The x >= 0 that minimises |table @ x - wanted|.

    Args:
        table: (rows, columns).
        wanted: (rows,).

    Source: Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23.
    """
    import numpy as np

    columns = table.shape[1]
    found = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    tolerance = 1e-10 * max(1.0, float(np.abs(table.T @ wanted).max(initial=0.0)))
    for _ in range(3 * columns):
        gradient = table.T @ (wanted - table @ found)
        candidates = np.where(free, -np.inf, gradient)
        best = int(candidates.argmax())
        if free.all() or candidates[best] <= tolerance:
            break
        free[best] = True
        while free.any():
            solved = np.zeros(columns)
            solved[free] = np.linalg.lstsq(table[:, free], wanted, rcond=None)[0]
            falling = free & (solved <= 0)
            if not falling.any():
                found = solved
                break
            # go towards the solution until the first weight reaches 0; that one leaves
            step = (found[falling] / np.maximum(found[falling] - solved[falling], 1e-300)).min()
            found = np.maximum(found + step * (solved - found), 0.0)
            free &= found > 1e-14
            found[~free] = 0.0
    return found
