"""Why nothing meets the requirement, and the smallest measured changes that would let something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sartor.metrics import Metric
from sartor.stages.decide.choose import loss
from sartor.stages.decide.judge import judge, known
from sartor.types import Certificate, Limit, Measurement, Record, Relaxation, Requirement

MOST_RELAXATIONS = 5


def certify(requirement: Requirement, records: Sequence[Record], metrics: Mapping[str, Metric]) -> Certificate:
    """Binding limits, the best value reached for each, and relaxations, each from a measured candidate."""
    usable = [record for record in records if not record.refusals]
    relaxations = _relaxations(usable, requirement.limits, metrics)
    binding = _binding(requirement.limits, usable, relaxations, metrics)
    best: dict[str, Measurement] = {}
    for limit in requirement.limits:
        value = _best(limit, usable, requirement.limits, metrics)
        if value is not None and limit.holds(value.value):  # by a baseline that does not do: what do the others reach?
            real = [record for record in usable if not record.notes.get("baseline")]
            value = _best(limit, real, requirement.limits, metrics) or value
        if value is not None and limit.key in binding:
            best[limit.key] = value
    sentence = "; ".join(
        _binding_sentence(limit, best.get(limit.key), len(records), metrics)
        for limit in requirement.limits
        if limit.key in binding
    )
    return Certificate(binding, best, sentence or "no candidate could be measured", relaxations)


def _binding(
    limits: Sequence[Limit],
    records: Sequence[Record],
    relaxations: Sequence[Relaxation],
    metrics: Mapping[str, Metric],
) -> tuple[str, ...]:
    """Limits on cost that no candidate meets; else limits on quality that none meets; else the smallest change.

    Cost comes first: where it rules everything out, little was trained, and what is known of quality says little. Where
    only baselines were left to be judged on quality, the limits on cost that ruled out all others bind as well.
    """
    for kind in ("cost", "quality"):
        hopeless = []
        for limit in limits:
            if metrics[limit.metric].kind == kind:
                outcomes = {judge(record, limit, metrics).outcome for record in records if known(record, limit.metric)}
                if "missed" in outcomes and "met" not in outcomes:
                    hopeless.append(limit.key)
        if hopeless:
            return (*(_leaving_baselines(limits, records, metrics) if kind == "quality" else ()), *hopeless)
    return tuple(relaxations[0].changes) if relaxations else ()


def _leaving_baselines(limits: Sequence[Limit], records: Sequence[Record], metrics: Mapping[str, Metric]) -> list[str]:
    """Limits on cost that rule out everything but baselines; none where something else was judged on quality."""
    real = [record for record in records if not record.notes.get("baseline")]
    costs = [limit for limit in limits if metrics[limit.metric].kind == "cost"]
    quality = {limit.metric for limit in limits if metrics[limit.metric].kind == "quality"}
    if not real or any(known(record, metric) for record in real for metric in quality):
        return []
    missed = [{limit.key for limit in costs if judge(record, limit, metrics).outcome == "missed"} for record in real]
    return [limit.key for limit in costs if any(limit.key in keys for keys in missed)] if all(missed) else []


def _best(
    limit: Limit, records: Sequence[Record], limits: Sequence[Limit], metrics: Mapping[str, Metric]
) -> Measurement | None:
    """Best measured value of a limited metric, among those that keep the other limits where there are any."""
    pairs = [(record, value) for record in records if (value := _measured(record, limit)) is not None]
    others = [other for other in limits if other.key != limit.key]
    keeping = [
        value for record, value in pairs if all(judge(record, other, metrics).outcome == "met" for other in others)
    ]
    choice = keeping or [value for _, value in pairs]
    return min(choice, key=lambda value: loss(value.metric, value.value), default=None)


def _measured(record: Record, limit: Limit) -> Measurement | None:
    value = known(record, limit.metric)
    return value if value is not None and value.basis == "measured" else None


def _binding_sentence(limit: Limit, best: Measurement | None, count: int, metrics: Mapping[str, Metric]) -> str:
    metric = metrics[limit.metric]
    asked = f"{metric.title} {'≥' if limit.bound == 'min' else '≤'} {metric.format(limit.value)}"
    if best is None:
        return f"{asked}: none of {count} candidates can be that good by estimate; none was measured"
    reached = metric.format_interval(best.value, best.low, best.high)
    return f"{asked}: the best of {count} candidates was measured at {reached}"


def _relaxations(
    records: Sequence[Record], limits: Sequence[Limit], metrics: Mapping[str, Metric]
) -> tuple[Relaxation, ...]:
    """Per measured candidate the change it needs; dominated changes are left out, the smallest come first."""
    needs: list[tuple[dict[str, float], float, Record]] = []
    for record in records:
        values = {limit.key: _measured(record, limit) for limit in limits}
        if any(value is None for value in values.values()) or record.artifact is None:
            continue
        changes, size = {}, 0.0
        for limit in limits:
            value = values[limit.key]
            if value is None or judge(record, limit, metrics).outcome == "met":
                continue
            changes[limit.key] = _would_do(limit, value)
            size += _distance(metrics[limit.metric], limit.value, changes[limit.key])
        if changes:
            needs.append((changes, size, record))
    needs.sort(key=lambda need: (len(need[0]), need[1], need[2].candidate.id))
    kept: list[tuple[dict[str, float], float, Record]] = []
    for need in needs:
        if not any(_covers(other[0], need[0], limits) for other in kept):
            kept.append(need)
    return tuple(
        Relaxation(changes, record.candidate.id, _relaxation_sentence(changes, record, limits, metrics))
        for changes, _, record in kept[:MOST_RELAXATIONS]
    )


def _would_do(limit: Limit, value: Measurement) -> float:
    """The limit that the interval's unfavourable end meets, rounded to three digits on the safe side."""
    bound = value.low if limit.bound == "min" else value.high
    if abs(bound) < 1e-12:
        return bound
    scale = 10.0 ** (math.floor(math.log10(abs(bound))) - 2)
    steps = bound / scale
    rounded = math.floor(steps + 1e-9) if limit.bound == "min" else math.ceil(steps - 1e-9)
    found = float(f"{rounded * scale:.12g}")
    if (found > bound) if limit.bound == "min" else (found < bound):  # a hair beyond, by the last bit: one step more
        found = float(f"{(rounded + (-1 if limit.bound == 'min' else 1)) * scale:.12g}")
    return found


def _distance(metric: Metric, asked: float, needed: float) -> float:
    """How large a change is, comparable between metrics: logarithm of the ratio of losses."""
    return abs(math.log(max(1e-6, loss(metric, needed))) - math.log(max(1e-6, loss(metric, asked))))


def _covers(less: Mapping[str, float], more: Mapping[str, float], limits: Sequence[Limit]) -> bool:
    """True when every change of ``less`` is also in ``more`` and at least as far there."""
    bounds = {limit.key: limit.bound for limit in limits}
    return all(
        key in more and (more[key] <= value if bounds[key] == "min" else more[key] >= value)
        for key, value in less.items()
    )


def _relaxation_sentence(
    changes: Mapping[str, float], record: Record, limits: Sequence[Limit], metrics: Mapping[str, Metric]
) -> str:
    asked = {limit.key: limit for limit in limits}
    words = []
    for key, value in changes.items():
        limit = asked[key]
        metric = metrics[limit.metric]
        words.append(f"{metric.title} {'≥' if limit.bound == 'min' else '≤'} {metric.format(value)}")
    return f"{' and '.join(words)} → {record.candidate.id}"
