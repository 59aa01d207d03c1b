"""A check's answer as lines for people: one device in full, or several ranked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sartor.language import say
from sartor.language.layout import labelled
from sartor.metrics import Metric
from sartor.outlook import COMFORT, YEARS, KnownQuality, Outlook, Room, RunCost, hourly
from sartor.report.figures import duration
from sartor.report.words import aligned
from sartor.types import Measurement

FAMILIES_NAMED = 4


def told(found: Outlook) -> list[str]:
    """One device in full."""
    fit = say(f"{found.may_fit} of {found.candidates} candidates may fit, by estimate")
    lines = [f"{say(found.verdict.upper())}   {fit}" if found.candidates else f"{say(found.verdict.upper())}"]
    if found.refusal:
        lines.append(labelled("Why", found.refusal))
    rows = []
    for family in found.families:
        latency = f"{say('p95 est.')} {_interval(family.latency)}" if family.latency else ""
        why = say(f"ruled out by {', '.join(family.ruled_out_by) or 'what it needs'}") if not family.may_fit else ""
        state = "yes" if family.fits else "perhaps" if family.may_fit else "no"
        count = say("{may_fit} of {candidates}", may_fit=family.may_fit, candidates=family.candidates)
        rows.append((family.family, say(state), count, family.largest or "–", latency or why))
    if rows:
        head = (say("family"), say("fits"), say("may fit"), say("largest that may"), "")
        lines += aligned([head, *rows])
    if found.best is not None:
        lines.append(labelled("Latencies", _basis(found.best, found.address)))
    if found.binding:
        most = say("most candidates ruled out first")
        lines.append(labelled("Binding", f"{', '.join(found.binding)} ({most})"))
    if found.room:
        lines.append(labelled("Room", _room(found.room)))
    lines.append(labelled("Quality", _quality(found.quality)))
    lines += [labelled(label, text) for label, text in _costs(found)]
    return lines


def _basis(latency: Measurement, address: str) -> str:
    """What the latencies are estimated from."""
    by = latency.conditions.get("by")
    if by == "calibration":
        share, graphs = latency.conditions["coverage"], latency.conditions["graphs"]
        return say(
            f"estimated from {graphs} graphs timed on this device; of new kinds of networks {share:.0%} lie within"
        )
    if by == "run":
        return say("estimated from what was measured on this device")
    told = say("estimated from arithmetic and bandwidth alone")
    return f"{told}{say('; closer after: sartor device calibrate')}" if address == "local" else told


def compared(found: Sequence[Outlook]) -> list[str]:
    """Several devices, the best first, and why each stands where it does."""
    rows = [(say("device"), say("may fit"), say("fastest, p95 est."), say("room"), say("costs"), say("limits proven"))]
    for place, one in enumerate(found, 1):
        rows.append(
            (
                f"{place}. {one.address}",
                say("{may_fit} of {candidates}", may_fit=one.may_fit, candidates=one.candidates),
                _interval(one.best) if one.best else "–",
                f"{_times(one.room.factor)} × ({one.room.metric})" if one.room else "–",
                _price(one),
                say("yes") if one.provable else say("no"),
            )
        )
    lines = aligned(rows, indent="")
    lines += ["", *(f"{place}. {one.address}: {_why(one)}" for place, one in enumerate(found, 1)), ""]
    fitting = sorted({family.family for one in found for family in one.families if family.may_fit})
    hopeless = sorted({family.family for one in found for family in one.families} - set(fitting))
    if hopeless:
        lines.append(labelled("Nowhere", ", ".join(hopeless)))
    lines.append(labelled("Quality", _quality(found[0].quality)))
    epochs = [f"{one.address} {_span(one.cost)}" for one in found if one.cost.epoch_s]
    if epochs:
        lines.append(labelled("One epoch", say("; ").join(epochs)))
    seconds = duration(found[0].cost.seconds)
    bills = [f"{one.address} {bill}" for one in found if (bill := _bill(one.cost))]
    lines.append(labelled("A run", say(say("; ").join([say(f"at most {seconds} (budget.time)"), *bills]))))
    return lines


def ended(found: Sequence[Outlook], requirement: Path) -> list[str]:
    """What kind of numbers these are, and what to do next."""
    lines = []
    if any(one.basis == "quoted" for one in found):
        lines.append(
            say(
                "Quoted: known by its datasheet, nothing was measured there. Ranges are meant to hold for 95 of 100; "
                "of 480 latencies that others published for nine such devices, 472 lay within."
            )
        )
    if any(not one.provable and not one.refusal for one in found):
        lines.append(say("Cards are estimated as ONNX Runtime would run them; Sartor itself measures on processors."))
    first = found[0]
    if first.address == "local":
        lines.append(say(f"Estimates, not measurements. Next: sartor run {requirement}"))
    elif first.verdict != "impossible" and first.provable:
        lines.append(say(f"Estimates, not measurements. Next, on that machine: sartor run {requirement}"))
    else:
        lines.append(say("Estimates, not measurements."))
    return lines


def _costs(found: Outlook) -> list[tuple[str, str]]:
    parts = [say(f"at most {duration(found.cost.seconds)} (budget.time)")]
    bill = _bill(found.cost)
    lines = [("Run", say(", ").join([*parts, bill] if bill else parts))]
    if found.cost.epoch_s:
        lines.append(("One epoch", say(f"{_span(found.cost)} with the largest network that may fit, by estimate")))
    if found.device.price_usd or found.cost.usd_per_hour:
        lines.append(("Price", _price(found) + _noted(found.cost)))
    return lines


def _bill(cost: RunCost) -> str:
    """Energy and money of a run, as far as they are known."""
    parts = []
    if cost.energy_kwh is not None:
        parts.append(say(f"at most {_amount(cost.energy_kwh)} kWh"))
    if cost.usd is not None:
        parts.append(say(f"at most ${_amount(cost.usd)}"))
    return say(", ").join(parts)


def _price(found: Outlook) -> str:
    if found.cost.usd_per_hour:
        return say(f"${_amount(found.cost.usd_per_hour)} an hour")
    if found.device.price_usd:
        return say(f"${found.device.price_usd:,.0f} to buy")
    return say("unknown")


def _noted(cost: RunCost) -> str:
    return f" ({say(cost.price_note)})" if cost.price_note else ""


def _room(room: Room) -> str:
    kept = say(f"{room.limit} is kept {_times(room.factor)} times over by {room.candidate}, by estimate")
    return f"{kept} ({_times(room.low)} … {_times(room.high)})"


def _quality(known: KnownQuality) -> str:
    limit = [say(f"the limit is {known.wanted:g}")] if known.wanted is not None else []
    if known.reached is not None:
        told = say(f"{known.metric} {known.reached:.3f} on validation in earlier runs on this data ({known.by})")
        return say("; ").join([told, *limit])
    told = say(f"nothing is known of {known.metric} before training")
    guess = [say(f"always giving the most frequent answer scores {known.guess:.3f}")] if known.guess is not None else []
    return say("; ").join([told, *guess, *limit])


def _why(found: Outlook) -> str:
    """Why a device stands where it does."""
    if found.refusal:
        return say(found.refusal)
    if found.verdict == "impossible":
        return say(f"no candidate can keep {found.binding[0]}" if found.binding else "no candidate can be built")
    if found.room is None:
        kept = say("no limit on cost")
    elif found.room.factor >= COMFORT:
        kept = say(f"keeps every limit on cost at least {COMFORT:g} times over, predicted")
    elif found.room.factor >= 1:
        kept = say(f"keeps the limits on cost, predicted, with little room: {_times(found.room.factor)} times over")
    else:
        kept = say(f"predicted to miss {found.room.limit}, but not ruled out")
    price = hourly(found)
    if price is None:
        cost = say("price unknown")
    elif found.cost.usd_per_hour:
        cost = say(f"${_amount(price)} an hour") + _noted(found.cost)
    else:
        cost = say(f"${_amount(price)} an hour when bought and used for {YEARS:g} years") + _noted(found.cost)
    proof = [] if found.provable else [say("limits cannot be proven there yet")]
    return say("; ").join([kept, cost, *proof])


def _interval(found: Measurement) -> str:
    metric: Metric = found.metric
    return metric.format_interval(found.value, found.low, found.high)


def _span(cost: RunCost) -> str:
    assert cost.epoch_s is not None
    low, high = cost.epoch_s
    return f"{duration(low)} … {duration(high)}"


def _times(factor: float) -> str:
    return f"{factor:.2g}" if factor < 100 else f"{factor:,.0f}"


def _amount(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:,.2f}"
