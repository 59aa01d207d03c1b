"""Reads the tables beside interactions: what items and users are called, and their features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sartor.errors import DataError
from sartor.reading.features import Features, find_features
from sartor.reading.records import plain_value
from sartor.reading.sample import label_text
from sartor.reading.tables import column_names, is_table, read_rows
from sartor.types import DataProblem, DataSource

TITLE_NAMES = (
    *("title", "name", "product_name", "item_name", "movie_title", "productname", "product_title", "book_title"),
)
TABLES = {
    "items": ("items", "movies", "products", "books", "articles", "tracks", "songs", "artists", "catalogue", "catalog"),
    "users": ("users", "customers", "members", "visitors", "accounts"),
}
"""Key of ``data`` -> names of tables that are taken for it where none is named."""

EXAMPLES = 5


@dataclass(frozen=True)
class SideTable:
    """A table of items or users.

    Args:
        name: of its file; empty where there is no such table.
        titles: identifier -> title; empty where it has none.
        features: of its rows; None where no column is one.
        cells: identifier -> the cells of columns that are features.
    """

    name: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    features: Features | None = None
    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_side_table(
    source: DataSource,
    kind: Literal["items", "users"],
    folder: Path,
    column: str,
    usual: Sequence[str],
    notes: list[DataProblem],
) -> SideTable:
    """The table that ``data.items`` or ``data.users`` names, else one beside the interactions that is named like one.

    Args:
        source: names it.
        kind: what its rows are.
        folder: where the interactions are.
        column: what identifiers are called in the interactions.
        usual: what else they may be called.
        notes: takes what is odd.

    Raises:
        DataError: the table that is named does not exist, has no identifiers, or nothing beside them.
    """
    named = str(source.options.get(kind, ""))
    path = _path(named, kind, folder)
    if path is None:
        return SideTable()
    columns = column_names(path)
    lower = {name.lower(): name for name in reversed(columns)}
    key = next((lower[name] for name in (column.lower(), *usual, "id") if name in lower), "")
    if not key or len(columns) < 2:
        if not named:
            return SideTable()
        raise DataError(
            f"data.{kind}: {path.name} has {', '.join(columns)}; it must have {column}, which tells its rows apart, "
            "and a title or features"
        )
    rows = _rows(path, key, columns, kind, notes)
    title = next((lower[name] for name in TITLE_NAMES if name in lower and lower[name] != key), "")
    titles = {identifier: label_text(row.get(title)) for identifier, row in rows.items()} if title else {}
    found = find_features(rows, [name for name in columns if name != key], title)
    used = [one.name for one in found.columns]
    cells = {
        identifier: {name: row[name] for name in used if row[name] is not None} for identifier, row in rows.items()
    }
    known = {identifier: text for identifier, text in titles.items() if text}
    return SideTable(path.name, known, found if found.tokens else None, cells)


def _path(named: str, kind: str, folder: Path) -> Path | None:
    if named:
        path = next((place for place in (folder / named, Path(named)) if place.is_file()), None)
        if path is None:
            raise DataError(f"data.{kind}: {named} is neither in {folder} nor a path to a table")
        if not is_table(path):
            raise DataError(f"data.{kind}: {path.name} is no table; give CSV, TSV, JSONL or Parquet")
        return path
    tables = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {table.name.lower().split(".")[0]: table for table in tables if is_table(table)}
    return next((found[stem] for stem in TABLES[kind] if stem in found), None)


def _rows(
    path: Path, key: str, columns: Sequence[str], kind: str, notes: list[DataProblem]
) -> dict[str, dict[str, Any]]:
    """Identifier -> row; of repeated identifiers the first, those without one are left out."""
    rows: dict[str, dict[str, Any]] = {}
    repeated: Counter[str] = Counter()
    nameless = 0
    for row in read_rows(path, columns):
        identifier = label_text(row.get(key))
        if identifier is None:
            nameless += 1
        elif identifier in rows:
            repeated[identifier] += 1
        else:
            rows[identifier] = {name: _plain(row.get(name)) for name in columns if name != key}
    if repeated:
        sentence = f"{path.name}: {sum(repeated.values())} rows repeat an identifier; the first of each was used"
        examples = tuple(f"{key} {identifier}" for identifier in list(repeated)[:EXAMPLES])
        notes.append(DataProblem("REPEATED_ID", "train", sum(repeated.values()), sentence, examples))
    if nameless:
        sentence = f"{path.name}: {nameless} rows have no {key} and were left out"
        notes.append(DataProblem("NO_ID", "train", nameless, sentence))
    if not rows:
        raise DataError(f"data.{kind}: {path.name} has no row with a {key}")
    return rows


def _plain(cell: Any) -> Any:
    """A cell as JSON holds it; lists stay lists."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    return [plain_value(one) for one in cell] if isinstance(cell, (list, tuple)) else plain_value(cell)


def names_of(items: Sequence[str], titles: Mapping[str, str]) -> list[str]:
    """A name for every item: its title where no other item has the same one, else with its identifier behind it."""
    shared = Counter(titles.values())
    taken = set(items)

    def name(item: str) -> str:
        title = titles.get(item, item)
        return title if title == item or (shared[title] == 1 and title not in taken) else f"{title} [{item}]"

    return [name(item) for item in items]
