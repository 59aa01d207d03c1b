"""Does mirroring a picture keep its class? A cheap test on the data itself, so that flips are not used on faith.

Flipping left and right helps on photographs and harms on digits, text and anything whose handedness matters. Two
questions, answered by ridge classifiers on pixels and random patch features, on samples they were not fitted on:

1. Can pictures be told from their mirror images? In text and digits they can; in photographs hardly.
2. Is a mirrored picture still taken for its class? Where left and right *are* the classes, question 1 sees nothing
   (the mirrored set looks like the set), but this one does.

A linear test cannot see everything: text in random places on photographs, say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

TELLABLE = 0.60
"""Told from their mirror images more often than this (plus one standard error), pictures have handedness."""

LOSS = 0.15
"""Share of the classifier's skill (accuracy above chance) that mirroring may cost."""

FILTERS, PATCH, CELLS = 48, 5, 2


def mirror_evidence(pictures: Array, truths: Array, seed: int) -> dict[str, Any]:
    """Judge whether left-right flips suit the data.

    Args:
        pictures: (n, S, S, 3) uint8 training pictures, a few thousand at most.
        truths: (n,) class numbers.
        seed: of the halves and the random patches.

    Returns:
        ``suits`` (bool), ``told_apart`` (share of right guesses picture or mirror image), ``accuracy`` and
        ``accuracy_mirrored`` of a plain classifier, ``n`` samples it was judged on.
    """
    n = len(pictures)
    if n < 20 or min(pictures.shape[1:3]) < 2:
        return {"suits": False, "n": 0}
    generator = np.random.default_rng(seed)
    grey = _standardised(pictures)
    filters = _patches(grey, generator)
    plain, mirrored = _features(grey, filters), _features(grey[:, :, ::-1], filters)
    order = generator.permutation(n)
    fitted, judged = order[: n // 2], order[n // 2 :]

    apart = _told_apart(plain, mirrored, fitted, judged)
    answers = np.eye(int(truths.max()) + 1)[truths[fitted]]
    weights = _ridge(plain[fitted], answers)
    right = _guess(plain[judged], weights) == truths[judged]
    still = _guess(mirrored[judged], weights) == truths[judged]
    chance = float(np.bincount(truths[judged]).max() / len(judged))

    lost = right.astype(float) - still
    error = float(lost.std() / np.sqrt(len(judged)))
    skill = max(float(right.mean()) - chance, 0.0)
    keeps_class = float(lost.mean()) <= max(LOSS * skill, 2 * error)
    margin = float(np.sqrt(apart * (1 - apart) / (2 * len(judged))))
    return {
        "suits": bool(keeps_class and apart + margin <= TELLABLE),
        "told_apart": round(apart, 4),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_mirrored": round(float(still.mean()), 4),
        "n": len(judged),
    }


def _told_apart(plain: Array, mirrored: Array, fitted: Array, judged: Array) -> float:
    """Share of right guesses whether a picture is mirrored."""
    signs = np.r_[np.ones(len(fitted)), -np.ones(len(fitted))][:, None]
    weights = _ridge(np.r_[plain[fitted], mirrored[fitted]], signs)
    scores = np.r_[_with_one(plain[judged]) @ weights, -(_with_one(mirrored[judged]) @ weights)]
    return float((scores > 0).mean())


def _standardised(pictures: Array) -> Array:
    """(n, S, S) float32 grey, each picture with zero mean and unit deviation."""
    grey = pictures.astype(np.float32).mean(axis=3)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    return np.asarray(grey / (grey.std(axis=(1, 2), keepdims=True) + 1.0))


def _patches(grey: Array, generator: np.random.Generator) -> Array:
    """(patch pixels, filters): patches cut from the pictures, with zero mean and unit length.

    Source: Coates, Lee, Ng 2011, "An analysis of single-layer networks in unsupervised feature learning".
    """
    side = min(PATCH, grey.shape[1])
    rows = generator.integers(0, grey.shape[1] - side + 1, FILTERS)
    columns = generator.integers(0, grey.shape[2] - side + 1, FILTERS)
    chosen = generator.integers(0, len(grey), FILTERS)
    cut = np.stack([grey[i, r : r + side, c : c + side].ravel() for i, r, c in zip(chosen, rows, columns, strict=True)])
    cut = cut - cut.mean(axis=1, keepdims=True)
    return np.asarray((cut / (np.linalg.norm(cut, axis=1, keepdims=True) + 1e-6)).T)


def _features(grey: Array, filters: Array) -> Array:
    """(n, features) float32: coarse pixels, and rectified patch responses pooled over 2 × 2 cells."""
    n, size = grey.shape[0], grey.shape[1]
    step = max(1, size // 16)
    coarse = grey[:, ::step, ::step].reshape(n, -1)
    side = int(np.sqrt(len(filters)))
    pooled = []
    for start in range(0, n, 128):  # windows of all pictures at once would take gigabytes
        block = np.lib.stride_tricks.sliding_window_view(grey[start : start + 128], (side, side), axis=(1, 2))
        responses = np.maximum(block.reshape(*block.shape[:3], -1) @ filters, 0)
        halves = [np.array_split(half, CELLS, axis=2) for half in np.array_split(responses, CELLS, axis=1)]
        pooled.append(np.concatenate([cell.mean(axis=(1, 2)) for row in halves for cell in row if cell.size], axis=1))
    return np.concatenate([coarse, np.concatenate(pooled)], axis=1)


def _with_one(features: Array) -> Array:
    return np.asarray(np.c_[features, np.ones(len(features), features.dtype)])


def _ridge(features: Array, answers: Array) -> Array:
    """Weights of ridge regression; the penalty grows with the mean square of the features."""
    x = _with_one(features).astype(np.float64)
    gram = x.T @ x
    penalty = 0.1 * np.trace(gram) / len(gram)
    return np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ answers))


def _guess(features: Array, weights: Array) -> Array:
    return np.asarray((_with_one(features) @ weights).argmax(axis=1))
