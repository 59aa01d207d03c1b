"""Features of items and users as tokens ("genres=Drama").

What a column holds is found out once and kept, to be read alike later. A column is one of three kinds: ``names`` (one
per cell, or several with a sign between them), a ``number`` (cut into steps of equally many rows), or ``words`` (text
whose words several rows share). Others are left out, and that is said. Packages read requests with it: numpy only.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
SEPARATORS = ("|", ";", ",")
SEPARATED = 0.1  # share of cells that hold a sign which stands between names
MOSTLY = 0.9  # share of cells that are numbers in a column of them
FEW_NUMBERS = 10  # different numbers that are still told apart as names
STEPS = 8
LEAST_ROWS = 2  # rows that share a name; words: 5. What one row has alone says nothing of others
LEAST_ROWS_OF_WORDS = 5
MOST_TOKENS, MOST_PER_ROW = 20_000, 24

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Feature:
    """How one column is read.

    Args:
        name: of the column.
        kind: of what it holds.
        separator: sign between several names of a cell; empty where a cell holds one.
        edges: between the steps of a number, ascending.
    """

    name: str
    kind: Literal["names", "number", "words"]
    separator: str = ""
    edges: tuple[float, ...] = ()

    def tokens(self, cell: Any) -> list[str]:
        """What a cell says, without repetition; nothing where it is missing or of another kind."""
        if self.kind == "number":
            number = _number(cell)
            if number is None:
                return []
            return [f"{self.name} {self._step(int(np.searchsorted(self.edges, number, side='right')))}"]
        if self.kind == "words":
            return [f"{self.name}: {word}" for word in dict.fromkeys(_words(cell))]
        return [f"{self.name}={name}" for name in dict.fromkeys(_names(cell, self.separator))]

    def _step(self, step: int) -> str:
        if step == 0:
            return f"below {self.edges[0]:g}"
        if step == len(self.edges):
            return f"from {self.edges[-1]:g}"
        return f"{self.edges[step - 1]:g} to {self.edges[step]:g}"


@dataclass(frozen=True)
class Features:
    """Features of many rows (items or users).

    Args:
        columns: how each is read.
        tokens: those that several rows share, the most frequent first; they are numbered from 1.
        said: column -> what it was taken for, in words.
        rows: identifier -> numbers of its tokens.
    """

    columns: tuple[Feature, ...]
    tokens: tuple[str, ...]
    said: Mapping[str, str]
    rows: Mapping[str, tuple[int, ...]]


def plain(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """Columns as JSON holds them; :func:`from_plain` is the inverse."""
    return [asdict(feature) for feature in features]


def from_plain(columns: Iterable[Mapping[str, Any]]) -> tuple[Feature, ...]:
    """Columns from JSON; raises ``KeyError`` or ``TypeError`` for anything else."""
    return tuple(
        Feature(str(one["name"]), one["kind"], str(one["separator"]), tuple(float(edge) for edge in one["edges"]))
        for one in columns
    )


def numbers_of(row: Mapping[str, Any], columns: Sequence[Feature], number: Mapping[str, int]) -> tuple[int, ...]:
    """Numbers of the tokens in a row that are known, at most 24: the most frequent (the smallest numbers) stay."""
    found = (number.get(token, 0) for column in columns for token in column.tokens(row.get(column.name)))
    return tuple(sorted({one for one in found if one})[:MOST_PER_ROW])


def find_features(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str], title: str = "") -> Features:
    """What the columns of a table are, and every row's tokens.

    Args:
        rows: identifier -> row.
        columns: those that may be features.
        title: the column that rows are called by: of it, words that rows share.
    """
    found, said = [], {}
    for name in columns:
        cells = [cell for cell in (row.get(name) for row in rows.values()) if not _missing(cell)]
        feature, words = _text(name, [str(cell) for cell in cells]) if name == title else _kind(name, cells)
        said[name] = words
        if feature:
            found.append(feature)
    counts = Counter(token for row in rows.values() for one in found for token in one.tokens(row.get(one.name)))
    kind = {f"{one.name}: ": LEAST_ROWS_OF_WORDS for one in found if one.kind == "words"}
    shared = [
        (token, count)
        for token, count in counts.items()
        if count >= next((least for start, least in kind.items() if token.startswith(start)), LEAST_ROWS)
    ]
    kept = [token for token, _ in sorted(shared, key=lambda one: (-one[1], one[0]))[:MOST_TOKENS]]
    number = {token: place for place, token in enumerate(kept, 1)}
    numbered = {identifier: numbers_of(row, found, number) for identifier, row in rows.items()}
    return Features(tuple(found), tuple(kept), said, numbered)


def _kind(name: str, present: Sequence[Any]) -> tuple[Feature | None, str]:
    """How a column is to be read, and what it was taken for, from its cells that hold something."""
    if not present:
        return None, "left out: no values"
    if any(isinstance(cell, (list, tuple)) for cell in present):
        return _named(Feature(name, "names"), present)
    numbers = [number for number in map(_number, present) if number is not None]
    if len(numbers) >= MOSTLY * len(present) and len(set(numbers)) > FEW_NUMBERS:
        return _numeric(name, numbers)
    texts = [str(cell) for cell in present]
    for sign in SEPARATORS:
        if sum(sign in text for text in texts) >= SEPARATED * len(texts):
            parts = {part for text in texts for part in _names(text, sign)}
            if len(parts) <= max(len(set(texts)) // 2, 3):
                return _named(Feature(name, "names", sign), present)
    if len(set(texts)) <= max(len(texts) // 2, 2):
        return _named(Feature(name, "names"), present)
    return _text(name, texts)


def _text(name: str, texts: Sequence[str]) -> tuple[Feature | None, str]:
    counts = Counter(word for text in texts for word in set(_words(text)))
    common = sum(count >= LEAST_ROWS_OF_WORDS for count in counts.values())
    if not common:
        return None, "left out: different in nearly every row"
    return Feature(name, "words"), f"text, {common:,} words that at least {LEAST_ROWS_OF_WORDS} rows share"


def _named(feature: Feature, cells: Sequence[Any]) -> tuple[Feature | None, str]:
    counts = Counter(token for cell in cells for token in feature.tokens(cell))
    if len(counts) < 2:
        return None, "left out: one value"
    several = any(len(feature.tokens(cell)) > 1 for cell in cells)
    if several and feature.separator:
        return feature, f"{len(counts):,} names, several of them in a row with {feature.separator} between"
    return feature, f"{len(counts):,} names, several of them in a row" if several else f"{len(counts):,} names"


def _numeric(name: str, numbers: Sequence[float]) -> tuple[Feature | None, str]:
    if len(set(numbers)) == len(numbers) and all(number.is_integer() for number in numbers) and _counts_up(numbers):
        return None, "left out: it counts the rows"
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, STEPS + 1)[1:-1]))
    edges = edges[edges > min(numbers)]
    if not len(edges):
        return None, "left out: nearly always the same number"
    words = f"numbers from {min(numbers):g} to {max(numbers):g}, in {len(edges) + 1} steps"
    return Feature(name, "number", edges=tuple(float(edge) for edge in edges)), words


def _counts_up(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) == len(numbers) - 1


def _missing(cell: Any) -> bool:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return True
    return (isinstance(cell, str) and cell.strip().lower() in MISSING) or (isinstance(cell, (list, tuple)) and not cell)


def _number(cell: Any) -> float | None:
    """A cell as a number, dates as years; None where it is neither."""
    if isinstance(cell, (datetime.date, datetime.datetime)):
        cell = cell.isoformat()
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        try:
            number = datetime.datetime.fromisoformat(str(cell).strip()).timetuple().tm_yday / 366
            number += datetime.datetime.fromisoformat(str(cell).strip()).year
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def _names(cell: Any, separator: str) -> list[str]:
    if isinstance(cell, (list, tuple)):
        parts: Iterable[Any] = cell
    elif separator and isinstance(cell, str):
        parts = cell.split(separator)
    else:
        parts = (cell,)
    return [_name(part) for part in parts if not _missing(part)]


def _name(part: Any) -> str:
    if isinstance(part, float) and part.is_integer():
        part = int(part)
    return str(part).strip()


def _words(cell: Any) -> list[str]:
    return _WORD.findall(cell.lower()) if isinstance(cell, str) else []
