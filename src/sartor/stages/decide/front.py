"""The Pareto front: candidates that no other beats in every way."""

from __future__ import annotations

from collections.abc import Sequence

from sartor.metrics import Metric
from sartor.stages.decide.choose import loss
from sartor.stages.decide.judge import selecting
from sartor.types import Record, Requirement

ALWAYS = ("latency_p95_ms", "size_mb")


def axes(requirement: Requirement, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Metrics that span the front: the primary quality, latency, size, and every cost that is limited or wished for."""
    primary = next(metric.name for metric in metrics if metric.kind == "quality")
    asked = {limit.metric for limit in requirement.limits} | {wish.metric for wish in requirement.objectives}
    costs = [metric.name for metric in metrics if metric.kind == "cost"]
    return primary, *(name for name in costs if name in asked or name in ALWAYS)


def front(records: Sequence[Record], names: Sequence[str]) -> tuple[str, ...]:
    """Ids of the candidates measured on every axis that no other dominates."""
    points = {}
    for record in records:
        values = [selecting(record, name) for name in names]
        if not record.refusals and all(value is not None and value.basis == "measured" for value in values):
            points[record.candidate.id] = tuple(loss(value.metric, value.value) for value in values if value)
    return tuple(
        name
        for name, point in points.items()
        if not any(_dominates(other, point) for rival, other in points.items() if rival != name)
    )


def _dominates(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(left, right, strict=True)) and left != right
