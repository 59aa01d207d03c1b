"""Formats of boxes: what they have in common, COCO and Pascal VOC."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol
from xml.etree import ElementTree

from sartor.errors import DataError
from sartor.media.image import SUFFIXES
from sartor.reading.sample import SPLIT_NAMES, label_text
from sartor.reading.trees import Tree

CROWD, SET_APART = 1, 2  # flags of boxes; 0 counts plainly
LARGEST_XML = 16 << 20  # bytes; one picture's annotation has kilobytes
LARGEST_JSON = 1 << 30

Box = list[Any]  # [top, left, bottom, right, class name, flag]


@dataclass
class Picture:
    """A picture with its boxes as its format tells them.

    Args:
        place: shown to people.
        name: of the file in the tree; None where it is missing.
        size: (height, width) as annotated, None where the format does not say.
        unit: of coordinates.
        problem: why the annotation cannot be used; empty otherwise.
    """

    place: str
    name: str | None
    size: tuple[float, float] | None
    unit: Literal["pixel", "share"]
    boxes: list[Box]
    problem: str = ""


@dataclass
class Found:
    """Everything in a tree: pictures by split (empty name: of no split), class names in declared order.

    ``oddities``: code -> (what is said after the number of places, places).
    """

    splits: dict[str, list[Picture]]
    names: tuple[str, ...] = ()
    oddities: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


class Format(Protocol):
    """One way to write boxes down."""

    def fits(self, tree: Tree) -> bool:
        """Whether a tree holds this format."""

    def read(self, tree: Tree) -> Found:
        """Everything it tells; raise ``DataError`` where it contradicts itself."""


def split_of(path: str) -> str:
    """The split that a path names by a folder or by a part of the file's name; empty where it names none."""
    pure = PurePosixPath(path)
    for part in (pure.stem, *reversed(pure.parts[:-1])):
        for word in re.findall(r"[a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return ""


def folder_split(path: str) -> str:
    """As :func:`split_of`, by folders alone: a picture may well be called test.jpg."""
    folder = PurePosixPath(path).parent
    return split_of(f"{folder}/-") if folder.parts else ""


class Pictures:
    """The picture files of a tree, found by whatever an annotation calls them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_name[PurePosixPath(name).name].append(name)
            self._by_stem[PurePosixPath(name).stem].append(name)

    def find(self, called: str, near: str, split: str = "") -> str | None:
        """The file an annotation at ``near`` means by a path, a file name or a stem."""
        path = PurePosixPath(called.replace("\\", "/"))
        found = self._by_name.get(path.name) or self._by_stem.get(path.name, [])
        if len(found) < 2:
            return found[0] if found else None

        # of several, the one whose folders agree most: with what is called, with the split, with the annotation
        def agreement(name: str) -> tuple[bool, bool, int]:
            shared = sum(1 for left, right in zip(name, near, strict=False) if left == right)
            return name.endswith(str(path).lstrip("./")), bool(split) and folder_split(name) == split, shared

        return max(found, key=agreement)


# ---------------------------------------------------------------------------------------------------------- COCO


class Coco:
    """One .json per split, with ``images``, ``categories`` and ``annotations``.

    A ``bbox`` is left, top, width, height in pixels.
    Source: Lin et al. 2014, arXiv:1405.0312; cocodataset.org/#format-data.
    """

    def fits(self, tree: Tree) -> bool:
        return bool(self._documents(tree))

    def _documents(self, tree: Tree) -> dict[str, dict[str, Any]]:
        """The documents that hold boxes, one per split; of several those called instances or detection."""
        names = [tree.chosen] if tree.chosen.endswith(".json") else [n for n in tree.names if n.endswith(".json")]
        found = {}
        for name in names:
            content = tree.read(name)
            if len(content) > LARGEST_JSON or b'"annotations"' not in content or b'"bbox"' not in content:
                continue
            try:
                document = json.loads(content)
            except ValueError as error:
                raise DataError(f"{tree.title}: {name} is not JSON ({error})") from None
            if isinstance(document, dict) and all(isinstance(document.get(k), list) for k in ("images", "annotations")):
                found[name] = document
        by_split: dict[str, list[str]] = defaultdict(list)
        for name in found:
            by_split[split_of(name)].append(name)
        for several in by_split.values():
            if len(several) > 1:
                telling = [n for n in several if re.match(r"instances|detection", PurePosixPath(n).stem.lower())]
                if len(telling) != 1:
                    shown = ", ".join(several[:4])
                    raise DataError(
                        f"{tree.title}: several files hold boxes of one split ({shown}); name the one to read"
                    )
                for name in set(several) - set(telling):
                    del found[name]
        return found

    def read(self, tree: Tree) -> Found:
        documents = self._documents(tree)
        if not documents:
            raise DataError(f"{tree.title} holds no .json with images, annotations and bbox (data.format is coco)")
        pictures = Pictures(tree.names)
        found = Found({})
        orphans: list[str] = []
        for name, document in documents.items():
            split = split_of(name)
            found.splits.setdefault(split, []).extend(_coco_pictures(name, split, document, pictures, orphans))
            found.names = found.names or tuple(_categories(name, document).values())
        if orphans:
            found.oddities["ORPHAN_BOX"] = ("boxes belong to no picture that is listed, and were left out", orphans)
        return found


def _categories(name: str, document: Mapping[str, Any]) -> dict[Any, str]:
    rows = document.get("categories") or []
    try:
        names = {row["id"]: str(row["name"]) for row in rows}
    except (TypeError, KeyError):
        raise DataError(f"{name}: its categories are not a list of id and name") from None
    twice = {label for label in names.values() if list(names.values()).count(label) > 1}
    if twice:
        raise DataError(f"{name}: two categories are called {sorted(twice)[0]!r}; give each its own name")
    return names


def _coco_pictures(
    name: str, split: str, document: Mapping[str, Any], pictures: Pictures, orphans: list[str]
) -> list[Picture]:
    names = _categories(name, document)
    by_image: dict[Any, Picture] = {}
    for row in document["images"]:
        if not isinstance(row, dict) or "id" not in row or not isinstance(row.get("file_name"), str):
            raise DataError(f"{name}: the image {str(row)[:80]} has no id or no file_name")
        file = pictures.find(row["file_name"], name, split)
        sides = row.get("height"), row.get("width")
        size = sides if all(isinstance(side, (int, float)) and side > 0 for side in sides) else None
        by_image[row["id"]] = Picture(file or row["file_name"], file, size, "pixel", [])  # type: ignore[arg-type]
    for row in document["annotations"]:
        picture = by_image.get(row.get("image_id")) if isinstance(row, dict) else None
        if picture is None:
            orphans.append(f"{name}: annotation {row.get('id') if isinstance(row, dict) else row!s}")
            continue
        box, kind = row.get("bbox"), row.get("category_id")
        if kind not in names:
            raise DataError(f"{name}: an annotation has category_id {kind!r}, which is not among its categories")
        try:
            left, top, width, height = (float(value) for value in box)
        except (TypeError, ValueError):
            picture.problem = f"its bbox {str(box)[:60]} is not left, top, width, height"
            continue
        flag = CROWD if row.get("iscrowd") else SET_APART if row.get("ignore") else 0
        picture.boxes.append([top, left, top + height, left + width, names[kind], flag])
    return list(by_image.values())


# ----------------------------------------------------------------------------------------------------- Pascal VOC


class Voc:
    """One .xml per picture; ``ImageSets/Main/{train,val,test}.txt`` say the splits, else folders do.

    Coordinates are taken as they stand: files that count pixels from 1 are off by at most one pixel.
    Source: Everingham et al. 2010, "The Pascal Visual Object Classes challenge".
    """

    def fits(self, tree: Tree) -> bool:
        return any(name.endswith(".xml") and b"<annotation" in tree.read(name)[:500] for name in self._files(tree)[:3])

    def _files(self, tree: Tree) -> list[str]:
        return [name for name in tree.names if name.endswith(".xml")]

    def read(self, tree: Tree) -> Found:
        pictures = Pictures(tree.names)
        read = {name: _voc_picture(name, tree.read(name), pictures) for name in self._files(tree)}
        if not read:
            raise DataError(f"{tree.title} holds no .xml annotations (data.format is voc)")
        found = Found({})
        listed = _image_sets(tree)
        if not listed:
            for name, picture in read.items():
                found.splits.setdefault(folder_split(name), []).append(picture)
            return found
        by_stem = {PurePosixPath(name).stem: picture for name, picture in read.items()}
        lacking = []
        for split, stems in listed.items():
            found.splits[split] = [by_stem[stem] for stem in stems if stem in by_stem]
            lacking += [f"{split}: {stem}" for stem in stems if stem not in by_stem]
        named = {stem for stems in listed.values() for stem in stems}
        found.splits[""] = [picture for stem, picture in by_stem.items() if stem not in named]
        if lacking:
            found.oddities["NOT_ANNOTATED"] = ("listed pictures have no annotation and were left out", lacking)
        return found


def _image_sets(tree: Tree) -> dict[str, list[str]]:
    """Stems by split, as ``ImageSets/Main`` lists them; trainval is train where train is not listed alone."""
    files = {PurePosixPath(n).stem.lower(): n for n in tree.names if "ImageSets/" in n and n.endswith(".txt")}
    wanted = {SPLIT_NAMES[stem]: name for stem, name in files.items() if stem in SPLIT_NAMES}
    if "train" not in wanted and "trainval" in files:
        wanted["train"] = files["trainval"]
        wanted.pop("validation", None)  # trainval holds it
    lists = {}
    for split, name in wanted.items():
        lines = tree.read(name).decode(errors="replace").splitlines()
        lists[split] = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    return {split: stems for split, stems in lists.items() if stems}


def _voc_picture(name: str, content: bytes, pictures: Pictures) -> Picture:
    stem = PurePosixPath(name).stem
    broken = Picture(name, pictures.find(stem, name), None, "pixel", [])
    if len(content) > LARGEST_XML or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        broken.problem = "its .xml is too large or declares entities, which no annotation needs"
        return broken
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        broken.problem = f"its .xml is damaged ({error})"
        return broken
    # the file's own stem first: <filename> is often left over from before a renaming
    file = pictures.find(stem, name) or pictures.find(root.findtext("filename", "").strip() or stem, name)
    sides = [_number(root.findtext(f"size/{side}")) for side in ("height", "width")]
    size = (sides[0], sides[1]) if all(side and side > 0 for side in sides) else None
    picture = Picture(file or name, file, size, "pixel", [])  # type: ignore[arg-type]
    for entry in root.iter("object"):
        label = label_text(entry.findtext("name"))
        numbers = [_number(entry.findtext(f"bndbox/{side}")) for side in ("ymin", "xmin", "ymax", "xmax")]
        if label is None or any(number is None for number in numbers):
            picture.problem = "an object in its .xml has no name or no whole bndbox"
            continue
        flag = SET_APART if (entry.findtext("difficult") or "0").strip() == "1" else 0
        picture.boxes.append([*numbers, label, flag])
    return picture


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
