"""How numbers are written: units, three significant digits, intervals with the decimals of their value."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sartor.metrics import Metric
from sartor.types import Limit, Measurement

BOUND_SIGNS: Mapping[str, str] = {"min": "≥", "max": "≤"}


def decimals(metric: Metric, value: float) -> int:
    """Digits after the point that three significant digits need, four for a score; shares always show three."""
    score = metric.kind == "quality" and not metric.unit
    if metric.bounded:
        return 3
    if value == 0 or not math.isfinite(value):
        return 3 if score else 0 if value else 2
    exponent = math.floor(math.log10(abs(value)))
    return min(3, max(0, 3 - exponent)) if score else max(0, 2 - exponent)


def number(metric: Metric, value: float, places: int | None = None) -> str:
    """The value without its unit; ``places`` fixes the decimals so that neighbours line up."""
    if not math.isfinite(value):
        return "unlimited" if value > 0 else "none"
    return f"{value:,.{decimals(metric, value) if places is None else places}f}"


def quantity(metric: Metric, value: float) -> str:
    """The value with its unit, e.g. ``0.213 ms``."""
    return number(metric, value) + unit(metric)


def unit(metric: Metric) -> str:
    """The unit as it stands after a number, with the space it needs: `` ms``, ``×``, ``/s`` for ``1/s``."""
    name = metric.unit.removeprefix("1") if metric.unit.startswith("1/") else metric.unit
    return name if name in ("", "×", "%") or name.startswith("/") else f" {name}"


def interval(metric: Metric, measurement: Measurement) -> str:
    """``0.201 … 0.231`` with the decimals of the value; empty where both ends equal it."""
    if measurement.low == measurement.value == measurement.high:
        return ""
    places = decimals(metric, measurement.value)
    return f"{number(metric, measurement.low, places)} … {number(metric, measurement.high, places)}"


def bound(metric: Metric, limit: Limit) -> str:
    """``≥ 0.97`` or ``≤ 1 ms``, with the digits the requirement gave."""
    return f"{BOUND_SIGNS[limit.bound]} {plain(limit.value)}{unit(metric)}"


def plain(value: float) -> str:
    """A number as a person wrote it: no trailing zeros, thousands separated."""
    if not math.isfinite(value):
        return "none"
    text = f"{value:,.6f}" if 1e-4 <= abs(value) < 1e15 else f"{value:g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def duration(seconds: float) -> str:
    """``0.4 s``, ``31 s``, ``1:58``, ``2:03:10``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def file_size(size: int) -> str:
    """Bytes for people, decimal: ``61 KB``, ``4.2 MB``."""
    if size < 1_000_000:
        return f"{max(1, round(size / 1000)):,} KB" if size >= 1000 else f"{size} bytes"
    return f"{size / 1e6:,.3g} MB" if size < 1e9 else f"{size / 1e9:,.3g} GB"
