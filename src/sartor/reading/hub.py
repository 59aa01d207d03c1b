"""Reads Hugging Face ``datasets``: a folder saved with ``save_to_disk``, or a data set of the hub by its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sartor.errors import DataError, MissingExtra
from sartor.reading.sample import SPLIT_NAMES
from sartor.reading.tables import Row, Table
from sartor.types import DataSource, Split

HUB = "hub:"


def is_saved(folder: Path) -> bool:
    """True for a folder written by ``save_to_disk``."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def saved_rows(folder: Path, split: Split, *, may_hold_splits: bool) -> list[Table]:
    """The splits of a saved data set as tables; nothing is downloaded."""
    library = _library()
    try:
        loaded = library.load_from_disk(str(folder))
    except Exception as error:  # the library raises whatever its file formats raise
        raise DataError(f"{folder}: the saved data set cannot be read ({_short(error)})") from error
    return _tables(loaded, str(folder), folder, split, may_hold_splits)


def hub_rows(address: str, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Table]:
    """The splits of a data set of the hub as tables: ``hub:owner/name``, or ``hub:owner/name:split``.

    ``data.options`` may hold ``revision`` and ``config``. Code that comes with a data set is never run.
    """
    library = _library()
    name, _, part = address.removeprefix(HUB).partition(":")
    options = {"revision": source.options.get("revision"), "name": source.options.get("config")}
    try:
        loaded = library.load_dataset(name, **{key: value for key, value in options.items() if value})
    except Exception as error:  # network, missing id, gated, unknown format: all from inside the library
        raise DataError(
            f"hub:{name} cannot be loaded ({_short(error)}); check the id and the network, or give a folder"
        ) from error
    if part:
        if part not in loaded:
            raise DataError(f"hub:{name} has no split {part!r}; it has {', '.join(loaded)}")
        return [_table(loaded[part], f"hub:{name}", Path.cwd(), split)]
    return _tables(loaded, f"hub:{name}", Path.cwd(), split, may_hold_splits)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("reading Hugging Face data sets", "hub", "datasets") from None
    datasets.disable_progress_bars()
    return datasets


def _tables(loaded: Any, title: str, root: Path, split: Split, may_hold_splits: bool) -> list[Table]:
    if not hasattr(loaded, "keys"):  # a single Dataset
        return [_table(loaded, title, root, split)]
    named = {SPLIT_NAMES[name.lower()]: name for name in loaded if name.lower() in SPLIT_NAMES}
    wanted = [split] if not may_hold_splits or split not in named else list(named)
    if split not in named:
        if len(loaded) != 1:
            raise DataError(f"{title}: it has no split {split!r}; it has {', '.join(loaded)}")
        named[split] = next(iter(loaded))
    return [_table(loaded[named[name]], title, root, name) for name in wanted]


def _table(loaded: Any, title: str, root: Path, split: Split) -> Table:
    place = title.rsplit("/", 1)[-1]

    def names(column: str) -> tuple[str, ...]:
        return tuple(getattr(loaded.features[column], "names", None) or ())

    def rows(columns: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
        chosen = loaded.select_columns(list(columns)) if columns else loaded
        for column, feature in chosen.features.items():
            if hasattr(feature, "decode"):  # keep the file's bytes: decoding is ours, within limits
                chosen = chosen.cast_column(column, type(feature)(decode=False))
        for number, row in enumerate(chosen, 1):
            yield f"{place} row {number}", row

    return Table(split, title, f"{title} {split}", root, tuple(loaded.column_names), names, rows)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
