"""Finds out what a data source is and opens the reader that fits it."""

from __future__ import annotations

import glob
from pathlib import Path

from sartor.errors import DataError, nearest
from sartor.reading.arrays import read_arrays
from sartor.reading.folders import read_folder, split_folders
from sartor.reading.hub import HUB, hub_rows, is_saved, saved_rows
from sartor.reading.picture_tables import read_pictures
from sartor.reading.sample import Part
from sartor.reading.tables import TABLES, Table, file_table, is_table, shards_in, split_tables
from sartor.types import DataSource, Split

PATTERN_SIGNS = "*?["
SHOWN = 8  # names listed where one of them was to be given


def locate(source: DataSource) -> list[Part]:
    """The parts of a source of labelled pictures: those given, and those ``train`` itself holds where none is.

    Raises:
        DataError: something is missing or of no known kind; the nearest existing name is offered.
    """
    return [part for address, split, alone in _given(source) for part in _pictures(address, split, source, alone)]


def open_tables(source: DataSource) -> list[Table]:
    """The splits of a source of tables, whatever holds them: files, patterns of files, folders, data sets of the hub.

    Raises:
        DataError: something is missing or no table; the nearest existing name is offered.
    """
    found: list[Table] = []
    for address, split, alone in _given(source):
        if address.startswith(HUB):
            found += hub_rows(address, split, source, may_hold_splits=alone)
        elif is_saved(existing(address, split)[0]):
            found += saved_rows(Path(address), split, may_hold_splits=alone)
        else:
            found += [file_table(paths, name) for name, paths in _table_files(address, split, alone)]
    return found


def table_sources(source: DataSource) -> list[tuple[Split, list[Path]]]:
    """The table files of every split.

    Each may be given as a file, a pattern such as ``part-*.csv``, or a folder; a folder given as ``train`` alone may
    hold tables of all splits (``train.csv`` …).

    Raises:
        DataError: something is missing or no table; the nearest existing name is offered.
    """
    return [found for address, split, alone in _given(source) for found in _table_files(address, split, alone)]


def _given(source: DataSource) -> list[tuple[str, Split, bool]]:
    """Address and split of what is given, and whether it may hold further splits."""
    alone = not source.validation and not source.test
    others: dict[Split, str] = {"validation": source.validation, "test": source.test}
    return [(source.train, "train", alone), *((address, name, False) for name, address in others.items() if address)]


def existing(address: str, split: Split) -> list[Path]:
    """The path behind an address, or the files that a pattern matches.

    Raises:
        DataError: there is nothing; the nearest existing name is offered.
    """
    path = Path(address)
    try:
        found = path.exists()
    except OSError as error:
        raise DataError(f"data.{split}: {path} cannot be read ({error.strerror})") from error
    if found:
        return [path]
    if not any(sign in address for sign in PATTERN_SIGNS):
        raise DataError(f"data.{split}: {_missing(path)}")
    matches = [Path(name) for name in sorted(glob.glob(address))]
    if not matches:
        raise DataError(f"data.{split}: nothing matches {address}")
    return matches


def _table_files(address: str, split: Split, may_hold_splits: bool) -> list[tuple[Split, list[Path]]]:
    if address.startswith(HUB):
        raise DataError(
            f"data.{split}: {address} is a data set of the hub, but files are needed; give a file or folder"
        )
    paths = existing(address, split)
    if not paths[0].is_dir():
        return [(split, _all_tables(paths, address, split))]
    tables = tables_in(paths[0], split, may_hold_splits)
    if tables:
        return list(tables.items())
    single = sorted(path for path in paths[0].iterdir() if path.is_file() and is_table(path))
    if len(single) == 1:
        return [(split, single)]
    held = ", ".join(path.name for path in single[:SHOWN]) or "no table"
    raise DataError(f"data.{split}: {paths[0]} holds {held}; name its tables after splits (train.csv), or give one")


def tables_in(folder: Path, split: Split, may_hold_splits: bool) -> dict[Split, list[Path]]:
    """The tables of a folder by split: named after splits, or shards of any name in it or in folders named so.

    Raises:
        DataError: shards of several kinds lie together.
    """
    named = split_tables(folder)
    if named and may_hold_splits:
        return named
    if split in named:
        return {split: named[split]}
    folders = split_folders(folder) if may_hold_splits else {}
    found = {name: shards_in(inner) for name, inner in (folders or {split: folder}).items()}
    return found if all(found.values()) else {}


def _all_tables(paths: list[Path], address: str, split: Split) -> list[Path]:
    """The paths themselves where all of them are tables."""
    kinds = ", ".join(TABLES)
    odd = [path for path in paths if not is_table(path)]
    if odd and len(paths) > 1:
        raise DataError(f"data.{split}: {address} matches {odd[0]}, but only tables ({kinds}) may be many")
    if odd:
        raise DataError(f"data.{split}: {odd[0]} is not a table Sartor reads; give {kinds} or hub:owner/name")
    return paths


def _pictures(address: str, split: Split, source: DataSource, may_hold_splits: bool) -> list[Part]:
    if address.startswith(HUB):
        tables = hub_rows(address, split, source, may_hold_splits=may_hold_splits)
        return [read_pictures(table, source) for table in tables]
    paths = existing(address, split)
    path = paths[0]
    if len(paths) > 1 or (path.is_file() and is_table(path)):
        return [read_pictures(file_table(_all_tables(paths, address, split), split), source)]
    if path.is_file() and path.suffix.lower() == ".npz":
        return read_arrays(path, split, source, may_hold_splits=may_hold_splits)
    if path.is_file():
        known = "a folder, .csv, .jsonl, .parquet, .arrow, .tar, .npz or hub:owner/name"
        raise DataError(f"data.{split}: {path} is not a kind of data Sartor reads; give {known}")
    if is_saved(path):
        return [read_pictures(table, source) for table in saved_rows(path, split, may_hold_splits=may_hold_splits)]
    held = tables_in(path, split, may_hold_splits)
    if held:
        return [read_pictures(file_table(files, name), source) for name, files in held.items()]
    folders = split_folders(path) if may_hold_splits else {}
    if folders:
        return [read_folder(folder, name) for name, folder in folders.items()]
    return [read_folder(path, split)]


def _missing(path: Path) -> str:
    """Says how far a path exists and what is nearest to the first part that does not."""
    parent = path
    while not parent.parent.is_dir() and parent.parent != parent:
        parent = parent.parent
    names = sorted(child.name for child in parent.parent.iterdir()) if parent.parent.is_dir() else []
    near = nearest(parent.name, names)
    if near:
        return f"{path} does not exist. Did you mean {parent.parent / near}?"
    shown = ", ".join(names[:SHOWN]) or "nothing"
    return f"{path} does not exist. {parent.parent} holds {shown}{' …' if len(names) > SHOWN else ''}."
