"""The result as a table for a reader, and as a CSV whose every row carries the conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _protocol import CONFIDENCE, surroundings, write_table

from frontier.recording import Entry
from frontier.verdict import (
    LOSS,
    OURS,
    Case,
    Form,
    Interval,
    Ruling,
    fastest,
    loss,
    overall,
    speed,
    spread,
    standing,
    volume_lead,
    volumes,
)

Row = dict[str, Any]


def table(case: Case) -> str:
    """Forms of a subject, then its sides."""
    whole = sum(case.parent.correct) / len(case.parent.correct)
    lines = [
        f"{case.subject} ({case.kind}), fp32 in ONNX Runtime: metric {whole:.4f} on "
        f"{len(case.parent.correct)} rows, p95 {median(case.parent.p95):.4g} ms, {case.parent.bytes:,} bytes; "
        f"A/A {case.floor:.1%}",
        f"  {'side':<24}{'form':<36}{'relative loss':>24}{'p50':>20}{'p95':>20}{'smaller':>9}  dominated",
    ]
    for form in case.forms:
        lost, p50, p95 = loss(case.parent, form), speed(case, form), speed(case, form, "p95")
        word = "" if form.side == OURS else ": ".join(part for part in standing(case, form) if part)
        lines.append(
            f"  {form.side:<24}{form.name:<36}{f'{lost[0]:+.2%} ({lost[1]:+.1%} … {lost[2]:+.1%})':>24}"
            f"{_times(p50):>20}{_times(p95):>20}{case.parent.bytes / form.bytes:>7.2f} ×  {word}"
        )
    lines += [f"  {side:<24}NOTHING: {why}" for side, why in case.missing.items()]
    for side in dict.fromkeys(form.side for form in case.forms):
        best = fastest(case, side)
        told = f"{_times(speed(case, best))} ({best.name})" if best else "none"
        lines.append(
            f"  {side:<24}hypervolume {median(volumes(case, side)):.4f}; fastest at {LOSS:.0%} loss at most: {told}"
        )
    return "\n".join(lines)


def _times(found: Interval) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f}…{found[2]:.2f})"


def rows_of(case: Case, facts: Mapping[str, Any], found: Sequence[Entry], recorded: Mapping[str, Any]) -> list[Row]:
    """A row per form, those that failed too, and one per side."""
    like = {
        "subject": case.subject, "kind": case.kind, "network": facts["network"], "metric": facts["metric"],
        "test_rows": facts["test_rows"], "threads": recorded["threads"], "rounds": len(case.parent.p95),
        "noise_floor": case.floor, "foreign_load": recorded["foreign_load"], "measured": recorded["date"],
    }  # fmt: skip
    by_name = {(form.side, form.name): form for form in case.forms}
    rows: list[Row] = []
    for entry in found:
        form = by_name.get((entry.side, entry.name))
        told = {
            "row": "form", **like, "side": entry.side, "form": entry.name, "runtime": entry.runtime,
            "ran": recorded["ran"].get(entry.key, ""), "note": entry.note, "made_s": entry.made_s,
        }  # fmt: skip
        problem = entry.error or recorded["refused"].get(entry.key, "")
        rows.append({**told, **(_numbers(case, form) if form else {"error": problem})})
    sides = dict.fromkeys(entry.side for entry in found)
    return rows + [{"row": "side", **like, "side": side, **_side(case, side)} for side in sides]


def _numbers(case: Case, form: Form) -> Row:
    numbers: Row = {
        "value": sum(form.correct) / len(form.correct),
        **_three("loss", loss(case.parent, form)),
        "p50_ms": median(form.p50), "p95_ms": median(form.p95),
        **_three("speedup_p50", speed(case, form)), **_three("speedup_p95", speed(case, form, "p95")),
        "bytes": form.bytes, "times_smaller": case.parent.bytes / form.bytes,
    }  # fmt: skip
    if form.side != OURS:
        numbers["dominated"], numbers["dominated_by"] = standing(case, form)
    return numbers


def _side(case: Case, side: str) -> Row:
    if not case.of(side):
        return {"error": case.missing.get(side, "it has no form")}
    covered, best = volumes(case, side), fastest(case, side)
    told: Row = _three("hypervolume", (median(covered), *spread(covered)))
    if side != OURS:
        told |= _three("our_lead", volume_lead(case, side))
    if best is not None:
        told |= {"form": best.name, **_three("speedup_p50", speed(case, best))}
    return told


def _three(name: str, found: Interval) -> Row:
    return {name: found[0], f"{name}_low": found[1], f"{name}_high": found[2]}


def write(path: Path, rows: Sequence[Row], parts: Sequence[Ruling]) -> Path:
    """Rows, and what they come to, with machine and versions in each."""
    around = {name: value for name, value in surroundings().items() if name not in ("date", "load_1m")}
    around["confidence"] = CONFIDENCE
    verdicts = [{"row": "verdict", "verdict": part.word, "note": part.what} for part in parts]
    verdicts.append({"row": "verdict", "side": "all", "verdict": overall(parts)})
    return write_table(path, [*rows, *verdicts], around)
