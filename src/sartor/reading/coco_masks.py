"""Masks drawn from COCO annotations: polygons and run lengths, smaller objects over larger ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.media.image import PIXEL_LIMIT
from sartor.reading.trees import Tree

Array = np.ndarray[Any, np.dtype[Any]]

BACKGROUND = "background"


@dataclass(frozen=True)
class Scenes:
    """One annotation file.

    Args:
        name: of the file.
        pictures: file name to (height, width, objects); an object is a number and its segmentation.
        numbers: number in drawn masks to class name, 0 for the background.
    """

    name: str
    pictures: Mapping[str, tuple[int, int, tuple[tuple[int, Any], ...]]]
    numbers: Mapping[int, str]


def read_scenes(tree: Tree, name: str) -> Scenes | None:
    """The objects of an annotation file; None where it is none, or holds no outlines.

    Raises:
        DataError: it is one, but damaged.
    """
    try:
        document = json.loads(tree.read(name))
    except ValueError:
        return None
    if not isinstance(document, Mapping) or not {"images", "annotations", "categories"} <= set(document):
        return None
    try:
        order = {int(one["id"]): place for place, one in enumerate(document["categories"], 1)}
        numbers = {0: BACKGROUND} | {order[int(one["id"])]: str(one["name"]) for one in document["categories"]}
        objects: dict[Any, list[tuple[float, int, Any]]] = {}
        for one in document["annotations"]:
            if one.get("segmentation"):
                row = (-float(one.get("area", 0)), order[int(one["category_id"])], one["segmentation"])
                objects.setdefault(one["image_id"], []).append(row)
        pictures = {}
        for one in document["images"]:
            drawn = sorted(objects.get(one["id"], []), key=lambda row: row[0])
            size = int(one["height"]), int(one["width"])
            pictures[str(one["file_name"])] = (*size, tuple((number, outline) for _, number, outline in drawn))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no whole COCO annotation file ({type(error).__name__}: {error})") from None
    return Scenes(name, pictures, numbers) if objects else None


def draw(height: int, width: int, objects: Sequence[tuple[int, Any]]) -> Array:
    """Class numbers (h, w) int32, 0 where there is no object; later objects lie over earlier ones.

    Raises:
        DataError: an outline is neither polygons nor run lengths of the picture's size.
    """
    if not 0 < height * width <= PIXEL_LIMIT:
        raise DataError(f"its annotation says {height} × {width} pixels")
    numbers = np.zeros((height, width), np.int32)
    for number, outline in objects:
        if isinstance(outline, Mapping):
            numbers[run_lengths(outline, height, width)] = number
            continue
        for polygon in outline:
            try:
                points = np.asarray(polygon, np.float64).reshape(-1, 2)
            except (TypeError, ValueError):
                raise DataError("its annotation has a polygon that is no list of numbers in pairs") from None
            if len(points) >= 3 and np.isfinite(points).all():
                numbers[filled(points, height, width)] = number
    return numbers


def filled(points: Array, height: int, width: int) -> Array:
    """Pixels (h, w) bool whose middle lies inside a polygon (n, 2) of x and y, by the even-odd rule."""
    x, y = points.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    first = np.ceil(np.minimum(y, next_y) - 0.5).clip(0, height).astype(np.int64)
    crossed = np.ceil(np.maximum(y, next_y) - 0.5).clip(0, height).astype(np.int64) - first  # rows of each edge
    edge = np.repeat(np.arange(len(x)), crossed)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    at = x[edge] + (row + 0.5 - y[edge]) * (next_x[edge] - x[edge]) / (next_y[edge] - y[edge])
    turns = np.zeros((height, width + 1), np.int32)
    np.add.at(turns, (row, np.ceil(at - 0.5).clip(0, width).astype(np.int64)), 1)
    return np.asarray(turns.cumsum(axis=1)[:, :width] % 2 == 1)


def run_lengths(outline: Mapping[str, Any], height: int, width: int) -> Array:
    """COCO's run lengths, plain or packed into text, to (h, w) bool. Runs go down columns, outside first.

    Raises:
        DataError: they do not cover the picture.
    """
    counts = outline.get("counts")
    runs = np.asarray(_unpacked(counts) if isinstance(counts, str) else counts or [], np.int64)
    if list(outline.get("size", ())) != [height, width] or runs.sum() != height * width or (runs < 0).any():
        raise DataError("its annotation has run lengths that do not cover the picture")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(inside.reshape(width, height).T)


def _unpacked(text: str) -> list[int]:
    """Numbers of five bits a letter, least first; from the third on each is the difference to the one before last.

    Source: maskApi.c of cocodataset/cocoapi, rleFrString.
    """
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(text):
                raise DataError("its annotation has run lengths that are cut off")
            letter = ord(text[place]) - 48
            value |= (letter & 0x1F) << shift
            more = bool(letter & 0x20)
            place, shift = place + 1, shift + 5
            if not more and letter & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def split_word(name: str) -> str:
    """The words of an annotation file's name that may name a split: ``instances_train2017.json`` has ``train``."""
    stem = PurePosixPath(name).stem.lower()
    words = re.split(r"[^a-z]+", stem)
    return next((word for word in words if word in ("train", "training", "val", "valid", "validation", "test")), "")
