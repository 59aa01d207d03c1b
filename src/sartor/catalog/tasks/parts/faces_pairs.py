"""Pairs of faces in the order of their similarity: what verification is judged on. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

MOST_GENUINE, MOST_IMPOSTORS = 20_000, 100_000
"""Pairs that are judged; beyond them a seeded choice. 100,000 strangers show a false accept rate of 0.1 % well."""

MOST_LISTED = 4_000_000  # pairs of pictures; up to it all are listed, and chosen from
CHUNK_NUMBERS = 1 << 21  # of embeddings that are multiplied at a time, 16 MB

FAILED = -1.0
"""Similarity of a picture that gave no embedding to any other: it is never accepted (ISO/IEC 19795-1, failure to
acquire)."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures, the most similar first.

    Args:
        left, right: numbers of the pictures, (m,).
        same: whether both show one person, (m,).
        similarity: cosine of the embeddings, (m,), falling.
        ends: last position of every run of equal similarities: a threshold lies behind one of them.
    """

    left: Array
    right: Array
    same: Array
    similarity: Array
    ends: Array

    def rates(self, weights: Array) -> tuple[Array, Array]:
        """True and false accept rates (k,) at each possible threshold, from strict to lax; pairs count by weight."""
        genuine = np.cumsum(np.where(self.same, weights, 0.0))
        impostors = np.cumsum(np.where(self.same, 0.0, weights))
        if not genuine[-1] or not impostors[-1]:
            empty = np.full(len(self.ends), np.nan)
            return empty, empty
        return genuine[self.ends] / genuine[-1], impostors[self.ends] / impostors[-1]


def face_pairs(embeddings: Array, people: Array) -> Pairs:
    """All pairs of pictures, or a seeded choice where they are very many.

    Args:
        embeddings: (n, d); a row of zeros is a picture that gave none.
        people: (n,) number of the person on each.

    Raises:
        DataError: nobody has two pictures, or all show one person.
    """
    left, right = _numbers(people)
    same = people[left] == people[right]
    if not same.any():
        raise DataError("nobody has two pictures in this split, so nothing can be verified; add pictures of the people")
    if same.all():
        raise DataError("all pictures of this split show one person, so nobody can be told apart; add people")
    generator = np.random.default_rng(0)
    kept = np.sort(
        np.concatenate(
            [
                _some(np.flatnonzero(same), MOST_GENUINE, generator),
                _some(np.flatnonzero(~same), MOST_IMPOSTORS, generator),
            ]
        )
    )
    left, right, same = left[kept], right[kept], same[kept]
    similarity = similarities(embeddings, left, right)
    order = np.argsort(-similarity, kind="stable")
    left, right, same, similarity = left[order], right[order], same[order], similarity[order]
    ends = np.flatnonzero(np.append(similarity[1:] != similarity[:-1], True))
    return Pairs(left, right, same, similarity, ends)


def similarities(embeddings: Array, left: Array, right: Array) -> Array:
    """Cosines of pairs of rows, (m,); :data:`FAILED` where one of them is zero or not finite."""
    unit, failed = unit_rows(embeddings)
    step = max(1, CHUNK_NUMBERS // max(unit.shape[1], 1))
    parts = [
        np.einsum("md,md->m", unit[left[start : start + step]], unit[right[start : start + step]])
        for start in range(0, len(left), step)
    ]
    found = np.concatenate(parts) if parts else np.zeros(0)
    found[failed[left] | failed[right]] = FAILED
    return found


def unit_rows(embeddings: Array) -> tuple[Array, Array]:
    """Rows of length 1 as float64, and which of them had none (zero, or not finite)."""
    values = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(values, axis=1)
    failed = ~np.isfinite(norms) | (norms < 1e-12)
    return np.where(failed[:, None], 0.0, values / np.where(failed, 1.0, norms)[:, None]), failed


def nearest_others(embeddings: Array) -> Array:
    """Number of the most similar other picture for each, (n,); -1 for a picture that gave no embedding."""
    unit, failed = unit_rows(embeddings)
    nearest = np.full(len(unit), -1)
    for start in range(0, len(unit), 1024):
        rows = np.arange(start, min(start + 1024, len(unit)))
        cosines = unit[rows] @ unit.T
        cosines[:, failed] = -np.inf
        cosines[np.arange(len(rows)), rows] = -np.inf
        nearest[rows] = np.where(np.isfinite(cosines.max(axis=1)), cosines.argmax(axis=1), -1)
    nearest[failed] = -1
    return nearest


def _numbers(people: Array) -> tuple[Array, Array]:
    """Pairs of different pictures: all of them, or those of one person and a seeded draw of the others."""
    n = len(people)
    if n * (n - 1) // 2 <= MOST_LISTED:
        left, right = np.triu_indices(n, 1)
        return left, right
    generator = np.random.default_rng(0)
    order = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.append(True, people[order][1:] != people[order][:-1]))
    genuine = []
    for mine in np.split(order, starts[1:]):
        if len(mine) > 200:  # of one person 20,000 pairs are plenty
            mine = generator.choice(mine, 200, replace=False)
        rows, columns = np.triu_indices(len(mine), 1)
        genuine.append(np.stack([mine[rows], mine[columns]]))
    drawn = np.sort(generator.integers(0, n, (2, 3 * MOST_IMPOSTORS)), axis=0)
    strangers = np.unique(drawn[:, people[drawn[0]] != people[drawn[1]]], axis=1)
    both = np.concatenate([*genuine, strangers], axis=1)
    return both[0], both[1]


def _some(numbers: Array, most: int, generator: np.random.Generator) -> Array:
    return numbers if len(numbers) <= most else generator.choice(numbers, most, replace=False)
