"""Quality of found boxes: average precision by the COCO rules, with intervals over pictures. Needs numpy only.

Source: Lin et al. 2014, arXiv:1405.0312: precision at 101 recalls, its envelope from the right, averaged over classes
and over the overlaps 0.50, 0.55 … 0.95; at most 100 boxes a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.catalog.tasks.parts.detection_matching import THRESHOLDS, Matched, match
from sartor.metrics import Metric
from sartor.types import Chart, Line, Table

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

METRICS = (
    Metric("map_50_95", "", "higher", "quality", "mAP 50:95", bounded=True),
    Metric("map_50", "", "higher", "quality", "mAP 50", bounded=True),
    Metric("map_75", "", "higher", "quality", "mAP 75", bounded=True),
    Metric("recall_100", "", "higher", "quality", "recall of 100", bounded=True),
)

SHOWN_FROM = 0.3
"""Score from which a box is taken for an answer where one box must be told from another."""

DRAWS, SEED = 200, 0
MOST_VALUES = 4_000_000  # of one array while resampling
CHARTED = 8  # classes
_RECALLS = np.linspace(0, 1, 101)


def detection_scores(outputs: Array, truths: Sequence[bytes], labels: Sequence[str], confidence: float) -> Scores:
    """Judge outputs (n, rows, 6) against n truths.

    Intervals are percentiles over ``DRAWS`` seeded resamplings of the pictures. ``correct`` is a picture's own quality:
    its F1 of boxes scored ``SHOWN_FROM`` or more, averaged over the ten overlaps.
    """
    matched = match(outputs, truths, labels)
    precision, recall = _exact(matched)
    rng = np.random.default_rng(SEED)
    draws = np.zeros((DRAWS, matched.images))
    for row in draws:
        row += np.bincount(rng.integers(0, matched.images, matched.images), minlength=matched.images)
    drawn, drawn_recall = resampled(matched, draws)
    values = {}
    for name, exact, spread in (
        ("map_50_95", precision, drawn),
        ("map_50", precision[:1], drawn[:, :1]),
        ("map_75", precision[5:6], drawn[:, 5:6]),
        ("recall_100", recall, drawn_recall),
    ):
        values[name] = _interval(_mean(exact.reshape(1, -1))[0], _mean(spread.reshape(DRAWS, -1)), confidence)
    per_class = _mean(precision.T)  # of classes that occur; NaN for others
    occurring = np.flatnonzero(~np.isnan(precision[0])).tolist()
    if occurring:
        # fixed to the class that is worst now: the least of many noisy values would lie too low
        worst = int(occurring[np.argmin(per_class[occurring])])
        spread = _mean(drawn[:, :, worst])
        values["map_50_95_per_class_min"] = _interval(float(per_class[worst]), spread, confidence)
    correct = picture_quality(matched)
    return Scores(
        values=values,
        correct=correct,
        per_class={labels[number]: float(per_class[number]) for number in occurring},
        worst=tuple(int(number) for number in np.argsort(correct, kind="stable") if correct[number] < 1),
        resample=lambda chosen: _resample(matched, chosen),
        charts=_charts(matched, labels),
        tables=_tables(matched, precision, labels),
    )


def _resample(matched: Matched, chosen: Array) -> float:
    weights = np.bincount(chosen, minlength=matched.images).astype(np.float64)
    precision, _ = resampled(matched, weights[None])
    return float(np.nan_to_num(_mean(precision.reshape(1, -1))[0]))


def _interval(value: float, spread: Array, confidence: float) -> tuple[float, float, float]:
    tail = (1 - confidence) / 2
    spread = spread[~np.isnan(spread)]  # a draw without any true box says nothing
    low, high = np.quantile(spread, [tail, 1 - tail]) if len(spread) else (0.0, 1.0)
    value = 0.0 if np.isnan(value) else float(value)
    return value, float(min(low, value)), float(max(high, value))


def _mean(rows: Array) -> Array:
    """Mean of every row without its NaN; NaN where nothing else is in it (no box of any class to be found)."""
    there = ~np.isnan(rows)
    count = there.sum(axis=1)
    return np.asarray(np.where(count > 0, np.where(there, rows, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan))


def _exact(matched: Matched) -> tuple[Array, Array]:
    """Average precision and recall (thresholds, labels) as the COCO evaluation computes them; NaN: no true box."""
    precision = np.full((len(THRESHOLDS), matched.labels), np.nan)
    recall = precision.copy()
    counts = np.bincount(matched.truth_label, minlength=matched.labels)
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(matched.label == label)
        for level in range(len(THRESHOLDS)):
            envelope, reached = _curve(matched, level, rows, int(counts[label]))
            precision[level, label] = envelope.mean()
            recall[level, label] = reached
    return precision, recall


def _curve(matched: Matched, level: int, rows: Array, count: int) -> tuple[Array, float]:
    """Precision at 101 recalls, and the recall reached, of one class at one overlap."""
    rows = rows[~matched.ignored[level, rows]]
    hits = np.cumsum(matched.hit[level, rows])
    at_recall = np.zeros(len(_RECALLS))
    if len(rows):
        shares = hits / np.arange(1, len(rows) + 1)
        envelope = np.maximum.accumulate(shares[::-1])[::-1]
        place = np.searchsorted(hits / count, _RECALLS, side="left")
        at_recall[place < len(rows)] = envelope[place[place < len(rows)]]
    return at_recall, float(hits[-1] / count) if len(rows) else 0.0


def resampled(matched: Matched, weights: Array) -> tuple[Array, Array]:
    """Average precision and recall when picture i counts ``weights[:, i]`` times.

    Args:
        matched: of the pictures.
        weights: (draws, images), whole numbers.

    Returns:
        (draws, thresholds, labels) each; NaN where a draw has no true box of the class.
    """
    precision = np.zeros((len(weights), len(THRESHOLDS), matched.labels))
    recall = np.zeros_like(precision)
    step = max(1, MOST_VALUES // max(1, len(matched.image)))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        for level in range(len(THRESHOLDS)):
            precision[part, level], recall[part, level] = _weighted(matched, level, weights[part])
    counts = np.zeros((len(weights), matched.labels))
    for label in range(matched.labels):
        counts[:, label] = weights[:, matched.truth_image[matched.truth_label == label]].sum(axis=1)
    absent = np.broadcast_to((counts == 0)[:, None], precision.shape)
    return np.where(absent, np.nan, precision), np.where(absent, np.nan, recall)


def _weighted(matched: Matched, level: int, weights: Array) -> tuple[Array, Array]:
    """(draws, labels) at one overlap. Precision peaks only where a box hits, so all else is summed over."""
    precision = np.zeros((len(weights), matched.labels))
    recall = np.zeros_like(precision)
    counted = ~matched.ignored[level]
    hits = np.flatnonzero(matched.hit[level] & counted)
    if not len(hits):
        return precision, recall
    label = matched.label[hits]
    starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
    present = label[starts]
    run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(hits)]))

    seen = np.cumsum(weights[:, matched.image] * counted, axis=1)
    begin = np.searchsorted(matched.label, present)  # found boxes lie by class
    before = np.where(begin > 0, seen[:, np.maximum(begin - 1, 0)], 0.0)
    seen = seen[:, hits] - before[:, run]
    right = np.cumsum(weights[:, matched.image[hits]], axis=1)
    before = np.where(starts > 0, right[:, np.maximum(starts - 1, 0)], 0.0)
    right = right - before[:, run]

    share = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    apart = 2.0 * (run.max() - run)  # lifts every class above those after it, so that envelopes do not cross
    share = np.maximum.accumulate((share + apart)[:, ::-1], axis=1)[:, ::-1] - apart
    truths = np.stack(
        [weights[:, matched.truth_image[matched.truth_label == number]].sum(axis=1) for number in present], axis=1
    )
    reached = np.divide(right, truths[:, run], out=np.zeros_like(right), where=truths[:, run] > 0)
    recalls = _reached(reached)
    gained = np.diff(recalls, axis=1, prepend=0)
    gained[:, starts] = recalls[:, starts]
    precision[:, present] = np.add.reduceat(gained * share, starts, axis=1) / len(_RECALLS)
    ends = np.r_[starts[1:], len(hits)] - 1
    recall[:, present] = reached[:, ends]
    return precision, recall


def _reached(share: Array) -> Array:
    """How many of the 101 recalls a share reaches, to the last bit as a comparison with each of them would say."""
    last = np.floor(100 * share + 1e-9).astype(np.int64)
    return np.asarray(last + (_RECALLS[last] <= share))


def picture_quality(matched: Matched) -> Array:
    """(images,) F1 of boxes scored ``SHOWN_FROM`` or more, averaged over the overlaps; 1 where nothing is to find."""
    truths = np.bincount(matched.truth_image, minlength=matched.images)
    total = np.zeros(matched.images)
    for level in range(len(THRESHOLDS)):
        shown = (matched.score >= SHOWN_FROM) & ~matched.ignored[level]
        found = np.bincount(matched.image[shown], minlength=matched.images)
        right = np.bincount(matched.image[shown & matched.hit[level]], minlength=matched.images)
        both = found + truths
        total += np.divide(2.0 * right, both, out=np.ones(matched.images), where=both > 0)
    return np.asarray(total / len(THRESHOLDS))


def _charts(matched: Matched, labels: Sequence[str]) -> tuple[Chart, ...]:
    counts = np.bincount(matched.truth_label, minlength=matched.labels)
    lines = []
    for label in sorted(np.flatnonzero(counts).tolist(), key=lambda number: -counts[number])[:CHARTED]:
        curve, _ = _curve(matched, 0, np.flatnonzero(matched.label == label), int(counts[label]))
        lines.append(Line(labels[label], tuple(_RECALLS[::2].tolist()), tuple(curve[::2].tolist())))
    if not lines:
        return ()
    more = f"; the {CHARTED} commonest of {int((counts > 0).sum())} classes" if (counts > 0).sum() > CHARTED else ""
    note = f"boxes that overlap a true one by half or more are right{more}"
    return (Chart("Precision over recall", "recall", "precision", tuple(lines), note),)


def _tables(matched: Matched, precision: Array, labels: Sequence[str]) -> tuple[Table, ...]:
    counts = np.bincount(matched.truth_label, minlength=matched.labels)
    rows = []
    for label in np.flatnonzero(counts).tolist():
        cells = [precision[:, label].mean(), precision[0, label], precision[5, label]]
        rows.append(
            (labels[label], str(counts[label]), *(f"{value:.3f}" for value in cells), _threshold(matched, label))
        )
    note = f"in {matched.images} pictures; score for best F1 at overlap 0.5: a fair choice of the option score_min"
    columns = ("class", "true boxes", "AP 50:95", "AP 50", "AP 75", "score for best F1")
    return (Table("Classes", columns, tuple(rows), note),) if rows else ()


def _threshold(matched: Matched, label: int) -> str:
    """The score from which boxes of a class have the best F1 at overlap 0.5."""
    rows = np.flatnonzero((matched.label == label) & ~matched.ignored[0])
    hits = np.cumsum(matched.hit[0, rows])
    if not len(rows) or not hits[-1]:
        return "–"
    truths = int((matched.truth_label == label).sum())
    best = int(np.argmax(2 * hits / (np.arange(1, len(rows) + 1) + truths)))
    return f"{matched.score[rows[best]]:.2f}"
