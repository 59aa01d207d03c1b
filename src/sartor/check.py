"""Can this be met, on which device, and what would it cost? Labelled estimates in seconds, before anything is built."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sartor import registry
from sartor.catalog.contracts import Action
from sartor.devices import device_of, price_note
from sartor.errors import DeviceError
from sartor.execute import Executor
from sartor.findings import Findings
from sartor.jobs import DescribeJob
from sartor.outlook import FamilyOutlook, KnownQuality, Outlook, Room, RunCost
from sartor.run import Observer, Place, Silence, survey
from sartor.types import Device, Limit, Measurement, Record, Requirement

# Shares of the fp32 ceiling at which 51 networks were trained on two cores of an EPYC 9004, and what a sample cost
# beside its arithmetic
TRAINING_SHARES, SAMPLE_S = (0.04, 1.5), 0.6e-3


def check(
    requirement: Requirement,
    place: Place,
    observer: Observer,
    devices: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
) -> tuple[Outlook, ...]:
    """Read the data, count what every network would cost on each device, and compare with the limits.

    Args:
        requirement: what is asked.
        place: from ``place_of``; evidence of earlier runs there is used.
        observer: hears of every turn.
        devices: addresses as in ``target.device``; the requirement's own where empty.
        prices: dollars per hour by device address, or under ``""`` for all; over what profiles say.

    Returns:
        One outlook per device, in the order asked.

    Raises:
        SartorError: data, devices or catalogue do not allow the requirement.

    Example:
        >>> check(requirement, place_of(requirement, Path(".sartor"), Path("runs")), Silence())[0].verdict
        'possible'
    """
    addresses = tuple(dict.fromkeys(devices)) or (requirement.target.device,)
    known = {address: device_of(address, place.workspace, observer.tell) for address in addresses}
    found: dict[str, Findings] = {}
    refused: dict[str, DeviceError] = {}
    heard = observer if len(addresses) == 1 else _OfData(observer)
    place = replace(place, id=f"check-{place.id}")  # what a run of the same requirement has trained is known too
    evidence = place.workspace.evidence()
    try:
        with Executor(place.workspace, evidence, place.id) as executor:
            for address in addresses:
                asked = replace(requirement, target=replace(requirement.target, device=address))
                try:
                    found[address] = _findings(asked, place, executor, Silence() if found else heard)
                except DeviceError as error:
                    refused[address] = error
    finally:
        evidence.close()
    if not found:
        raise next(iter(refused.values()))
    like = next(iter(found.values()))
    outlooks = []
    for address in addresses:
        price = (prices or {}).get(address, (prices or {}).get(""))
        if address in found:
            one = outlook(found[address], address, price)
        else:
            one = _nothing_runs(like, known[address], address, price, str(refused[address]))
        outlooks.append(one if price else replace(one, cost=replace(one.cost, price_note=price_note(address))))
    return tuple(outlooks)


class _OfData(Silence):
    """Tells of the data alone: of several devices the answer speaks."""

    def __init__(self, observer: Observer) -> None:
        self.prepared, self.tell = observer.prepared, observer.tell  # type: ignore[method-assign]


def _findings(requirement: Requirement, place: Place, executor: Executor, observer: Observer) -> Findings:
    """What is known before anything is built, and what every network costs."""
    findings = survey(requirement, place, executor, observer, time.time())
    networks = {r.candidate.network.id: r.candidate.network for r in findings.records() if not r.refusals}
    job = DescribeJob(requirement.task, tuple(networks.values()))
    action = Action("describe", job, f"{len(networks)} networks", "estimate")
    findings.learn(action, executor.do("describe", job, observer.tell))
    return findings


def outlook(findings: Findings, address: str = "local", usd_per_hour: float | None = None) -> Outlook:
    """What the estimates in findings amount to."""
    device = findings.device
    missed = {
        fate.candidate: tuple(v.limit.key for v in fate.verdicts if v.outcome == "missed")
        for fate in findings.decision().fates
    }
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in findings.records():
        groups[record.candidate.network.model].append(record)
    families = tuple(_family(name, members, missed, findings) for name, members in sorted(groups.items()))
    may_fit = sum(family.may_fit for family in families)
    total = sum(family.candidates for family in families)
    real = [r for r in findings.records() if not r.refusals and not r.notes.get("baseline")]
    open_ones = [r for r in real if not missed[r.candidate.id]]
    counts: dict[str, int] = defaultdict(int)
    for keys in missed.values():
        for key in keys:
            counts[key] += 1
    return Outlook(
        "impossible" if may_fit == 0 else "tight" if len(open_ones) * 4 < total else "possible",
        findings.card,
        device,
        families,
        may_fit,
        total,
        tuple(sorted(counts, key=lambda key: (-counts[key], key))),
        findings.requirement.budget.seconds,
        address,
        device.basis,
        device.kind == "cpu",
        min(_latencies(open_ones), key=lambda m: m.value, default=None),
        _most_room(open_ones or real, findings.requirement.limits),
        _cost(findings, device, open_ones, usd_per_hour),
        _quality(findings),
    )


def _nothing_runs(like: Findings, device: Device, address: str, usd_per_hour: float | None, why: str) -> Outlook:
    """The outlook of a device on which no runtime of the catalogue runs."""
    cost = _cost(like, device, (), usd_per_hour)
    budget_s = like.requirement.budget.seconds
    return Outlook(
        "impossible", like.card, device, (), 0, 0, (), budget_s, address, device.basis, False, None, None, cost,
        _quality(like), why,
    )  # fmt: skip


def _family(
    name: str, members: Sequence[Record], missed: Mapping[str, tuple[str, ...]], findings: Findings
) -> FamilyOutlook:
    open_ones = [r for r in members if not r.refusals and not missed[r.candidate.id]]
    limits = findings.requirement.limits

    def size(record: Record) -> int:
        cost = findings.cost_of(record.candidate.network.id)
        return cost.work if cost else 0

    largest = max(open_ones, key=lambda r: (size(r), r.candidate.id), default=None)
    latencies = _latencies(r for r in open_ones if largest and r.candidate.network == largest.candidate.network)
    return FamilyOutlook(
        name,
        sum(_keeps(record, limits) for record in open_ones),
        len(open_ones),
        len(members),
        largest.candidate.network.id if largest else "",
        min(latencies, key=lambda m: m.value, default=None),
        tuple(sorted({key for r in members for key in missed[r.candidate.id]})),
    )


def _latencies(records: Iterable[Record]) -> list[Measurement]:
    return [m for r in records for m in r.measurements if m.metric.name == "latency_p95_ms"]


def _bounded(record: Record, limits: Sequence[Limit]) -> list[tuple[Limit, Measurement]]:
    """The limits on cost that something is known of, each with what is known."""
    costs = {m.metric.name: m for m in record.measurements if m.metric.kind == "cost"}
    return [(limit, costs[limit.metric]) for limit in limits if limit.metric in costs]


def _keeps(record: Record, limits: Sequence[Limit]) -> bool:
    """True when every limit on cost holds at the far end of its estimate."""
    known = _bounded(record, limits)
    return bool(known) and all(limit.holds(m.high if limit.bound == "max" else m.low) for limit, m in known)


def _most_room(records: Sequence[Record], limits: Sequence[Limit]) -> Room | None:
    """The room of the candidate that keeps the limit it keeps worst the best."""

    def times(limit: Limit, value: float) -> float:
        return limit.value / max(value, 1e-12) if limit.bound == "max" else value / max(limit.value, 1e-12)

    rooms = []
    for record in records:
        known = _bounded(record, limits)
        if known:
            limit, m = min(known, key=lambda pair: times(pair[0], pair[1].value))
            low, high = sorted((times(limit, m.low), times(limit, m.high)))
            rooms.append(Room(limit.key, limit.metric, record.candidate.id, times(limit, m.value), low, high))
    return max(rooms, key=lambda room: (room.factor, room.candidate), default=None)


def _cost(findings: Findings, device: Device, records: Sequence[Record], usd_per_hour: float | None) -> RunCost:
    """The budget as time, energy and money, and a pass over the training data with the largest of the networks."""
    seconds = findings.requirement.budget.seconds
    price = usd_per_hour or device.price_per_hour_usd
    trained = [r for r in records if registry.get("models", r.candidate.network.model).fitting == "gradient"]
    costs = [cost for r in trained if (cost := findings.cost_of(r.candidate.network.id)) is not None]
    work = max((3.0 * cost.operations for cost in costs), default=0.0)  # forward, and twice that backward
    samples = findings.card.splits["train"].samples
    epoch = None
    if work and (ceiling := device.ceilings.get("fp32")):
        slow, fast = (work / (share * ceiling.operations_per_s) for share in TRAINING_SHARES)
        epoch = (samples * fast, samples * (slow + SAMPLE_S))
    return RunCost(
        seconds,
        epoch,
        device.power_w * seconds / 3.6e6 if device.power_w else None,
        price * seconds / 3600 if price else None,
        price or None,
    )


def _quality(findings: Findings) -> KnownQuality:
    """What earlier runs on the same data reached, and what guessing would."""
    task = registry.get("tasks", findings.requirement.task)
    metric = task.metrics[0]
    wanted = next((limit.value for limit in findings.requirement.limits if limit.metric == metric.name), None)
    networks = {r.candidate.network.id for r in findings.records()}
    scores = [(result.score, name) for name in networks for _, result in findings.trained(name) if not result.stopped]
    reached, by = (None, "") if not scores else max(scores) if metric.direction == "higher" else min(scores)
    return KnownQuality(metric.name, wanted, reached, by, _guess(findings, metric.name))


def _guess(findings: Findings, metric: str) -> float | None:
    """Share of the most frequent class of train among the test samples, where the metric is accuracy."""
    splits = findings.card.splits
    test, train = splits.get("test"), splits["train"]
    if metric != "accuracy" or test is None or not test.classes or not train.classes:
        return None
    return test.classes.get(max(train.classes, key=lambda name: train.classes[name]), 0) / max(test.samples, 1)
