"""Finds out what a data source is and opens the reader that fits it."""

from __future__ import annotations

import glob
from pathlib import Path

from sartor.errors import DataError, nearest
from sartor.reading.arrays import read_arrays
from sartor.reading.folders import read_folder, split_folders
from sartor.reading.hub import is_saved, read_hub, read_saved
from sartor.reading.sample import Part
from sartor.reading.tables import TABLES, read_table, split_tables
from sartor.types import DataSource, Split

HUB = "hub:"


def locate(source: DataSource) -> list[Part]:
    """The parts of a source: those given by name, and those that ``train`` itself holds where none is given.

    Raises:
        DataError: something is missing or of no known kind; the nearest existing name is offered.
    """
    alone = not source.validation and not source.test
    parts = _open(source.train, "train", source, may_hold_splits=alone)
    given: dict[Split, str] = {"validation": source.validation, "test": source.test}
    for split, address in given.items():
        if address:
            parts += _open(address, split, source, may_hold_splits=False)
    return parts


def _open(address: str, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Part]:
    if address.startswith(HUB):
        return read_hub(address.removeprefix(HUB), split, source, may_hold_splits=may_hold_splits)
    path = Path(address)
    try:
        found = path.exists()
    except OSError as error:
        raise DataError(f"data.{split}: {path} cannot be read ({error.strerror})") from error
    if not found and any(sign in address for sign in "*?["):
        return [_open_shards(address, split, source)]
    if not found:
        raise DataError(f"data.{split}: {_missing(path)}")
    if path.is_file():
        return _open_file(path, split, source, may_hold_splits=may_hold_splits)
    if is_saved(path):
        return read_saved(path, split, source, may_hold_splits=may_hold_splits)
    tables = split_tables(path)
    if tables and may_hold_splits:
        return [read_table(paths, name, source) for name, paths in tables.items()]
    if split in tables:
        return [read_table(tables[split], split, source)]
    folders = split_folders(path) if may_hold_splits else {}
    if folders:
        return [read_folder(folder, name) for name, folder in folders.items()]
    return [read_folder(path, split)]


def _open_shards(pattern: str, split: Split, source: DataSource) -> Part:
    """One table in several files, named by a pattern such as ``data/train-*.parquet``."""
    paths = [Path(name) for name in sorted(glob.glob(pattern))]
    if not paths:
        raise DataError(f"data.{split}: nothing matches {pattern}")
    odd = [path for path in paths if path.suffix.lower() not in TABLES]
    if odd:
        raise DataError(f"data.{split}: {pattern} matches {odd[0]}, but only tables ({', '.join(TABLES)}) may be many")
    return read_table(paths, split, source)


def _open_file(path: Path, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Part]:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return [read_table([path], split, source)]
    if suffix == ".npz":
        return read_arrays(path, split, source, may_hold_splits=may_hold_splits)
    known = "a folder, .csv, .jsonl, .parquet, .npz or hub:owner/name"
    raise DataError(f"data.{split}: {path} is not a kind of data Sartor reads; give {known}")


def _missing(path: Path) -> str:
    """Says how far a path exists and what is nearest to the first part that does not."""
    parent = path
    while not parent.parent.is_dir() and parent.parent != parent:
        parent = parent.parent
    names = sorted(child.name for child in parent.parent.iterdir()) if parent.parent.is_dir() else []
    near = nearest(parent.name, names)
    if near:
        return f"{path} does not exist. Did you mean {parent.parent / near}?"
    shown = ", ".join(names[:8]) or "nothing"
    return f"{path} does not exist. {parent.parent} holds {shown}{' …' if len(names) > 8 else ''}."
