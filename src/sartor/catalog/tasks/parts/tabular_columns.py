"""Which kind each column of a table is, what preparing learns from train, and rows to numbers. numpy only.

A prepared row is float32 (inputs,): one number per column in the order of the table, then four further parts of each
date. Missing values, and columns that are left out, are NaN. Categories are numbered by how they answer: sorted by the
mean truth of their rows, with several classes by the direction in which the shares of classes differ most, so that a
single threshold parts what answers alike (Wright and König 2019, "Splitting on categorical predictors in random
forests", doi:10.7717/peerj.6339).
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import numpy as np

from sartor.catalog.tasks.parts.tabular_cells import (
    DATE_PARTS,
    FALSE,
    TRUE,
    category_of,
    date_of,
    date_parts,
    flag_of,
    is_missing,
    number_of,
)
from sartor.errors import DataError, nearest

Array = np.ndarray[Any, np.dtype[Any]]

LOOKED_AT = 5_000  # rows that decide about kinds
MOSTLY = 0.9  # share of the values of a column that have to be of a kind; the others count as missing
MOST_CATEGORIES = 254
MOST_NAMES = 100_000  # different values that are told apart while reading
PRIOR_ROWS = 10.0  # rows of the mean that every category is mixed with before it is put in order
TEXT_WORDS = 4  # mean words of a cell from which a column of ever new values is text rather than names
CODE_WORDS = frozenset(
    ("code", "id", "type", "class", "category", "kind", "group", "zip", "postcode", "zipcode", "region", "district")
)
"""In the name of a column of few whole numbers they say that the numbers stand for something."""

MOST_CODES = 60
ID_WORDS = frozenset(
    ("id", "ids", "uuid", "guid", "key", "index", "idx", "row", "rowid", "no", "nr", "number", "unnamed")
)

USED = ("number", "flag", "category", "code", "date")
LEFT_OUT = {"text": "free text", "name": "too many different values", "empty": "no values", "constant": "one value"}
"""Kinds of columns that are not used, and why."""


@dataclass(frozen=True)
class Column:
    """A column as it is prepared: a kind of ``USED`` or ``LEFT_OUT``; ``categories`` in the order of their codes.

    ``other`` is the code of rare and unknown categories.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    other: float = 0.0


def kind_of(name: str, values: Sequence[Any]) -> str:
    """The kind of a column from the cells of many rows."""
    present = [value for value in values if not is_missing(value)]
    if not present:
        return "empty"
    counts = Counter(map(category_of, present))
    if len(counts) == 1:
        return "constant"
    enough = MOSTLY * len(present)
    if sum(flag_of(value) is not None for value in present) >= enough:
        return "flag"
    numbers = [number for number in map(number_of, present) if number is not None]
    if len(numbers) >= enough:
        return _kind_of_numbers(name, numbers, len(counts))
    if sum(date_of(value) is not None for value in present) >= enough:
        return "date"
    if len(counts) > 0.5 * len(present) and len(present) > 30:
        words = sum(len(str(value).split()) for value in present) / len(present)
        return "text" if words >= TEXT_WORDS else "name"
    long = sum(len(str(value)) for value in present) / len(present) > 60
    return "text" if long and len(counts) > 0.1 * len(present) else "category"


def _kind_of_numbers(name: str, numbers: Sequence[float], distinct: int) -> str:
    words = set(name.lower().replace("-", "_").replace(" ", "_").replace(":", "_").replace(".", "_").split("_"))
    whole = all(number.is_integer() for number in numbers)
    if whole and distinct == len(numbers) > 30 and (words & ID_WORDS or name == ""):
        return "name"
    few = 3 <= distinct <= MOST_CODES and len(numbers) >= 10 * distinct
    return "code" if whole and few and words & CODE_WORDS else "number"


def kinds_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Column to kind, in the order of the first row."""
    return {name: kind_of(name, [row.get(name) for row in rows]) for name in (rows[0] if rows else ())}


def inputs_of(kinds: Iterable[str]) -> int:
    """Numbers in a prepared row."""
    return sum(len(DATE_PARTS) if kind == "date" else 1 for kind in kinds)


def learn_columns(rows: Iterator[Mapping[str, Any]], truths: Iterable[Any], inputs: int, classes: bool) -> bytes:
    """What :class:`Columns` is made from, as JSON: names, kinds, categories.

    Args:
        rows: of train, streamed; the first 5,000 decide about kinds.
        truths: one per row: class numbers, or numbers.
        inputs: how long a prepared row is to be.
        classes: whether truths are class numbers.
    """
    first = list(islice(rows, LOOKED_AT))
    kinds = _as_wide_as(inputs, kinds_of(first), first)
    answers = np.asarray(truths, np.int64 if classes else np.float64)
    kinds_of_answers = int(answers.max(initial=0)) + 1 if classes else 1
    groups = {name: _Groups(kinds_of_answers) for name, kind in kinds.items() if kind in ("category", "code")}
    seen = 0
    for chunk in _chunks(chain(first, rows)) if groups else ():
        here = answers[seen : seen + len(chunk)]
        seen += len(chunk)
        for name, group in groups.items():
            group.add([row.get(name) for row in chunk], here, classes)
    columns = [[name, kind, *(groups[name].ordered() if name in groups else ())] for name, kind in kinds.items()]
    return json.dumps({"columns": columns}, ensure_ascii=False, separators=(",", ":")).encode()


def _chunks(rows: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    while chunk := list(islice(rows, 4096)):
        yield chunk


def _as_wide_as(inputs: int, kinds: dict[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Kinds that give ``inputs`` numbers: a survey of fewer rows may have seen a date more or less."""
    wanted, rest = divmod(inputs - len(kinds), len(DATE_PARTS) - 1)
    if rest or not 0 <= wanted <= len(kinds):
        raise DataError(f"{inputs} inputs do not fit a table of {len(kinds)} columns; prepare the data again")
    dates = [name for name, kind in kinds.items() if kind == "date"]
    if len(dates) == wanted:
        return kinds
    likely = sorted(kinds, key=lambda name: -sum(date_of(row.get(name)) is not None for row in rows))
    chosen = set(likely[:wanted])
    return {name: "date" if name in chosen else "category" if kind == "date" else kind for name, kind in kinds.items()}


class _Groups:
    """Rows per category of a column, and what they answer: counts per class, or the sum of numbers."""

    def __init__(self, answers: int) -> None:
        self.numbers: dict[Any, int] = {}
        self.rows, self.table = np.zeros(0), np.zeros((0, answers))

    def add(self, cells: Sequence[Any], answers: Array, classes: bool) -> None:
        numbers, room = self.numbers, MOST_NAMES
        index = np.array(
            [numbers.setdefault(cell, len(numbers)) if len(numbers) < room else numbers.get(cell, -1) for cell in cells]
        )
        further = len(numbers) - len(self.rows)
        self.rows = np.pad(self.rows, (0, further))
        self.table = np.pad(self.table, ((0, further), (0, 0)))
        known = index >= 0
        index, answers = index[known], answers[known]
        np.add.at(self.rows, index, 1.0)
        places: Any = (index, answers if classes else 0)
        np.add.at(self.table, places, 1.0 if classes else answers)

    def ordered(self) -> tuple[list[str], float]:
        """Categories in the order of their codes, and the code of all others."""
        merged: dict[str, Array] = {}
        for cell, number in self.numbers.items():
            if not is_missing(cell):
                both = np.r_[self.rows[number], self.table[number]]
                name = category_of(cell)
                merged[name] = merged[name] + both if name in merged else both
        least = max(2.0, min(10.0, self.rows.sum() / 100))
        by_size = sorted(merged, key=lambda name: (-merged[name][0], name))
        kept = [name for name in by_size if merged[name][0] >= least][:MOST_CATEGORIES]
        rare = sum((merged[name] for name in by_size[len(kept) :]), np.zeros(1 + self.table.shape[1]))
        groups = np.array([*(merged[name] for name in kept), rare])
        order = np.argsort(_places(groups[:, 0], groups[:, 1:]), kind="stable")
        names = [kept[group] for group in order if group != len(kept)]
        return names, float(np.flatnonzero(order == len(kept))[0]) - 0.5


def _places(rows: Array, table: Array) -> Array:
    """(groups,) where each group lies on the line that parts the answers best."""
    mean = table.sum(axis=0) / max(rows.sum(), 1.0)
    away = (table + PRIOR_ROWS * mean) / (rows[:, None] + PRIOR_ROWS) - mean  # (groups, answers)
    if away.shape[1] <= 2:
        return np.asarray(away[:, -1])
    direction = np.linalg.svd(away * np.sqrt(rows)[:, None], full_matrices=False)[2][0]
    return np.asarray(away @ direction * np.sign(direction[np.abs(direction).argmax()]))


class Columns:
    """Turns rows into numbers; made once per process from what :func:`learn_columns` gave."""

    def __init__(self, learnt: bytes) -> None:
        self.columns = tuple(
            Column(name, kind, tuple(rest[0]), float(rest[1])) if rest else Column(name, kind)
            for name, kind, *rest in json.loads(learnt)["columns"]
        )
        self.names = tuple(column.name for column in self.columns)
        self._known = frozenset(self.names)
        self._get = itemgetter(*self.names) if len(self.names) > 1 else lambda row: (row[self.names[0]],)
        self._left_out = [number for number, column in enumerate(self.columns) if column.kind in LEFT_OUT]
        self._plain = all(column.kind in ("number", *LEFT_OUT) for column in self.columns)
        self._coded = [
            (number, _codes(column))
            for number, column in enumerate(self.columns)
            if column.kind in ("category", "code", "flag")
        ]
        self._dates = any(column.kind == "date" for column in self.columns)

    def row(self, row: Mapping[str, Any]) -> Array:
        """A row as float32 (inputs,). The quick way takes rows of just the known columns with plain values.

        Raises:
            DataError: the row has a column that train had not.
        """
        if len(row) == len(self.names) and not self._dates:
            try:
                values = self._get(row)
                if not self._plain or self._left_out:
                    values = list(values)
                    for number in self._left_out:
                        values[number] = np.nan
                    for number, codes in self._coded:
                        values[number] = codes[values[number]]
                return np.frombuffer(array("f", values), np.float32)
            except (KeyError, TypeError, OverflowError):
                pass  # something is missing, new, or written otherwise
        return self._carefully(row)

    def _carefully(self, row: Mapping[str, Any]) -> Array:
        for name in row:
            if name not in self._known:
                near = nearest(name, self.names)
                hint = f"did you mean {near!r}?" if near else f"it takes {_listed(self.names)}"
                raise DataError(f"the column {name!r} is not one that the model knows; {hint}")
        values, further = [], []
        for column in self.columns:
            cell = row.get(column.name)
            if column.kind == "date":
                date = None if is_missing(cell) else date_of(cell)
                first, *rest = date_parts(date) if date is not None else [np.nan] * len(DATE_PARTS)
                values.append(first)
                further += rest
            else:
                values.append(_number(column, cell))
        largest = float(np.finfo(np.float32).max)
        return np.clip(np.array(values + further, np.float64), -largest, largest).astype(np.float32)


def _codes(column: Column) -> dict[Any, float]:
    """Cells as they mostly come to their codes, missing ones included."""
    if column.kind == "flag":
        words = ((TRUE, 1.0), (FALSE, 0.0))
        spelt = {write(word): flag for known, flag in words for word in known for write in (str, str.title, str.upper)}
        return {**spelt, True: 1.0, False: 0.0, None: np.nan}
    codes: dict[Any, float] = {name: float(code) for code, name in enumerate(column.categories)}
    whole = {int(name): code for name, code in codes.items() if name.removeprefix("-").isdecimal() and len(name) < 16}
    return {**codes, **whole, None: np.nan}


def _number(column: Column, cell: Any) -> float:
    """One cell the careful way: what is not of the column's kind is missing."""
    if column.kind in LEFT_OUT or is_missing(cell):
        return float("nan")
    if column.kind in ("category", "code"):
        name = category_of(cell)
        return float(column.categories.index(name)) if name in column.categories else column.other
    found = flag_of(cell) if column.kind == "flag" else None
    if found is None:
        found = number_of(cell)
    return float("nan") if found is None else found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
