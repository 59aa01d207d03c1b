"""Reads image folders: one folder per class, pictures anywhere below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sartor.errors import DataError
from sartor.media.image import SUFFIXES
from sartor.reading.sample import SPLIT_NAMES, Part, Sample
from sartor.reading.trees import unreadable, walk
from sartor.types import DataProblem, Split


def split_folders(folder: Path) -> dict[Split, Path]:
    """Subfolders that are splits, when ``train`` is there and nothing but splits is; else empty."""
    found = {child.name.lower(): child for child in _subfolders(folder)}
    if not found or any(name not in SPLIT_NAMES for name in found):
        return {}
    splits = {SPLIT_NAMES[name]: child for name, child in found.items()}
    return splits if "train" in splits and len(splits) > 1 else {}


def read_folder(folder: Path, split: Split) -> Part:
    """A part of one image folder.

    Raises:
        DataError: no class folders, no pictures, or a class folder without pictures (named).
    """
    classes = _subfolders(folder)
    loose = sorted(child.name for child in _files(folder) if Path(child.name).suffix.lower() in SUFFIXES)
    if len(classes) == 1 and not loose and _subfolders(classes[0]) and not _holds_pictures(classes[0]):
        raise DataError(f"{folder} holds the single folder {classes[0].name!r}. Did you mean {classes[0]}?")
    if not classes:
        what = f"{len(loose)} pictures lie in it directly" if loose else "it holds no folder"
        raise DataError(f"{folder}: {what}; put the pictures of each class into a folder named after the class")
    for child in classes:
        if next(_pictures(child, []), None) is None:
            raise DataError(f"{child}: this class folder holds no pictures; add some, or remove the folder")
    part = Part(split, str(folder), folder, ())
    part.samples = _samples(folder, classes, loose, part)
    return part


def _samples(folder: Path, classes: list[Path], loose: list[str], part: Part) -> Iterator[Sample]:
    ignored: list[str] = []
    for child in classes:
        for path in _pictures(child, ignored):
            yield Sample(str(path.relative_to(folder)), child.name)
    for name in loose:
        yield Sample(name, None)
    if ignored:
        places = tuple(str(Path(name).relative_to(folder)) for name in ignored[:5])
        sentence = f"{len(ignored)} files are not pictures by their names and were left out"
        part.notes.append(DataProblem("IGNORED_FILES", part.split, len(ignored), sentence, places))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        Path(entry.path) for entry in _entries(folder) if not entry.name.startswith((".", "__")) and entry.is_dir()
    )


def _files(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if not entry.name.startswith(".") and not entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        unreadable(error)


def _holds_pictures(folder: Path) -> bool:
    return any(Path(child.name).suffix.lower() in SUFFIXES for child in _files(folder))


def _pictures(folder: Path, ignored: list[str]) -> Iterator[Path]:
    """Picture files below a folder, sorted."""
    for path in walk(folder):
        if path.name.lower() == "thumbs.db":
            continue
        if path.suffix.lower() not in SUFFIXES or _special(path):
            ignored.append(str(path))
        else:
            yield path


def _special(path: Path) -> bool:
    """Pipes, sockets and devices, which would block or never end when read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # a dangling link: reported as broken when it is read
    return not stat.S_ISREG(mode)
