"""Reads tables row by row, in one file or in shards, with their columns named or guessed."""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.errors import DataError, nearest
from sartor.media.image import SUFFIXES
from sartor.reading import sharded
from sartor.reading.sample import SPLIT_NAMES, label_text
from sartor.reading.text_files import open_text, written_in
from sartor.types import DataProblem, Split

COLUMNAR = (*sharded.PARQUET, *sharded.ARROW)  # with a schema, and a type for each column
SHARDS = (*COLUMNAR, *sharded.TAR)  # the forms in which large data lies: many files, many samples each
TABLES = (*sharded.PARQUET, ".csv", ".tsv", ".jsonl", ".ndjson", *sharded.ARROW, *sharded.TAR)
FIRST_ROWS = 100
"""Objects of a JSONL file that are looked at to know its columns: later ones may lack some."""

LONGEST_CELL = 1 << 24  # characters; the csv module's own limit of 131,072 is less than a long text

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """One split as rows, whether from files or from a data set of the hub.

    Args:
        title: where it is, for people; ``name`` is short, for sentences about its columns.
        root: folder that paths in it are relative to.
        columns: their names.
        names: column of class numbers -> the names they stand for.
        rows: the rows, anew at each call, each with a name for people ("train.csv row 7"); at least the columns asked
            for, all where None is given.
        notes: what was found out in opening it and its readers pass on.
    """

    split: Split
    name: str
    title: str
    root: Path
    columns: tuple[str, ...]
    names: Callable[[str], tuple[str, ...]]
    rows: Callable[[Sequence[str] | None], Iterator[tuple[str, Row]]]
    notes: tuple[DataProblem, ...] = ()


def is_table(path: Path) -> bool:
    """True for a file that :func:`read_rows` reads, by its name; text tables may be gzipped (``.jsonl.gz``)."""
    return _kind(path) in TABLES and not (path.suffix.lower() == ".gz" and _kind(path) in SHARDS)


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def split_tables(folder: Path) -> dict[Split, list[Path]]:
    """Tables in a folder (or its ``data`` subfolder) whose names begin with a split's, as hub data sets lie on disk."""
    for place in (folder, folder / "data"):
        found: dict[Split, list[Path]] = {}
        for path in sorted(place.glob("*")) if place.is_dir() else []:
            word = re.match(r"([a-z]+)(-.*|[-_]?\d.*)?$", path.name.lower().split(".")[0])
            if word and is_table(path) and word[1] in SPLIT_NAMES:
                found.setdefault(SPLIT_NAMES[word[1]], []).append(path)
        if "train" in found:
            return found
    return {}


def shards_in(folder: Path) -> list[Path]:
    """The shards of one split, whatever they are called: a folder of Parquet, Arrow or tar files and of no folders.

    Raises:
        DataError: they are of several kinds.
    """
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "_"))]
    if any(path.is_dir() for path in entries):
        return []
    found = [path for path in entries if path.suffix.lower() in SHARDS]
    kinds = sorted({path.suffix.lower() for path in found})
    if len(kinds) > 1:
        raise DataError(f"{folder}: it holds {' and '.join(kinds)} files; keep shards of one kind in it")
    return found


def file_table(paths: Sequence[Path], split: Split) -> Table:
    """One table in one file, or in several of the same columns; rows are named by file and number."""
    first = paths[0]

    def rows(columns: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
        if len(paths) > 1:
            _refuse_other_schemas(paths, columns)
        return (found for path in paths for found in _named_rows(path, columns))

    title = str(first) if len(paths) == 1 else f"{first.parent} ({len(paths)} files)"
    columns = tuple(column_names(first))
    notes = tuple(_other_encodings(paths, split))
    return Table(
        split, first.name, title, first.parent, columns, lambda column: class_names(first, column), rows, notes
    )


def _named_rows(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[str, Row]]:
    """The rows of a file, with names for people; a tar of whose first samples none has a column is refused."""
    lacking = set(columns or ()) if _kind(path) in sharded.TAR else set()
    for number, row in enumerate(read_rows(path, columns), 1):
        lacking.difference_update(row)
        if lacking and number == FIRST_ROWS:
            break
        yield f"{path.name} row {number}", row
    if lacking:
        name = sorted(lacking)[0]
        raise DataError(f"{path}: none of its first samples has a member {name!r}; all shards need the same members")


def _refuse_other_schemas(paths: Sequence[Path], columns: Sequence[str] | None) -> None:
    """Refuse shards whose columns differ, before the first is read.

    Raises:
        DataError: one cannot be opened, lacks a column, or holds something else in it; it is named.
    """
    known = [path for path in paths if _kind(path) in COLUMNAR]
    if not known:
        return
    first, same = _schema(known[0]), "all shards need the same columns"
    wanted = [name for name in columns or first.names if name in first.names]
    for path in known[1:]:
        schema = _schema(path)
        for name in wanted:
            if name not in schema.names:
                raise DataError(f"{path}: it has no column {name!r}, which {known[0].name} has; {same}")
            kinds = [_kind_of_type(one.field(name).type) for one in (first, schema)]
            if kinds[0] != kinds[1] and "null" not in kinds:
                raise DataError(
                    f"{path}: its column {name!r} holds {kinds[1]}, that of {known[0].name} {kinds[0]}; {same}"
                )
            if _declared(schema, name) != _declared(first, name):
                raise DataError(f"{path}: its column {name!r} declares other classes than {known[0].name}; {same}")


def _kind_of_type(kind: Any) -> str:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind):
        return "numbers"
    text = str(kind).removeprefix("large_").removesuffix("_view")
    return {"string": "text", "binary": "bytes"}.get(text, text)


def _other_encodings(paths: Sequence[Path], split: Split) -> Iterator[DataProblem]:
    for path in paths:
        name = written_in(path) if _kind(path) not in SHARDS else "UTF-8"
        if name != "UTF-8":
            sentence = f"{path.name} is not UTF-8 and was read as {name}; see in a few rows whether that is right"
            yield DataProblem("NOT_UTF8", split, 1, sentence, (path.name,))


def pick_columns(
    columns: Sequence[str],
    wanted: Mapping[str, tuple[str, Sequence[str]]],
    table: str,
    split: Split,
    notes: list[DataProblem],
) -> dict[str, str]:
    """A column for every role: as named by the user, else by its usual names, else the only one left.

    Args:
        columns: what the table has.
        wanted: role (a key of ``data``: ``input``, ``label`` …) -> (column named by the user or "", usual names).
        table: its name, for the sentences.
        split: for the remarks.
        notes: takes a remark where the choice was a guess among several.

    Raises:
        DataError: a named column is not there, or nothing can be guessed; the sentence lists what was found.
    """
    chosen: dict[str, str] = {}
    for role, (given, _) in wanted.items():
        if given:
            if given not in columns:
                near = nearest(given, columns)
                hint = f"did you mean {near!r}?" if near else f"it has {', '.join(columns)}."
                raise DataError(f"{table}: data.{role} names the column {given!r}, which is not there; {hint}")
            chosen[role] = given
    for role, (given, usual) in wanted.items():
        if given:
            continue
        lower = {column.lower(): column for column in reversed(columns) if column not in chosen.values()}
        found = [lower[name] for name in usual if name in lower]
        if len(found) > 1:
            others = ", ".join(repr(name) for name in found[1:])
            sentence = f"{table}: column {found[0]!r} is taken as {role}; {others} would also do (set data.{role})"
            notes.append(DataProblem("GUESSED_COLUMN", split, 1, sentence))
        if found:
            chosen[role] = found[0]
    rest = [column for column in columns if column not in chosen.values()]
    for role in wanted:
        if role not in chosen and len(columns) == len(wanted) and len(rest) == 1:
            chosen[role] = rest[0]
        if role not in chosen:
            raise DataError(
                f"{table}: no column looks like the {role} among {', '.join(columns)}; name it with data.{role}"
            )
    return chosen


def class_name(value: Any, names: Sequence[str]) -> str | None:
    """A cell as a label: numbers by the names they stand for, None for what is missing."""
    if names and isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None  # -1 marks a missing label on the hub
    return label_text(value)


def column_names(path: Path) -> list[str]:
    """The columns of a table.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    kind = _kind(path)
    if kind in COLUMNAR:
        return list(_schema(path).names)
    found: dict[str, None] = {}
    for number, row in enumerate(read_rows(path)):
        found.update(dict.fromkeys(row))
        if kind in (".csv", ".tsv") or number + 1 == FIRST_ROWS:
            break
    if not found:
        raise DataError(f"{path}: the table has no rows")
    return list(found)


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of one CSV, TSV, JSONL (all three also gzipped), Parquet, Arrow or tar file, streamed.

    Cells of CSV are text. ``columns`` spares Parquet and Arrow from reading the others; the rest give them all.

    Raises:
        DataError: it is no such table, or is damaged further on; the sentence says where.
    """
    kind = _kind(path)
    try:
        if kind in sharded.PARQUET:
            yield from sharded.parquet_rows(path, columns)
        elif kind in sharded.ARROW:
            yield from sharded.arrow_rows(path, columns)
        elif kind in sharded.TAR:
            yield from sharded.tar_rows(path)
        elif kind in (".csv", ".tsv"):
            yield from _csv_rows(path)
        else:
            yield from _json_rows(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: it has changed while it was read ({error.reason}); read it again") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: it is damaged and cannot be unpacked to its end ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: the table cannot be read ({error.strerror or error})") from error
    except csv.Error as error:
        raise DataError(f"{path}: it is not a readable CSV table ({error})") from error


def _schema(path: Path) -> Any:
    return sharded.parquet_schema(path) if _kind(path) in sharded.PARQUET else sharded.arrow_schema(path)


def class_names(path: Path, column: str) -> tuple[str, ...]:
    """Names of a ClassLabel column, from the metadata that the ``datasets`` library leaves in Parquet and Arrow files.

    Empty for other columns and other kinds of files.
    """
    return _declared(_schema(path), column) if _kind(path) in COLUMNAR else ()


def _declared(schema: Any, column: str) -> tuple[str, ...]:
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(metadata)["info"]["features"][column]["names"] if metadata else ()
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    with open_text(path) as file:
        head = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=head.count)
        reader = csv.reader(file, delimiter=delimiter)
        header = next(reader, [])
        paths = [Path(cell).suffix.lower() in SUFFIXES for cell in header]
        if any(paths):  # no header line: the first row is a sample
            columns = ["path" if is_path else f"column {number}" for number, is_path in enumerate(paths, 1)]
            yield dict(zip(columns, header, strict=True))
        else:
            columns = [cell.strip() for cell in header]
        for row in reader:
            if row:
                yield dict(zip(columns, row, strict=False))


def _json_rows(path: Path) -> Iterator[Row]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number} is not JSON ({error}); each line must be one object") from error
            if not isinstance(row, dict):
                raise DataError(f'{path}: line {number} is not an object such as {{"path": "a.png", "label": "cat"}}')
            yield row
