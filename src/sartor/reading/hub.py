"""Reads Hugging Face ``datasets``: a folder saved with ``save_to_disk``, or a data set of the hub by its id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sartor.errors import DataError, MissingExtra
from sartor.reading.sample import SPLIT_NAMES, Part, Sample
from sartor.reading.tables import choose_columns, table_samples
from sartor.types import DataProblem, DataSource, Split


def is_saved(folder: Path) -> bool:
    """True for a folder written by ``save_to_disk``."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def read_saved(folder: Path, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Part]:
    """Parts of a saved data set; nothing is downloaded."""
    library = _library()
    try:
        loaded = library.load_from_disk(str(folder))
    except Exception as error:  # the library raises whatever its file formats raise
        raise DataError(f"{folder}: the saved data set cannot be read ({_short(error)})") from error
    return _parts(loaded, str(folder), folder, split, source, may_hold_splits)


def read_hub(address: str, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Part]:
    """Parts of a data set of the hub: ``owner/name``, or ``owner/name:split``.

    ``data.options`` may hold ``revision`` and ``config``. Code that comes with a data set is never run.
    """
    library = _library()
    name, _, part = address.partition(":")
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
        return [_part(loaded[part], f"hub:{name}", Path.cwd(), split, source)]
    return _parts(loaded, f"hub:{name}", Path.cwd(), split, source, may_hold_splits)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("reading Hugging Face data sets", "hub", "datasets") from None
    datasets.disable_progress_bars()
    return datasets


def _parts(loaded: Any, title: str, root: Path, split: Split, source: DataSource, may_hold_splits: bool) -> list[Part]:
    if not hasattr(loaded, "keys"):  # a single Dataset
        return [_part(loaded, title, root, split, source)]
    named = {SPLIT_NAMES[name.lower()]: name for name in loaded if name.lower() in SPLIT_NAMES}
    wanted = [split] if not may_hold_splits or split not in named else list(named)
    if split not in named:
        if len(loaded) != 1:
            raise DataError(f"{title}: it has no split {split!r}; it has {', '.join(loaded)}")
        named[split] = next(iter(loaded))
    return [_part(loaded[named[name]], title, root, name, source) for name in wanted]


def _part(table: Any, title: str, root: Path, split: Split, source: DataSource) -> Part:
    notes: list[DataProblem] = []
    chosen = choose_columns(table.column_names, source, title, split, notes)
    features = table.features
    names = tuple(getattr(features[chosen[1]], "names", None) or ())
    table = table.select_columns(list(chosen))
    if hasattr(features[chosen[0]], "decode"):  # keep the file's bytes: decoding is ours, within limits
        feature = type(features[chosen[0]])(decode=False)
        table = table.cast_column(chosen[0], feature)
    return Part(split, f"{title} {split}", root, _samples(table, title, chosen, names), names, notes)


def _samples(table: Any, title: str, chosen: tuple[str, str], names: tuple[str, ...]) -> Iterator[Sample]:
    return table_samples(title.rsplit("/", 1)[-1], iter(table), chosen, names)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
