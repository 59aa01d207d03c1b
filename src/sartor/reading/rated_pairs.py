"""Reads ratings one by one: who rated what, and how; the last of each user are set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from sartor.errors import DataError
from sartor.reading import interactions
from sartor.reading.event_tables import ITEM_NAMES, event_tables, gather
from sartor.reading.interactions import SPLITS, TRAIN, Interactions
from sartor.reading.sample import Part, Sample
from sartor.reading.side_tables import names_of, read_side_table
from sartor.types import DataProblem, DataSource

OPTIONS = frozenset({"items", "split", "user", "item", "rating", "time"})
"""Keys of ``data``: the table with the items' titles; how to cut; columns of the table of ratings."""


def read_rated_pairs(source: DataSource) -> list[Part]:
    """The three parts of a table of ratings, cut in time per user where it does not say how (``data.split``).

    A sample is one rating: raw is ``{"user": …, "item": …}``, in train with the item's ``id`` where it is called by a
    title; the label is the rating. ``Part.facts`` holds ``rated``: items of train, and the most ratings of one user.

    Raises:
        DataError: no such tables or columns, no ratings, or too little to cut.
    """
    how = source.options.get("split", "last")
    if how not in ("last", "time"):
        raise DataError(f"data.split is {how!r}; it must be last (each user's last two) or time (the same for all)")
    notes: list[DataProblem] = []
    tables = event_tables(source)
    events, columns = gather(tables, source, notes)
    unrated = np.isnan(events.rating)
    if unrated.all():
        raise DataError(
            f"{tables[0].name}: there is no column of ratings; name it with data.rating, or ask for lists of items "
            "without ratings (task: recommendation)"
        )
    if unrated.any():
        sentence = f"{int(unrated.sum())} rows have no rating and were left out"
        notes.append(DataProblem("NO_RATING", "train", int(unrated.sum()), sentence))
    events = interactions.cleaned(events.take(np.flatnonzero(~unrated)), notes)
    given = {SPLITS[number] for number in np.unique(events.split)}
    events = interactions.cut(events, how) if "train" in given else events
    items = read_side_table(source, "items", tables[0].root, columns["item"], ITEM_NAMES, notes)
    names = names_of(events.items, items.titles)
    notes += _unknown(events) if "train" in given else []
    train = events.split == TRAIN
    rated = [len(np.unique(events.item[train])), int(np.bincount(events.user[train], minlength=1).max())]
    parts = []
    for number, split in enumerate(SPLITS):
        if (events.split == number).any():
            mine = [note for note in notes if note.split == split]
            found = _samples(events, names, number)
            parts.append(Part(split, tables[0].title, tables[0].root, found, (), mine, {"rated": rated}))
    return parts


def _unknown(events: Interactions) -> Iterator[DataProblem]:
    """Ratings whose item or user train lacks."""
    train = events.split == TRAIN
    for number, split in enumerate(SPLITS[1:], 1):
        here = events.split == number
        for noun, of in (("items", events.item), ("users", events.user)):
            lacking = np.flatnonzero(here & ~np.isin(of, of[train]))
            if len(lacking):
                sentence = f"{len(lacking)} of {int(here.sum())} ratings of {split} are of {noun} that train lacks"
                code = f"COLD_{noun[:-1].upper()}"
                yield DataProblem(code, split, len(lacking), sentence, events.says(lacking))


def _samples(events: Interactions, names: Sequence[str], split: int) -> Iterator[Sample]:
    for row in np.flatnonzero(events.split == split).tolist():
        user, item = events.users[events.user[row]], events.items[events.item[row]]
        name = names[events.item[row]]
        raw = {"user": user, "item": name} | ({"id": item} if split == TRAIN and item != name else {})
        content = json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode()
        yield Sample(f"user {user}, item {item}", repr(float(events.rating[row])), content)
