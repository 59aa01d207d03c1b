"""Reads tables of who met what and when: which table, which columns, and every row that can be used."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.reading.interactions import EXAMPLES, SPLITS, Interactions
from sartor.reading.locate import open_tables
from sartor.reading.sample import SPLIT_NAMES, label_text
from sartor.reading.tables import Table, file_table, is_table, pick_columns, split_tables
from sartor.types import DataProblem, DataSource

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
EVENT_TABLES = (
    *("ratings", "interactions", "events", "clicks", "views", "purchases", "transactions", "orders", "reviews"),
    *("plays", "listens"),
)


def event_tables(source: DataSource) -> list[Table]:
    """The tables of interactions; of a folder with several tables, the one that is named like one.

    Raises:
        DataError: there is no such table.
    """
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


def gather(
    tables: Sequence[Table], source: DataSource, notes: list[DataProblem]
) -> tuple[Interactions, dict[str, str]]:
    """All rows of all tables, and the columns of the last: role (``user``, ``item`` …) -> column.

    Rows that cannot be used are left out and noted.

    Raises:
        DataError: there is no such column, or no usable row.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows: list[tuple[int, int, float, float, int]] = []
    broken: list[str] = []
    chosen: dict[str, str] = {}
    timed = True
    for table in tables:
        chosen = _columns(table, source, notes)
        timed = timed and "time" in chosen
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
        notes.append(DataProblem("BROKEN", "train", len(broken), sentence, tuple(broken[:EXAMPLES])))
    if not rows:
        raise DataError(f"{tables[0].title}: there is no usable row" + (f" ({broken[0]})" if broken else ""))
    if not timed:
        sentence = "there is no column of times, so the rows are taken to be in the order in which things happened"
        notes.append(DataProblem("NO_TIMES", "train", 1, sentence))
    user_of, item_of, ratings, times, splits = (np.array(column) for column in zip(*rows, strict=True))
    order = times if timed else np.arange(len(rows), dtype=np.float64)
    return Interactions(
        list(users), list(items), user_of, item_of, ratings.astype(np.float64), order, splits.astype(np.int8)
    ), chosen


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
