"""Requirements drawn from a seed and from facts: three of four are possible, one of four is not, and why is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from briefs.facts import Facts, Machine
from briefs.subjects import Made, Subject

POSSIBLE = ("easy", "tight quality", "tight cost")
OF_ALL = 4  # one of so many is impossible


@dataclass(frozen=True)
class Brief:
    """One written requirement and what is known about it.

    Args:
        kind: how it was drawn: one of ``POSSIBLE`` or of ``IMPOSSIBLE``.
        binding: keys of which the certificate must name one or more and no other; empty: the requirement is possible.
        document: the requirement as it is written.
        fresh: rows that no run sees; may be empty.
        why: it is possible or impossible.
    """

    name: str
    subject: str
    task: str
    kind: str
    seconds: int
    binding: tuple[str, ...]
    document: Mapping[str, Any]
    fresh: str
    why: str


Limits = dict[str, dict[str, float]]
Impossible = Callable[[Facts, Machine, np.random.Generator], tuple[Limits, tuple[str, ...], str]]


def draw(seed: int, count: int, made: Mapping[str, Made], subjects: Sequence[Subject], here: Machine) -> list[Brief]:
    """So many requirements; the same for the same seed and facts."""
    chance = np.random.default_rng(seed)
    impossible = _impossible(chance, max(1, count // OF_ALL), made, subjects)
    possible = [one for one in subjects if made[one.name].facts.light]
    order: list[Subject] = []
    while len(order) < count - len(impossible):
        order += [possible[place] for place in chance.permutation(len(possible))]
    kinds = {one.name: int(chance.integers(3)) for one in possible}  # where each set begins in POSSIBLE
    drawn: list[tuple[Subject, str]] = list(impossible)
    for subject in order[: count - len(impossible)]:
        drawn.append((subject, POSSIBLE[kinds[subject.name] % 3]))
        kinds[subject.name] += 1
    places = chance.permutation(len(drawn))
    return [_brief(number, *drawn[place], made, here, chance) for number, place in enumerate(places, 1)]


def _impossible(
    chance: np.random.Generator, count: int, made: Mapping[str, Made], subjects: Sequence[Subject]
) -> list[tuple[Subject, str]]:
    """Kinds in turn, each about a set that allows it and was used least."""
    used: dict[str, int] = {}
    found = []
    for place in range(count):
        kind = TURNS[place % len(TURNS)]
        able = [one for one in subjects if _allows(made[one.name].facts, kind)]
        if not able:
            kind, able = "latency", list(subjects)
        least = min(used.get(one.name, 0) for one in able)
        able = [one for one in able if used.get(one.name, 0) == least]
        subject = able[int(chance.integers(len(able)))]
        used[subject.name] = used.get(subject.name, 0) + 1
        found.append((subject, kind))
    return found


def _allows(facts: Facts, kind: str) -> bool:
    if kind == "noise":
        return facts.ceiling is not None
    if kind == "worst class":
        return facts.worst_class is not None
    if kind == "code book":
        return facts.code_mb > 0
    return facts.light > 0 and not facts.code_mb


def _brief(
    number: int, subject: Subject, kind: str, made: Mapping[str, Made], here: Machine, chance: np.random.Generator
) -> Brief:
    facts = made[subject.name].facts
    if kind in POSSIBLE:
        limits, binding, why = POSSIBLE_LIMITS[kind](facts, here, chance), (), facts.told
    else:
        limits, binding, why = IMPOSSIBLE[kind](facts, here, chance)
    name = f"{number:02}-{subject.name}-{kind.replace(' ', '-')}"
    seconds = int(chance.integers(subject.seconds[0], subject.seconds[1] + 1))
    document = {
        "name": name,
        "task": subject.task,
        "data": dict(made[subject.name].data),
        "target": {"device": "local", "threads": int(chance.integers(1, 3))},
        "limits": limits,
        "budget": {"time": f"{seconds}s", "effort": "quick"},
    }
    return Brief(name, subject.name, subject.task, kind, seconds, binding, document, made[subject.name].fresh, why)


def _between(facts: Facts, proven: float, share: float) -> float:
    """A floor (or a roof, where lower is better) at a share of the way from the trivial to what is proven."""
    return _rounded(facts.trivial + share * (proven - facts.trivial), up=facts.lower)


def _rounded(value: float, *, up: bool, digits: int = 3) -> float:
    """To so many digits, to the side that is easier to meet or, for impossible limits, harder."""
    if value <= 0:
        return value
    scale = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return float(f"{(math.ceil if up else math.floor)(value / scale) * scale:.12g}")


def _quality(facts: Facts, value: float) -> Limits:
    return {facts.metric: {"max" if facts.lower else "min": value}}


def _roomy(facts: Facts, here: Machine, chance: np.random.Generator) -> Limits:
    """Costs that nothing comes near; one or two of three."""
    limits: Limits = {
        "latency_p95_ms": {"max": _rounded(facts.answer_ms * chance.uniform(4, 8) + 1, up=True, digits=2)},
        "size_mb": {"max": float(chance.integers(4, 12))},
        "memory_peak_mb": {"max": float(_rounded(here.runtime_mb * 6, up=True, digits=2))},
    }
    for name in chance.permutation(list(limits))[: int(chance.integers(1, 3))]:
        del limits[str(name)]
    return limits


def _easy(facts: Facts, here: Machine, chance: np.random.Generator) -> Limits:
    return _quality(facts, _between(facts, facts.light, chance.uniform(0.4, 0.8))) | _roomy(facts, here, chance)


def _tight_quality(facts: Facts, here: Machine, chance: np.random.Generator) -> Limits:
    """What the best of the references just proves."""
    return _quality(facts, _between(facts, facts.strong, chance.uniform(0.96, 1.0))) | _roomy(facts, here, chance)


def _tight_cost(facts: Facts, here: Machine, chance: np.random.Generator) -> Limits:
    """As fast as the linear reference answers in Python, about as small, and within twice what the runtime takes."""
    limits = _quality(facts, _between(facts, facts.light, chance.uniform(0.7, 0.9)))
    limits["latency_p95_ms"] = {
        "max": _rounded(max(0.1, facts.answer_ms * chance.uniform(0.8, 1.2)), up=True, digits=2)
    }
    if facts.light_mb:
        limits["size_mb"] = {"max": _rounded(0.03 + facts.light_mb * chance.uniform(1.0, 2.0), up=True, digits=2)}
    limits["memory_peak_mb"] = {"max": _rounded(here.runtime_mb * chance.uniform(2.2, 3.0), up=True, digits=2)}
    return limits


POSSIBLE_LIMITS = {"easy": _easy, "tight quality": _tight_quality, "tight cost": _tight_cost}


def _with_possible(facts: Facts, chance: np.random.Generator, limits: Limits) -> Limits:
    """An impossible limit beside a possible one of quality, where one is known."""
    if facts.light and facts.metric not in limits:
        return _quality(facts, _between(facts, facts.light, chance.uniform(0.3, 0.7))) | limits
    return limits


def _latency(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    limit = _rounded(facts.decode_ms * chance.uniform(0.2, 0.5), up=False, digits=2)
    limits = _with_possible(facts, chance, {"latency_p95_ms": {"max": limit}, "size_mb": {"max": 8.0}})
    return limits, ("limits.latency_p95_ms.max",), f"decoding alone takes {facts.decode_ms:.3g} ms at its fastest"


def _throughput(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    limit = _rounded(1e3 / facts.decode_ms * chance.uniform(3, 6), up=True, digits=2)
    limits = _with_possible(facts, chance, {"throughput_per_s": {"min": limit}, "memory_peak_mb": {"max": 900.0}})
    return limits, ("limits.throughput_per_s.min",), f"decoding alone takes {facts.decode_ms:.3g} ms at its fastest"


def _size(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    limit = round(float(chance.integers(100, 250)) / 1e6, 9)
    limits = _with_possible(facts, chance, {"size_mb": {"max": limit}, "latency_p95_ms": {"max": 200.0}})
    return limits, ("limits.size_mb.max",), "a graph of one operator and its pipeline take more bytes"


def _memory(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    limit = _rounded(here.empty_mb * chance.uniform(0.4, 0.8), up=False, digits=2)
    limits = _with_possible(facts, chance, {"memory_peak_mb": {"max": limit}, "latency_p95_ms": {"max": 200.0}})
    return limits, ("limits.memory_peak_mb.max",), f"an empty Python takes {here.empty_mb:.3g} MB"


def _cold_start(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    limit = _rounded(here.empty_ms * chance.uniform(0.3, 0.7), up=False, digits=2)
    limits = _with_possible(facts, chance, {"cold_start_ms": {"max": limit}, "size_mb": {"max": 20.0}})
    return limits, ("limits.cold_start_ms.max",), f"an empty Python takes {here.empty_ms:.3g} ms"


def _noise(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    """Beyond what the noise in the labels lets any model reach, far enough for the test rows to show it."""
    assert facts.ceiling is not None
    if facts.lower:
        limit, bound = _rounded(facts.ceiling * chance.uniform(0.45, 0.6), up=False), "max"
    else:
        limit, bound = _rounded(facts.ceiling + (1 - facts.ceiling) * chance.uniform(0.5, 0.8), up=True), "min"
    limits = _quality(facts, limit) | _roomy(facts, here, chance)
    return limits, (f"limits.{facts.metric}.{bound}",), f"noise in the truths keeps every model at {facts.ceiling:.3g}"


def _worst_class(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    """A floor under every class, of which one is noisy, beside a floor of all that can be met."""
    assert facts.worst_class is not None
    floor = _rounded(facts.worst_class + (1 - facts.worst_class) * chance.uniform(0.5, 0.7), up=True)
    easy = _between(facts, facts.light, chance.uniform(0.5, 0.8))
    limits = {facts.metric: {"min": easy, "per_class_min": floor}} | _roomy(facts, here, chance)
    return (
        limits,
        (f"limits.{facts.metric}.per_class_min",),
        f"one class is noisy: no more than {facts.worst_class:.3g}",
    )


def _code_book(facts: Facts, here: Machine, chance: np.random.Generator) -> tuple[Limits, tuple[str, ...], str]:
    """Two limits of which each can be met: by bits, no model meets both."""
    limit = _rounded(facts.code_mb * chance.uniform(0.6, 0.9), up=False, digits=2)
    limits: Limits = {
        facts.metric: {"min": facts.code_floor},
        "size_mb": {"max": limit},
        "latency_p95_ms": {"max": 20.0},
    }
    return limits, (f"limits.{facts.metric}.min", "limits.size_mb.max"), facts.told


IMPOSSIBLE: Mapping[str, Impossible] = {
    "code book": _code_book,
    "noise": _noise,
    "latency": _latency,
    "worst class": _worst_class,
    "size": _size,
    "memory": _memory,
    "throughput": _throughput,
    "cold start": _cold_start,
}
TURNS = ("code book", "noise", "latency", "worst class", "noise", "size", "noise", "memory", "throughput", "noise",
         "cold start", "code book", "noise", "latency")  # fmt: skip
