"""Boxes as Darknet and Ultralytics write them: a text file per picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from sartor.errors import DataError
from sartor.reading.box_formats import Found, Picture, Pictures, folder_split
from sartor.reading.sample import SPLIT_NAMES
from sartor.reading.trees import Tree

LARGEST_TEXT = 1 << 20  # bytes; one picture's annotation has kilobytes


class Yolo:
    """One .txt per picture, a row per object: class number, middle and size in shares; or the corners of a polygon.

    ``labels/…/a.txt`` belongs to ``images/…/a.jpg``, or lies beside it. Class names stand in a .yaml (``names``) or in
    classes.txt. A picture without a file, or with an empty one, shows no object.
    Source: the formats of Darknet and Ultralytics, docs.ultralytics.com/datasets/detect.
    """

    def fits(self, tree: Tree) -> bool:
        names = set(tree.names)
        if tree.chosen.endswith((".yaml", ".yml")):
            return True
        return any(_label_file(name, names) for name in Pictures(tree.names).names)

    def read(self, tree: Tree) -> Found:
        names = set(tree.names)
        files = Pictures(tree.names).names
        classes, config = _class_names(tree)
        labelled = {name: _label_file(name, names) for name in files}
        if not any(labelled.values()):
            raise DataError(f"{tree.title} holds no label file of a picture (data.format is yolo)")
        # folders of masks and the like hold pictures too: only those beside labelled ones are samples
        folders = {str(PurePosixPath(name).parent) for name, label in labelled.items() if label}
        found = Found({}, classes)
        entries = _entries(config, tree)
        for name in files:
            if str(PurePosixPath(name).parent) not in folders:
                continue
            label = labelled[name]
            text = tree.read(label) if label else b""
            split = next((key for key, starts in entries.items() if name.startswith(starts)), "") or folder_split(name)
            found.splits.setdefault(split, []).append(_yolo_picture(name, text, classes))
        return found


def _label_file(picture: str, names: set[str]) -> str:
    """Where the boxes of a picture stand; empty where there is no such file."""
    path = PurePosixPath(picture).with_suffix(".txt")
    parts = list(path.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() == "images":
            other = "/".join((*parts[:place], "labels", *parts[place + 1 :]))
            if other in names:
                return other
    beside = str(path)
    return beside if beside in names and path.name not in ("classes.txt", "train.txt", "test.txt") else ""


def _class_names(tree: Tree) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Class names and the .yaml they stand in; of several .yaml the one that speaks of detection, or is called data."""
    files = [name for name in tree.names if name.endswith((".yaml", ".yml")) and name.count("/") <= 1]
    if tree.chosen.endswith((".yaml", ".yml")):
        files = [tree.chosen]
    files.sort(key=lambda name: (not re.search(r"detect|/data\.|^data\.", name.lower()), name))
    for name in files:
        content = tree.read(name)
        try:
            document = yaml.safe_load(content[:LARGEST_TEXT]) if len(content) <= LARGEST_TEXT else None
        except yaml.YAMLError as error:
            raise DataError(f"{tree.title}: {name} is not YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(document, dict):
            continue
        names = document.get("names")
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            names = [names.get(number, str(number)) for number in range(max(names) + 1)] if names else []
        if isinstance(names, list) and names:
            return tuple(str(label) for label in names), document
    for name in tree.names:
        if PurePosixPath(name).name in ("classes.txt", "obj.names"):
            lines = tree.read(name).decode(errors="replace").splitlines()
            return tuple(line.strip() for line in lines if line.strip()), {}
    return (), {}


def _entries(config: Mapping[str, Any], tree: Tree) -> dict[str, tuple[str, ...]]:
    """Folders by split as the .yaml gives them, as far as the tree has them."""
    entries: dict[str, tuple[str, ...]] = {}
    for key, value in config.items():
        split = SPLIT_NAMES.get(str(key).lower())
        if split and isinstance(value, (str, list)):
            folders = [
                re.sub(r"^(\.{1,2}/)+", "", str(v)).strip("/") for v in ([value] if isinstance(value, str) else value)
            ]
            starts = tuple(f"{folder}/" for folder in folders if any(n.startswith(f"{folder}/") for n in tree.names))
            if starts:
                entries[split] = starts
    return entries


def _yolo_picture(name: str, content: bytes, classes: Sequence[str]) -> Picture:
    picture = Picture(name, name, None, "share", [])
    if len(content) > LARGEST_TEXT:
        picture.problem = "its label file is too large for one picture"
        return picture
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            kind, *values = (float(word) for word in line.split())
            label = classes[int(kind)] if classes else str(int(kind))
            if kind < 0 or kind != int(kind) or (len(values) not in (4, 5) and (len(values) < 6 or len(values) % 2)):
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            picture.problem = f"row {number} of its label file is not a known class and its box: {line.strip()[:60]}"
            return picture
        if len(values) in (4, 5):  # a fifth is the confidence of whoever labelled
            across, down, width, height = values[:4]
            box = [down - height / 2, across - width / 2, down + height / 2, across + width / 2]
        else:
            box = [min(values[1::2]), min(values[::2]), max(values[1::2]), max(values[::2])]
        picture.boxes.append([*box, label, 0])
    return picture
