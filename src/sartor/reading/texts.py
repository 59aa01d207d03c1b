"""Reads labelled texts: tables with a column of texts, folders of text files per class, data sets of the hub."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

from sartor.errors import DataError
from sartor.media.text import ENCODINGS, guess_encoding, script
from sartor.reading.folders import split_folders
from sartor.reading.hub import HUB, is_saved
from sartor.reading.locate import existing, open_tables, tables_in
from sartor.reading.sample import Part, Sample
from sartor.reading.tables import Table, class_name, pick_columns
from sartor.types import DataProblem, DataSource, Split

INPUT_NAMES = (
    *("text", "sentence", "content", "review", "message", "body", "comment", "tweet", "document", "utterance"),
    *("query", "question", "review_text", "review_body", "sms", "email", "post", "abstract", "description"),
    *("title", "headline", "subject", "input", "v2", "txt", "文本", "内容", "评论"),
)
LABEL_NAMES = (
    *("label_name", "label_text", "class_name", "category_name", "label", "class", "category", "target", "sentiment"),
    *("intent", "topic", "labels", "polarity", "rating", "stars", "spam", "y", "v1", "cls", "标签", "类别"),
)
"""Names of classes before their numbers: answers are read by people."""

SUFFIXES = (".txt", ".text", ".md")
HEAD_ROWS = 200  # looked at to see whether a table's first line is a sample
SHIFT = 0.15  # of the samples: a script that much more or less frequent in test than in train is told
EXAMPLES = 5


def read_texts(source: DataSource) -> list[Part]:
    """The parts of a source: those given, and those ``train`` itself holds where none is given.

    Raises:
        DataError: something is missing, is no table and no folder of texts, or its columns cannot be guessed.
    """
    given: dict[Split, str] = {"train": source.train, "validation": source.validation, "test": source.test}
    given = {split: address for split, address in given.items() if address}
    alone = len(given) == 1
    folders = {split: path for split, address in given.items() if (path := _class_folder(address, split, alone))}
    if not folders:
        parts = [_read_table(table, source) for table in open_tables(source)]
    elif len(folders) < len(given):
        odd = next(split for split in given if split not in folders)
        form = "give folders of texts for all splits, or tables for all"
        raise DataError(f"data.{odd}: {given[odd]} is a table, but {next(iter(folders))} is a folder of texts; {form}")
    else:
        held = split_folders(folders["train"]) if list(folders) == ["train"] else {}
        parts = [_read_folder(folder, split) for split, folder in (held or folders).items()]
    tally = _Tally()
    return [tally.counting(part) for part in parts]


def _class_folder(address: str, split: Split, alone: bool) -> Path | None:
    """The folder behind an address, where it holds folders and no tables."""
    if address.startswith(HUB):
        return None
    path = existing(address, split)[0]
    if not path.is_dir() or is_saved(path) or tables_in(path, split, alone):
        return None
    return path if any(child.is_dir() and not child.name.startswith((".", "__")) for child in path.iterdir()) else None


# ---------------------------------------------------------------------------------------------- tables


def _read_table(table: Table, source: DataSource) -> Part:
    """A part of one table; a table of two columns may lack the line with their names."""
    notes = list(table.notes)
    headless = None if source.input or source.label else _headless(table)
    if headless is not None:
        sentence = f"{table.name}: its first line is taken as a sample, as no line names the columns"
        notes.append(DataProblem("NO_HEADER", table.split, 1, sentence))
        text, label = headless
    else:
        named = {name.lower().removesuffix("_name").removesuffix("_text") for name in table.columns if "_" in name}
        labels = tuple(name for name in LABEL_NAMES if name not in named)  # label_name says what label says
        wanted = {"input": (source.input, INPUT_NAMES), "label": (source.label, labels)}
        chosen = pick_columns(table.columns, wanted, table.name, table.split, notes)
        text, label = chosen["input"], chosen["label"]
    names = table.names(label)
    first = [Sample(f"{table.name} line 1", label, text.encode())] if headless is not None else []
    samples = _rows(table, text, label, names, first)
    return Part(table.split, table.title, table.root, samples, names, notes)


def _headless(table: Table) -> tuple[str, str] | None:
    """Text and label column of a two-column table whose "names" are its first sample: the label occurs below again."""
    if len(table.columns) != 2 or {name.lower() for name in table.columns} & {*INPUT_NAMES, *LABEL_NAMES}:
        return None
    below = [row for _, row in islice(table.rows(None), HEAD_ROWS)]
    kinds = {column: {row.get(column) for row in below} for column in table.columns}
    label, text = sorted(table.columns, key=lambda column: len(kinds[column]))
    repeats = len(kinds[label]) < min(len(below), len(kinds[text]))
    return (text, label) if label in kinds[label] and repeats else None


def _rows(table: Table, text: str, label: str, names: Sequence[str], first: Sequence[Sample]) -> Iterator[Sample]:
    yield from first
    for place, row in table.rows([text, label]):
        value, said = row.get(text), class_name(row.get(label), names)
        if isinstance(value, str):
            yield Sample(place, said, value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, (bytes, bytearray)):
            yield Sample(place, said, bytes(value))
        elif value is None:
            yield Sample(place, said, b"", "there is no text in this row")
        else:
            yield Sample(place, said, str(value).encode())


# ---------------------------------------------------------------------------------------------- folders


def _read_folder(folder: Path, split: Split) -> Part:
    """A part of one folder per class, text files anywhere below it.

    Raises:
        DataError: there are no class folders, or one of them holds no text files.
    """
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "__")))
    if not classes:
        raise DataError(f"{folder} holds no folder; put the texts of each class into a folder named after the class")
    for child in classes:
        if next(_files(child), None) is None:
            raise DataError(f"{child}: this class folder holds no {', '.join(SUFFIXES)} files; add some, or remove it")
    part = Part(split, str(folder), folder, ())
    part.samples = _texts(folder, classes, part)
    return part


def _files(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(current, name)


def _texts(folder: Path, classes: Sequence[Path], part: Part) -> Iterator[Sample]:
    converted: dict[str, list[str]] = {}
    for child in classes:
        for path in _files(child):
            place = str(path.relative_to(folder))
            try:
                raw = path.read_bytes()
            except OSError as error:
                yield Sample(place, child.name, b"", f"the file cannot be read ({error.strerror})")
                continue
            encoding = guess_encoding(partial(BytesIO, raw))
            if not encoding:
                tried = "it is neither UTF-8 nor UTF-16 nor GB 18030 text; save it as UTF-8"
                yield Sample(place, child.name, b"", tried)
            elif encoding == "utf-8-sig":
                yield Sample(place, child.name, raw)
            else:
                converted.setdefault(ENCODINGS[encoding], []).append(place)
                yield Sample(place, child.name, raw.decode(encoding).encode("utf-8", "replace"))
    for name, places in converted.items():
        sentence = (
            f"{len(places)} files are not UTF-8 and were read as {name}; check one, or save them as UTF-8 "
            "(inputs of the finished model have to be UTF-8)"
        )
        part.notes.append(DataProblem("NOT_UTF8", part.split, len(places), sentence, tuple(places[:EXAMPLES])))


# ---------------------------------------------------------------------------------------------- scripts


@dataclass
class _Tally:
    """Scripts per split, counted as samples pass; what differs between train and another split is noted with it."""

    seen: dict[Split, Counter[str]] = field(default_factory=dict)

    def counting(self, part: Part) -> Part:
        part.samples = self._pass(part.samples, part)
        return part

    def _pass(self, samples: Iterable[Sample], part: Part) -> Iterator[Sample]:
        counts: Counter[str] = Counter()
        for sample in samples:
            if sample.raw and not sample.problem:
                counts[script(sample.raw.decode("utf-8", "replace"))] += 1
            yield sample
        self.seen[part.split] = counts
        others = [split for split in self.seen if split != "train"] if part.split == "train" else [part.split]
        if "train" in self.seen:
            part.notes += [note for split in others for note in shifted(self.seen["train"], self.seen[split], split)]


def shifted(train: Counter[str], other: Counter[str], split: Split) -> list[DataProblem]:
    """A remark where a script is much more or less frequent in a split than in train."""
    total, held = max(1, train.total()), max(1, other.total())
    gaps = {name: other[name] / held - train[name] / total for name in {*train, *other}}
    name, gap = max(gaps.items(), key=lambda item: (abs(item[1]), item[0]), default=("", 0.0))
    if abs(gap) < SHIFT:
        return []
    sentence = (
        f"{other[name] / held:.0%} of the texts of {split} are written in {name} script, {train[name] / total:.0%} of "
        "those of train; train on texts like those that will be asked"
    )
    return [DataProblem("SCRIPT_SHIFT", split, other[name], sentence)]
