"""Requests for a rating, and what preparing them takes: items by number, what every user rated. numpy only."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.reading.interactions import catalogue_order

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

FORM = '{"user": "…", "item": "…"} or {"history": [["item", rating], …], "item": "…"}'
LARGEST = 1 << 30  # bytes of an unpacked state

Rated = tuple[str, float]


@dataclass
class Question:
    """How a user would rate an item.

    Args:
        user: identifier; empty where none is given.
        item: name or identifier.
        history: items with their ratings, oldest first; None where the user's stored ratings are to be taken.
        identifier: the item's, of training samples only.
        unknown: filled while preparing: what was asked with and is not known.
    """

    user: str
    item: str
    history: tuple[Rated, ...] | None
    identifier: str = ""
    unknown: list[str] = field(default_factory=list)


def read_question(raw: bytes) -> Question:
    """A question from JSON.

    Raises:
        DataError: it is none; the sentence shows the form.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise DataError(f"this is not JSON; give {FORM}") from None
    if not isinstance(found, dict) or "item" not in found or not found.keys() & {"user", "history"}:
        raise DataError(f"it must name an item, and a user or what a user rated; give {FORM}")
    user, item, history = found.get("user", ""), found["item"], found.get("history")
    for key, value in (("user", user), ("item", item)):
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise DataError(f"{key} is {str(value)[:40]!r}; it must be text or a number")
    if history is not None and not isinstance(history, list):
        raise DataError(f"history is {str(history)[:40]!r}; it must be a list of [item, rating], oldest first")
    rated = None if history is None else tuple(map(_rated, history))
    return Question(str(user), str(item), rated, str(found.get("id", "")))


def _rated(entry: Any) -> Rated:
    if isinstance(entry, list) and len(entry) == 2:
        item, rating = entry
        if type(item) in (str, int) and type(rating) in (int, float) and math.isfinite(rating):
            return str(item), float(rating)
    raise DataError(f"history holds {str(entry)[:40]!r}; each entry must be [item, rating]")


class RatingHistories:
    """Items by number from 1, the most frequently rated first, and the ratings of train's users.

    Args:
        names, ids: of the items; an identifier is empty where it is the name.
        users: identifiers.
        ends: (users,) where each user's ratings end.
        items: numbers of items, oldest first, one user after another.
        ratings: of them.
    """

    def __init__(
        self,
        names: Sequence[str],
        ids: Sequence[str],
        users: Sequence[str],
        ends: Array,
        items: Array,
        ratings: Array,
    ) -> None:
        self._parts = (names, ids, users, ends, items, ratings)
        self._number = {item: number for number, item in enumerate(ids, 1) if item}
        self._number.update({name: number for number, name in enumerate(names, 1)})
        self._names, self._user = names, {user: number for number, user in enumerate(users)}
        self._ends, self._items, self._ratings = ends, items, ratings

    @classmethod
    def learnt(cls, questions: Iterable[Question], ratings: Iterable[float]) -> RatingHistories:
        """From the samples of train, each user's in the order of time."""
        of: dict[str, list[Rated]] = {}
        identifiers: dict[str, str] = {}
        for question, rating in zip(questions, ratings, strict=True):
            of.setdefault(question.user, []).append((question.item, float(rating)))
            if question.identifier:
                identifiers[question.item] = question.identifier
        names = catalogue_order(Counter(item for rated in of.values() for item, _ in rated))
        number = {name: place for place, name in enumerate(names, 1)}
        ends = np.cumsum([len(rated) for rated in of.values()], dtype=np.int64)
        items = np.array([number[item] for rated in of.values() for item, _ in rated], np.uint32)
        values = np.array([rating for rated in of.values() for _, rating in rated], np.float32)
        return cls(names, [identifiers.get(name, "") for name in names], list(of), ends, items, values)

    def pack(self) -> bytes:
        """As bytes: a line of JSON, numbers of items and ratings, compressed."""
        names, ids, users, ends, items, ratings = self._parts
        head = {"names": names, "ids": ids, "users": users, "lengths": np.diff(ends, prepend=0).tolist()}
        line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        return zlib.compress(line + b"\n" + items.astype("<u4").tobytes() + ratings.astype("<f4").tobytes(), 9)

    @classmethod
    def unpack(cls, packed: bytes) -> RatingHistories:
        """The inverse of :meth:`pack`; raises ``ValueError`` for anything else."""
        opened = zlib.decompressobj()
        try:
            content = opened.decompress(packed, LARGEST)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if opened.unconsumed_tail or not opened.eof:
            raise ValueError("it is cut off, or too large for ratings")
        line, _, rest = content.partition(b"\n")
        head = json.loads(line)
        names, ids, users, lengths = (head[key] for key in ("names", "ids", "users", "lengths"))
        if not all(isinstance(text, str) for texts in (names, ids, users) for text in texts):
            raise ValueError("its names are not text")
        ends = np.cumsum(np.array(lengths, np.int64))
        total = int(ends[-1]) if len(ends) else 0
        if len(rest) != 8 * total or len(ids) != len(names) or len(ends) != len(users):
            raise ValueError("its parts do not fit together")
        items, ratings = np.frombuffer(rest, "<u4", total), np.frombuffer(rest, "<f4", offset=4 * total)
        if total and not (1 <= int(items.min()) <= int(items.max()) <= len(names) and np.isfinite(ratings).all()):
            raise ValueError("its ratings are of items that it lacks, or are no numbers")
        return cls(names, ids, users, ends, items, ratings)

    def row(self, question: Question, length: int) -> Array:
        """(1 + 2 length,) float32: the item's number, numbers of the latest items that the user rated, their ratings.

        0 stands for an item that is not known, and before the first; the item itself is no part of what was rated.
        """
        item = self._number.get(question.item, 0)
        items, ratings = self._rated(question)
        others = items != item
        items, ratings = items[others][-length:], ratings[others][-length:]
        answer = np.zeros(1 + 2 * length, np.float32)
        answer[0] = item
        if len(items):
            answer[1 + length - len(items) : 1 + length] = items
            answer[-len(items) :] = ratings
        return answer

    def unknown(self, question: Question) -> list[str]:
        """What was asked with and train does not hold."""
        missing = [] if question.item in self._number else [question.item]
        if question.history is not None:
            return missing + [item for item, _ in question.history if item not in self._number]
        return missing + ([] if question.user in self._user else [f"user {question.user}"])

    def history(self, user: str) -> list[Rated]:
        """What a user of train rated; empty for another."""
        items, ratings = self._rated(Question(user, "", None))
        return [(self._names[item - 1], float(rating)) for item, rating in zip(items, ratings, strict=True)]

    def _rated(self, question: Question) -> tuple[Array, Array]:
        if question.history is not None:
            known = [(self._number[item], rating) for item, rating in question.history if item in self._number]
            return np.array([item for item, _ in known], np.int64), np.array([rating for _, rating in known])
        place = self._user.get(question.user)
        if place is None:
            return np.zeros(0, np.int64), np.zeros(0)
        here = slice(self._ends[place - 1] if place else 0, self._ends[place])
        return self._items[here].astype(np.int64), self._ratings[here]
