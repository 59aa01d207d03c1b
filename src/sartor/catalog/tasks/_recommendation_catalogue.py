"""Requests for recommendations and what preparing them takes: the items by number, the users' histories. numpy only."""

from __future__ import annotations

import json
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

FORM = '{"history": ["item", …]} or {"user": "…"}'
LARGEST = 1 << 30  # bytes of an unpacked state; more is no catalogue but an attack


@dataclass
class Request:
    """One question: what to recommend to whom.

    Args:
        user: identifier; empty where none is given.
        history: items by name or identifier, oldest first; None where the user's stored history is to be taken.
        ids: identifier -> name, of training samples only.
        unknown: filled while preparing: what was asked with and is not known.
    """

    user: str
    history: list[str] | None
    ids: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_request(raw: bytes) -> Request:
    """A request from JSON.

    Raises:
        DataError: it is none; the sentence shows the form.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise DataError(f"this is not JSON; give {FORM}") from None
    if not isinstance(found, dict) or ("history" not in found and "user" not in found):
        raise DataError(f"there is neither a history nor a user in it; give {FORM}")
    user, history = found.get("user", ""), found.get("history")
    if isinstance(user, bool) or not isinstance(user, (str, int)):
        raise DataError(f"user is {str(user)[:40]!r}; it must be text or a number")
    if history is not None and not isinstance(history, list):
        raise DataError(f"history is {str(history)[:40]!r}; it must be a list of items, oldest first")
    named = None if history is None else [entry if type(entry) is str else _item(entry) for entry in history]
    ids = found.get("ids", {})
    return Request(str(user), named, ids if isinstance(ids, dict) else {})


def _item(entry: Any) -> str:
    """The item of ``[item, rating]`` or of a number."""
    item = entry[0] if isinstance(entry, list) and len(entry) == 2 else entry
    if isinstance(item, bool) or not isinstance(item, (str, int)):
        raise DataError(f"history holds {str(entry)[:40]!r}; each entry must be an item or [item, rating]")
    return str(item)


def read_truth(truth: bytes) -> list[str]:
    """Names of the items that a sample is judged by.

    Raises:
        DataError: there are none.
    """
    try:
        items = json.loads(truth)["items"]
    except (ValueError, LookupError, TypeError):
        items = None
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise DataError('the truth names no items; it must be {"items": ["…"]}')
    return items


class Catalogue:
    """Items by number and users' histories, as a package carries them.

    Args:
        names: of the items, the most frequent first.
        ids: identifier per item; empty where it is the name.
        users: identifiers.
        ends: (users,) where each history ends in ``events``.
        events: numbers of items from 1, oldest first, one user after another.
    """

    def __init__(
        self, names: Sequence[str], ids: Sequence[str], users: Sequence[str], ends: Array, events: Array
    ) -> None:
        self._parts = (names, ids, users, ends, events)
        self._number = {item: number for number, item in enumerate(ids, 1) if item}
        self._number.update({name: number for number, name in enumerate(names, 1)})
        self._user = {user: number for number, user in enumerate(users)}
        self._names, self._ends, self._events = names, ends, events

    @classmethod
    def learnt(cls, requests: Iterable[Request], truths: Iterable[bytes], longest: int) -> Catalogue:
        """From the samples of train: what happened to each user, the latest ``longest`` of it."""
        pairs = [(request, read_truth(truth)) for request, truth in zip(requests, truths, strict=True)]
        counts = Counter(name for _, items in pairs for name in items)
        names = catalogue_order(counts)
        number = {name: place for place, name in enumerate(names, 1)}
        identifiers = {name: item for request, _ in pairs for item, name in request.ids.items()}
        histories = [[number[name] for name in items[-longest:]] for _, items in pairs]
        ends = np.cumsum([len(history) for history in histories], dtype=np.int64)
        kind = np.uint16 if len(names) < 1 << 16 else np.uint32
        events = np.array([item for history in histories for item in history], kind)
        ids = [identifiers.get(name, "") for name in names]
        return cls(names, ids, [request.user for request, _ in pairs], ends, events)

    def pack(self) -> bytes:
        """As bytes: a line of JSON and the histories, compressed."""
        names, ids, users, ends, events = self._parts
        lengths = np.diff(ends, prepend=0).tolist()
        head = {"names": names, "ids": ids, "users": users, "lengths": lengths, "width": events.itemsize}
        line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        return zlib.compress(line + b"\n" + events.astype(f"<u{events.itemsize}").tobytes(), 9)

    @classmethod
    def unpack(cls, packed: bytes) -> Catalogue:
        """The inverse of :meth:`pack`; raises ``ValueError`` for anything else."""
        opened = zlib.decompressobj()
        try:
            content = opened.decompress(packed, LARGEST)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if opened.unconsumed_tail or not opened.eof:
            raise ValueError("it is cut off, or too large for a catalogue")
        line, _, rest = content.partition(b"\n")
        head = json.loads(line)
        names, ids, users, lengths = (head[key] for key in ("names", "ids", "users", "lengths"))
        lists = (names, ids, users)
        if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            raise ValueError("its names are not text")
        events = np.frombuffer(rest, {2: "<u2", 4: "<u4"}[head["width"]])
        ends = np.cumsum(np.array(lengths, np.int64))
        if len(ids) != len(names) or len(ends) != len(users) or (ends[-1] if len(ends) else 0) != len(events):
            raise ValueError("its parts do not fit together")
        if len(events) and not 1 <= int(events.min()) <= int(events.max()) <= len(names):
            raise ValueError("its histories hold items that the catalogue lacks")
        return cls(names, ids, users, ends, events)

    def numbers(self, request: Request, length: int) -> Array:
        """(length,) int32: the latest items of a history by number from 1, oldest first, zeros before them.

        What the catalogue lacks is skipped and noted in ``request.unknown``.
        """
        answer = np.zeros(length, np.int32)
        if request.history is None:
            found = self._stored(request.user)
            if found is None:
                request.unknown.append(f"user {request.user}")
                return answer
            latest: Any = found[-length:]
        else:
            number = self._number
            known = [number[item] for item in request.history if item in number]
            if len(known) < len(request.history):
                request.unknown += [item for item in request.history if item not in number]
            latest = known[-length:]
        if len(latest):
            answer[-len(latest) :] = latest
        return answer

    def history(self, user: str) -> list[str]:
        """Names of the items in a user's stored history; empty for a user who is not known."""
        found = self._stored(user)
        return [] if found is None else [self._names[number - 1] for number in found.tolist()]

    def _stored(self, user: str) -> Array | None:
        place = self._user.get(user)
        if place is None:
            return None
        return self._events[self._ends[place - 1] if place else 0 : self._ends[place]]
