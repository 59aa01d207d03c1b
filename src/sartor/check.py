"""Can this be met, and what would it cost? Labelled estimates in seconds, before anything is built."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.catalog.contracts import Action
from sartor.execute import Executor
from sartor.findings import Findings
from sartor.jobs import DescribeJob
from sartor.run import Observer, Place, survey
from sartor.types import DataCard, Device, Measurement, Record, Requirement


@dataclass(frozen=True)
class FamilyOutlook:
    """What estimates say of one model family.

    Args:
        may_fit: candidates that no limit on cost rules out by estimate.
        candidates: all of the family.
        largest: id of the largest network that may fit; empty when none may.
        latency: estimated p95 of that network's fastest candidate; None without one.
        ruled_out_by: limit keys that rule out the others.
    """

    family: str
    may_fit: int
    candidates: int
    largest: str
    latency: Measurement | None
    ruled_out_by: tuple[str, ...]


@dataclass(frozen=True)
class Outlook:
    """The answer of a check: estimates, no measurements.

    ``verdict`` is ``impossible`` when every candidate is ruled out by a physical floor, ``tight`` when fewer than a
    quarter may fit, else ``possible``.
    """

    verdict: str
    card: DataCard
    device: Device
    families: tuple[FamilyOutlook, ...]
    may_fit: int
    candidates: int
    binding: tuple[str, ...]
    budget_s: float


def check(requirement: Requirement, place: Place, observer: Observer) -> Outlook:
    """Read the data, count what every network would cost on the target, and compare with the limits.

    Raises:
        SartorError: data, device or catalogue do not allow the requirement.

    Example:
        >>> check(requirement, place_of(requirement, Path(".sartor"), Path("runs")), Silence()).verdict
        'possible'
    """
    evidence = place.workspace.evidence()
    try:
        with Executor(place.workspace, evidence, place.id) as executor:
            findings = survey(requirement, place, executor, observer, time.time())
            networks = {r.candidate.network.id: r.candidate.network for r in findings.records() if not r.refusals}
            job = DescribeJob(requirement.task, tuple(networks.values()))
            action = Action("describe", job, f"{len(networks)} networks", "estimate")
            findings.learn(action, executor.do("describe", job, observer.tell))
    finally:
        evidence.close()
    return outlook(findings)


def outlook(findings: Findings) -> Outlook:
    """What the estimates in findings amount to."""
    ruled_out = {
        fate.candidate: tuple(v.limit.key for v in fate.verdicts if v.outcome == "missed")
        for fate in findings.decision().fates
    }
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in findings.records():
        groups[record.candidate.network.model].append(record)
    families = tuple(_family(name, members, ruled_out, findings) for name, members in sorted(groups.items()))
    may_fit = sum(family.may_fit for family in families)
    total = sum(family.candidates for family in families)
    real = [family for family in families if not groups[family.family][0].notes.get("baseline")]
    verdict = "impossible" if may_fit == 0 else "tight" if sum(f.may_fit for f in real) * 4 < total else "possible"
    counts: dict[str, int] = defaultdict(int)
    for keys in ruled_out.values():
        for key in keys:
            counts[key] += 1
    binding = tuple(sorted(counts, key=lambda key: (-counts[key], key)))
    return Outlook(
        verdict, findings.card, findings.device, families, may_fit, total, binding, findings.requirement.budget.seconds
    )


def _family(
    name: str, members: Sequence[Record], ruled_out: dict[str, tuple[str, ...]], findings: Findings
) -> FamilyOutlook:
    open_ones = [r for r in members if not r.refusals and not ruled_out[r.candidate.id]]

    def size(record: Record) -> int:
        cost = findings.cost_of(record.candidate.network.id)
        return cost.work if cost else 0

    largest = max(open_ones, key=lambda r: (size(r), r.candidate.id), default=None)
    latencies = [
        m
        for r in open_ones
        if largest is not None and r.candidate.network == largest.candidate.network
        for m in r.measurements
        if m.metric.name == "latency_p95_ms"
    ]
    reasons = {key for r in members for key in ruled_out[r.candidate.id]}
    return FamilyOutlook(
        name,
        len(open_ones),
        len(members),
        largest.candidate.network.id if largest else "",
        min(latencies, key=lambda m: m.value, default=None),
        tuple(sorted(reasons)),
    )
