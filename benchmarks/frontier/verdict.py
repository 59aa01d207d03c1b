"""What the forms of one subject, and all subjects, come to: dominance, volumes, speed-ups, HOLDS, FAILS or OPEN.

No clock and no file: everything is computed from what was recorded, so it is tested on made-up records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from _protocol import BLOCKS, CONFIDENCE, FLOORS, spread

from frontier.volume import ALLOWED, covers, hypervolume, saved
from sartor.intervals import paired_drop

OURS = "Sartor"
LOSS = 0.01  # relative: what a form may lose to count as a speed-up
BAR, CLASS_BAR = 4.0, 8.0  # times the speed of ONNX Runtime in fp32: over all subjects, and of each class named
CLASSES = ("ResNet-class", "BERT-class")


@dataclass(frozen=True)
class Form:
    """One file, or module, in one runtime.

    Args:
        side: who made it; ``Sartor`` or a peer.
        bytes: of what has to be kept to run it.
        correct: contribution of every test row to the metric, higher is better.
        p50, p95: milliseconds of a call, one of each round.
    """

    side: str
    name: str
    bytes: int
    correct: tuple[float, ...]
    p50: tuple[float, ...]
    p95: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """A subject as it was measured.

    Args:
        kind: its class.
        parent: the fp32 file in ONNX Runtime; ``again`` is a second process of it (A/A).
        forms: of all sides, ours and the parent's own among them.
        missing: side to why it has no form here.
    """

    subject: str
    kind: str
    parent: Form
    again: Form
    forms: tuple[Form, ...]
    missing: Mapping[str, str]

    @property
    def floor(self) -> float:
        """How far two processes of one file are apart in p95: a logarithm."""
        return median(abs(math.log(a / b)) for a, b in zip(self.parent.p95, self.again.p95, strict=True))

    def of(self, side: str) -> list[Form]:
        """Its forms."""
        return [form for form in self.forms if form.side == side]


Interval = tuple[float, float, float]


def loss(parent: Form, form: Form) -> Interval:
    """What is lost of the parent's metric, relative to it, with a paired interval over the same rows."""
    whole = math.fsum(parent.correct) / len(parent.correct)
    value, low, high = paired_drop(parent.correct, form.correct, CONFIDENCE)
    return value / whole, low / whole, high / whole


def speed(case: Case, form: Form, part: str = "p50") -> Interval:
    """Times as fast as the parent: the median of the rounds and its order-statistic interval."""
    return _over(ratios(case, form, part))


def ratios(case: Case, form: Form, part: str = "p50") -> list[float]:
    """Parent / form of each round; the parent's is the geometric mean of its two processes."""
    parents = zip(getattr(case.parent, part), getattr(case.again, part), strict=True)
    return [math.sqrt(a * b) / own for (a, b), own in zip(parents, getattr(form, part), strict=True)]


def _over(values: Sequence[float]) -> Interval:
    return median(values), *spread(values)


# --------------------------------------------------------------------------------------------- volumes, dominance


def volumes(case: Case, side: str) -> list[float]:
    """The side's hypervolume in each round."""
    lost = {form: loss(case.parent, form)[0] for form in case.of(side)}
    times = {form: ratios(case, form, "p95") for form in lost}
    return [
        hypervolume([saved(lost[f], 1 / times[f][turn], f.bytes / case.parent.bytes) for f in lost])
        for turn in range(len(case.parent.p95))
    ]


def volume_lead(case: Case, peer: str) -> Interval:
    """Our volume less the peer's, round by round."""
    return _over([ours - theirs for ours, theirs in zip(volumes(case, OURS), volumes(case, peer), strict=True)])


def standing(case: Case, theirs: Form) -> tuple[str, str]:
    """Whether a peer's form is dominated: ``yes``, ``within noise`` or ``no``, and by which of ours.

    ``yes``: one of ours is no worse in metric, p95 and bytes. ``within noise``: one is no worse but in what the paired
    interval of the metric, or the rounds and the noise floor of p95, leave open. What lost so much that it lies behind
    the reference point is dominated by it.
    """
    if loss(case.parent, theirs)[0] >= ALLOWED:
        return "yes", "the reference point"
    near = ""
    other = _point(case, theirs)
    for ours in case.of(OURS):
        if covers(_point(case, ours), other):
            return "yes", ours.name
        if not near and ours.bytes <= theirs.bytes and _no_worse(case, ours, theirs):
            near = ours.name
    return ("within noise", near) if near else ("no", "")


def _point(case: Case, form: Form) -> tuple[float, ...]:
    share = 1 / speed(case, form, "p95")[0]
    return saved(loss(case.parent, form)[0], share, form.bytes / case.parent.bytes)


def _no_worse(case: Case, ours: Form, theirs: Form) -> bool:
    """Neither the metric nor p95 is worse beyond noise."""
    _, least, _ = paired_drop(theirs.correct, ours.correct, CONFIDENCE)
    slower = [mine / other for mine, other in zip(ours.p95, theirs.p95, strict=True)]
    low, _ = spread(slower)
    return least <= 0 and (low <= 1 or math.log(median(slower)) <= FLOORS * case.floor)


def dominates(case: Case, peer: str) -> str:
    """``yes``, ``within noise`` or ``no`` over all forms of a peer; ``nothing`` where it has none."""
    found = {standing(case, form)[0] for form in case.of(peer)}
    return next((word for word in ("no", "within noise", "yes") if word in found), "nothing")


# --------------------------------------------------------------------------------------------- speed-ups


def fastest(case: Case, side: str) -> Form | None:
    """The side's fastest form (p50) that loses at most ``LOSS`` of the metric; None where it has none."""
    kept = [form for form in case.of(side) if loss(case.parent, form)[0] <= LOSS]
    return max(kept, key=lambda form: speed(case, form)[0], default=None)


def gain(cases: Sequence[Case], side: str) -> Interval | None:
    """Geometric mean over the subjects of the fastest form's speed-up; None where a subject has none."""
    found = [(case, fastest(case, side)) for case in cases]
    if not found or any(form is None for _, form in found):
        return None
    rounds = zip(*(ratios(case, form) for case, form in found if form is not None), strict=True)
    return _over([math.exp(math.fsum(map(math.log, values)) / len(values)) for values in rounds])


# --------------------------------------------------------------------------------------------- the verdict


@dataclass(frozen=True)
class Ruling:
    """One part of the claim: ``HOLDS``, ``FAILS`` or ``OPEN``, and the numbers behind it."""

    word: str
    what: str


def rulings(cases: Sequence[Case], peers: Iterable[str]) -> list[Ruling]:
    """Dominance over each peer, then the speed-ups against their bars."""
    found = [_against(cases, peer) for peer in peers]
    found.append(_bar(cases, BAR, "over all subjects"))
    for kind in CLASSES:
        found.append(_bar([case for case in cases if case.kind == kind], CLASS_BAR, f"on {kind}"))
    return found


def overall(parts: Sequence[Ruling]) -> str:
    """``FAILS`` where one part does, ``OPEN`` where one is, else ``HOLDS``."""
    words = {part.word for part in parts}
    return next(word for word in ("FAILS", "OPEN", "HOLDS") if word in words)


def _against(cases: Sequence[Case], peer: str) -> Ruling:
    words = {case.subject: dominates(case, peer) for case in cases}
    leads = [
        f"{case.subject} {median(volumes(case, OURS)):.3f} against {median(volumes(case, peer)):.3f}"
        for case in cases
        if case.of(peer)
    ]
    behind = [
        f"{case.subject}: {form.name}"
        for case in cases
        for form in case.of(peer)
        if standing(case, form)[0] == "no"
    ]  # fmt: skip
    told = f"hypervolume {', '.join(leads)}" if leads else "it made nothing"
    if behind:
        return Ruling("FAILS", f"{peer} is not dominated ({'; '.join(behind)}); {told}")
    if set(words.values()) == {"nothing"}:
        return Ruling("OPEN", f"{peer}: {told}: {next(iter(_reasons(cases, peer)), 'no reason told')}")
    few = min(len(case.parent.p95) for case in cases)
    if few < BLOCKS:
        return Ruling("OPEN", f"{peer} is dominated, but {few} rounds show nothing ({BLOCKS} do); {told}")
    if "within noise" in words.values():
        return Ruling("OPEN", f"{peer} is dominated, but for noise; {told}")
    return Ruling("HOLDS", f"{peer} is dominated; {told}")


def _reasons(cases: Sequence[Case], peer: str) -> list[str]:
    return [case.missing[peer] for case in cases if peer in case.missing]


def _bar(cases: Sequence[Case], bar: float, where: str) -> Ruling:
    if not cases:
        return Ruling("OPEN", f"no subject {where}")
    found = gain(cases, OURS)
    if found is None:
        return Ruling("FAILS", f"{where} a subject has no form that loses at most {LOSS:.0%}")
    value, low, high = found
    told = f"{value:.2f} × ({low:.2f} … {high:.2f}) of ONNX Runtime in fp32 {where}, bar {bar:g} ×"
    if high < bar:
        return Ruling("FAILS", told)
    enough = low >= bar and min(len(case.parent.p50) for case in cases) >= BLOCKS
    return Ruling("HOLDS" if enough else "OPEN", told)
