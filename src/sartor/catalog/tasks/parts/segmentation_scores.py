"""Quality of class maps against masks, at the masks' own size: overlap per class, borders, intervals. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.media.masks import IGNORED, nearest, numbered_as
from sartor.metrics import Metric
from sartor.types import Table

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

METRICS = (
    Metric("mean_iou", "", "higher", "quality", "mean IoU", bounded=True),
    Metric("pixel_accuracy", "", "higher", "quality", "pixel accuracy", bounded=True),
    Metric("boundary_f1", "", "higher", "quality", "boundary F1", bounded=True),
)

RESAMPLES = 300
TOLERANCE = 0.0075  # of a picture's diagonal: borders this near count as found
WORST = 24

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class Counts:
    """Pixels per picture and class, (n, classes) float64: right ones, of the truth, of the answer."""

    hits: Array
    truths: Array
    answers: Array

    def of(self, weights: Array) -> tuple[Array, Array, Array]:
        """Sums over pictures taken so often: (…, n) weights to (…, classes) each."""
        return weights @ self.hits, weights @ self.truths, weights @ self.answers


def segmentation_scores(outputs: Array, truths: Sequence[bytes], labels: Sequence[str], confidence: float) -> Scores:
    """Judge class maps (n, 2, h, w), brought to each mask's size, against masks.

    Mean IoU is the mean over the classes that the masks show, from pixels of all pictures together (Everingham et al.
    2010, the measure of PASCAL VOC). Boundary F1 is the mean over pictures (Csurka et al. 2013, "What is a good
    evaluation measure for semantic segmentation?"). Intervals are a seeded percentile bootstrap over pictures. The
    confusion matrix counts thousandths of each true class's pixels.
    """
    classes = len(labels)
    confusion = np.zeros((classes, classes), np.int64)
    rows, borders = [], np.zeros(len(truths))
    for place, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
        wanted = numbered_as(truth, labels)
        answer = nearest(output[0], wanted.shape).astype(np.uint8)
        matrix = _confusion(wanted, answer, classes)
        confusion += matrix[:, :classes]
        rows.append((np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)[:classes]))
        borders[place] = boundary_f1(wanted, answer)
    counts = Counts(*(np.array(part, np.float64).reshape(-1, classes) for part in zip(*rows, strict=True)))
    own = _mean(_iou(counts.hits, counts.truths, counts.answers))
    drawn = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
    total = counts.of(np.ones(len(rows)))
    resampled = counts.of(drawn.astype(np.float64))
    per_class = _iou(*total)
    values = {
        "mean_iou": _interval(float(_mean(per_class)), _mean(_iou(*resampled)), confidence),
        "pixel_accuracy": _interval(float(_accuracy(*total)), _accuracy(*resampled), confidence),
        "boundary_f1": _interval(float(borders.mean()), drawn @ borders / len(rows), confidence),
        "mean_iou_per_class_min": _interval(_least(per_class), _least_of(_iou(*resampled)), confidence),
    }

    def resample(chosen: Array) -> float:
        weights = np.bincount(np.asarray(chosen, np.int64), minlength=len(rows)).astype(np.float64)
        return float(_mean(_iou(*counts.of(weights))))

    return Scores(
        values,
        own,
        {label: float(value) for label, value in zip(labels, per_class, strict=True) if value == value},
        _per_mille(confusion),
        tuple(int(place) for place in np.argsort(own, kind="stable")[:WORST]),
        resample,
        tables=(_table(labels, total, per_class),),
    )


def _confusion(wanted: Array, answer: Array, classes: int) -> Array:
    """(classes, classes + 1) pixels; the last column holds answers that are no class."""
    known = wanted != IGNORED
    flat = wanted[known].astype(np.int64) * (classes + 1) + np.minimum(answer[known], classes)
    counts: Array = np.bincount(flat, minlength=classes * (classes + 1))
    return np.asarray(counts.reshape(classes, classes + 1))


def _iou(hits: Array, truths: Array, answers: Array) -> Array:
    """Intersection over union per class; NaN where the truth does not show the class."""
    union = truths + answers - hits
    return np.asarray(np.divide(hits, union, out=np.full_like(hits, np.nan), where=truths > 0))


def _mean(values: Array) -> Array:
    """Mean over the last axis of what is a number; 0 where nothing is."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1))


def _least(values: Array) -> float:
    return float(np.nanmin(values)) if np.isfinite(values).any() else 0.0


def _least_of(values: Array) -> Array:
    return np.array([_least(row) for row in values])


def _accuracy(hits: Array, truths: Array, answers: Array) -> Array:
    return np.asarray(hits.sum(axis=-1) / np.maximum(truths.sum(axis=-1), 1))


def _interval(value: float, drawn: Array, confidence: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, min(value, float(low)), max(value, float(high))


def _per_mille(confusion: Array) -> tuple[tuple[int, ...], ...]:
    shares = 1000 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return tuple(tuple(round(float(share)) for share in row) for row in shares)


def _table(labels: Sequence[str], total: tuple[Array, Array, Array], per_class: Array) -> Table:
    hits, truths, answers = total
    rows = []
    for place in np.argsort(-truths, kind="stable"):
        if truths[place]:
            share = truths[place] / truths.sum()
            found = hits[place] / truths[place]
            right = hits[place] / answers[place] if answers[place] else 0.0
            rows.append(
                (labels[place], f"{share:.1%}", f"{per_class[place]:.3f}", f"{found:.3f}", f"{right:.3f}"),
            )
    return Table(
        "Classes by their share of pixels",
        ("class", "pixels", "IoU", "found", "right"),
        tuple(rows),
        "found: share of the class's pixels that were answered so; right: share of such answers that are. "
        "The matrix of what is taken for what counts thousandths of each true class's pixels.",
    )


# ------------------------------------------------------------------------------------------------ borders


def boundary_f1(wanted: Array, answer: Array) -> float:
    """How well the borders of the answer follow those of the truth, mean over the classes with a border in either.

    A border pixel is found where the other map has one of the same class within 0.75 % of the diagonal. Where nobody
    judged there is no border.

    Both are (h, w) uint8.
    """
    reach = max(1, round(TOLERANCE * float(np.hypot(*wanted.shape))))
    answer = np.where(wanted == IGNORED, IGNORED, answer)
    numbers = np.unique(np.concatenate([np.unique(wanted), np.unique(answer)]))
    numbers = numbers[numbers != IGNORED]
    scores = []
    for start in range(0, len(numbers), 32):  # one bit a class, so that one pass serves them all
        some = numbers[start : start + 32]
        table = np.zeros(256, np.uint32)
        table[some] = np.uint32(1) << np.arange(len(some), dtype=np.uint32)
        one, other = (_border(numbered, table) for numbered in (wanted, answer))
        wanted_found, wanted_all = _found(wanted, one, _grown(other, reach))
        answer_found, answer_all = _found(answer, other, _grown(one, reach))
        for number in some:
            if wanted_all[number] + answer_all[number]:
                recall = wanted_found[number] / max(wanted_all[number], 1)
                precision = answer_found[number] / max(answer_all[number], 1)
                scores.append(2 * recall * precision / max(recall + precision, 1e-12))
    return float(np.mean(scores)) if scores else 1.0


def _border(numbers: Array, table: Array) -> Array:
    """Bits of the class at pixels that touch another class, 0 elsewhere."""
    edge = np.zeros(numbers.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = (numbers[one] != numbers[other]) & (numbers[one] != IGNORED) & (numbers[other] != IGNORED)
        edge[one] |= differs
        edge[other] |= differs
    return np.where(edge, table[numbers], np.uint32(0))


def _grown(bits: Array, reach: int) -> Array:
    """Every bit spread over the disc around it."""
    height, width = bits.shape
    grown = bits.copy()
    wide, half = bits.copy(), 0
    for down in range(reach, -1, -1):
        while half < int((reach**2 - down**2) ** 0.5):
            half += 1
            if half < width:
                wide[:, half:] |= bits[:, :-half]
                wide[:, :-half] |= bits[:, half:]
        if down == 0:
            grown |= wide
        elif down < height:
            grown[down:] |= wide[:-down]
            grown[:-down] |= wide[down:]
    return grown


def _found(numbers: Array, border: Array, near: Array) -> tuple[Array, Array]:
    """Border pixels per class number: those near a border of the same class, and all."""
    edge = border != 0
    matched = edge & ((border & near) != 0)
    return np.bincount(numbers[matched], minlength=256), np.bincount(numbers[edge], minlength=256)
