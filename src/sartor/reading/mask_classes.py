"""Which number in a mask means which class: from a file of names, from options, or from the masks themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from sartor.errors import DataError
from sartor.media.masks import COLOURED, IGNORED, MOST_CLASSES, grey_of, packed
from sartor.reading.trees import Tree
from sartor.types import DataSource

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_NAMES_FILE = 1 << 20  # bytes
_FILES = re.compile(
    r"^(.*_)?(classes|class_names|class_dict|labels|label_names|label_colou?rs|categories)"
    r"\.(txt|names|csv|json|ya?ml)$",
    re.I,
)
_LINE = re.compile(r"^\s*(?:(\d+)\s*[\s:,;=\t]\s*)?(.+?)\s*$")
_COLOUR = re.compile(r"^\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\S.*?)\s*$")  # 64 128 64 Animal
_COLOURED = re.compile(r"^\s*(\S.*?)[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*$")  # Animal,64,128,64
_NOBODY = re.compile(r"^(void|unlabell?ed|unannotated|ignored?|unknown|do ?n.?t.?care|.*\(ignored?\))$", re.I)


@dataclass(frozen=True)
class Classes:
    """Numbers found in masks and what they mean.

    Args:
        numbers: number in a mask to class name, in order.
        ignored: numbers that nobody is judged by.
        set_aside: names that were declared and mean "ignored" by their own words.
        told: where the names come from, for people.
    """

    numbers: Mapping[int, str]
    ignored: frozenset[int] = frozenset({IGNORED})
    set_aside: tuple[str, ...] = ()
    told: str = ""

    @property
    def by_colour(self) -> bool:
        """Whether classes are known by the colours of masks."""
        return any(number >= COLOURED for number in self.numbers)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, each once: several numbers may mean one class."""
        return tuple(dict.fromkeys(self.numbers.values()))


def declared_classes(tree: Tree, source: DataSource) -> Classes | None:
    """Classes from ``data.classes`` (names in order, or a file) or from a file of names in the tree; None for neither.

    Raises:
        DataError: what is given cannot be read as names, or is too much.
    """
    given = source.options.get("classes")
    if isinstance(given, str) and given:
        found, told = _from_text(_named(given, tree, source), given), given
    elif given is not None:
        found, told = _from_value(given, "data.classes"), "data.classes"
    else:
        files = [name for name in tree.names if _FILES.match(PurePosixPath(name).name) and name.count("/") <= 1]
        files.sort(key=lambda name: (name.count("/"), "semantic" not in name.lower(), name))
        parsed = ((_from_text(_small(tree, name), name), name) for name in files)
        found, told = next((pair for pair in parsed if pair[0]), ({}, ""))
    return settled(found, told, source) if found else None


def settled(numbers: Mapping[int, str], told: str, source: DataSource) -> Classes:
    """Classes with what is ignored taken out: ``data.ignore`` where it is given, else 255 and names that say so.

    Raises:
        DataError: no class is left, there are too many, or ``data.ignore`` names what is not there.
    """
    option = source.options.get("ignore")
    ignored, aside = {IGNORED}, []
    if option is None:
        aside = [name for name in numbers.values() if _NOBODY.match(name)]
    else:
        for entry in option if isinstance(option, (list, tuple)) else [option]:
            if isinstance(entry, int) and not isinstance(entry, bool):
                ignored.add(entry)
            elif entry in numbers.values():
                aside.append(str(entry))
            else:
                raise DataError(f"data.ignore is {entry!r}; it must be a number in the masks or one of the class names")
    kept = {number: name for number, name in sorted(numbers.items()) if name not in aside and number not in ignored}
    ignored |= {number for number, name in numbers.items() if name in aside}
    if not kept:
        raise DataError(f"{told}: no class is left beside what is ignored; name two classes or more")
    if len(set(kept.values())) > MOST_CLASSES:
        raise DataError(f"{told} names {len(set(kept.values()))} classes; at most {MOST_CLASSES} fit into a mask")
    return Classes(kept, frozenset(ignored), tuple(dict.fromkeys(aside)), told)


def undeclared_classes(found: Array, source: DataSource) -> Classes:
    """Classes named after the numbers or colours of masks; black and white ones have background and foreground."""
    numbers = [int(number) for number in found]
    if all(grey_of(number) < COLOURED for number in numbers):
        numbers = sorted({grey_of(number) for number in numbers})
    if source.options.get("ignore") is None and set(numbers) == {0, 255}:
        return Classes({0: "background", 255: "foreground"}, frozenset(), (), "masks of 0 and 255 alone")
    return settled({number: in_words(number) for number in numbers if number != IGNORED}, "the masks", source)


def in_words(number: int) -> str:
    """A number in a mask for people; a colour as ``#804080``."""
    return str(number) if number < COLOURED else f"#{number - COLOURED:06x}"


def black_and_white(classes: Classes, found: Array, source: DataSource) -> Classes:
    """The same classes, 255 standing for the second of two where masks hold nothing but 0 and 255."""
    held = {grey_of(number) for number in found.tolist()}
    if source.options.get("ignore") is not None or held != {0, 255} or set(classes.numbers) != {0, 1}:
        return classes
    return Classes({0: classes.numbers[0], 255: classes.numbers[1]}, frozenset(), classes.set_aside, classes.told)


@dataclass
class Numbering:
    """Turns a part's numbers into class places and remembers those it does not know.

    Args:
        names: classes in the order of places.
        unknown: number to how many masks hold it.
    """

    classes: Classes
    names: Sequence[str]
    unknown: dict[int, int] = field(default_factory=dict)

    def places(self, ids: Array) -> tuple[Array, bool]:
        """Numbers (h, w) as places in ``names`` (h, w) uint8, and whether some were unknown."""
        values, inverse = np.unique(ids, return_inverse=True)
        table = np.full(len(values), IGNORED, np.uint8)
        strange = False
        for place, number in enumerate(values.tolist()):
            value = number if number in self.classes.numbers else grey_of(number)
            name = self.classes.numbers.get(value)
            if name in self.names:
                table[place] = self.names.index(str(name))
            elif value not in self.classes.ignored and name is None:
                self.unknown[value] = self.unknown.get(value, 0) + 1
                strange = True
        return table[inverse.reshape(ids.shape)], strange


def _named(given: str, tree: Tree, source: DataSource) -> bytes:
    """The file that ``data.classes`` names: in the tree, absolute, or beside the data."""
    if given in tree.names:
        return _small(tree, given)
    beside = Path(source.train or source.test)
    for place in (Path(given), beside / given, beside.parent / given):
        if place.is_absolute() and place.is_file():
            return place.read_bytes()[:LARGEST_NAMES_FILE]
    raise DataError(f"data.classes: there is no file {given!r} in {tree.title} or beside it")


def _small(tree: Tree, name: str) -> bytes:
    content = tree.read(name)
    if len(content) > LARGEST_NAMES_FILE:
        raise DataError(f"{name} has {len(content):,} bytes; a file of class names is smaller")
    return content


def _from_text(content: bytes, name: str) -> dict[int, str]:
    text = content.decode("utf-8-sig", errors="replace")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        try:
            value = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as error:
            raise DataError(f"{name} cannot be read as {suffix[1:].upper()} ({str(error)[:80]})") from None
        return _from_value(value, name)
    numbers: dict[int, str] = {}
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    coloured = _from_colours(lines)
    if coloured:
        return coloured
    for place, line in enumerate(lines):
        match = _LINE.match(line)
        if match:
            numbers[int(match[1]) if match[1] else place] = match[2]
    return numbers


def _from_colours(lines: Sequence[str]) -> dict[int, str]:
    """Names with their colours, before or behind them, below a header or not; empty where lines say anything else."""
    numbers: dict[int, str] = {}
    for place, line in enumerate(lines):
        before, behind = _COLOUR.match(line), _COLOURED.match(line)
        if before:
            name, colour = before[4], before.group(1, 2, 3)
        elif behind:
            name, colour = behind[1], behind.group(2, 3, 4)
        elif place == 0:
            continue
        else:
            return {}
        numbers[int(packed(np.array([min(int(value), 255) for value in colour])))] = name
    return numbers


def _from_value(value: Any, name: str) -> dict[int, str]:
    """Names from a list, from number to name, from name to number or colour, or from a list of ids with names."""
    if isinstance(value, Mapping) and any(key in value for key in ("names", "classes", "categories")):
        return _from_value(next(value[key] for key in ("names", "classes", "categories") if key in value), name)
    try:
        if isinstance(value, Mapping):
            if value and all(isinstance(entry, (list, tuple)) and len(entry) == 3 for entry in value.values()):
                return {int(packed(np.array(entry, np.int64))): str(key) for key, entry in value.items()}
            turned = all(isinstance(entry, int) for entry in value.values())
            pairs = [(entry, key) if turned else (key, entry) for key, entry in value.items()]
            return {int(number): str(label) for number, label in pairs}
        if isinstance(value, (list, tuple)):
            if value and all(isinstance(entry, Mapping) for entry in value):
                return {int(entry["id"]): str(entry["name"]) for entry in value}
            if all(isinstance(entry, (str, int)) for entry in value):
                return {place: str(entry) for place, entry in enumerate(value)}
    except (KeyError, TypeError, ValueError):
        pass
    raise DataError(f"{name} names no classes; give a list of names, or numbers with names")
