"""What a person looks at: samples, explanations, charts and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cause:
    """One thing in an input that spoke for or against the answer.

    Args:
        name: the word, the feature with its value, the item's title, or where in the picture.
        weight: how much the answer's confidence falls when it is taken away; negative where it rises.
        place: (start, end) characters of a word; (top, left, bottom, right) of a region, as shares of the picture.
    """

    name: str
    weight: float
    place: tuple[float, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why the shipped file answered so: found by asking it again with parts of the input taken away.

    Args:
        kind: ``regions``, ``words``, ``features`` or ``items``.
        causes: strongest first.
        sentence: the same in words.
        picture: PNG (base64) of the input with its regions marked; empty where there is none.
    """

    kind: str
    causes: tuple[Cause, ...]
    sentence: str
    picture: str = ""


@dataclass(frozen=True)
class Example:
    """A sample worth looking at.

    Args:
        place: where it is.
        truth, answer: in words.
        confidence: of the answer; 0 where it has none.
        thumbnail: small PNG (base64), the answer drawn in where the task draws; empty for what is no picture.
        text: the input, or its beginning, where it is read rather than looked at.
        explanation: of the answer; None where nobody asked.
    """

    place: str
    truth: str
    answer: str
    confidence: float
    thumbnail: str = ""
    text: str = ""
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Lines on common axes, e.g. precision over recall per class; ``note`` says how to read it."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names, e.g. what was recommended to whom."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Insight:
    """What a person looks at for one candidate.

    Args:
        split: the split these come from.
        confusion: rows are truths, columns answers, in label order; empty where the task has none.
        mistakes: what went worst, e.g. the most confident wrong answers.
        latency_parts_ms: median milliseconds by part: ``decode``, ``prepare``, ``model``, ``answer``.
        per_class: label to its score.
        charts, tables: whatever else the task shows.
        explained: a few samples with explanations, of the chosen candidate.
    """

    split: str
    confusion: tuple[tuple[int, ...], ...] = ()
    mistakes: tuple[Example, ...] = ()
    latency_parts_ms: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    explained: tuple[Example, ...] = ()
