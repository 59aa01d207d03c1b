"""Reads pictures with boxes: COCO json, Pascal VOC xml and YOLO txt, in folders or inside a .tar."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from sartor.errors import DataError, nearest
from sartor.reading.box_formats import SET_APART, Coco, Format, Found, Picture, Voc
from sartor.reading.box_yolo import Yolo
from sartor.reading.sample import Part, Sample
from sartor.reading.trees import Tree, open_tree
from sartor.types import DataProblem, DataSource, Split

OPTIONS = frozenset({"format"})
"""Keys of ``data`` that this reader takes: ``format``, one of coco, voc and yolo, where a source holds several."""

FORMATS: dict[str, Format] = {"coco": Coco(), "voc": Voc(), "yolo": Yolo()}
"""In the order of preference: what says most comes first."""

_ORDER: tuple[Split, ...] = ("train", "validation", "test")
_KNOWN = (
    "COCO (a .json with images and annotations), Pascal VOC (Annotations/*.xml beside JPEGImages/) or "
    "YOLO (images/, labels/*.txt, data.yaml)"
)


def read_boxes(source: DataSource) -> list[Part]:
    """The parts of a source: those given by name, and those that ``train`` itself holds where none is given.

    An address is a folder, a .tar that is read in place, a COCO .json or a YOLO .yaml. The truth of a sample is JSON
    ``{"size": [height, width] | null, "unit": "pixel" | "share", "boxes": [[top, left, bottom, right, name, flag]]}``;
    a flag is 0, 1 for a crowd, or 2 for a box that is to count for nothing (difficult ones, and those of classes
    that train does not show).

    Raises:
        DataError: something is missing, is of no known format, or contradicts itself.
    """
    wanted = str(source.options.get("format", ""))
    if wanted and wanted not in FORMATS:
        near = nearest(wanted, FORMATS)
        hint = f"Did you mean {near}?" if near else f"There are: {', '.join(FORMATS)}."
        raise DataError(f"data.format is {wanted!r}, which is not known. {hint}")
    alone = not source.validation and not source.test
    found = _open(source.train, "train", wanted, may_hold_splits=alone)
    for split, address in (("validation", source.validation), ("test", source.test)):
        if address:
            found += _open(address, split, wanted, may_hold_splits=False)  # type: ignore[arg-type]
    _set_apart_unknown(found)
    return [part for part, _ in found]


def _open(address: str, split: Split, wanted: str, *, may_hold_splits: bool) -> list[tuple[Part, list[Picture]]]:
    tree = open_tree(address, split)
    found, notes = _read_tree(tree, wanted, split)
    named = {name: pictures for name, pictures in found.splits.items() if name and pictures}
    loose = found.splits.get("", [])
    if not may_hold_splits:
        chosen = {split: named[split]} if split in named else {split: [*(p for s in named.values() for p in s), *loose]}
    elif named:
        chosen = {name: named[name] for name in _ORDER if name in named}
        if loose and "train" in chosen:
            notes.append(_not_listed(loose))
        elif loose:
            chosen = {"train": loose, **chosen}
    else:
        chosen = {split: loose}
    parts = []
    for name, pictures in chosen.items():
        part = Part(name, tree.title, tree.root, (), found.names, notes)
        part.samples = _samples(tree, pictures)
        parts.append((part, pictures))
        notes = []  # said once
    if not any(pictures for _, pictures in parts):
        raise DataError(f"data.{split}: {tree.title} holds no annotated pictures")
    return parts


def _read_tree(tree: Tree, wanted: str, split: Split) -> tuple[Found, list[DataProblem]]:
    """What the first fitting format finds, and what is to be said about it."""
    fitting = [wanted] if wanted else [name for name, reader in FORMATS.items() if reader.fits(tree)]
    if not fitting:
        raise DataError(f"data.{split}: {tree.title} holds no boxes in a format that is read: {_KNOWN}")
    found = FORMATS[fitting[0]].read(tree)
    notes = [
        DataProblem(code, split, len(places), f"{len(places)} {sentence}", tuple(places[:5]))
        for code, (sentence, places) in found.oddities.items()
    ]
    if len(fitting) > 1:
        sentence = f"boxes were read as {fitting[0]}; {' and '.join(fitting[1:])} is there too: data.format chooses"
        notes.append(DataProblem("SEVERAL_FORMATS", split, len(fitting), sentence))
    return found, notes


def _samples(tree: Tree, pictures: Sequence[Picture]) -> Iterator[Sample]:
    for picture in pictures:
        truth = json.dumps(
            {"size": picture.size, "unit": picture.unit, "boxes": picture.boxes}, ensure_ascii=False
        ).encode()
        problem = picture.problem
        if not problem and picture.name is None:
            problem = "the picture that is annotated is missing"
        if problem or picture.name is None:
            yield Sample(picture.place, None, problem=problem)
        else:
            yield Sample(picture.place, None, tree.raw(picture.name), truth=truth)


def _not_listed(pictures: Sequence[Picture]) -> DataProblem:
    places = tuple(picture.place for picture in pictures[:5])
    sentence = f"{len(pictures)} annotated pictures are in none of the listed splits and were left out"
    return DataProblem("NOT_LISTED", "train", len(pictures), sentence, places)


def _set_apart_unknown(found: Sequence[tuple[Part, list[Picture]]]) -> None:
    """Boxes of classes that train does not show count for nothing in the other splits, and that is said."""
    known = {
        box[4] for part, pictures in found if part.split == "train" for picture in pictures for box in picture.boxes
    }
    if not known:
        return  # data that is only judged by: the model's own classes are asked later
    for part, pictures in found:
        strange: Counter[str] = Counter()
        here = {box[4] for picture in pictures for box in picture.boxes}
        for picture in pictures:
            for box in picture.boxes:
                if box[4] not in known:
                    strange[box[4]] += 1
                    box[5] = SET_APART
        if strange:
            total = sum(strange.values())
            near = nearest(next(iter(strange)), known - here)  # a name that is there too is no misspelling of it
            hint = f"; is {next(iter(strange))!r} meant to be {near!r}?" if near else ""
            sentence = (
                f"{total} boxes are of {len(strange)} classes that train does not show, and count for nothing{hint}"
            )
            examples = tuple(f"{name}: {count}" for name, count in strange.most_common(5))
            part.notes.append(DataProblem("UNKNOWN_CLASS", part.split, total, sentence, examples))
