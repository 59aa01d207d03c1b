"""Which of those that meet every limit: objectives order them, noise makes ties, the cheaper wins a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from sartor.intervals import expected_maximum, jackknife_error
from sartor.metrics import Metric
from sartor.stages.decide.judge import selecting
from sartor.types import Measurement, Objective, Record

TIE_BREAKERS = ("latency_p95_ms", "size_mb", "memory_peak_mb")
"""Costs that break a tie, in this order."""

EQUALLY_FAST = 1.1
"""Latencies as far apart as this, or within the interval of the faster, are equal: the smaller file wins then."""

ROUNDING = 1e-9
"""Differences of scores that are none."""

RESOLUTION = 1e-4
"""The smallest error rate (1 - score) that the logarithm of a weighted objective tells apart."""


def order(records: Sequence[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Records, best first.

    One objective: all that cannot be told from the best tie (:func:`level_with_best`) and the cheapest of them comes
    first: the fastest, and of those as fast the smallest. Several: the weighted
    sum of logarithms, so that a weight says how many percent of one metric are worth one percent of another; what is
    better when higher enters as its distance to perfection (or its inverse where unbounded).
    """
    if len(objectives) == 1:
        return _by_one(records, objectives[0].metric)
    return sorted(records, key=lambda record: (_weighted(record, objectives), *_ties(record), record.candidate.id))


def standard_error(measurement: Measurement) -> float:
    """Standard error behind a two-sided interval, taking it as normal."""
    z = NormalDist().inv_cdf(0.5 + measurement.confidence / 2)
    return (measurement.high - measurement.low) / (2 * z)


def level_with_best(records: Sequence[Record], metric: str) -> list[Record]:
    """Those whose value cannot be told from the best.

    They lie within one standard error of it (Breiman et al. 1984, the one-standard-error rule). Where both were scored
    on the same samples they are not worse there by more than the standard error of the difference either, times what
    the best of so many candidates owes to luck.
    """
    values = {record.candidate.id: selecting(record, metric) for record in records}
    present = [value for value in values.values() if value is not None]
    if not present:
        return list(records)
    best = min(present, key=lambda value: loss(value.metric, value.value))
    reach = loss(best.metric, best.value) + standard_error(best)
    luck = max(1.0, expected_maximum(len(present)))
    return [
        record
        for record in records
        if (value := values[record.candidate.id]) is not None
        and loss(value.metric, value.value) <= reach
        and not _is_worse_in_pairs(value, best, luck)
    ]


def _is_worse_in_pairs(value: Measurement, best: Measurement, luck: float) -> bool:
    """True where the same samples show that a value is worse than the best."""
    if not value.replicates or (value.split, value.n, len(value.replicates)) != (
        best.split,
        best.n,
        len(best.replicates),
    ):
        return False
    pairs = zip(value.replicates, best.replicates, strict=True)
    error = jackknife_error([loss(value.metric, ours) - loss(best.metric, theirs) for ours, theirs in pairs])
    return loss(value.metric, value.value) - loss(best.metric, best.value) > luck * error + ROUNDING


def _by_one(records: Sequence[Record], metric: str) -> list[Record]:
    """Best first for one objective: the tied group by cost, then the next group among the rest, and so on."""
    left, ordered = list(records), []
    while left:
        group = level_with_best(left, metric)
        if not group:
            group = left
        ordered += _cheapest_first(group)
        chosen = {record.candidate.id for record in group}
        left = [record for record in left if record.candidate.id not in chosen]
    return ordered


def _cheapest_first(records: Sequence[Record]) -> list[Record]:
    """The fastest and those as fast, the smallest of them first; then the same of the rest."""
    left = sorted(records, key=lambda record: (*_ties(record), record.candidate.id))
    ordered: list[Record] = []
    while left:
        fastest = selecting(left[0], TIE_BREAKERS[0])
        reach = math.inf if fastest is None else max(fastest.high, fastest.value * EQUALLY_FAST)
        count = sum(_ties(record)[0] <= reach for record in left)
        ordered += sorted(left[:count], key=lambda record: (_ties(record)[1], *_ties(record), record.candidate.id))
        left = left[count:]
    return ordered


def _ties(record: Record) -> tuple[float, ...]:
    values = (selecting(record, metric) for metric in TIE_BREAKERS)
    return tuple(math.inf if value is None else value.value for value in values)


def _weighted(record: Record, objectives: Sequence[Objective]) -> float:
    total = 0.0
    for objective in objectives:
        value = selecting(record, objective.metric)
        if value is None:
            return math.inf
        total += objective.weight * math.log(max(RESOLUTION, loss(value.metric, value.value)))
    return total


def loss(metric: Metric, value: float) -> float:
    """A value as something to make small: itself, its distance to 1, or its inverse."""
    if metric.direction == "lower":
        return value
    return 1.0 - value if metric.bounded else 1.0 / max(value, 1e-12)
