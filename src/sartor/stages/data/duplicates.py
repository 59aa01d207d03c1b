"""Finds copies, exact ones by content and near ones by hash: within a split, across splits, with other labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.stages.data.scan import EXAMPLES
from sartor.types import DataProblem

Array = np.ndarray[Any, np.dtype[Any]]

NEAR_BITS = 6
"""Difference hashes at most this many bits apart are compared by their pixels."""

MOST_BUCKET, MOST_PAIRS = 60, 3000
"""Plain pictures share their hashes; buckets beyond this say nothing and are skipped, and so are further pairs."""

Place = Callable[[int], str]


def group_numbers(content: bytes) -> Array:
    """(n,) int64: equal numbers for equal 16-byte digests."""
    if not content:
        return np.zeros(0, np.int64)
    return np.unique(np.frombuffer(content, "V16"), return_inverse=True)[1].astype(np.int64)


def leaked(groups: Array, splits: Array, kept: int, cleaned: Sequence[int]) -> Array:
    """(n,) bool: samples of the splits ``cleaned`` whose content also occurs in split ``kept``."""
    return np.asarray(np.isin(splits, cleaned) & np.isin(groups, groups[splits == kept]))


def copies_within(groups: Array, splits: Array, number: int, name: str, place: Place) -> list[DataProblem]:
    """Exact copies inside one split: counted, kept."""
    members = np.flatnonzero(splits == number)
    _, first, inverse = np.unique(groups[members], return_index=True, return_inverse=True)
    later = np.flatnonzero(first[inverse] != np.arange(len(members)))
    if not len(later):
        return []
    pairs = tuple(f"{place(int(members[i]))} = {place(int(members[first[inverse[i]]]))}" for i in later[:EXAMPLES])
    sentence = f"{len(later)} samples are exact copies of others in {name}; they were kept and count more than once"
    return [DataProblem("DUPLICATE", name, len(later), sentence, pairs)]


def conflicts(groups: Array, labels: Array, words: Sequence[str], place: Place) -> list[DataProblem]:
    """Samples with the same content and different labels; at least one of them is wrong."""
    order = np.lexsort((labels, groups))
    sorted_groups, sorted_labels = groups[order], labels[order]
    differs = (np.diff(sorted_groups) == 0) & (np.diff(sorted_labels) != 0)
    found = np.unique(sorted_groups[1:][differs])
    if not len(found):
        return []
    examples = []
    for group in found[:EXAMPLES]:
        members = np.flatnonzero(groups == group)
        other = members[labels[members] != labels[members[0]]][0]
        examples.append(" but ".join(f"{place(int(i))} says {words[labels[i]]}" for i in (members[0], other)))
    count = int(np.isin(groups, found).sum())
    sentence = (
        f"{count} samples share their content with one of another label; at most one label is right, correct them"
    )
    return [DataProblem("CONFLICTING_LABELS", "", count, sentence, tuple(examples))]


def near_pairs(likeness: Array, splits: Array, groups: Array) -> Array:
    """(m, 2) pairs of samples with hashes at most 6 bits apart and different content, pairs across splits first.

    Only samples that agree in one of four 16-bit bands are compared: up to 3 bits that misses none, beyond some.
    """
    found: list[Array] = []
    for band in range(4):
        keys = (likeness >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if 1 < len(bucket) <= MOST_BUCKET:
                left, right = np.triu_indices(len(bucket), 1)
                pairs = np.c_[bucket[left], bucket[right]]
                near = _differing_bits(likeness[pairs[:, 0]], likeness[pairs[:, 1]]) <= NEAR_BITS
                found.append(pairs[near & (groups[pairs[:, 0]] != groups[pairs[:, 1]])])
    if not found:
        return np.zeros((0, 2), np.int64)
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    across = splits[pairs[:, 0]] != splits[pairs[:, 1]]
    return np.asarray(pairs[np.argsort(~across, kind="stable")])


def _differing_bits(left: Array, right: Array) -> Array:
    return np.asarray(np.unpackbits((left ^ right).view(np.uint8)).reshape(len(left), 64).sum(axis=1))


def confirm_near(pairs: Array, same: Callable[[int, int], bool]) -> Array:
    """The pairs that also look the same, at most 3,000 compared."""
    kept = [pair for pair in pairs[:MOST_PAIRS] if _safely(same, int(pair[0]), int(pair[1]))]
    return np.array(kept, np.int64).reshape(-1, 2)


def _safely(same: Callable[[int, int], bool], left: int, right: int) -> bool:
    try:
        return same(left, right)
    except (DataError, OSError):
        return False


def near_problems(pairs: Array, splits: Array, names: Sequence[str], place: Place) -> list[DataProblem]:
    """Near copies within and across splits, as a remark: they are kept everywhere."""
    problems = []
    across = splits[pairs[:, 0]] != splits[pairs[:, 1]]
    for chosen, code, what in (
        (pairs[across], "NEAR_LEAK", "look almost the same in two splits, so the score may be too good"),
        (pairs[~across], "NEAR_DUPLICATE", "look almost the same within a split"),
    ):
        if len(chosen):
            examples = tuple(
                f"{place(int(a))} ({names[splits[a]]}) ~ {place(int(b))} ({names[splits[b]]})"
                for a, b in chosen[:EXAMPLES]
            )
            sentence = f"at least {len(chosen)} pairs of samples {what}; look at them, they were kept"
            problems.append(DataProblem(code, "", len(chosen), sentence, examples))
    return problems
