"""Quality of lists of recommendations: values with intervals over users, charts and a table. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.catalog.tasks.parts.recommendation_catalogue import read_new, read_truth
from sartor.intervals import proportion
from sartor.types import Chart, Line, Table

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float, float]  # value, low, high

RESAMPLES = 300
MASKED = -1e8  # scores below it are of items that the user has met
HEAD_SHARE = 0.2  # of the catalogue, by frequency; the rest is its long tail
BUCKETS = (0.01, 0.05, 0.2, 1.0)  # of the catalogue, by frequency
SHOWN_USERS, SHOWN_ITEMS = 8, 10


def recommendation_scores(outputs: Array, truths: Sequence[bytes], labels: Sequence[str], confidence: float) -> Scores:
    """Judge lists (n, K + C, 2) of item numbers and scores against the items that the users met next.

    Numbers below 0 belong to a second list, of items that train lacks; it is judged by users who met such items next,
    and has no value where there are none. Items that ``labels`` lacks can be on no list and count as missed.

    A share of users gets an exact Clopper-Pearson interval, a mean over users a percentile bootstrap of users (seeded),
    and so does the catalogue's coverage, whose interval reaches its value from below: fewer different users see fewer
    different items.
    """
    numbers = item_numbers(labels)
    wanted = [read_truth(truth) for truth in truths]
    first = (outputs[:, :, 0] >= 0).any(0)  # columns of the list of all items
    listed = np.where(outputs[:, first, 1] > MASKED, outputs[:, first, 0], -1).astype(np.int64)
    hits = _hits(listed, wanted, numbers)
    relevant = np.array([len(items) for items in wanted])
    ndcg = ndcg_at(hits, relevant, 10)
    shown = listed[:, :10]
    tail = ((shown >= HEAD_SHARE * len(labels)).sum(1) / np.maximum((shown >= 0).sum(1), 1)).astype(np.float64)
    reciprocal = hits.max(1) / (hits.argmax(1) + 1)
    recall = hits[:, :20].sum(1) / relevant
    means = _means(np.stack([ndcg, recall, reciprocal, tail]), confidence)
    values: dict[str, Interval] = {
        "ndcg_at_10": means[0],
        "hit_rate_at_10": _share(hits[:, :10].max(1), confidence),
        "recall_at_20": means[1],
        "mrr": means[2],
        "coverage": _coverage(shown, len(labels), confidence),
        "long_tail_at_10": means[3],
    }
    new = _new_items(outputs[:, ~first], truths, numbers)
    if new is not None:
        values["new_items_ndcg_at_10"] = _means(ndcg_at(*new, 10)[None], confidence)[0]
    worst = tuple(int(row) for row in np.lexsort((-outputs[:, 0, 1], ndcg))[:SHOWN_USERS])
    return Scores(
        values,
        ndcg,
        {},
        worst=worst,
        charts=(_over_k(hits), _over_frequency(hits, wanted, numbers), *_new_over_k(new)),
        tables=(_lists(listed, hits, wanted, labels),),
    )


def _hits(listed: Array, wanted: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> Array:
    hits = np.zeros(listed.shape, bool)
    for row, items in enumerate(wanted):
        hits[row] = np.isin(listed[row], [numbers[item] for item in items if item in numbers])
    return hits


def _new_items(lists: Array, truths: Sequence[bytes], numbers: Mapping[str, int]) -> tuple[Array, Array] | None:
    """Hits (m, C) among new items and how many there were to be found (m,), of users who met some; None without any."""
    wanted = [read_new(truth) for truth in truths]
    users = np.array([row for row, items in enumerate(wanted) if items], np.int64)
    if not lists.shape[1] or not len(users):
        return None
    listed = np.where(lists[users, :, 1] > MASKED, -1 - lists[users, :, 0], -1).astype(np.int64)
    chosen = [wanted[row] for row in users]
    return _hits(listed, chosen, numbers), np.array([len(items) for items in chosen])


_LAST: list[tuple[Sequence[str], Mapping[str, int]]] = []


def item_numbers(labels: Sequence[str]) -> Mapping[str, int]:
    """Name -> number; that of the labels asked for last is kept, as it is asked for once per sample."""
    last = _LAST[0] if _LAST else None
    if last is None or last[0] is not labels:
        last = (labels, {name: number for number, name in enumerate(labels)})
        _LAST[:] = [last]
    return last[1]


def ndcg_at(hits: Array, relevant: Array, k: int) -> Array:
    """Normalised discounted cumulative gain of the first ``k``, per user. Järvelin and Kekäläinen 2002.

    Args:
        hits: (n, K) bool, the best first.
        relevant: (n,) how many items there were to be found.
        k: length of the list.
    """
    hits = hits[:, :k]
    discounts = 1 / np.log2(np.arange(k) + 2)
    ideal = np.cumsum(discounts)[np.minimum(relevant, k) - 1]
    return np.asarray((hits * discounts[: hits.shape[1]]).sum(1) / ideal)


def _share(hits: Array, confidence: float) -> Interval:
    low, high = proportion(int(hits.sum()), len(hits), confidence)
    return float(hits.mean()), low, high


def _means(rows: Array, confidence: float) -> list[Interval]:
    """Mean of each row with its interval; users are drawn for all rows together."""
    generator = np.random.default_rng(0)
    n = rows.shape[1]
    drawn = np.stack([rows[:, generator.integers(0, n, n)].mean(1) for _ in range(RESAMPLES)], axis=1)
    return [_interval(float(row.mean()), means, confidence) for row, means in zip(rows, drawn, strict=True)]


def _coverage(shown: Array, items: int, confidence: float) -> Interval:
    """Share of the catalogue that is on somebody's list."""
    generator = np.random.default_rng(0)
    n = len(shown)

    def covered(rows: Array) -> float:
        met = np.zeros(items + 1, bool)
        met[shown[rows]] = True  # -1, nothing listed, falls into the last place
        return float(met[:items].sum() / items)

    drawn = np.array([covered(generator.integers(0, n, n)) for _ in range(RESAMPLES // 3)])
    return _interval(covered(np.arange(n)), drawn, confidence)


def _interval(value: float, drawn: Array, confidence: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, min(value, float(low)), max(value, float(high))


def _over_k(hits: Array) -> Chart:
    found = np.logical_or.accumulate(hits, axis=1).mean(0)
    line = Line("hit rate", tuple(float(k + 1) for k in range(len(found))), tuple(float(share) for share in found))
    return Chart("Hit rate over the list's length", "items on the list", "share of users", (line,))


def _new_over_k(found: tuple[Array, Array] | None) -> tuple[Chart, ...]:
    if found is None:
        return ()
    chart, users = _over_k(found[0]), len(found[0])
    note = f"{users} users met items next that train lacks; the list holds such items alone"
    return (replace(chart, title="Hit rate of new items over the list's length", note=note),)


def _over_frequency(hits: Array, wanted: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> Chart:
    """Hit rate at 10 of users whose next item is among the most frequent, the less frequent and so on."""
    items = max(len(numbers), 1)
    place = np.array([min((numbers[item] for item in names if item in numbers), default=items) for names in wanted])
    hit: Array = hits[:, :10].max(1)
    x, y, low = [], [], 0.0
    for high in BUCKETS:
        here = (place >= low * items) & (place < high * items)
        if here.any():
            x.append(100 * high)
            y.append(float(hit[here].mean()))
        low = high
    line = Line("hit rate at 10", tuple(x), tuple(y))
    note = "each point: users whose next item lies between the point before and this one in the order of frequency"
    return Chart("Hit rate by how frequent the item is", "% of the catalogue", "share of users", (line,), note)


def _lists(listed: Array, hits: Array, wanted: Sequence[Sequence[str]], labels: Sequence[str]) -> Table:
    """A few users, half of them with a hit where there are any."""
    hit: Array = hits[:, :10].max(1)
    chosen: list[int] = []
    for group in (np.flatnonzero(hit), np.flatnonzero(~hit)):
        places = np.linspace(0, len(group) - 1, min(SHOWN_USERS // 2, len(group))).astype(int)
        chosen += [int(row) for row in group[places]]
    rows = []
    for row in chosen:
        rank = str(int(hits[row].argmax()) + 1) if hits[row].any() else "–"
        rows.append((in_words(wanted[row]), rank, "; ".join(marked(listed[row][:SHOWN_ITEMS], wanted[row], labels))))
    return Table("What was recommended", ("met next", "rank", "recommended"), tuple(rows), "✔ marks a hit")


def marked(listed: Array, wanted: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Names of listed items, a tick before those that were met."""
    names = [labels[number] for number in listed.tolist() if number >= 0]
    return [f"✔ {name}" if name in wanted else name for name in names]


def in_words(items: Sequence[str]) -> str:
    """The first three items and how many more."""
    return "; ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
