"""Reads interactions and ratings for lists of recommendations, with tables of items and users beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.reading import interactions
from sartor.reading.event_tables import ITEM_NAMES, USER_NAMES, event_tables, gather
from sartor.reading.features import plain
from sartor.reading.interactions import SPLITS, TRAIN, Interactions, Told
from sartor.reading.sample import Part
from sartor.reading.side_tables import SideTable, names_of, read_side_table
from sartor.types import DataProblem, DataSource

OPTIONS = frozenset({"items", "users", "new_items", "split", "history", "user", "item", "rating", "time"})
"""Keys of ``data``: tables of items and users; share of items kept out of train; how to cut; the longest history;
columns of the table of interactions.
"""

LONGEST_HISTORY = 512
MOST_HELD_OUT = 0.5
MOST_NEW_ITEMS = 50_000  # of the items' table that train lacks: a graph holds every item


def read_ratings(source: DataSource) -> list[Part]:
    """The three parts of a source of interactions, cut in time per user where it does not say how (``data.split``).

    A column ``split``, or tables for each split, are followed. Every sample is a user; see
    :func:`sartor.reading.interactions.samples`. ``Part.names`` are the items that train holds, the most frequent first,
    and after them those that have features only: titles where the items' table has them and they are unique, else
    identifiers. ``Part.facts`` says what features there are.

    Raises:
        DataError: no such tables or columns, or too little to cut.
    """
    how, longest, held_out = _options(source)
    notes: list[DataProblem] = []
    tables = event_tables(source)
    events, columns = gather(tables, source, notes)
    events = interactions.cleaned(events, notes)
    given = sorted({SPLITS[number] for number in np.unique(events.split)})
    events = interactions.cut(events, how) if "train" in given else events
    items = read_side_table(source, "items", tables[0].root, columns["item"], ITEM_NAMES, notes)
    users = read_side_table(source, "users", tables[0].root, columns["user"], USER_NAMES, notes)
    if held_out:
        if items.features is None:
            raise DataError(
                f"data.new_items is {held_out:g}, but items have no features by which new ones could be recommended; "
                "name a table of them with data.items"
            )
        events = interactions.hold_out_items(events, held_out, notes)
    new = _new_items(events, items, notes)
    named = names_of([*events.items, *new], items.titles)
    names = named[: len(events.items)]
    train = Counter(np.asarray(names, object)[events.item[events.split == TRAIN]].tolist())
    fresh = dict(sorted(_named_new(events, items, new, named)))
    catalogue = (*interactions.catalogue_order(train), *fresh)
    told = _told(items, users, fresh)
    problems = [*notes, *_lacking(events, items, users)]
    problems += interactions.remarks(events, told) if "train" in given else []
    parts = []
    for number, split in enumerate(SPLITS):
        if (events.split == number).any():
            found = interactions.samples(events, names, number, longest, told)
            mine = [problem for problem in problems if problem.split == split]
            facts = _facts(items, users, len(fresh)) if split == "train" else {}
            parts.append(Part(split, tables[0].title, tables[0].root, found, catalogue, mine, facts))
    return parts


def _new_items(events: Interactions, items: SideTable, notes: list[DataProblem]) -> list[str]:
    """Identifiers in the items' table that no interaction has but features have."""
    if items.features is None:
        return []
    met = set(events.items)
    new = [item for item, tokens in items.features.rows.items() if tokens and item not in met]
    if len(new) > MOST_NEW_ITEMS:
        sentence = f"{items.name}: {len(new)} items were met by nobody; {MOST_NEW_ITEMS} of them are recommended as new"
        notes.append(DataProblem("MORE_NEW_ITEMS", "train", len(new) - MOST_NEW_ITEMS, sentence))
    return new[:MOST_NEW_ITEMS]


def _named_new(
    events: Interactions, items: SideTable, new: Sequence[str], named: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Name and identifier of every item with features that train lacks, met in another split or by nobody."""
    if items.features is None:
        return
    held = set(events.item[events.split == TRAIN].tolist())
    for number, identifier in enumerate([*events.items, *new]):
        if number not in held and items.features.rows.get(identifier):
            yield named[number], identifier


def _told(items: SideTable, users: SideTable, fresh: Mapping[str, str]) -> Told:
    """What samples tell of items and users; ``fresh``: name -> identifier of items that train lacks."""
    first: dict[str, Any] = {}
    if items.features:
        first["item_tokens"] = items.features.tokens
    if users.features:
        first |= {"user_columns": plain(users.features.columns), "user_tokens": users.features.tokens}
    rows = items.features.rows if items.features else {}
    cells = users.cells if users.features else {}
    return Told(rows, {identifier: name for name, identifier in fresh.items()}, cells, first)


def _lacking(events: Interactions, items: SideTable, users: SideTable) -> Iterator[DataProblem]:
    """Items and users of interactions without features, where the others have some."""
    for noun, table, found in (("items", items, events.items), ("users", users, events.users)):
        if table.features is not None:
            without = [one for one in found if not table.features.rows.get(one)]
            if without:
                sentence = f"{len(without)} of {len(found)} {noun} have no features in {table.name}"
                yield DataProblem(
                    "NO_FEATURES", "train", len(without), sentence, tuple(without[: interactions.EXAMPLES])
                )


def _facts(items: SideTable, users: SideTable, new: int) -> dict[str, Any]:
    """Columns in words; ``features``: tokens of items, most of one, tokens of users, most of one, new items."""
    facts: dict[str, Any] = {}
    numbers = []
    for noun, table in (("item features", items), ("user features", users)):
        if table.features is None:
            numbers += [0, 0]
            continue
        facts[noun] = dict(table.features.said)
        numbers += [len(table.features.tokens), max(map(len, table.features.rows.values()))]
    return {**facts, "features": [*numbers, new]} if facts else {}


def _options(source: DataSource) -> tuple[str, int, float]:
    how, longest = source.options.get("split", "last"), source.options.get("history", LONGEST_HISTORY)
    if how not in ("last", "time"):
        raise DataError(f"data.split is {how!r}; it must be last (each user's last two) or time (the same for all)")
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        raise DataError(f"data.history is {longest!r}; it must be a whole number of interactions, e.g. 200")
    held_out = source.options.get("new_items", 0.0)
    if isinstance(held_out, bool) or not isinstance(held_out, (int, float)) or not 0 <= held_out <= MOST_HELD_OUT:
        raise DataError(
            f"data.new_items is {held_out!r}; it must be a share of the items up to {MOST_HELD_OUT}, e.g. 0.1"
        )
    return how, longest, float(held_out)
