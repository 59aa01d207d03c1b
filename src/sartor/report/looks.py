"""What a task shows of its own: line charts as shapes, examples with their explanations. Places are percent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.report.charts import round_levels
from sartor.report.figures import plain
from sartor.types import Cause, Chart, Example, Insight

MOST_LINES = 12
"""Lines of one chart that can still be told apart."""
SMALL = 140
"""Pixels: pictures wider than that have something drawn in and get more room."""


@dataclass(frozen=True)
class Path:
    """One line as an SVG path in a 100 × 100 drawing."""

    name: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """A chart with its axes; ticks are (percent from the left or the top, words)."""

    chart: Chart
    paths: tuple[Path, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    left_out: int


def drawings(insight: Insight | None) -> list[Drawing]:
    """The charts of an insight that hold at least one line of two points."""
    return [drawing(chart) for chart in (insight.charts if insight else ()) if any(len(x.x) > 1 for x in chart.lines)]


def drawing(chart: Chart) -> Drawing:
    """A chart as shapes: both axes span what the lines hold, 0..1 where they stay within it."""
    lines = [line for line in chart.lines if len(line.x) > 1]
    shown = lines[:MOST_LINES]
    across, up = _span([x for line in shown for x in line.x]), _span([y for line in shown for y in line.y])

    def place(x: float, y: float) -> str:
        return f"{_share(x, across):g} {100 - _share(y, up):g}"

    paths = tuple(
        Path(line.name, "M" + "L".join(place(x, y) for x, y in zip(line.x, line.y, strict=True))) for line in shown
    )
    return Drawing(
        chart,
        paths,
        tuple((_share(level, across), plain(level)) for level in round_levels(*across)),
        tuple((100 - _share(level, up), plain(level)) for level in round_levels(*up)),
        len(lines) - len(shown),
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0 and high <= 1 and high > 0.2:
        return 0.0, 1.0
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _share(value: float, span: tuple[float, float]) -> float:
    return round(100 * (value - span[0]) / (span[1] - span[0]), 2)


def is_wide(example: Example) -> bool:
    """True for a picture (PNG, base64) of more than ``SMALL`` pixels: one with something drawn in."""
    try:
        head = base64.b64decode(example.thumbnail[:32])
    except ValueError:
        return False
    return head.startswith(b"\x89PNG") and int.from_bytes(head[16:20], "big") > SMALL


@dataclass(frozen=True)
class Piece:
    """A stretch of a text; ``weight`` in -1..1 of the strongest, 0 where nothing was found."""

    text: str
    weight: float


def pieces(example: Example) -> list[Piece]:
    """The text of an example cut at the words its explanation names, each with its weight."""
    causes = sorted((c for c in _causes(example) if len(c.place) == 2), key=lambda c: c.place[0])
    strongest = max((abs(cause.weight) for cause in causes), default=0.0) or 1.0
    found, end = [], 0
    for cause in causes:
        start, stop = int(cause.place[0]), int(cause.place[1])
        if start < end or stop > len(example.text):
            continue
        found += [Piece(example.text[end:start], 0.0), Piece(example.text[start:stop], cause.weight / strongest)]
        end = stop
    return [piece for piece in (*found, Piece(example.text[end:], 0.0)) if piece.text]


def bars(example: Example) -> list[tuple[str, float, float]]:
    """Causes without a place in a text as (name, weight, percent of the strongest)."""
    causes = [cause for cause in _causes(example) if len(cause.place) != 2]
    strongest = max((abs(cause.weight) for cause in causes), default=0.0) or 1.0
    return [(cause.name, cause.weight, 100 * abs(cause.weight) / strongest) for cause in causes]


def _causes(example: Example) -> tuple[Cause, ...]:
    return example.explanation.causes if example.explanation else ()
