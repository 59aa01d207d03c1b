"""Reads interactions and ratings: a table of who met what and when, and one of the items' titles where there is one."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.reading import interactions
from sartor.reading.interactions import SPLITS, Interactions
from sartor.reading.locate import open_tables
from sartor.reading.sample import SPLIT_NAMES, Part, label_text
from sartor.reading.tables import Table, column_names, file_table, is_table, pick_columns, read_rows, split_tables
from sartor.types import DataProblem, DataSource

OPTIONS = frozenset({"items", "split", "history", "user", "item", "rating", "time"})
"""Keys of ``data``: the items' table; how to cut; the longest history; columns of the table of interactions."""

LONGEST_HISTORY = 512
USER_NAMES = (
    *("userid", "user_id", "user", "uid", "username", "customerid", "customer_id", "customer", "visitorid"),
    *("visitor_id", "reviewerid", "reviewer_id", "member_id", "account_id", "sessionid", "session_id", "session"),
)
ITEM_NAMES = (
    *("movieid", "movie_id", "itemid", "item_id", "productid", "product_id", "bookid", "book_id", "articleid"),
    *("article_id", "trackid", "track_id", "songid", "song_id", "artistid", "artist_id", "parent_asin", "asin", "isbn"),
    *("sku", "iid", "item", "movie", "product", "book", "article", "track", "song", "title"),
)
RATING_NAMES = ("rating", "ratings", "score", "stars", "overall")
TIME_NAMES = (
    *("timestamp", "time", "ts", "unixreviewtime", "unix_time", "datetime", "date", "event_time", "created_at"),
    *("rated_at", "order_date", "purchase_date"),
)
TITLE_NAMES = (
    "title",
    "name",
    "product_name",
    "item_name",
    "movie_title",
    "productname",
    "product_title",
    "book_title",
)
EVENT_TABLES = (
    *("ratings", "interactions", "events", "clicks", "views", "purchases", "transactions", "orders", "reviews"),
    *("plays", "listens"),
)
ITEM_TABLES = ("items", "movies", "products", "books", "articles", "tracks", "songs", "artists", "catalogue", "catalog")


def read_ratings(source: DataSource) -> list[Part]:
    """The three parts of a source of interactions, cut in time per user where it does not say how (``data.split``).

    A column ``split``, or tables for each split, are followed. Every sample is a user; see
    :func:`sartor.reading.interactions.samples`. ``Part.names`` are the items that train holds, the most frequent first:
    titles where the items' table has them and they are unique, else identifiers.

    Raises:
        DataError: no such tables or columns, or too little to cut.
    """
    how, longest = _options(source)
    notes: list[DataProblem] = []
    tables = _tables(source)
    events, item_column = _gather(tables, source, notes)
    events = interactions.cleaned(events, notes)
    given = sorted({SPLITS[number] for number in np.unique(events.split)})
    events = interactions.cut(events, how) if "train" in given else events
    titles = _titles(source, tables[0].root, item_column)
    names = _names(events.items, titles)
    train = Counter(np.asarray(names, object)[events.item[events.split == interactions.TRAIN]].tolist())
    catalogue = tuple(interactions.catalogue_order(train))
    problems = notes + (interactions.remarks(events) if "train" in given else [])
    parts = []
    for number, split in enumerate(SPLITS):
        if (events.split == number).any():
            found = interactions.samples(events, names, number, longest)
            mine = [problem for problem in problems if problem.split == split]
            parts.append(Part(split, tables[0].title, tables[0].root, found, catalogue, mine))
    return parts


def _options(source: DataSource) -> tuple[str, int]:
    how, longest = source.options.get("split", "last"), source.options.get("history", LONGEST_HISTORY)
    if how not in ("last", "time"):
        raise DataError(f"data.split is {how!r}; it must be last (each user's last two) or time (the same for all)")
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        raise DataError(f"data.history is {longest!r}; it must be a whole number of interactions, e.g. 200")
    return how, longest


def _tables(source: DataSource) -> list[Table]:
    """The tables of interactions; of a folder with several tables, the one that is named like one."""
    folder = Path(source.train)
    alone = not source.validation and not source.test
    if not (alone and folder.is_dir()) or split_tables(folder):
        return open_tables(source)
    tables = {path.name.lower().split(".")[0]: path for path in sorted(folder.iterdir()) if is_table(path)}
    for stem in EVENT_TABLES:
        if stem in tables:
            return [file_table([tables[stem]], "train")]
    if len(tables) == 1:
        return [file_table(list(tables.values()), "train")]
    held = ", ".join(path.name for path in tables.values()) or "no table"
    raise DataError(f"data.train: {folder} holds {held}; name the table of interactions ratings or events, or give it")


def _gather(tables: Sequence[Table], source: DataSource, notes: list[DataProblem]) -> tuple[Interactions, str]:
    """All rows of all tables, and the item column's name."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows: list[tuple[int, int, float, float, int]] = []
    broken: list[str] = []
    item_column = ""
    timed = True
    for table in tables:
        chosen = _columns(table, source, notes)
        item_column, timed = chosen["item"], timed and "time" in chosen
        for place, row in table.rows(list(chosen.values())):
            try:
                user, item = label_text(row.get(chosen["user"])), label_text(row.get(chosen["item"]))
                if user is None or item is None:
                    raise ValueError("it names no user or no item")
                rating = _number(row.get(chosen["rating"])) if "rating" in chosen else math.nan
                time = moment(row.get(chosen["time"])) if "time" in chosen else float(len(rows))
            except ValueError as error:
                broken.append(f"{place}: {error}")
                continue
            split = _split(row.get(chosen["split"]), place) if "split" in chosen else SPLITS.index(table.split)
            number = users.setdefault(user, len(users)), items.setdefault(item, len(items))
            rows.append((*number, rating, time, split))
    if broken:
        sentence = f"{len(broken)} rows cannot be used and were left out; correct or remove them"
        notes.append(DataProblem("BROKEN", "train", len(broken), sentence, tuple(broken[: interactions.EXAMPLES])))
    if not rows:
        raise DataError(f"{tables[0].title}: there is no usable row" + (f" ({broken[0]})" if broken else ""))
    if not timed:
        sentence = "there is no column of times, so the rows are taken to be in the order in which things happened"
        notes.append(DataProblem("NO_TIMES", "train", 1, sentence))
    user_of, item_of, ratings, times, splits = (np.array(column) for column in zip(*rows, strict=True))
    order = times if timed else np.arange(len(rows), dtype=np.float64)
    return Interactions(
        list(users), list(items), user_of, item_of, ratings.astype(np.float64), order, splits.astype(np.int8)
    ), item_column


def _columns(table: Table, source: DataSource, notes: list[DataProblem]) -> dict[str, str]:
    """Role -> column: user and item always, rating, time and split where there is one."""
    options = source.options
    wanted = {"user": (str(options.get("user", "")), USER_NAMES), "item": (str(options.get("item", "")), ITEM_NAMES)}
    for role, usual in (("rating", RATING_NAMES), ("time", TIME_NAMES)):
        if options.get(role) or any(column.lower() in usual for column in table.columns):
            wanted[role] = (str(options.get(role, "")), usual)
    chosen = pick_columns(table.columns, wanted, table.name, table.split, notes)
    split = next((column for column in table.columns if column.lower() == "split"), "")
    return chosen | ({"split": split} if split else {})


def _split(value: Any, place: str) -> int:
    name = str(value).strip().lower()
    if name not in SPLIT_NAMES:
        raise DataError(f"{place}: its split is {value!r}; it must be one of train, validation and test")
    return SPLITS.index(SPLIT_NAMES[name])


def _number(value: Any) -> float:
    if value is None or value == "":
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"its rating {value!r} is not a number") from None


def moment(value: Any) -> float:
    """A time as seconds or whatever unit numbers are in; text may be a number or a date as ISO 8601 writes it.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, (datetime.datetime, datetime.date)):
        value = value.isoformat()
    try:
        found = float(value)
    except (TypeError, ValueError):
        try:
            read = datetime.datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise ValueError(f"its time {value!r} is neither a number nor a date such as 2026-03-31") from None
        found = (read if read.tzinfo else read.replace(tzinfo=datetime.UTC)).timestamp()
    if not math.isfinite(found):
        raise ValueError(f"its time {value!r} is not finite")
    return found


def _titles(source: DataSource, folder: Path, item_column: str) -> dict[str, str]:
    """Identifier -> title, from ``data.items`` or a table beside the interactions that is named like one of items.

    Raises:
        DataError: ``data.items`` does not exist, or has no identifiers or titles.
    """
    named = str(source.options.get("items", ""))
    if named:
        path = next((place for place in (folder / named, Path(named)) if place.is_file()), None)
        if path is None:
            raise DataError(f"data.items: {named} is neither in {folder} nor a path to a table")
    else:
        tables = sorted(folder.iterdir()) if folder.is_dir() else []
        found = {table.name.lower().split(".")[0]: table for table in tables if is_table(table)}
        path = next((found[stem] for stem in ITEM_TABLES if stem in found), None)
        if path is None:
            return {}
    columns = column_names(path)
    lower = {column.lower(): column for column in reversed(columns)}
    key = next((lower[name] for name in (item_column.lower(), *ITEM_NAMES, "id") if name in lower), "")
    title = next((lower[name] for name in TITLE_NAMES if name in lower and lower[name] != key), "")
    if not key or not title:
        if not named:
            return {}
        raise DataError(f"data.items: {path.name} has {', '.join(columns)}; it must have {item_column} and a title")
    rows = ((label_text(row.get(key)), label_text(row.get(title))) for row in read_rows(path, [key, title]))
    return {item: text for item, text in rows if item and text}


def _names(items: Sequence[str], titles: Mapping[str, str]) -> list[str]:
    """A name for every item: its title where no other item has the same one, else with its identifier behind it."""
    shared = Counter(titles.values())
    taken = set(items)

    def name(item: str) -> str:
        title = titles.get(item, item)
        return title if title == item or (shared[title] == 1 and title not in taken) else f"{title} [{item}]"

    return [name(item) for item in items]
