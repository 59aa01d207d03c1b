"""Requests for recommendations and what preparing them takes: the items by number, the users' histories. numpy only."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.reading.features import Feature, from_plain, numbers_of, plain
from sartor.reading.interactions import catalogue_order

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

FORM = '{"history": ["item", …]}, {"user": "…"} or {"features": {"column": …}}'
LARGEST = 1 << 30  # bytes of an unpacked state; more is no catalogue but an attack


@dataclass
class Request:
    """One question: what to recommend to whom.

    Args:
        user: identifier; empty where none is given.
        history: items by name or identifier, oldest first; None where the user's stored history is to be taken.
        features: of the user, column -> cell; None where the user's stored ones are to be taken.
        ids: identifier -> name, of training samples only; ``items``: name -> numbers of tokens, of them too;
            ``told``: what the first of them tells of features.
        unknown: filled while preparing: what was asked with and is not known.
    """

    user: str
    history: list[str] | None
    features: Mapping[str, Any] | None = None
    ids: dict[str, str] = field(default_factory=dict)
    items: dict[str, list[int]] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
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
    if not isinstance(found, dict) or not found.keys() & {"history", "user", "features"}:
        raise DataError(f"there is neither a history nor a user nor features of one in it; give {FORM}")
    user, history, features = found.get("user", ""), found.get("history"), found.get("features")
    if isinstance(user, bool) or not isinstance(user, (str, int)):
        raise DataError(f"user is {str(user)[:40]!r}; it must be text or a number")
    if history is not None and not isinstance(history, list):
        raise DataError(f"history is {str(history)[:40]!r}; it must be a list of items, oldest first")
    if features is not None and not isinstance(features, dict):
        raise DataError(f'features is {str(features)[:40]!r}; it must be an object of the user, e.g. {{"age": 25}}')
    named = None if history is None else _items(history)
    if history is None and "user" not in found:
        named = []
    request = Request(str(user), named, features)
    for name in ("ids", "items", "told"):  # samples of train alone
        if isinstance(part := found.get(name), dict):
            setattr(request, name, part)
    return request


def again(request: Request, history: Sequence[str]) -> bytes:
    """The same question with another history."""
    asked: dict[str, Any] = {"user": request.user, "history": list(history)}
    return json.dumps(asked | ({"features": request.features} if request.features is not None else {})).encode()


def _items(history: list[Any]) -> list[str]:
    """Names in a history; those of text are told from others all at once, as long histories are most of a call."""
    rated = set(map(type, history)) == {list} and set(map(len, history)) == {2}
    names = [entry[0] for entry in history] if rated else history
    return names if set(map(type, names)) <= {str} else [_item(entry) for entry in history]


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


def read_new(truth: bytes) -> list[str]:
    """Names of those among them that train lacks."""
    found = json.loads(truth).get("new", [])
    return [str(item) for item in found] if isinstance(found, list) else []


@dataclass(frozen=True)
class Traits:
    """Features as a package carries them: tokens by number from 1.

    Args:
        tokens: of items.
        items: per item, numbers of its tokens.
        columns: of users' features.
        user_tokens: of users.
        users: per user of train, numbers of its tokens.
    """

    tokens: Sequence[str] = ()
    items: Sequence[Sequence[int]] = ()
    columns: Sequence[Feature] = ()
    user_tokens: Sequence[str] = ()
    users: Sequence[Sequence[int]] = ()


class Catalogue:
    """Items by number and users' histories, as a package carries them.

    Args:
        names: of the items, the most frequent first; at the end those that train lacks.
        ids: identifier per item; empty where it is the name.
        users: identifiers.
        ends: (users,) where each history ends in ``events``.
        events: numbers of items from 1, oldest first, one user after another.
        warm: how many of the items train holds; all where None.
        traits: features, where the encoding asks for them.
        room: places for numbers of a user's tokens in front of a prepared history.
    """

    room = 0

    def __init__(
        self,
        names: Sequence[str],
        ids: Sequence[str],
        users: Sequence[str],
        ends: Array,
        events: Array,
        warm: int | None = None,
        traits: Traits | None = None,
    ) -> None:
        self._parts = (names, ids, users, ends, events)
        self._number = {item: number for number, item in enumerate(ids, 1) if item}
        self._number.update({name: number for number, name in enumerate(names, 1)})
        self._user = {user: number for number, user in enumerate(users)}
        self._names, self._ends, self._events = names, ends, events
        self.warm, self.traits = len(names) if warm is None else warm, traits or Traits()
        self._token = {token: number for number, token in enumerate(self.traits.user_tokens, 1)}

    @classmethod
    def learnt(
        cls, requests: Iterable[Request], truths: Iterable[bytes], longest: int, *, featured: bool = False
    ) -> Catalogue:
        """From the samples of train: what happened to each user, the latest ``longest`` of it; items by number."""
        pairs = [(request, read_truth(truth)) for request, truth in zip(requests, truths, strict=True)]
        counts = Counter(name for _, items in pairs for name in items)
        tokens = {name: numbers for request, _ in pairs for name, numbers in request.items.items()}
        names = [*catalogue_order(counts), *sorted(tokens.keys() - counts.keys())]
        number = {name: place for place, name in enumerate(names, 1)}
        identifiers = {name: item for request, _ in pairs for item, name in request.ids.items()}
        histories = [[number[name] for name in items[-longest:]] for _, items in pairs]
        ends = np.cumsum([len(history) for history in histories], dtype=np.int64)
        kind = np.uint16 if len(names) < 1 << 16 else np.uint32
        events = np.array([item for history in histories for item in history], kind)
        ids = [identifiers.get(name, "") for name in names]
        traits = _traits([request for request, _ in pairs], names, tokens) if featured else None
        return cls(names, ids, [request.user for request, _ in pairs], ends, events, len(counts), traits)

    def pack(self) -> bytes:
        """As bytes: a line of JSON and the histories, the high bytes of all numbers behind the low ones, compressed."""
        names, ids, users, ends, events = self._parts
        lengths = np.diff(ends, prepend=0).tolist()
        head = {"names": names, "ids": ids, "users": users, "lengths": lengths, "width": events.itemsize}
        head["warm"] = self.warm
        if self.traits.tokens or self.traits.user_tokens:
            traits = self.traits
            head["traits"] = [traits.tokens, traits.items, plain(traits.columns), traits.user_tokens, traits.users]
        line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        planes = events.astype(f"<u{events.itemsize}").view(np.uint8).reshape(-1, events.itemsize).T
        return lzma.compress(line + b"\n" + planes.tobytes(), preset=9)

    @classmethod
    def unpack(cls, packed: bytes) -> Catalogue:
        """The inverse of :meth:`pack`; raises ``ValueError`` for anything else."""
        opened = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LARGEST)
        try:
            content = opened.decompress(packed, LARGEST)
        except lzma.LZMAError as error:
            raise ValueError(str(error)) from None
        if not opened.eof:
            raise ValueError("it is cut off, or too large for a catalogue")
        line, _, rest = content.partition(b"\n")
        head = json.loads(line)
        names, ids, users, lengths = (head[key] for key in ("names", "ids", "users", "lengths"))
        lists = (names, ids, users)
        if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            raise ValueError("its names are not text")
        width = {2: 2, 4: 4}[head["width"]]
        planes = np.frombuffer(rest, np.uint8).reshape(width, -1)
        events = np.ascontiguousarray(planes.T).view(f"<u{width}").ravel()
        ends = np.cumsum(np.array(lengths, np.int64))
        if len(ids) != len(names) or len(ends) != len(users) or (ends[-1] if len(ends) else 0) != len(events):
            raise ValueError("its parts do not fit together")
        if len(events) and not 1 <= int(events.min()) <= int(events.max()) <= len(names):
            raise ValueError("its histories hold items that the catalogue lacks")
        traits = _unpacked(head["traits"], names, users) if "traits" in head else None
        return cls(names, ids, users, ends, events, int(head["warm"]), traits)

    def numbers(self, request: Request, length: int) -> Array:
        """(room + length,) int32: numbers of the user's tokens below 0, then a history's latest items from 1.

        Oldest first, with zeros before them. What the catalogue lacks is skipped and noted in ``request.unknown``.
        """
        answer = np.zeros(self.room + length, np.int32)
        tokens = self.user_tokens(request)[: self.room]
        answer[: len(tokens)] = -np.array(tokens, np.int32)
        latest = self._latest(request, length)
        if len(latest):
            answer[-len(latest) :] = latest
        return answer

    def _latest(self, request: Request, length: int) -> Any:
        if request.history is None:
            found = self._stored(request.user)
            if found is None:
                request.unknown.append(f"user {request.user}")
                return ()
            return found[-length:]
        numbers = list(map(self._number.get, request.history))
        if None in numbers:
            pairs = zip(request.history, numbers, strict=True)
            request.unknown += [item for item, number in pairs if number is None]
            numbers = [number for number in numbers if number is not None]
        return numbers[-length:]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the items, in the order of their numbers."""
        return tuple(self._names)

    def history(self, user: str) -> list[str]:
        """Names of the items in a user's stored history; empty for a user who is not known."""
        found = self._stored(user)
        return [] if found is None else [self._names[number - 1] for number in found.tolist()]

    def _stored(self, user: str) -> Array | None:
        place = self._user.get(user)
        if place is None:
            return None
        return self._events[self._ends[place - 1] if place else 0 : self._ends[place]]

    def user_tokens(self, request: Request) -> Sequence[int]:
        """Numbers of the tokens of a user's features, those of the request before those that are stored."""
        if request.features is not None:
            known = {column.name for column in self.traits.columns}
            request.unknown += [f"feature {name}" for name in request.features if name not in known]
            return numbers_of(request.features, self.traits.columns, self._token)
        place = self._user.get(request.user)
        return () if place is None or not self.traits.users else self.traits.users[place]


def _traits(requests: Sequence[Request], names: Sequence[str], tokens: Mapping[str, Sequence[int]]) -> Traits:
    """Features of items and of train's users, from what the samples of train tell."""
    told = next((request.told for request in requests if request.told), {})
    columns, user_tokens = from_plain(told.get("user_columns", ())), told.get("user_tokens", [])
    number = {token: place for place, token in enumerate(user_tokens, 1)}
    users = [numbers_of(request.features or {}, columns, number) for request in requests]
    return Traits(told.get("item_tokens", []), [tokens.get(name, []) for name in names], columns, user_tokens, users)


def _unpacked(parts: Sequence[Any], names: Sequence[str], users: Sequence[str]) -> Traits:
    tokens, items, columns, user_tokens, of_users = parts
    for rows, count, most in ((items, len(names), len(tokens)), (of_users, len(users), len(user_tokens))):
        if len(rows) != count or not all(type(one) is int and 1 <= one <= most for row in rows for one in row):
            raise ValueError("its features do not fit its items and users")
    return Traits(tokens, items, from_plain(columns), user_tokens, of_users)
