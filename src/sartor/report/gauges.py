"""A limit as a tape measure: a scale, the interval as a band, the value as a mark, the forbidden side shaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor.language import say
from sartor.metrics import Metric
from sartor.report.figures import bound, interval, number, plain, quantity, unit
from sartor.report.words import metric_of, outcome, provenance
from sartor.types import Limit, Verdict


@dataclass(frozen=True)
class Tick:
    """A line on the tape at ``at`` percent; only long ones carry a label."""

    at: float
    label: str = ""


@dataclass(frozen=True)
class Gauge:
    """What the page draws of one verdict; places are percent of the tape's width."""

    title: str
    value: str
    interval: str
    source: str
    bound: str
    outcome: str
    words: str
    margin: str
    limit_at: float
    forbidden: tuple[float, float]  # start and width
    band: tuple[float, float] | None
    mark: float | None
    ticks: tuple[Tick, ...]
    sentence: str


def gauge(verdict: Verdict, metrics: Mapping[str, Metric], touched: int) -> Gauge:
    """One verdict as a gauge. ``touched``: how many candidates were scored on the test split."""
    limit, measurement = verdict.limit, verdict.measurement
    metric = metric_of(metrics, limit.metric)
    start, end = _span(verdict, metric)

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * (value - start) / (end - start))), 2)

    at = place(limit.value)
    band = None
    if measurement is not None:
        low, high = place(measurement.low), place(measurement.high)
        band = (low, round(max(high - low, 0.4), 2))
    between = interval(metric, measurement) if measurement else ""
    source = provenance(metric, measurement, touched).strip("()").removeprefix(between).strip(", ，")
    return Gauge(
        title=say(metric.title),
        value=quantity(metric, measurement.value) if measurement else say("unknown"),
        interval=between,
        source=source,
        bound=bound(metric, limit),
        outcome=verdict.outcome if measurement else "unknown",
        words=outcome(verdict),
        margin=say(_margin(verdict, metric)),
        limit_at=at,
        forbidden=(0.0, at) if limit.bound == "min" else (at, round(100 - at, 2)),
        band=band,
        mark=place(measurement.value) if measurement else None,
        ticks=tuple(_ticks(start, end, place)),
        sentence=say(verdict.sentence),
    )


def _span(verdict: Verdict, metric: Metric) -> tuple[float, float]:
    """Both ends of the tape. Costs start at zero, so that a length is a share of the limit."""
    limit, measurement = verdict.limit.value, verdict.measurement
    seen = [limit] if measurement is None else [limit, measurement.low, measurement.value, measurement.high]
    if metric.kind == "cost" and min(seen) >= 0:
        return 0.0, (max(seen) or 1.0) * 1.25
    reach = max(max(seen) - min(seen), 0.02)
    start, end = min(seen) - 0.5 * reach, max(seen) + 0.5 * reach
    return (max(0.0, start), min(1.0, end)) if metric.bounded else (start, end)


def _ticks(start: float, end: float, place: object) -> list[Tick]:
    rough = (end - start) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    ticks = []
    for count in range(math.ceil(start / step * 5 - 1e-9), math.floor(end / step * 5 + 1e-9) + 1):
        value = count * step / 5
        at = place(value)  # type: ignore[operator]
        ticks.append(Tick(at, plain(round(value, 9)) if count % 5 == 0 else ""))
    return ticks


def _margin(verdict: Verdict, metric: Metric) -> str:
    """How far the interval's unfavourable end is from the limit, in words."""
    limit, measurement = verdict.limit, verdict.measurement
    if measurement is None:
        return "not measured"
    if verdict.outcome == "met":
        worst = measurement.low if limit.bound == "min" else measurement.high
        return _spare(metric, limit, abs(worst - limit.value)) + (", though noisy" if measurement.noisy else "")
    if measurement.noisy:
        return "the machine was too unsteady to tell"
    if verdict.outcome == "missed":
        return f"off by {_difference(metric, limit, abs(measurement.value - limit.value))}"
    return "estimated, not measured" if measurement.basis != "measured" else "the interval straddles the limit"


def _spare(metric: Metric, limit: Limit, spare: float) -> str:
    if metric.kind == "cost" and limit.value > 0:
        share = f"{100 * spare / limit.value:.0f} %"
        return f"{share} to spare" if limit.bound == "max" else f"{share} above the limit"
    return f"{_difference(metric, limit, spare)} to spare"


def _difference(metric: Metric, limit: Limit, difference: float) -> str:
    text = number(metric, difference) + unit(metric)
    if metric.kind == "cost" and limit.bound == "max" and limit.value > 0 and difference > limit.value:
        return f"{text} ({1 + difference / limit.value:,.1f}× the limit)"
    return text


def gauges(verdicts: Sequence[Verdict], metrics: Mapping[str, Metric], touched: int) -> tuple[Gauge, ...]:
    """A gauge per verdict."""
    return tuple(gauge(verdict, metrics, touched) for verdict in verdicts)
