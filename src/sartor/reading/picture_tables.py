"""Reads tables of pictures: a column of paths or bytes, and one of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sartor.reading.sample import Part, Sample
from sartor.reading.tables import Row, Table, class_name, pick_columns
from sartor.types import DataProblem, DataSource, Split

INPUT_NAMES = (
    *("image", "img", "picture", "photo", "image_path", "img_path", "filepath", "file_path", "path", "file_name"),
    *("filename", "file", "image_file", "image_bytes", "bytes", "pixels"),
)
LABEL_NAMES = (
    *("label", "class", "category", "target", "class_name", "label_name", "labels", "fine_label", "y"),
    *("cls", "txt"),  # members of tar shards
)


def read_pictures(table: Table, source: DataSource) -> Part:
    """A part of a table of pictures: a column of paths or bytes, and one of labels."""
    notes = list(table.notes)
    chosen = choose_columns(table.columns, source, table.name, table.split, notes)
    names = table.names(chosen[1])
    samples = table_samples(table.rows(chosen), chosen, names)
    return Part(table.split, table.title, table.root, samples, names, notes)


def choose_columns(
    columns: Sequence[str], source: DataSource, table: str, split: Split, notes: list[DataProblem]
) -> tuple[str, str]:
    """The input and the label column of a table of pictures (see :func:`pick_columns`)."""
    wanted = {"input": (source.input, INPUT_NAMES), "label": (source.label, LABEL_NAMES)}
    chosen = pick_columns(columns, wanted, table, split, notes)
    return chosen["input"], chosen["label"]


def table_samples(rows: Iterable[tuple[str, Row]], chosen: tuple[str, str], names: Sequence[str]) -> Iterator[Sample]:
    """Rows as samples of pictures; a row whose input is no path and no bytes is a broken sample."""
    input_column, label_column = chosen
    for place, row in rows:
        yield _sample(place, row.get(input_column), class_name(row.get(label_column), names))


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
