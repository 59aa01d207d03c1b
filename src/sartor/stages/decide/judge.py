"""One limit against what is known of one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sartor.metrics import Metric
from sartor.types import Limit, Measurement, Outcome, Record, Verdict

_FINAL, _VALIDATION, _UNTRAINED, _ESTIMATED = range(4)


def known(record: Record, metric: str) -> Measurement | None:
    """The measurement that speaks for a candidate: of the shipping file before a sibling's, test before validation.

    Among equals the latest counts.
    """
    ranked = [
        (_rank(record, measurement), -place, measurement)
        for place, measurement in enumerate(record.measurements)
        if measurement.metric.name == metric
    ]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def selecting(record: Record, metric: str) -> Measurement | None:
    """What a choice between candidates may look at: never the test split."""
    seen = tuple(measurement for measurement in record.measurements if measurement.split != "test")
    return known(Record(record.candidate, seen, record.artifact), metric)


def _rank(record: Record, measurement: Measurement) -> int:
    if measurement.basis != "measured":
        return _ESTIMATED
    same_file = record.artifact is not None and measurement.artifact == record.artifact.sha256
    if measurement.metric.kind == "quality":
        if not same_file:
            return _UNTRAINED
        return _FINAL if measurement.split == "test" else _VALIDATION
    return _FINAL if same_file and measurement.trained else _UNTRAINED


def judge(record: Record, limit: Limit, metrics: Mapping[str, Metric]) -> Verdict:
    """The verdict on one limit: by the interval's unfavourable end; an estimate can only remove.

    ``met`` needs the whole interval on the allowed side, ``missed`` the whole interval on the other. What a noisy
    machine may hide is in the interval of its measurement: it rarely misses a limit, but a far one it does.
    """
    measurement = known(record, limit.metric) or _nothing_lost(record, metrics[limit.metric])
    title = metrics[limit.metric].title
    if measurement is None:
        return Verdict(limit, "inconclusive", False, None, f"{title} is not known yet")
    rank = _rank(record, measurement)
    outcome = _outcome(limit, measurement)
    if measurement.basis != "measured" and outcome == "met":
        outcome = "inconclusive"
    show = measurement.metric.format
    interval = measurement.metric.format_interval(measurement.value, measurement.low, measurement.high)
    sign = "≥" if limit.bound == "min" else "≤"
    words = {
        "met": f"{title} {interval} meets {sign} {show(limit.value)}",
        "missed": f"{title} {interval} misses {sign} {show(limit.value)}",
        "inconclusive": f"{title} {interval} cannot be told from {sign} {show(limit.value)}",
    }[outcome]
    if measurement.noisy:
        unsteady = outcome == "inconclusive"
        words += ", the machine was too unsteady to tell" if unsteady else ", on an unsteady machine"
    if measurement.basis != "measured":
        words += f" ({measurement.basis})"
    elif rank == _UNTRAINED:
        words += " (measured before training)"
    return Verdict(limit, outcome, rank == _FINAL, measurement, words)


def _nothing_lost(record: Record, metric: Metric) -> Measurement | None:
    """What is not compressed has lost nothing against itself, once it was judged at all."""
    if record.parent or not metric.name.endswith("_drop"):
        return None
    own = known(record, metric.name.removesuffix("_drop"))
    return replace(own, metric=metric, value=0.0, low=0.0, high=0.0) if own is not None else None


def _outcome(limit: Limit, measurement: Measurement) -> Outcome:
    good, bad = limit.holds(measurement.low), limit.holds(measurement.high)
    if good and bad:
        return "met"
    return "inconclusive" if good or bad else "missed"


def judge_all(record: Record, limits: Sequence[Limit], metrics: Mapping[str, Metric]) -> tuple[Verdict, ...]:
    """A verdict per limit, in the requirement's order."""
    return tuple(judge(record, limit, metrics) for limit in limits)
