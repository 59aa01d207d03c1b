"""Quality of class probabilities: values with intervals, per class, and the confusion matrix. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float, float]  # value, low, high

RESAMPLES = 500
BINS = 15


def classification_scores(outputs: Array, truths: Array, labels: Sequence[str], confidence: float) -> Scores:
    """Judge probabilities (n, classes) against class numbers (n,).

    Accuracies get exact Clopper-Pearson intervals; macro F1 and calibration error a percentile bootstrap over samples
    (seeded, so that the same outputs always give the same interval).

    Raises:
        DataError: the outputs are not those of these labels.
    """
    if outputs.shape != (len(truths), len(labels)):
        raise DataError(
            f"the model gives {outputs.shape[-1]} outputs, but the data has {len(labels)} labels; "
            "train or export it for this data"
        )
    answers = outputs.argmax(axis=1)
    correct = answers == truths
    confusion = _confusion(truths, answers, len(labels))
    values = {
        "accuracy": _share(correct, confidence),
        "f1_macro": _f1_interval(confusion, confidence),
        "calibration_error": _calibration_interval(outputs.max(axis=1), correct, confidence),
    }
    if len(labels) > 5:
        ranks = (outputs > outputs[np.arange(len(truths)), truths][:, None]).sum(axis=1)
        values["accuracy_top5"] = _share(ranks < 5, confidence)
    present = confusion.sum(axis=1)
    per_class = {
        label: float(confusion[index, index] / present[index]) for index, label in enumerate(labels) if present[index]
    }
    rows = tuple(tuple(int(count) for count in row) for row in confusion)
    return Scores(values, correct.astype(np.float64), per_class, rows)


def f1_macro(confusion: Array) -> Array:
    """Mean F1 over the classes that occur as truth or answer; (…, c, c) to (…)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    either = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    scores = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    return np.asarray(scores.sum(axis=-1) / np.maximum((either > 0).sum(axis=-1), 1))


def calibration_error(confidences: Array, correct: Array) -> float:
    """Expected calibration error over 15 equal bins of confidence. Source: Guo et al. 2017, arXiv:1706.04599."""
    gaps = np.bincount(_bins(confidences), correct - confidences.astype(np.float64), BINS)
    return float(np.abs(gaps).sum() / max(len(correct), 1))


def _confusion(truths: Array, answers: Array, classes: int) -> Array:
    return np.bincount(truths * classes + answers, minlength=classes * classes).reshape(classes, classes)


def _share(hits: Array, confidence: float) -> Interval:
    from sartor.intervals import proportion

    successes, n = int(hits.sum()), len(hits)
    low, high = proportion(successes, n, confidence)
    return successes / n, low, high


def _bootstrap(value: float, draw: Callable[[np.random.Generator], Array], confidence: float) -> Interval:
    samples = draw(np.random.default_rng(0))
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, min(value, float(low)), max(value, float(high))


def _f1_interval(confusion: Array, confidence: float) -> Interval:
    """Resampling samples is resampling cells of the confusion matrix: one multinomial draw each."""
    classes, n = len(confusion), int(confusion.sum())
    cells = np.flatnonzero(confusion)
    shares = confusion.ravel()[cells] / n

    def draw(generator: np.random.Generator) -> Array:
        scores = np.empty(RESAMPLES)
        for index in range(RESAMPLES):
            resampled = np.zeros(classes * classes)
            resampled[cells] = generator.multinomial(n, shares)
            scores[index] = f1_macro(resampled.reshape(classes, classes))
        return scores

    return _bootstrap(float(f1_macro(confusion)), draw, confidence)


def _bins(confidences: Array) -> Array:
    return np.clip((confidences * BINS).astype(np.int64), 0, BINS - 1)


def _calibration_interval(confidences: Array, correct: Array, confidence: float) -> Interval:
    bins, gaps, n = _bins(confidences), correct - confidences.astype(np.float64), len(correct)

    def draw(generator: np.random.Generator) -> Array:
        errors = np.empty(RESAMPLES)
        for index in range(RESAMPLES):
            chosen = generator.integers(0, n, n)
            errors[index] = np.abs(np.bincount(bins[chosen], gaps[chosen], BINS)).sum() / n
        return errors

    return _bootstrap(calibration_error(confidences, correct), draw, confidence)
