"""The decision: a pure function of the requirement and what is known of the candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from sartor.metrics import Metric, index
from sartor.stages.decide.certificate import certify
from sartor.stages.decide.choose import level_with_best, loss, order
from sartor.stages.decide.fates import CODES, Standing, stand
from sartor.stages.decide.front import axes, front
from sartor.stages.decide.judge import judge_all, selecting
from sartor.types import Decision, Fate, Limit, Record, Requirement, Verdict

MOST_FINALISTS = 2
"""Candidates that may see the test split. Intervals are two-sided but each limit has one bad side, so with two
looks the chance that a bad candidate passes stays within 1 - confidence (Bonferroni)."""


UNTRIED = frozenset({"NOT_TRIED", "TOO_LONG_TO_TRAIN"})
"""What the budget left untrained: it says nothing about the limits."""

FAR = 1.5
"""A limit that allows so many times less loss than the best of those judged is out of reach of their like too."""


def decide(requirement: Requirement, records: Sequence[Record], metrics: Sequence[Metric]) -> Decision:
    """Judge every candidate against every limit and choose.

    Args:
        requirement: limits, objectives and confidence.
        records: candidates with their measurements; their order does not matter.
        metrics: every metric of the task and every cost, derived ones included; the first quality metric is primary.

    Returns:
        ``met`` with the chosen candidate, ``infeasible`` with a certificate, or ``inconclusive`` with advice.
        ``next`` names the candidate whose final evidence (test split, trained timing) would close the decision.

    Example:
        >>> decide(requirement, [], metrics).status
        'inconclusive'
    """
    by_name = index(metrics)
    primary = next(metric.name for metric in metrics if metric.kind == "quality")
    records = sorted(records, key=lambda record: record.candidate.id)
    by_id = {record.candidate.id: record for record in records}
    levels = requirement.target.levels
    standings = [
        stand(record, requirement.limits, by_name, primary, by_id.get(record.parent), levels) for record in records
    ]

    ready = order([s.record for s in standings if s.ready], requirement.objectives)
    promising = _promising(standings, requirement)
    tested = _looks(records)
    upcoming = _next(ready, promising, tested, requirement)
    chosen = ready[0] if ready else None
    on_front = front([s.record for s in standings if not s.record.notes.get("reference")], axes(requirement, metrics))
    fates = tuple(_fate(s, chosen, ready, on_front, primary) for s in standings)
    if chosen is not None:
        verdicts = judge_all(chosen, requirement.limits, by_name)
        why = _why(chosen, ready, promising, standings, requirement, by_name, primary)
        return Decision(
            "met",
            chosen.candidate.id,
            verdicts,
            f"{chosen.candidate.id} meets every limit",
            why,
            fates,
            on_front,
            next=upcoming,
        )
    if not _is_infeasible(standings, promising, requirement.limits, by_name):
        return _inconclusive(standings, promising, fates, on_front, requirement, by_name, primary, upcoming)
    certificate = certify(requirement, [s.record for s in standings if not s.record.notes.get("reference")], by_name)
    return Decision(
        "infeasible",
        "",
        (),
        "no candidate meets every limit; no model was delivered",
        _untried(standings),
        fates,
        on_front,
        certificate,
    )


def _looks(records: Sequence[Record]) -> int:
    """Candidates that saw the test split; a parent that saw it only beside its child is not one more."""
    seen = [record for record in records if any(m.split == "test" for m in record.measurements)]
    parents = {record.parent for record in seen}
    return sum(record.candidate.id not in parents for record in seen)


def _promising(standings: Sequence[Standing], requirement: Requirement) -> list[Record]:
    """Those that may yet be accepted: fewest doubts first, then by the objectives."""
    candidates = [s for s in standings if s.promising]
    ordered: list[Record] = []
    for doubts in sorted({s.doubts - _unfinal(s) for s in candidates}):
        group = [s.record for s in candidates if s.doubts - _unfinal(s) == doubts]
        ordered += order(group, requirement.objectives)
    return ordered


def _unfinal(standing: Standing) -> int:
    """Doubts that come from nothing but evidence still missing."""
    return sum(v.outcome != "met" and v.measurement is None for v in standing.verdicts)


def _next(ready: Sequence[Record], promising: Sequence[Record], tested: int, requirement: Requirement) -> str:
    """The candidate to finish: the best promising one, unless a ready one is already at least as good."""
    if not promising:
        return ""
    first = promising[0]
    begun = any(m.split == "test" for m in first.measurements)
    if ready:
        return ""
    return first.candidate.id if begun or tested < MOST_FINALISTS else ""


def _is_infeasible(
    standings: Sequence[Standing], promising: Sequence[Record], limits: Sequence[Limit], metrics: Mapping[str, Metric]
) -> bool:
    """Nothing can still be accepted: something beyond a baseline (where there is such) was judged or ruled out.

    What the budget left untried of a family that was judged is taken to be alike. A family of which nothing was judged
    may be better: then only a limit that all who were judged miss by far speaks for it as well.
    """
    if promising or any(s.code == "INCONCLUSIVE" for s in standings):
        return False
    able = [s for s in standings if s.code != "REFERENCE"]
    if any(_beyond_all(able, limit, metrics) for limit in limits):
        return True
    real = [s for s in able if not s.record.notes.get("baseline")] or able
    untried = [s for s in able if s.code in UNTRIED]  # a baseline that may fit may do
    scored = [s for s in real if s.code not in UNTRIED and s.record.artifact is not None]
    judged = [s for s in scored if not s.record.notes.get("short")]  # what hardly saw its data may do with more time
    if not judged:
        return bool(standings) and not untried and not scored
    unknown = {_family(s) for s in untried} - {_family(s) for s in judged}
    asked = [limit for limit in limits if metrics[limit.metric].kind == "quality"]
    return not unknown or any(all(_far_missed(s, limit) for s in judged) for limit in asked)


def _family(standing: Standing) -> str:
    return standing.record.candidate.network.model


def _beyond_all(able: Sequence[Standing], limit: Limit, metrics: Mapping[str, Metric]) -> bool:
    """A limit on cost that all who were measured miss by far, a baseline and something else among them.

    A baseline answers with next to no arithmetic: what it needs, everything needs.
    """
    if metrics[limit.metric].kind != "cost":
        return False
    seen = [s for s in able if any(v.limit == limit and _is_measured(v) for v in s.verdicts)]
    kinds = {bool(s.record.notes.get("baseline")) for s in seen}
    return kinds == {True, False} and all(_far_missed(s, limit) for s in seen)


def _is_measured(verdict: Verdict) -> bool:
    return verdict.measurement is not None and verdict.measurement.basis == "measured"


def _far_missed(standing: Standing, limit: Limit) -> bool:
    """A limit that the interval's favourable end misses by ``FAR`` times the loss it allows."""
    value = next((v.measurement for v in standing.verdicts if v.limit == limit and v.outcome == "missed"), None)
    if value is None:
        return False
    best = value.high if limit.bound == "min" else value.low
    return loss(value.metric, best) >= FAR * loss(value.metric, limit.value)


def _fate(
    standing: Standing, chosen: Record | None, ready: Sequence[Record], on_front: Sequence[str], primary: str
) -> Fate:
    name = standing.record.candidate.id
    code, detail = standing.code, standing.detail
    if chosen is not None and name == chosen.candidate.id:
        code, detail = "CHOSEN", "meets every limit and does the objectives best"
    elif standing.ready and chosen is not None:
        code, detail = "WORSE_OBJECTIVE", _comparison(standing.record, chosen, primary)
    elif standing.promising:
        if chosen is not None:
            code, detail = "NOT_FINALIST", _comparison(standing.record, chosen, primary)
        else:
            doubt = next((v.sentence for v in standing.verdicts if v.outcome != "met"), CODES["NOT_FINALIST"])
            code, detail = "INCONCLUSIVE", doubt
    return Fate(name, code, detail, standing.verdicts, name in on_front)


def _comparison(record: Record, chosen: Record, primary: str) -> str:
    """How a candidate differs from the chosen one, on what the choice looked at."""
    words = []
    for name in (primary, "latency_p95_ms", "size_mb"):
        ours, best = selecting(record, name), selecting(chosen, name)
        if ours is not None and best is not None:
            words.append(
                f"{ours.metric.title} {ours.metric.format(ours.value)} against {best.metric.format(best.value)}"
            )
    return ", ".join(words) or CODES["NOT_FINALIST"]


def _why(
    chosen: Record,
    ready: Sequence[Record],
    promising: Sequence[Record],
    standings: Sequence[Standing],
    requirement: Requirement,
    metrics: Mapping[str, Metric],
    primary: str,
) -> tuple[str, ...]:
    field = [*ready, *promising]
    count = len(field)
    opening = (
        "it is the only candidate that meets everything"
        if count == 1
        else f"{count} candidates meet or may meet everything"
    )
    if count > 1 and len(requirement.objectives) == 1:
        metric = requirement.objectives[0].metric
        tied = level_with_best(field, metric)
        title = metrics[metric].title
        opening += (
            f"; this one has the best {title}"
            if len(tied) == 1
            else f"; {len(tied)} of them cannot be told from the best {title}, and this one is the "
            "fastest of those (smaller where equally fast)"
        )
    elif count > 1:
        wishes = ", ".join(f"{metrics[o.metric].title} × {o.weight:g}" for o in requirement.objectives)
        opening += f"; this one does the weighted objectives best ({wishes})"
    lines = [opening]
    lines += [str(remark) for remark in chosen.notes.get("remarks", ())]
    baseline = _best_baseline(standings, primary)
    ours = selecting(chosen, primary)
    if baseline is not None and ours is not None and baseline.candidate.id != chosen.candidate.id:
        theirs = selecting(baseline, primary)
        if theirs is not None:
            lines.append(
                f"{baseline.candidate.network.id}, the best simple baseline, reaches {theirs.metric.title} "
                f"{theirs.metric.format(theirs.value)} against {ours.metric.format(ours.value)} (validation)"
            )
    return (*lines, *_untried(standings))


def _best_baseline(standings: Sequence[Standing], primary: str) -> Record | None:
    scored = [
        (value.value if value.metric.direction == "higher" else -value.value, s.record.candidate.id, s.record)
        for s in standings
        if s.record.notes.get("baseline") and (value := selecting(s.record, primary)) is not None
    ]
    return max(scored, key=lambda entry: entry[:2])[2] if scored else None


def _untried(standings: Sequence[Standing]) -> tuple[str, ...]:
    count = sum(s.code in UNTRIED for s in standings)
    if not count:
        return ()
    return (f"candidates that may fit but were not trained within the budget: {count}",)


def _inconclusive(
    standings: Sequence[Standing],
    promising: Sequence[Record],
    fates: tuple[Fate, ...],
    on_front: tuple[str, ...],
    requirement: Requirement,
    metrics: Mapping[str, Metric],
    primary: str,
    upcoming: str,
) -> Decision:
    open_ones = [s.record for s in standings if s.code == "INCONCLUSIVE"] or list(promising)
    if not open_ones:
        sentence = _ended_early(standings)
        advice: tuple[str, ...] = ("a larger budget.time, or a smaller search (search.models)",)
        return Decision("inconclusive", "", (), sentence, (), fates, on_front, None, advice, upcoming)
    nearest = order(open_ones, requirement.objectives)[0]
    verdicts = judge_all(nearest, requirement.limits, metrics)
    doubts = [verdict for verdict in verdicts if verdict.outcome == "inconclusive"]
    sentence = f"{nearest.candidate.id}: {doubts[0].sentence}" if doubts else f"{nearest.candidate.id} is not finished"
    advice = tuple(line for verdict in doubts for line in _advice(verdict))
    return Decision("inconclusive", "", verdicts, sentence, (), fates, on_front, None, advice, upcoming)


def _ended_early(standings: Sequence[Standing]) -> str:
    untried = sum(s.code in UNTRIED for s in standings)
    if any(s.record.artifact is not None and not s.record.notes.get("baseline") for s in standings) and untried:
        return (
            "none that was trained meets every limit, and the budget ended before others that may fit were trained "
            f"({untried})"
        )
    if any(s.record.notes.get("short") for s in standings):
        return "what may fit had hardly seen the data when the budget ended, so what it misses says little"
    return "the budget ended before any candidate that may fit was trained"


def _advice(verdict: Verdict) -> list[str]:
    """What would make an open verdict clear."""
    value, limit = verdict.measurement, verdict.limit
    if value is None:
        return [f"{limit.metric} was not measured; a larger budget.time leaves room for it"]
    if value.noisy:
        return ["measure again on a quieter machine: the same command continues"]
    show = value.metric.format
    good, bad = (value.low, value.high) if limit.bound == "min" else (value.high, value.low)
    sign, beyond = ("≤", ">") if limit.bound == "min" else ("≥", "<")
    lines = [f"a limit {sign} {show(good)} is met; {beyond} {show(bad)} is missed"]
    gap = abs(value.value - limit.value)
    if value.metric.bounded and gap > 1e-9 and limit.holds(value.value):
        z = NormalDist().inv_cdf(0.5 + value.confidence / 2)
        samples = math.ceil(z * z * value.value * (1 - value.value) / (gap * gap))
        lines.insert(0, f"about {samples:,} test samples would decide at {value.confidence:.0%} (now {value.n:,})")
    return lines
