"""Reads pictures of people: labelled pictures of any kind, cut to a face box where a table has one, split by person.

Who is judged may be said by a list of pairs (the form of Labeled Faces in the Wild, or a table), or by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor.errors import DataError, nearest
from sartor.reading.locate import locate, open_tables
from sartor.reading.picture_tables import choose_columns, table_samples
from sartor.reading.sample import Part, Sample
from sartor.reading.tables import Table, file_table
from sartor.types import DataProblem, DataSource

OPTIONS = frozenset({"align", "pairs", "test_people", "without_face"})

LABEL_NAMES = ("person", "subject", "identity", "person_id", "identity_id", "subject_id", "name", "who")
"""Columns that name people, beside those of any labelled picture."""

BOXES = (
    ("left", "top", "right", "bottom"), ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"),
    ("x", "y", "w", "h"), ("x", "y", "width", "height"), ("x_1", "y_1", "width", "height"),
)  # fmt: skip
"""Columns that hold a face's box, in pixels of the whole picture."""

SAME_WORDS = {"1": True, "true": True, "same": True, "yes": True, "0": False, "false": False, "different": False}
SAME_WORDS |= {"no": False, "-1": False}


@dataclass(frozen=True)
class Pair:
    """Two pictures to be compared.

    Args:
        left, right: number of the picture as the source lists them, or where it is.
        same: whether both show one person.
        fold: of the protocol.
        people: their names, where the list tells.
    """

    left: int | str
    right: int | str
    same: bool
    fold: int = 0
    people: tuple[str, ...] = ()


def read_faces(source: DataSource) -> list[Part]:
    """The parts of a source of labelled faces.

    Raises:
        DataError: as :func:`sartor.reading.locate.locate`; an option that does not fit; nobody left to learn from.
    """
    parts = _open(source)
    people = _test_people(source, parts)
    if not people:
        return parts
    if source.test:
        raise DataError("data.test is given, so data.pairs and data.test_people cannot say who is tested; leave it out")
    if any(part.split != "train" for part in parts):
        raise DataError(f"{source.train} holds its own splits, so nobody else can be tested; leave out data.pairs")
    tested = _open(source)
    for part in parts:
        part.samples = _only(part.samples, people, wanted=False)
    for part in tested:
        part.split, part.notes = "test", []  # its notes are told of train already
        part.samples = _only(part.samples, people, wanted=True)
    return [*parts, *tested]


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """A list of pairs: ``pairs.txt`` of Labeled Faces in the Wild, or a table.

    A table has two columns whose names end in a and b or 1 and 2 (``index_a``, ``path_1``): numbers of pictures from
    0, in the order of train, or their places; a column ``same``, and it may have ``fold``.

    Raises:
        DataError: it is neither; the line is named.
    """
    if not path.is_file():
        raise DataError(f"data.pairs: {path} is not a file; give a table with index_a, index_b and same")
    if path.suffix.lower() == ".txt":
        return _lfw_pairs(path)
    return _table_pairs(file_table([path], "test"))


def _lfw_pairs(path: Path) -> tuple[Pair, ...]:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    head = [int(word) for word in lines[0] if word.isdigit()] if lines and len(lines[0]) <= 2 else []
    per_fold = 2 * head[-1] if head else len(lines)
    found = []
    for number, words in enumerate(lines[1:] if head else lines):
        fold = number // max(per_fold, 1)
        if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            name, left, right = words[0], int(words[1]), int(words[2])
            found.append(Pair(_lfw_place(name, left), _lfw_place(name, right), True, fold, (name,)))
        elif len(words) == 4 and words[1].isdigit() and words[3].isdigit():
            left_place, right_place = _lfw_place(words[0], int(words[1])), _lfw_place(words[2], int(words[3]))
            found.append(Pair(left_place, right_place, False, fold, (words[0], words[2])))
        else:
            raise DataError(f"{path}: {' '.join(words)[:60]!r} is no pair; it would be 'name 1 2' or 'name 1 other 2'")
    return tuple(found)


def _lfw_place(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def _table_pairs(table: Table) -> tuple[Pair, ...]:
    lower = {column.lower(): column for column in table.columns}
    ends = [(re.sub(r"[ab12]$", "", name), name[-1]) for name in lower if re.search(r"[ab12]$", name)]
    stems = [stem for stem, end in ends if end in "a1" and ((stem, "b") in ends or (stem, "2") in ends)]
    if not stems or "same" not in lower:
        raise DataError(f"{table.title}: it has {', '.join(table.columns)}; it must have index_a, index_b and same")
    letters = ("a", "b") if (stems[0], "a") in ends else ("1", "2")
    left, right = (lower[stems[0] + letter] for letter in letters)
    found = []
    for place, row in table.rows(None):
        same = SAME_WORDS.get(str(row.get(lower["same"])).strip().lower())
        if same is None:
            raise DataError(f"{place}: {row.get(lower['same'])!r} in {lower['same']} is neither 1 nor 0")
        fold = str(row.get(lower.get("fold", ""), "0")).strip()
        found.append(Pair(_picture(row[left]), _picture(row[right]), same, int(fold) if fold.isdigit() else 0))
    return tuple(found)


def _picture(cell: Any) -> int | str:
    text = str(cell).strip()
    return int(text) if text.isdigit() else text


# --------------------------------------------------------------------------------------------------- who is tested


def _test_people(source: DataSource, parts: Sequence[Part]) -> frozenset[str]:
    """Names of the people who are tested and never learnt from, as the options say; empty where they say nothing."""
    pairs, given = source.options.get("pairs"), source.options.get("test_people")
    if pairs and given:
        raise DataError("data.pairs and data.test_people both say who is tested; leave one of them out")
    if given:
        return _named_people(given, {sample.label for part in parts for sample in _fresh(source, part) if sample.label})
    if not pairs:
        return frozenset()
    listed = read_pairs(_beside(str(pairs), source))
    wanted = {picture for pair in listed for picture in (pair.left, pair.right)}
    people = {name for pair in listed for name in pair.people}
    if people and len(people) < len(wanted):
        return frozenset(people)
    found: dict[int | str, str | None] = {}
    for number, sample in enumerate(sample for part in parts for sample in _fresh(source, part)):
        for name in (number, sample.place):
            if name in wanted:
                found[name] = sample.label
    lacking = sorted(map(str, wanted - set(found)))
    if lacking:
        raise DataError(
            f"{pairs}: there is no picture {lacking[0]} in {source.train}; number them from 0, in its order"
        )
    return frozenset(label for label in found.values() if label is not None)


def _beside(name: str, source: DataSource) -> Path:
    """A file by its path, in train's folder where that is relative."""
    train = Path(source.train or source.test)
    places = [Path(name)] if Path(name).is_absolute() else [train / name, train.parent / name]
    return next((place for place in places if place.is_file()), places[-1])


def _fresh(source: DataSource, part: Part) -> Iterable[Sample]:
    """The part's samples from a new pass: the ones it holds can be read but once."""
    return next((again.samples for again in _open(source) if again.title == part.title), ())


def _named_people(given: Any, known: set[str]) -> frozenset[str]:
    """A list of names, or a range of numbers such as ``20-39``."""
    span = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", str(given)) if not isinstance(given, (list, tuple)) else None
    if span and str(given).strip() not in known:
        low, high = int(span[1]), int(span[2])
        people = {name for name in known if name.isdigit() and low <= int(name) <= high}
        if not people:
            raise DataError(f"data.test_people: nobody has a number from {low} to {high}")
        return frozenset(people)
    names = [str(name) for name in given] if isinstance(given, (list, tuple)) else str(given).split(",")
    names = [name.strip() for name in names]
    unknown = [name for name in names if name not in known]
    if unknown:
        near = nearest(unknown[0], known)
        hint = f"did you mean {near!r}?" if near else "give names as the pictures are labelled, or a range like 20-39"
        raise DataError(f"data.test_people: there is nobody called {unknown[0]!r}; {hint}")
    return frozenset(names)


def _only(samples: Iterable[Sample], people: frozenset[str], *, wanted: bool) -> Iterator[Sample]:
    return (sample for sample in samples if (sample.label in people) == wanted)


# --------------------------------------------------------------------------------------------------------- opening


def _open(source: DataSource) -> list[Part]:
    """Parts anew; tables with a box are cut to it, and people's names are looked for under their usual columns."""
    tables = _tables(source)
    if not tables:
        return locate(source)
    parts = []
    for table in tables:
        label = source.label or _usual_label(table)
        notes: list[DataProblem] = []
        chosen = choose_columns(table.columns, replace(source, label=label), table.name, table.split, notes)
        samples = _table_samples(table, chosen, _box_columns(table.columns))
        parts.append(Part(table.split, table.title, table.root, samples, (), notes))
    return parts


def _tables(source: DataSource) -> list[Table]:
    """The source as tables; empty for what is none, of which ``locate`` knows more."""
    try:
        return open_tables(source)
    except DataError:
        return []


def _usual_label(table: Table) -> str:
    lower = {column.lower(): column for column in table.columns}
    return next((lower[name] for name in LABEL_NAMES if name in lower), "")


def _box_columns(columns: Sequence[str]) -> tuple[str, ...]:
    lower = {column.lower(): column for column in columns}
    for names in BOXES:
        if all(name in lower for name in names):
            return tuple(lower[name] for name in names)
    return ()


def _table_samples(table: Table, chosen: tuple[str, str], box: tuple[str, ...]) -> Iterator[Sample]:
    names = table.names(chosen[1])
    for place, row in table.rows([*chosen, *box]):
        for sample in table_samples([(place, row)], chosen, names):
            yield _cut(sample, table.root, row, box) if box and not sample.problem else sample


def _cut(sample: Sample, root: Path, row: Mapping[str, Any], box: tuple[str, ...]) -> Sample:
    """The sample with its picture cut to its box; of its own, since one picture may hold several people."""
    cells = [row.get(column) for column in box]
    place = f"{sample.place} {cells}"
    try:
        raw = sample.raw if sample.raw is not None else (root / sample.place).read_bytes()
        values = [float(cell) for cell in cells]  # type: ignore[arg-type]
        if box[2].lower() in ("w", "width"):
            values = [values[0], values[1], values[0] + values[2], values[1] + values[3]]
        return replace(sample, place=place, raw=cut_face(raw, (values[0], values[1], values[2], values[3])))
    except OSError as error:
        return replace(sample, place=place, raw=b"", problem=f"the picture cannot be read ({error.strerror or error})")
    except (TypeError, ValueError):
        return replace(sample, place=place, raw=b"", problem=f"its face box {cells} is not four numbers")
    except DataError as error:
        return replace(sample, place=place, raw=b"", problem=str(error))


def cut_face(raw: bytes, box: tuple[float, float, float, float]) -> bytes:
    """The part of a picture inside (left, top, right, bottom), in pixels of the whole picture, as a PNG file.

    Raises:
        DataError: the picture is broken, or the box leaves nothing of it.
    """
    from sartor.media.image import decode, look, to_png

    height, width = look(raw).size
    pixels = decode(raw)
    down, across = pixels.shape[0] / height, pixels.shape[1] / width  # large JPEGs are decoded smaller
    left, right = (round(min(max(edge, 0.0), width) * across) for edge in (box[0], box[2]))
    top, bottom = (round(min(max(edge, 0.0), height) * down) for edge in (box[1], box[3]))
    if right <= left or bottom <= top:
        raise DataError(f"its face box {[round(edge, 1) for edge in box]} holds no pixel of {width} × {height}")
    return to_png(pixels[top:bottom, left:right])
