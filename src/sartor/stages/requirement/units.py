"""Numbers with units as people write them ("5 ms", "200 KB", "90 %", "30m") into the unit a metric is kept in."""

from __future__ import annotations

import math
import re
from typing import Any

from sartor.stages.requirement.problems import shown

_TIME_MS = {
    **dict.fromkeys(("ns",), 1e-6),
    **dict.fromkeys(("us", "µs", "μs"), 1e-3),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1.0),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1e3),
    **dict.fromkeys(("min", "minute", "minutes"), 6e4),
}
_SIZE_MB = {
    **dict.fromkeys(("B", "byte", "bytes"), 1e-6),
    **dict.fromkeys(("kB", "KB", "kb"), 1e-3),
    **dict.fromkeys(("MB", "mb"), 1.0),
    **dict.fromkeys(("GB", "gb"), 1e3),
    "KiB": 2**10 / 1e6,
    "MiB": 2**20 / 1e6,
    "GiB": 2**30 / 1e6,
}
_RATE = {
    **dict.fromkeys(("1/s", "/s", "per s", "per second", "hz", "Hz"), 1.0),
    **dict.fromkeys(("1/min", "/min", "per min", "per minute"), 1 / 60),
}
_ENERGY_MJ = {
    **dict.fromkeys(("uJ", "µJ", "μJ"), 1e-3),
    "mJ": 1.0,
    **dict.fromkeys(("J", "joule", "joules"), 1e3),
    "Wh": 3.6e6,
}
_RATIO = {**dict.fromkeys(("%", "percent"), 0.01)}
SCALES: dict[str, dict[str, float]] = {"ms": _TIME_MS, "MB": _SIZE_MB, "1/s": _RATE, "mJ": _ENERGY_MJ, "": _RATIO}
"""Unit of a metric -> units accepted for it -> factor."""
NAMED = {"ms": "us, ms, s", "MB": "B, KB, MB, GB, KiB, MiB, GiB", "1/s": "1/s, 1/min", "mJ": "uJ, mJ, J, Wh", "": "%"}
UNIT_KINDS = {
    "ms": "a time in ms",
    "MB": "a size in MB",
    "1/s": "a rate in 1/s",
    "mJ": "an energy in mJ",
    "": "a plain number",
}
WORDS = {"ms": "milliseconds", "MB": "megabytes (10^6 bytes)", "1/s": "answers per second", "mJ": "millijoules"}
EXAMPLES = {"ms": "20", "MB": "5", "1/s": "100", "mJ": "50", "": "0.9"}

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_QUANTITY = re.compile(rf"\s*({NUMBER})\s*((?:1/)?[^\s\d][^\d]*)?", re.ASCII)
_PART = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*", re.ASCII)
_DURATION_S = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
LONGEST_S = 30 * 86400.0


class WrongUnit(ValueError):
    """The number is fine, its unit is not; ``number`` holds it."""

    def __init__(self, unit: str, number: float) -> None:
        self.unit, self.number = unit, number
        super().__init__(unit)


def parse_quantity(value: Any, unit: str) -> float:
    """A number, or text of a number with an optional unit, in ``unit``.

    Raises:
        WrongUnit: a unit of another kind, or none that is known.
        ValueError: no number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(shown(value))
    if not isinstance(value, str):
        return _finite(float(value))
    match = _QUANTITY.fullmatch(value[:100])
    if not match:
        raise ValueError(shown(value))
    number, written = float(match[1]), (match[2] or "").strip()
    if not written or written == unit:
        return _finite(number)
    factor = SCALES.get(unit, {}).get(written)
    if factor is None:
        raise WrongUnit(written, number)
    return _finite(float(f"{number * factor:.12g}"))  # 90 % is 0.9, not 0.9000000000000001


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def parse_duration(text: str) -> float:
    """Seconds in ``30m``, ``90s``, ``1h``, ``1h30m``, ``1.5 hours``.

    Raises:
        ValueError: not a time with a unit, not above 0, or longer than 30 days; the message says what it must be.
    """
    must = "it must be a time with a unit: 90s, 30m or 1h30m"
    seconds, position, text = 0.0, 0, text.strip()[:100]
    while match := _PART.match(text, position):
        factor = _DURATION_S.get(match[2])
        if factor is None:
            raise ValueError(must)
        seconds += float(match[1]) * factor
        position = match.end()
    if position != len(text) or not text:
        raise ValueError(must)
    if not 1 <= seconds <= LONGEST_S:
        raise ValueError("it must be between 1s and 30d")
    return seconds


def written_duration(seconds: float) -> str:
    """The inverse of :func:`parse_duration`, in the largest unit that divides it."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.12f}".rstrip("0").rstrip(".") + "s"
