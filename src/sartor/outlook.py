"""What a check says of devices, and which of them to take: plain values, made by ``sartor.check``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sartor.types import DataCard, Device, Measurement

COMFORT = 2.0  # times the limit that the best candidate is predicted to leave
YEARS = 3.0  # over which a bought device is spread
HOURS_OF_A_YEAR = 8766.0

Verdict = Literal["possible", "tight", "impossible"]


@dataclass(frozen=True)
class FamilyOutlook:
    """What estimates say of one model family.

    Args:
        fits: candidates that keep every limit on cost even at the far end of their estimates.
        may_fit: candidates that no limit on cost rules out by estimate; those that fit are among them.
        candidates: all of the family.
        largest: id of the largest network that may fit; empty when none may.
        latency: estimated p95 of that network's fastest candidate; None without one.
        ruled_out_by: limit keys that rule out the others.
    """

    family: str
    fits: int
    may_fit: int
    candidates: int
    largest: str
    latency: Measurement | None
    ruled_out_by: tuple[str, ...]


@dataclass(frozen=True)
class Room:
    """How many times over the limit that binds most is kept by the candidate that keeps it best, predicted.

    ``factor`` is limit / prediction (below 1: not kept), ``low`` and ``high`` the range it is believed to lie in.
    """

    limit: str
    metric: str
    candidate: str
    factor: float
    low: float
    high: float


@dataclass(frozen=True)
class RunCost:
    """What a run on the device costs. All but ``epoch_s`` are upper bounds, from the budget.

    Args:
        seconds: ``budget.time``.
        epoch_s: one pass over the training data with the largest trained network that may fit, from … to; None without.
        energy_kwh: the most the device draws, for that time; None where its power is unknown.
        usd: at the price per hour; None where that is unknown.
        usd_per_hour: what it was reckoned with.
        price_note: what the device's price is for, where that was not given.
    """

    seconds: float
    epoch_s: tuple[float, float] | None
    energy_kwh: float | None
    usd: float | None
    usd_per_hour: float | None
    price_note: str = ""


@dataclass(frozen=True)
class KnownQuality:
    """What is known of the quality to expect, before training.

    Args:
        metric: the task's first.
        wanted: its limit, or None.
        reached: best on validation of earlier runs on the same data, by network ``by``; None where there are none.
        guess: score of always giving the most frequent answer; None where the metric does not allow to tell.
    """

    metric: str
    wanted: float | None
    reached: float | None
    by: str
    guess: float | None


@dataclass(frozen=True)
class Outlook:
    """The answer of a check for one device: estimates, no measurements.

    Args:
        verdict: ``impossible`` when a physical floor rules out every candidate, or nothing runs there; ``tight`` when
            fewer than a quarter may fit; else ``possible``.
        address: what ``target.device`` would be.
        basis: ``measured`` where the device was probed, ``quoted`` where its datasheet is all that is known.
        provable: limits can be judged there, by a run on that machine.
        best: estimated p95 of the fastest candidate that is no baseline; None without one.
        binding: limit keys, those that rule out most candidates first.
        refusal: why there are no candidates; empty otherwise.
    """

    verdict: Verdict
    card: DataCard
    device: Device
    families: tuple[FamilyOutlook, ...]
    may_fit: int
    candidates: int
    binding: tuple[str, ...]
    budget_s: float
    address: str
    basis: str
    provable: bool
    best: Measurement | None
    room: Room | None
    cost: RunCost
    quality: KnownQuality
    refusal: str = ""


def ranked(outlooks: Sequence[Outlook]) -> tuple[Outlook, ...]:
    """Devices, best first: what may meet the limits with room, then where that can be proven, then what costs least.

    A device that leaves ``COMFORT`` times the limit, predicted, is as good as one that leaves more; so the cheapest of
    them comes first, as of models the smallest that meets the contract.
    """

    def key(found: Outlook) -> tuple[float, ...]:
        room = found.room.factor if found.room else math.inf if found.may_fit else 0.0
        comfort = 0 if room >= COMFORT else 1 if room >= 1 else 2
        price = hourly(found)
        return (
            found.verdict == "impossible", comfort, not found.provable, math.inf if price is None else price,
            -min(room, 1e9),
        )  # fmt: skip

    return tuple(sorted(outlooks, key=key))


def hourly(found: Outlook) -> float | None:
    """Dollars an hour of the device costs: rented, or bought and used day and night for ``YEARS``; None if unknown."""
    if found.cost.usd_per_hour:
        return found.cost.usd_per_hour
    if found.device.price_usd:
        return found.device.price_usd / (YEARS * HOURS_OF_A_YEAR)
    return None
