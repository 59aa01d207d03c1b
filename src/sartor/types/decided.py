"""What is decided: one verdict per limit, one fate per candidate, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sartor.types.asked import Limit
from sartor.types.known import Measurement

Outcome = Literal["met", "missed", "inconclusive"]
Status = Literal["met", "infeasible", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """One limit judged for one candidate. ``measurement`` is None when nothing is known yet.

    ``final`` is True when the measurement is of the shipping artifact (and of the test split, for quality):
    only a final verdict can accept.
    """

    limit: Limit
    outcome: Outcome
    final: bool
    measurement: Measurement | None
    sentence: str


@dataclass(frozen=True)
class Fate:
    """What became of a candidate: ``CHOSEN`` or the one reason code why not, and a sentence."""

    candidate: str
    code: str
    detail: str
    verdicts: tuple[Verdict, ...] = ()
    on_front: bool = False


@dataclass(frozen=True)
class Relaxation:
    """The smallest change of limits that a measured candidate shows to be enough."""

    changes: Mapping[str, float]  # limit key -> value that would do
    candidate: str
    sentence: str


@dataclass(frozen=True)
class Certificate:
    """Why nothing meets the requirement: binding limits, best value reached, what would do."""

    binding: tuple[str, ...]  # limit keys
    best: Mapping[str, Measurement]  # limit key -> best measured value, the other limits kept where possible
    sentence: str
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The answer. A pure function of requirement and records; every reader renders this."""

    status: Status
    chosen: str  # candidate id; empty unless met
    verdicts: tuple[Verdict, ...]
    sentence: str
    why: tuple[str, ...]
    fates: tuple[Fate, ...]
    front: tuple[str, ...]
    certificate: Certificate | None = None
    advice: tuple[str, ...] = ()
    next: str = ""  # candidate id that needs final evidence before the decision can close; empty when closed
    prospect: str = ""  # what more budget would likely buy: an estimate by the planner, on which nothing rests
