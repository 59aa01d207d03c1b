"""What is remarked of data as a whole: classes that are small, uneven or absent, and samples that look the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.catalog.contracts import Task
from sartor.media.image import LEAST_SIDE
from sartor.stages.data import duplicates
from sartor.stages.data.scan import Seen
from sartor.stages.data.whole import REMOVED, SPLITS, TEST, TRAIN, VALIDATION, Whole
from sartor.types import DataProblem

Array = np.ndarray[Any, np.dtype[Any]]

SMALL_CLASS, IMBALANCE = 20, 10


def near_copies(whole: Whole, groups: Array, facts: Mapping[str, Any], task: Task) -> list[DataProblem]:
    """Samples with near hashes that also look the same, where the task has hashes for all of them."""
    if not len(whole) or len(whole.likeness) != len(whole):
        return []
    if "sizes" in facts and min(facts["sizes"]["median"]) < LEAST_SIDE:
        return []  # tiny pictures of a class all look alike
    kept = np.flatnonzero(whole.splits != REMOVED)
    pairs = kept[duplicates.near_pairs(whole.likeness[kept], whole.splits[kept], groups[kept])]

    def same(left: int, right: int) -> bool:
        return bool(task.alike(task.decode(whole.read(left)), task.decode(whole.read(right))))

    confirmed = duplicates.confirm_near(pairs, same)
    return duplicates.near_problems(confirmed, whole.splits, SPLITS, whole.place)


def balance(whole: Whole) -> list[DataProblem]:
    """Classes of train that are small, or far from the others in number, and those that another split lacks."""
    counts = whole.instances(TRAIN)
    problems = []
    small = [index for index in np.argsort(counts) if counts[index] < SMALL_CLASS]
    if small:
        examples = tuple(f"{whole.words[index]}: {counts[index]}" for index in small[:5])
        sentence = f"{len(small)} classes have fewer than {SMALL_CLASS} training samples; collect more of them"
        problems.append(DataProblem("SMALL_CLASS", "train", len(small), sentence, examples))
    if counts.max() > IMBALANCE * max(int(counts.min()), 1):
        most, least = whole.words[int(counts.argmax())], whole.words[int(counts.argmin())]
        sentence = (
            f"class {most!r} has {counts.max()} training samples, {least!r} has {counts.min()}; judge by macro F1"
        )
        problems.append(DataProblem("IMBALANCE", "train", 1, sentence))
    for number in (VALIDATION, TEST):
        lacking = [whole.words[index] for index in np.flatnonzero(whole.instances(number) == 0)]
        if lacking:
            sentence = (
                f"{len(lacking)} classes of train have no sample in {SPLITS[number]}, so nothing is known of them there"
            )
            problems.append(
                DataProblem("CLASS_NOT_IN_SPLIT", SPLITS[number], len(lacking), sentence, tuple(lacking[:5]))
            )
    return problems


def absent(whole: Whole, all_seen: Sequence[Seen]) -> list[DataProblem]:
    """Classes that the source declares and has no samples of."""
    declared = {name for seen in all_seen for name in seen.part.names}
    lacking = sorted(declared - set(whole.words))
    if not lacking:
        return []
    sentence = f"{len(lacking)} declared classes have no samples and were left out"
    return [DataProblem("ABSENT_CLASS", "train", len(lacking), sentence, tuple(lacking[:5]))]
