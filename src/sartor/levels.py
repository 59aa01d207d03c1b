"""Levels of instruction sets: on which processors a file of 8-bit products was shown to be right.

The same int8 file may be another model elsewhere. Without dot-product instructions, a processor adds two products of
an unsigned and a signed byte in 16 bits that saturate, and runtimes choose other kernels. So evidence of quality of
such a file names the level it was measured on, and those on which it was shown to be the same or measured too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sartor.types import Device, Pipeline, Verdict

LEVELS = {
    "avx2": frozenset({"avx2"}),
    "avx2-vnni": frozenset({"avx2", "avx_vnni"}),
    "avx512": frozenset({"avx2", "avx512f"}),
    "avx512-vnni": frozenset({"avx2", "avx512f", "avx512_vnni"}),
    "amx": frozenset({"avx2", "avx512f", "avx512_vnni", "amx_int8"}),
    "neon": frozenset({"neon"}),
    "neon-dot": frozenset({"neon", "asimddp"}),
    "neon-i8mm": frozenset({"neon", "asimddp", "i8mm"}),
}
"""What a processor needs to be of a level; of several it is of the last one."""

X86 = frozenset({"avx2", "avx2-vnni", "avx512", "avx512-vnni", "amx"})
DOT_PRODUCTS = frozenset({"avx2-vnni", "avx512-vnni", "amx"})
"""Levels of x86 that add products of bytes in 32 bits, which is exact."""


def on_bytes(precision: str) -> bool:
    """Whether products of a precision are those of bytes, which may be others on other processors."""
    return precision.startswith("int8")


def level_of(instruction_sets: Iterable[str]) -> str:
    """The level of a processor; empty where it is of none."""
    sets = frozenset(instruction_sets)
    return next((name for name in reversed(LEVELS) if LEVELS[name] <= sets), "")


def levels_within(instruction_sets: Iterable[str]) -> tuple[str, ...]:
    """The processor's own level, then the others that it has all instructions of; empty where it is of none."""
    sets = frozenset(instruction_sets)
    own = level_of(sets)
    return (own, *(name for name in LEVELS if LEVELS[name] <= sets and name != own)) if own else ()


def least(device: Device, levels: Iterable[str]) -> Device:
    """The device without instruction sets that not all of ``levels`` have: what a file for all of them may count on."""
    telling = frozenset[str]().union(*LEVELS.values())
    common = telling.intersection(*(LEVELS[level] for level in levels))
    sets = tuple(name for name in device.instruction_sets if name in common or name not in telling)
    return replace(device, instruction_sets=sets)


def unshown(verdicts: Iterable[Verdict], levels: Sequence[str]) -> str:
    """Why an int8 file may not go to processors of all of ``levels``, in a sentence; empty where it may.

    On each, every limit on quality must be shown to hold; until the evidence is final it is enough that none is missed.
    """
    for verdict in verdicts:
        measured, limit = verdict.measurement, verdict.limit
        if measured is None or "level" not in measured.conditions:
            continue
        same = {str(measured.conditions["level"]), *measured.conditions["same_on"]}
        for level in levels:
            if level in same:
                continue
            if level not in measured.conditions["on_levels"]:
                return f"on {level} it may be another model, whose {measured.metric.title} cannot be measured here"
            value, low, high = measured.conditions["on_levels"][level]
            holding = [limit.holds(low), limit.holds(high)]
            if not (all(holding) if verdict.final else any(holding)):
                return f"on {level} its {measured.metric.title} is {measured.metric.format_interval(value, low, high)}"
    return ""


@dataclass(frozen=True)
class Reach:
    """Where the limits on quality of an int8 file hold.

    Args:
        own: level of the processor that the decision was made on.
        holds: levels on which every limit on quality was shown to hold, ``own`` among them.
        fails: level -> what was measured there that does not hold, in words.
    """

    own: str
    holds: tuple[str, ...]
    fails: dict[str, str]

    @property
    def sentence(self) -> str:
        """What the package says of itself."""
        words = f"Its limits on quality were shown to hold on processors of level {', '.join(self.holds)}"
        for level, found in self.fails.items():
            words += f"; not on {level}, where {found}"
        return f"{words}. On any other it has to be measured first, as the same int8 file may be another model there"


def reach_of(verdicts: Iterable[Verdict], pipeline: Pipeline) -> Reach | None:
    """Where an int8 file holds, from final verdicts; None for other precisions and evidence that names no level."""
    if not on_bytes(pipeline.precision):
        return None
    quality = [
        (verdict.limit, verdict.measurement)
        for verdict in verdicts
        if verdict.measurement is not None and "level" in verdict.measurement.conditions
    ]
    if not quality:
        return None
    own = str(quality[0][1].conditions["level"])
    fails: dict[str, str] = {}
    holding = list(LEVELS)
    for limit, measured in quality:
        same, others = set(measured.conditions["same_on"]), measured.conditions["on_levels"]
        for level in LEVELS:
            if level in others:
                value, low, high = others[level]
                holds = limit.holds(low) and limit.holds(high)
                if not holds:
                    words = f"{measured.metric.title} is {measured.metric.format_interval(value, low, high)}"
                    fails.setdefault(level, words)
            else:
                holds = level == own or level in same
            if not holds and level in holding:
                holding.remove(level)
    return Reach(own, tuple(holding), fails)
