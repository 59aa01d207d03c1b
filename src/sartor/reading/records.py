"""Reads tables whose rows are the inputs: every row becomes a JSON object of its columns, the label taken out."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sartor.errors import DataError, nearest
from sartor.reading.locate import open_tables
from sartor.reading.sample import Part, Sample
from sartor.reading.tables import Table, class_name
from sartor.types import DataProblem, DataSource

CLASS_NAMES = ("target", "label", "class", "outcome", "y", "type", "category")
NUMBER_NAMES = ("target", "label", "response", "outcome", "y", "price", "value")
"""Usual names of the column that is to be answered."""

TELLING_DIGITS = 8
"""A row with at least so many digits beyond the first of each number is not met twice by chance."""

SHOWN = 12  # columns listed where one of them was to be named

_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def read_records(source: DataSource, usual: Sequence[str]) -> list[Part]:
    """The parts of a source of rows.

    A raw input is a JSON object of all columns but the label and those in ``data.ignore``, in the order of train's
    table. Rows of so few and short values that equal ones are nothing special get white space of their own behind
    the object: JSON does not mind, and copies that mean nothing stay apart (see :func:`telling_digits`).

    Args:
        source: where the tables are.
        usual: names by which the label is known where none is given.

    Raises:
        DataError: no tables, no such column, or nothing but the label in them.
    """
    if source.input:
        raise DataError(
            f"data.input is {source.input!r}, but a row's input is all its columns; leave it out, "
            "and name columns that are not to be used with data.ignore"
        )
    tables = open_tables(source)
    notes = {number: list(table.notes) for number, table in enumerate(tables)}
    first = next((number for number, table in enumerate(tables) if table.split == "train"), 0)
    label = _label_column(tables[first], source, usual, notes[first])
    ignored = _ignored(tables[first], source)
    columns = [name for name in tables[first].columns if name != label and name not in ignored]
    if not columns:
        raise DataError(f"{tables[first].name}: there is no column beside {label!r}, so nothing to answer from")
    parts = []
    for number, table in enumerate(tables):
        if label not in table.columns:
            raise DataError(f"{table.name}: the column {label!r}, which train answers with, is not there")
        notes[number] += _other_columns(table, columns, {label, *ignored})
        names = table.names(label)
        samples = _samples(table, columns, label, names, number)
        parts.append(Part(table.split, table.title, table.root, samples, names, notes[number]))
    return parts


def _label_column(table: Table, source: DataSource, usual: Sequence[str], notes: list[DataProblem]) -> str:
    """As named, else by a usual name, else the last one; what was a guess is told."""
    listed = ", ".join(table.columns[:SHOWN]) + (" …" if len(table.columns) > SHOWN else "")
    if source.label:
        if source.label not in table.columns:
            near = nearest(source.label, table.columns)
            hint = f"did you mean {near!r}?" if near else f"it has {listed}."
            raise DataError(f"{table.name}: data.label names the column {source.label!r}, which is not there; {hint}")
        return source.label
    lower = {column.lower(): column for column in reversed(table.columns)}
    coordinates = "x" in lower  # beside x, y is a measure like any other
    found = [lower[name] for name in usual if name in lower and not (name == "y" and coordinates)]
    chosen = found[0] if found else table.columns[-1]
    why = "by its name" if found else "as it is the last one"
    others = f"; {', '.join(map(repr, found[1:]))} would also do" if len(found) > 1 else ""
    sentence = f"{table.name}: column {chosen!r} is taken as label, {why}{others} (set data.label)"
    notes.append(DataProblem("GUESSED_COLUMN", table.split, 1, sentence))
    return chosen


def _ignored(table: Table, source: DataSource) -> set[str]:
    given = source.options.get("ignore", ())
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise DataError(f"data.ignore is {given!r}; it must be a list of columns, e.g. [id, comment]")
    for name in names:
        if name and name not in table.columns:
            near = nearest(name, table.columns)
            hint = f"did you mean {near!r}?" if near else "leave it out"
            raise DataError(f"{table.name}: data.ignore names the column {name!r}, which is not there; {hint}")
    return {name for name in names if name}


def _other_columns(table: Table, columns: Sequence[str], known: set[str]) -> list[DataProblem]:
    """What a table has beyond train's columns, and what it lacks of them."""
    further = [name for name in table.columns if name not in columns and name not in known]
    lacking = [name for name in columns if name not in table.columns]
    problems = []
    if further:
        sentence = f"{table.name}: {len(further)} columns are not in train and were left out"
        problems.append(DataProblem("FURTHER_COLUMNS", table.split, len(further), sentence, tuple(further[:5])))
    if lacking:
        sentence = f"{table.name}: {len(lacking)} columns of train are not there and count as missing in every row"
        problems.append(DataProblem("LACKING_COLUMNS", table.split, len(lacking), sentence, tuple(lacking[:5])))
    return problems


def _samples(table: Table, columns: Sequence[str], label: str, names: Sequence[str], number: int) -> Iterator[Sample]:
    plain_label = not names
    wanted = [*(name for name in columns if name in table.columns), label]
    for count, (place, row) in enumerate(table.rows(wanted)):
        values = {name: plain_value(row.get(name)) for name in columns}
        raw = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        if telling_digits(values) < TELLING_DIGITS:
            raw += f"{count:b}{number:02b}".replace("0", " ").replace("1", "\n").encode()
        found = row.get(label)
        yield Sample(place, class_name(plain_value(found) if plain_label else found, names), raw)


def plain_value(value: Any) -> Any:
    """A cell as JSON holds it: numbers as numbers where they are written plainly, times as ISO text, else text.

    Missing and not finite values are None. Text that is no plain number ("007", "1,200", " 12 %") stays text.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        if _PLAIN_NUMBER.fullmatch(value):
            number = float(value) if any(sign in value for sign in ".eE") else int(value)
            return number if math.isfinite(number) else value
        return value
    if isinstance(value, decimal.Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode(errors="replace")
    return str(value)


def telling_digits(values: Mapping[str, Any]) -> int:
    """How many digits a row's numbers have beyond their first; text counts two from its ninth character on.

    Rows of flags, small counts and categories hold few, and equal ones are then different things that look alike;
    two equal rows of long numbers are copies.
    """
    found = 0
    for value in values.values():
        if isinstance(value, str):
            found += 2 * (len(value) > 8)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and value:
            mantissa = repr(value).partition("e")[0].replace(".", "").strip("-0")
            found += max(0, len(mantissa) - 1)
    return found
