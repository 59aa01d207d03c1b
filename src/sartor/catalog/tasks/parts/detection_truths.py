"""Boxes as they are kept: JSON with class names and shares of the picture, checked against the picture once.

``{"size": [height, width], "boxes": [[top, left, bottom, right, "name", flag], …]}``. A flag says how a box counts:
0 plainly; 1 a crowd, a region of many objects; 2 difficult. Crowds and difficult ones are neither learnt nor missed.
Readers may give coordinates in pixels of the size they declare (``"unit": "pixel"``), or of the picture where the size
is null. Needs numpy only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

PLAIN, CROWD, DIFFICULT = 0, 1, 2

MOST_BOXES = 300
"""Of one picture; the largest are kept. Training holds so many rows for every picture."""

ADVICE: Mapping[str, str] = {
    "BOX_OUTSIDE": "have boxes that reach out of the picture; they were clipped",
    "BOX_EMPTY": "have boxes without height or width; they were left out, correct or remove them",
    "BOX_TWICE": "have the same box of the same class twice; one of them was kept",
    "MANY_BOXES": f"have more than {MOST_BOXES} boxes; the largest were kept",
    "NO_BOXES": "show no object; they are kept and teach what is none",
    "SIZE_DIFFERS": "have another size than their annotation says; boxes were taken as shares of the size it says",
    "TURNED": "were annotated lying on their side; boxes were turned with the picture as its EXIF says",
    "MIRRORED_BY_EXIF": "are mirrored or upside down by EXIF; boxes are taken as drawn on the upright picture",
}


@dataclass(frozen=True)
class Boxes:
    """The boxes of one picture: places (m, 4) float64 as top, left, bottom, right, names, flags (m,)."""

    places: Array
    names: tuple[str, ...]
    flags: Array

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Checked:
    """A truth in its kept form, the names of its boxes, and what was odd."""

    truth: bytes
    names: tuple[str, ...]
    remarks: tuple[str, ...]


def read_truth(truth: bytes) -> Boxes:
    """Boxes of a kept truth.

    Raises:
        DataError: it is no such JSON.
    """
    return _boxes(_document(truth))


def check_truth(truth: bytes, size: Sequence[int], turn: int = 1) -> Checked:
    """Bring a reader's truth to the kept form.

    Args:
        truth: as found; a kept one comes back unchanged.
        size: (height, width) of the upright picture.
        turn: its EXIF orientation, 1 to 8.

    Raises:
        DataError: no such JSON, or coordinates that are no numbers.
    """
    document = _document(truth)
    boxes = _boxes(document)
    height, width = (float(side) for side in size)
    declared = _declared(document)
    remarks: list[str] = []
    places = boxes.places.copy()
    if document.get("unit") == "pixel":
        places /= np.tile(np.asarray(declared or (height, width), np.float64), 2)
    if declared is not None and tuple(declared) != (height, width):
        if tuple(declared) == (width, height) and turn in _TURNS:
            places = _turned(places, turn)
            remarks.append("TURNED")
        else:
            remarks.append("SIZE_DIFFERS")
    elif turn in (2, 3, 4) and len(boxes):
        remarks.append("MIRRORED_BY_EXIF")
    kept, found = _cleaned(places, boxes, (height, width))
    remarks += found
    if not kept:
        remarks.append("NO_BOXES")
    rows = [
        [*(round(float(value), 6) for value in place), boxes.names[number], int(boxes.flags[number])]
        for number, place in kept
    ]
    made = {"size": [int(height), int(width)], "boxes": rows}
    names = tuple(boxes.names[number] for number, _ in kept if boxes.flags[number] == PLAIN)
    return Checked(json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode(), names, tuple(remarks))


def _document(truth: bytes) -> dict[str, Any]:
    try:
        document = json.loads(truth)
    except ValueError as error:
        raise DataError(f"its boxes are not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("boxes"), list):
        raise DataError('its boxes are not given as {"size": …, "boxes": […]}')
    return document


def _declared(document: Mapping[str, Any]) -> Sequence[float] | None:
    """The (height, width) that a truth was written for; None where it does not say."""
    size = document.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(_number(side) and side > 0 for side in size):
        return None
    return size


def _boxes(document: Mapping[str, Any]) -> Boxes:
    rows = document["boxes"]
    for row in rows:
        numbers = isinstance(row, list) and len(row) in (5, 6) and all(_number(value) for value in row[:4])
        if not numbers or not isinstance(row[4], str) or not row[4]:
            raise DataError(f"the box {str(row)[:80]} is not [top, left, bottom, right, class name]")
    places = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
    flags = np.array([row[5] if len(row) == 6 else PLAIN for row in rows], np.int64)
    return Boxes(places, tuple(row[4] for row in rows), flags)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# EXIF orientation -> stored (row, column) to upright (row, column), of those that swap height and width
_TURNS = {
    5: lambda row, column: (column, row),
    6: lambda row, column: (column, 1 - row),
    7: lambda row, column: (1 - column, 1 - row),
    8: lambda row, column: (1 - column, row),
}


def _turned(places: Array, turn: int) -> Array:
    """Boxes of the picture as stored to boxes of the upright one."""
    first = np.stack(_TURNS[turn](places[:, 0], places[:, 1]), axis=1)
    second = np.stack(_TURNS[turn](places[:, 2], places[:, 3]), axis=1)
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _cleaned(places: Array, boxes: Boxes, size: Sequence[float]) -> tuple[list[tuple[int, Array]], list[str]]:
    """Boxes that remain, by number, clipped; and remarks."""
    remarks = []
    pixel = 1 / np.tile(np.asarray(size, np.float64), 2)
    clipped = places.clip(0, 1)
    if (np.abs(clipped - places) > pixel).any():  # less is rounding, or counting pixels from 1
        remarks.append("BOX_OUTSIDE")
    # what covers less than a tenth of a pixel is nothing that could be seen
    large = ((clipped[:, 2:] - clipped[:, :2]) > 0.1 * pixel[:2]).all(axis=1)
    if not large.all():
        remarks.append("BOX_EMPTY")
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for number in np.flatnonzero(large):
        key = (boxes.names[number], *np.round(clipped[number], 5).tolist())
        if key not in seen:
            kept.append((int(number), clipped[number]))
        seen.add(key)
    if len(kept) < int(large.sum()):
        remarks.append("BOX_TWICE")
    if len(kept) > MOST_BOXES:
        remarks.append("MANY_BOXES")
        kept.sort(key=lambda item: -float(np.prod(item[1][2:] - item[1][:2])))
        kept = sorted(kept[:MOST_BOXES], key=lambda item: item[0])
    return kept, remarks


def target_rows(truth: bytes, labels: Sequence[str]) -> Array:
    """What training takes: (MOST_BOXES, 5) float32 rows of class number (-1: no box), top, left, bottom, right.

    Crowds, difficult boxes and names that are no label are left out.
    """
    boxes = read_truth(truth)
    number = {label: place for place, label in enumerate(labels)}
    rows = np.full((MOST_BOXES, 5), -1.0, np.float32)
    chosen = [place for place, name in enumerate(boxes.names) if name in number and boxes.flags[place] == PLAIN]
    for row, place in enumerate(chosen[:MOST_BOXES]):
        rows[row] = (number[boxes.names[place]], *boxes.places[place])
    return rows
