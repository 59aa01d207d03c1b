"""Quality of class probabilities: values with intervals, per class, and the confusion matrix. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float, float]  # value, low, high

RESAMPLES = 500
BINS = 15
LEAST_PROBABILITY = 1e-7  # float32 cannot say much less beside 1


def classification_scores(outputs: Array, truths: Array, labels: Sequence[str], confidence: float) -> Scores:
    """Judge probabilities (n, classes) against class numbers (n,).

    Accuracies get exact Clopper-Pearson intervals, AUC DeLong's; macro F1, log loss and calibration error a percentile
    bootstrap over samples (seeded, so that the same outputs always give the same interval).

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
        **_resampled_values(outputs, truths, correct, confidence),
    }
    if len(labels) > 5:
        ranks = (outputs > outputs[np.arange(len(truths)), truths][:, None]).sum(axis=1)
        values["accuracy_top5"] = _share(ranks < 5, confidence)
    area = auc_interval(outputs, truths, confidence)
    if area is not None:
        values["auc"] = area
    present = confusion.sum(axis=1)
    per_class = {
        label: float(confusion[index, index] / present[index]) for index, label in enumerate(labels) if present[index]
    }
    rows = tuple(tuple(int(count) for count in row) for row in confusion)
    return Scores(values, correct.astype(np.float64), per_class, rows)


def auc_interval(outputs: Array, truths: Array, confidence: float) -> Interval | None:
    """Area under the ROC curve: that of the second class of two, else the mean over one-against-rest pairs.

    Its deviation comes from how far each sample moves the area (DeLong, DeLong and Clarke-Pearson 1988,
    doi:10.2307/2531595), its interval from the logit, so that it stays within 0..1. Classes without a sample are
    passed over; None where fewer than two have one.
    """
    from sartor.intervals import proportion

    classes = [1] if outputs.shape[1] == 2 else range(outputs.shape[1])
    n, areas, influence, fewest = len(truths), [], np.zeros(len(truths)), len(truths)
    for number in classes:
        chosen = truths == number
        positives = int(chosen.sum())
        if not 0 < positives < n:
            continue
        above = _shares_below(outputs[:, number], chosen)  # of the other side, per sample
        area = float(above[chosen].mean())
        areas.append(area)
        influence += np.where(chosen, (above - area) * n / positives, (above - area) * n / (n - positives))
        fewest = min(fewest, positives, n - positives)
    if not areas:
        return None
    value = float(np.mean(areas))
    deviation = float(np.sqrt((influence / len(areas)).var() / n))
    if not 0 < value < 1:  # apart without exception: as sure as the smaller side is large
        low, _ = proportion(fewest, fewest, confidence)
        return (value, low, 1.0) if value == 1 else (value, 0.0, 1 - low)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * deviation / (value * (1 - value))
    middle = np.log(value / (1 - value))
    return value, float(1 / (1 + np.exp(reach - middle))), float(1 / (1 + np.exp(-reach - middle)))


def _shares_below(values: Array, chosen: Array) -> Array:
    """Per chosen sample the share of others below it, per other the share of chosen above it; ties count half."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    group = np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]])
    shares = np.empty(len(values))
    for side, others, sign in ((chosen, ~chosen, 1.0), (~chosen, chosen, -1.0)):
        counts = np.add.reduceat(others[order].astype(np.float64), starts)
        below = (np.cumsum(counts) - counts / 2)[group] / others.sum()
        mine = side[order]
        shares[order[mine]] = below[mine] if sign > 0 else 1 - below[mine]
    return shares


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
    return _hull(value, draw(np.random.default_rng(0)), confidence)


def _hull(value: float, samples: Array, confidence: float) -> Interval:
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


def _resampled_values(outputs: Array, truths: Array, correct: Array, confidence: float) -> dict[str, Interval]:
    """Calibration error and log loss, on the same draws of samples."""
    confidences, n = outputs.max(axis=1), len(truths)
    bins, gaps = _bins(confidences), correct - confidences.astype(np.float64)
    losses = -np.log(np.clip(outputs[np.arange(n), truths].astype(np.float64), LEAST_PROBABILITY, 1.0))
    generator = np.random.default_rng(0)
    errors, means = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = generator.integers(0, n, n)
        errors[index] = np.abs(np.bincount(bins[chosen], gaps[chosen], BINS)).sum() / n
        means[index] = losses[chosen].mean()
    return {
        "log_loss": _hull(float(losses.mean()), means, confidence),
        "calibration_error": _hull(calibration_error(confidences, correct), errors, confidence),
    }
