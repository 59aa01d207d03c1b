"""Interactions of users with items: cleaned, cut in time without leaks, told one user at a time. Pure, numpy only."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.reading.sample import Sample
from sartor.types import DataProblem, Split

Array = np.ndarray[Any, np.dtype[Any]]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)

SCALES = ((0, 1), (0.5, 5), (1, 5), (0, 5), (1, 10), (0, 10), (-10, 10), (0, 100))
"""Scales that ratings usually have. The first that holds nearly all of them is taken to be theirs."""

OUTLIERS = 0.01  # share of ratings that may lie outside a scale which is still theirs
TIME_QUANTILES = (0.8, 0.9)  # where a cut in time begins validation and test
EXAMPLES = 5


@dataclass(frozen=True)
class Interactions:
    """Who met what, one row each; after :func:`cleaned` ordered by user, split and time.

    Args:
        users, items: identifiers; the arrays below hold their numbers.
        user, item: (n,) int64.
        rating: (n,) float64, NaN where there is none.
        time: (n,) float64, of any unit; the number of the row where there are no times.
        split: (n,) int8, numbers of ``SPLITS``.
    """

    users: Sequence[str]
    items: Sequence[str]
    user: Array
    item: Array
    rating: Array
    time: Array
    split: Array

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Array) -> Interactions:
        """Some rows, in the order given."""
        chosen = {name: getattr(self, name)[rows] for name in ("user", "item", "rating", "time", "split")}
        return replace(self, **chosen)

    def says(self, rows: Array) -> tuple[str, ...]:
        """A few rows in words, for problems."""
        return tuple(f"user {self.users[self.user[row]]}, item {self.items[self.item[row]]}" for row in rows[:EXAMPLES])


@dataclass(frozen=True)
class Told:
    """What samples tell beside what users did.

    Args:
        items: identifier -> numbers of the item's tokens; empty where items have no features.
        new: identifier -> name of items that train lacks and that are recommended by their features.
        users: identifier -> the user's features, as cells.
        first: what the first sample of train tells of the features themselves.
    """

    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)


def cleaned(events: Interactions, notes: list[DataProblem]) -> Interactions:
    """Without ratings off their scale and without repeated pairs (the latest is kept); ordered."""
    odd = _off_scale(events.rating)
    if len(odd[0]):
        sentence = f"{len(odd[0])} ratings lie outside the scale of the others, {odd[1]}; they were left out"
        notes.append(DataProblem("RATING_SCALE", "train", len(odd[0]), sentence, events.says(odd[0])))
        events = events.take(np.delete(np.arange(len(events)), odd[0]))
    events = ordered(events)
    pairs = events.user * len(events.items) + events.item
    _, last = np.unique(pairs[::-1], return_index=True)
    kept = np.sort(len(pairs) - 1 - last)
    repeated = np.setdiff1d(np.arange(len(pairs)), kept)
    if len(repeated):
        sentence = f"{len(repeated)} interactions repeat one of the same user and item; the latest of each was kept"
        notes.append(DataProblem("REPEATED_PAIR", "train", len(repeated), sentence, events.says(repeated)))
    return events.take(kept)


def ordered(events: Interactions) -> Interactions:
    """By user, then split, then time; equal times stay in the order of their rows."""
    return events.take(np.lexsort((np.arange(len(events)), events.time, events.split, events.user)))


def _off_scale(ratings: Array) -> tuple[Array, str]:
    """Rows whose rating is not finite or off the scale that nearly all keep, and that scale in words."""
    given = ratings[~np.isnan(ratings)]
    for low, high in SCALES:
        outside = (ratings < low) | (ratings > high)
        if outside.sum() <= OUTLIERS * len(given):
            return np.flatnonzero(outside), f"{low:g} to {high:g}"
    return np.flatnonzero(np.isinf(ratings)), "finite numbers"


def cut(events: Interactions, how: str) -> Interactions:
    """Take what is missing of validation and test off the end of train.

    Args:
        events: ordered; splits that it has are kept.
        how: ``last``: the last interaction of each user is test, the one before validation. ``time``: the same two
            moments for all users, behind 80 and 90 % of all interactions.

    Raises:
        DataError: no user has enough interactions.
    """
    missing = [number for number in (VALIDATION, TEST) if not (events.split == number).any()]
    if not missing:
        return events
    split = events.split.copy()
    train = np.flatnonzero(split == TRAIN)
    if how == "time":
        moments = np.quantile(events.time[train], TIME_QUANTILES)
        for number in missing:
            later = events.time[train] > moments[number - 1]
            split[train[later & (split[train] == TRAIN)] if number == VALIDATION else train[later]] = number
    else:
        counts = np.bincount(events.user[train], minlength=len(events.users))
        ends = np.cumsum(counts)
        from_end = ends[events.user[train]] - 1 - np.arange(len(train))
        enough = counts[events.user[train]] > len(missing)
        for back, number in enumerate(reversed(missing)):
            split[train[enough & (from_end == back)]] = number
    lacking = [SPLITS[number] for number in range(3) if not (split == number).any()]
    if lacking:
        raise DataError(
            f"nothing is left for {' and '.join(lacking)}: cutting them from train takes users with at least "
            f"{len(missing) + 1} interactions" + (" at different times" if how == "time" else "")
        )
    return ordered(replace(events, split=split))


def hold_out_items(events: Interactions, share: float, notes: list[DataProblem]) -> Interactions:
    """Without a share of the items in train, so that they are new in validation and test. Seeded."""
    train = events.split == TRAIN
    held = np.unique(events.item[train])
    chosen = np.random.default_rng(0).permutation(held)[: int(share * len(held))]
    out = train & np.isin(events.item, chosen)
    sentence = (
        f"{len(chosen)} items and {int(out.sum())} interactions with them were kept out of train, so that recommending "
        "new items is judged (data.new_items)"
    )
    notes.append(DataProblem("HELD_OUT_ITEMS", "train", len(chosen), sentence))
    return events.take(np.flatnonzero(~out))


def remarks(events: Interactions, told: Told) -> list[DataProblem]:
    """What is odd about who and what is where: the future in train, users and items that train lacks."""
    problems = []
    users = len(events.users)
    train = events.split == TRAIN
    first_test = np.full(users, np.inf)
    np.minimum.at(first_test, events.user[~train], events.time[~train])
    future = np.flatnonzero(train & (events.time > first_test[events.user]))
    if len(future):
        sentence = (
            f"{len(future)} interactions of train are later than one of the same user in validation or test; "
            "what is measured there says little about the future"
        )
        problems.append(DataProblem("FUTURE_IN_TRAIN", "train", len(future), sentence, events.says(future)))
    counts = np.bincount(events.user, minlength=users)
    single = np.flatnonzero(counts == 1)
    if len(single):
        sentence = f"{len(single)} users have a single interaction, from which no habit is learnt"
        names = tuple(events.users[user] for user in single[:EXAMPLES])
        problems.append(DataProblem("SINGLE_EVENT_USER", "train", len(single), sentence, names))
    warm_users, warm_items = np.zeros(users, bool), np.zeros(len(events.items), bool)
    warm_users[events.user[train]], warm_items[events.item[train]] = True, True
    for number in (VALIDATION, TEST):
        here = np.flatnonzero(events.split == number)
        cold = here[~warm_items[events.item[here]]]
        featured = np.array([events.items[item] in told.new for item in events.item[cold]], bool)
        here_new, here_cold = cold[featured], cold[~featured]
        if len(here_new):
            sentence = (
                f"{len(here_new)} of {len(here)} interactions of {SPLITS[number]} are with items that train lacks; "
                "they can be recommended by their features alone"
            )
            problems.append(DataProblem("NEW_ITEM", SPLITS[number], len(here_new), sentence, events.says(here_new)))
        if len(here_cold):
            sentence = (
                f"{len(here_cold)} of {len(here)} interactions of {SPLITS[number]} are with items that train lacks; "
                "nobody can be recommended those, and they count as missed"
            )
            problems.append(DataProblem("COLD_ITEM", SPLITS[number], len(here_cold), sentence, events.says(here_cold)))
        strangers = np.unique(events.user[here[~warm_users[events.user[here]]]])
        if len(strangers):
            sentence = f"{len(strangers)} users of {SPLITS[number]} have no history; they are offered what is popular"
            names = tuple(events.users[user] for user in strangers[:EXAMPLES])
            problems.append(DataProblem("COLD_USER", SPLITS[number], len(strangers), sentence, names))
    return problems


def catalogue_order(counts: Mapping[str, int]) -> list[str]:
    """Names of items, the most frequent of train first; equally frequent ones by name."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def samples(events: Interactions, names: Sequence[str], split: int, longest: int, told: Told) -> Iterator[Sample]:
    """One sample per user that the split holds something of.

    Raw is ``{"user": …, "history": [name, …]}`` (``[name, rating]`` where there are ratings): the most recent
    ``longest`` interactions before those in question, oldest first; and ``features`` of the user where there are any.
    Truth is ``{"items": [name, …], "ratings": […]}``: those in question; in train, everything the user did there, of
    which the history is all but the last; elsewhere ``new`` names those of them that train lacks.

    Raws of train also hold, spread over the samples, ``ids``: the name behind each identifier that is no name itself,
    and ``items``: numbers of the tokens of each item, of new ones too. The first one holds ``told``.

    Args:
        events: ordered.
        names: per item.
        split: number of the split.
        longest: history that is told.
        told: of items and users.
    """
    rated = not np.isnan(events.rating).all()
    train = set(events.item[events.split == TRAIN].tolist())
    starts = np.searchsorted(events.user, np.arange(len(events.users) + 1))
    also = _spread(events, names, told) if split == TRAIN else None
    if also is not None:
        next(also)
    for user, (start, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        first, last = start + np.searchsorted(events.split[start:end], (split, split + 1))
        if first == last:
            continue
        past = range(start, last - 1) if split == TRAIN else range(start, first)
        history = [_entry(events, names, row, rated) for row in past[-longest:]]
        raw: dict[str, Any] = {"user": events.users[user], "history": history}
        if events.users[user] in told.users:
            raw["features"] = told.users[events.users[user]]
        met = events.item[first:last].tolist()
        truth: dict[str, Any] = {"items": [names[item] for item in met]}
        if rated:
            truth["ratings"] = [_plain(value) for value in events.rating[first:last]]
        if also is not None:
            raw |= also.send(met)
        elif new := [names[item] for item in met if item not in train]:
            truth["new"] = new
        yield Sample(f"user {events.users[user]} ({SPLITS[split]})", None, _json(raw), truth=_json(truth))


def _spread(events: Interactions, names: Sequence[str], told: Told) -> Generator[dict[str, Any], list[int], None]:
    """What each sample of train tells: sent the items of one, it gives what is new with them, and some new items."""
    users = len(np.unique(events.user[events.split == TRAIN]))
    fresh = iter(told.new.items())
    share = -(-len(told.new) // max(users, 1))
    done: set[int] = set()
    also: dict[str, Any] = {}
    first: dict[str, Any] = {"told": told.first} if told.first else {}
    while True:
        met = yield also
        pairs = [(events.items[item], names[item]) for item in met if item not in done]
        done.update(met)
        pairs += islice(fresh, share)
        ids = {identifier: name for identifier, name in pairs if identifier != name}
        tokens = {name: list(told.items.get(identifier, ())) for identifier, name in pairs} if told.items else {}
        also = {**first, **({"ids": ids} if ids else {}), **({"items": tokens} if tokens else {})}
        first = {}


def _entry(events: Interactions, names: Sequence[str], row: int, rated: bool) -> Any:
    name = names[events.item[row]]
    return [name, _plain(events.rating[row])] if rated else name


def _plain(rating: float) -> float | None:
    return None if np.isnan(rating) else float(rating)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
