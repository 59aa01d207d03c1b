"""Reads tables of paths or bytes: CSV, JSONL and Parquet manifests, with their columns named or guessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sartor.errors import DataError, MissingExtra, nearest
from sartor.media.image import SUFFIXES
from sartor.reading.sample import SPLIT_NAMES, Part, Sample, label_text
from sartor.types import DataProblem, DataSource, Split

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
INPUT_NAMES = (
    *("image", "img", "picture", "photo", "image_path", "img_path", "filepath", "file_path", "path", "file_name"),
    *("filename", "file", "image_file", "image_bytes", "bytes", "pixels"),
)
LABEL_NAMES = ("label", "class", "category", "target", "class_name", "label_name", "labels", "fine_label", "y")
BATCH_ROWS = 64

Row = Mapping[str, Any]


def split_tables(folder: Path) -> dict[Split, list[Path]]:
    """Tables in a folder (or its ``data`` subfolder) whose names begin with a split's, as hub data sets lie on disk."""
    for place in (folder, folder / "data"):
        found: dict[Split, list[Path]] = {}
        for path in sorted(place.glob("*")) if place.is_dir() else []:
            word = path.name.lower().split(".")[0].split("-")[0]
            if path.suffix.lower() in TABLES and word in SPLIT_NAMES:
                found.setdefault(SPLIT_NAMES[word], []).append(path)
        if "train" in found:
            return found
    return {}


def read_table(paths: Sequence[Path], split: Split, source: DataSource) -> Part:
    """A part of one table, or of the shards of one."""
    first = paths[0]
    columns = _columns(first)
    notes: list[DataProblem] = []
    chosen = choose_columns(columns, source, first.name, split, notes)
    names = _class_names(first, chosen[1]) if first.suffix.lower() == ".parquet" else ()
    samples = (sample for path in paths for sample in table_samples(path.name, _rows(path, chosen), chosen, names))
    title = str(first) if len(paths) == 1 else f"{first.parent} ({len(paths)} files)"
    return Part(split, title, first.parent, samples, names, notes)


def choose_columns(
    columns: Sequence[str], source: DataSource, table: str, split: Split, notes: list[DataProblem]
) -> tuple[str, str]:
    """The input and the label column: as named by the user, else by their usual names.

    Raises:
        DataError: a named column is not there, or nothing can be guessed; the sentence lists what was found.
    """
    wanted = {"input": (source.input, INPUT_NAMES), "label": (source.label, LABEL_NAMES)}
    chosen: dict[str, str] = {}
    for role, (given, usual) in wanted.items():
        if given:
            if given not in columns:
                near = nearest(given, columns)
                hint = f"did you mean {near!r}?" if near else f"it has {', '.join(columns)}."
                raise DataError(f"{table}: data.{role} names the column {given!r}, which is not there; {hint}")
            chosen[role] = given
            continue
        lower = {column.lower(): column for column in reversed(columns)}
        found = [lower[name] for name in usual if name in lower]
        if len(found) > 1:
            others = ", ".join(repr(name) for name in found[1:])
            sentence = f"{table}: column {found[0]!r} is taken as {role}; {others} would also do (set data.{role})"
            notes.append(DataProblem("GUESSED_COLUMN", split, 1, sentence))
        if found:
            chosen[role] = found[0]
    rest = [column for column in columns if column not in chosen.values()]
    for role in wanted:
        if role not in chosen and len(columns) == 2 and len(rest) == 1:
            chosen[role] = rest[0]
        if role not in chosen:
            raise DataError(
                f"{table}: no column looks like the {role} among {', '.join(columns)}; name it with data.{role}"
            )
    return chosen["input"], chosen["label"]


def table_samples(table: str, rows: Iterable[Row], chosen: tuple[str, str], names: Sequence[str]) -> Iterator[Sample]:
    """Rows as samples; a row whose input is no path and no bytes is a broken sample."""
    input_column, label_column = chosen
    for number, row in enumerate(rows, 1):
        yield _sample(f"{table} row {number}", row.get(input_column), _named(row.get(label_column), names))


def _sample(place: str, value: Any, label: str | None) -> Sample:
    if isinstance(value, Mapping):  # Hugging Face Image feature: struct{bytes, path}
        if value.get("bytes"):
            path = value.get("path")
            return Sample(f"{place} ({path})" if path else place, label, bytes(value["bytes"]))
        value = value.get("path")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Sample(place, label, bytes(value))
    if isinstance(value, str) and value.strip():
        text = value.strip()
        if "://" in text[:12]:
            return Sample(place, label, b"", f"{text[:60]} is a web address; download it and give its path")
        return Sample(text, label)
    return Sample(place, label, b"", "there is no path and no bytes in this row")


def _named(value: Any, names: Sequence[str]) -> str | None:
    if names and isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None  # -1 marks a missing label on the hub
    return label_text(value)


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    for row in _rows(path, None):
        return list(row)
    raise DataError(f"{path}: the table has no rows")


def _rows(path: Path, chosen: tuple[str, str] | None) -> Iterator[Row]:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            yield from _parquet_rows(path, chosen)
        elif kind in (".csv", ".tsv"):
            yield from _csv_rows(path)
        else:
            yield from _json_rows(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: it is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: the table cannot be read ({error.strerror or error})") from error
    except csv.Error as error:
        raise DataError(f"{path}: it is not a readable CSV table ({error})") from error


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("reading Parquet", "parquet", "pyarrow") from None
    try:
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # else whole column chunks are read
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is not a readable Parquet file ({str(error)[:100]})") from error


def _parquet_rows(path: Path, chosen: tuple[str, str] | None) -> Iterator[Row]:
    file = _parquet(path)
    import pyarrow

    try:
        for batch in file.iter_batches(
            _batch_rows(file.metadata), columns=list(chosen) if chosen else None, use_threads=False
        ):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is damaged and cannot be read to its end ({str(error)[:100]})") from error


def _batch_rows(metadata: Any) -> int:
    """Rows that hold about 8 MB together, by the average row."""
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    return max(1, min(BATCH_ROWS, (8 << 20) * int(metadata.num_rows) // max(int(size), 1)))


def _class_names(path: Path, column: str) -> tuple[str, ...]:
    """Names of a ClassLabel column, from the metadata that the ``datasets`` library leaves in Parquet files."""
    metadata = (_parquet(path).schema_arrow.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(metadata)["info"]["features"][column]["names"] if metadata else ()
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
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
    with path.open(encoding="utf-8-sig") as file:
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
