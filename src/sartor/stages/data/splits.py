"""Cuts validation and test from train: by samples or by whole labels, seeded, copies always on the same side. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ENOUGH_VALIDATION, ENOUGH_TEST = 1000, 2000
LEAST_SHARE, MOST_SHARE = 0.1, 0.2
LEAST_LABELS = 2
"""Whole labels on each side: with one alone nothing can be told apart."""


def share_for(samples: int, enough: int) -> float:
    """Share to set aside: as much as gives ``enough`` samples, but at least 10 % and at most 20 %."""
    return min(MOST_SHARE, max(LEAST_SHARE, enough / max(samples, 1)))


def cut(labels: Array, groups: Array, share: float, seed: int) -> Array:
    """Choose samples to set aside.

    Args:
        labels: (n,) class numbers, of each of which the share is taken; zeros where only the whole counts.
        groups: (n,) numbers; samples of one group (equal content) stay together.
        share: of every class, 0..1.
        seed: same seed, same choice.

    Returns:
        (n,) bool, True for samples set aside: of every class the share, at least one group of it, never all.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(group)
    owner = labels[first]  # a group with conflicting labels counts to the class of its first sample
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(first), bool)
    for label in np.unique(owner):
        members = generator.permutation(np.flatnonzero(owner == label))
        if len(members) < 2:
            continue
        wanted = max(1, round(share * int(sizes[members].sum())))
        taken = int(np.searchsorted(np.cumsum(sizes[members]), wanted)) + 1
        chosen[members[: min(taken, len(members) - 1)]] = True
    return np.asarray(chosen[group])


def cut_labels(labels: Array, share: float, seed: int, left: int = LEAST_LABELS) -> Array:
    """Choose labels to set aside, whole: what a model is judged by are then identities it has never seen.

    Args:
        labels: (n,) class numbers.
        share: of the labels, 0..1.
        seed: same seed, same choice.
        left: labels that must remain.

    Returns:
        (n,) bool, True for samples set aside: all samples of the share of the labels, of at least two of them, and of
        none where fewer than two can be spared.
    """
    present = np.unique(labels)
    wanted = min(max(LEAST_LABELS, round(share * len(present))), len(present) - left)
    chosen = np.random.default_rng(seed).permutation(present)[: wanted if wanted >= LEAST_LABELS else 0]
    return np.isin(labels, chosen)
