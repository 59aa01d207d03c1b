"""A digest that changes when the source's files change, without reading their content."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from sartor import codec
from sartor.types import DataSource


def stamp(source: DataSource) -> str:
    """Digest over names, sizes and modification times of everything the source names.

    Options that name files (titles of items, say), absolute or beside train, count as well. Files that a manifest
    points to are found through the manifest alone: change one, and touch the manifest too. A data set of the hub is
    known by its id and revision only. What does not exist stamps as missing; ``prepare`` tells.
    """
    named = {"train": source.train, "validation": source.validation, "test": source.test}
    stamps = {split: _stamp_one(address) for split, address in named.items() if address}
    for name, value in source.options.items():
        found = _named_file(value, source) if isinstance(value, str) and value else ""
        if found:
            stamps[f"options.{name}"] = _stamp_one(found)
    return codec.digest(stamps)


def _named_file(value: str, source: DataSource) -> str:
    """The file or folder that an option names, absolute or as seen from train; empty where there is none."""
    beside = Path(source.train or source.test)
    for place in (Path(value), beside / value, beside.parent / value):
        if place.is_absolute() and os.path.exists(place):
            return str(place)
    return ""


def _stamp_one(address: str) -> list[object]:
    if address.startswith("hub:"):
        return [address]
    path = Path(address)
    try:
        path.stat()
    except (OSError, ValueError):  # not there, not allowed, no path at all, or a pattern of several
        shards = sorted(glob.glob(address)) if any(sign in address for sign in "*?[") else []
        return [_stamp_one(shard) for shard in shards] or [str(path), "missing"]
    if path.is_file():
        return [str(path), *_of(path)]
    rows: list[object] = [str(path)]
    entered: set[tuple[int, int]] = set()
    for current, folders, files in os.walk(path, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        rows.append([os.fsencode(os.path.relpath(current, path)).hex(), sorted(folders) == []])
        rows.extend([os.fsencode(name).hex(), *_of(Path(current, name))] for name in sorted(files))
    return rows


def _of(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return [-1, -1]  # a dangling link
    return [status.st_size, status.st_mtime_ns]
