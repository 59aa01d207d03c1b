"""Which side each sample is on: copies and identities that are on two, and splits that must be cut from train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.stages.data import duplicates, refuse
from sartor.stages.data.splits import ENOUGH_TEST, ENOUGH_VALIDATION, LEAST_LABELS, cut, cut_labels, share_for
from sartor.stages.data.whole import REMOVED, SPLITS, TEST, TRAIN, VALIDATION, Whole
from sartor.types import DataProblem

Array = np.ndarray[Any, np.dtype[Any]]

CLEANED = ((TEST, TRAIN), (TEST, VALIDATION), (VALIDATION, TRAIN))
"""Kept, cleaned: what is on two sides goes from the one that learns or chooses; test is left as it is."""


def remove_leaks(whole: Whole, groups: Array) -> list[DataProblem]:
    """Take copies out of the split that learns or chooses."""
    problems = []
    for kept, cleaned in CLEANED:
        leaks = np.flatnonzero(duplicates.leaked(groups, whole.splits, kept, [cleaned]))
        if len(leaks):
            problems.append(_leak_problem(whole, groups, leaks, kept, cleaned))
            whole.splits[leaks] = REMOVED
    return problems


def _leak_problem(whole: Whole, groups: Array, leaks: Array, kept: int, cleaned: int) -> DataProblem:
    twins = [int(np.flatnonzero((groups == groups[i]) & (whole.splits == kept))[0]) for i in leaks[:5]]
    examples = tuple(
        f"{whole.place(int(i))} ({SPLITS[cleaned]}) = {whole.place(twin)} ({SPLITS[kept]})"
        for i, twin in zip(leaks[:5], twins, strict=True)
    )
    sentence = (
        f"{len(leaks)} samples of {SPLITS[cleaned]} also occur in {SPLITS[kept]}; "
        f"they were removed from {SPLITS[cleaned]}, {SPLITS[kept]} is as given"
    )
    return DataProblem("LEAK", SPLITS[cleaned], len(leaks), sentence, examples)


def remove_shared_labels(whole: Whole) -> list[DataProblem]:
    """Take labels that two splits hold out of the one that learns or chooses, with all their samples."""
    problems = []
    for kept, cleaned in CLEANED:
        shared = np.intersect1d(whole.labels[whole.splits == kept], whole.labels[whole.splits == cleaned])
        if len(shared):
            lost = (whole.splits == cleaned) & np.isin(whole.labels, shared)
            whole.splits[lost] = REMOVED
            sentence = (
                f"{len(shared)} labels occur in {SPLITS[cleaned]} and in {SPLITS[kept]}; their {int(lost.sum())} "
                f"samples were removed from {SPLITS[cleaned]}, as {SPLITS[kept]} must show labels never seen before"
            )
            examples = tuple(whole.words[int(label)] for label in shared[:5])
            problems.append(DataProblem("IDENTITY_IN_TWO_SPLITS", SPLITS[cleaned], len(shared), sentence, examples))
    return problems


def cut_missing(whole: Whole, groups: Array, splitting: str, options: Mapping[str, Any], seed: int) -> dict[str, str]:
    """Cut test, then validation, from train where they are not given; says for each split where it comes from.

    Raises:
        DataError: train has too few samples, labels or classes to be cut and learnt from.
    """
    given = [bool((whole.splits == number).any()) for number in range(3)]
    missing = [SPLITS[number] for number in (VALIDATION, TEST) if not given[number]]
    if not given[TRAIN]:
        raise DataError("data.train: nothing is left of it, all of it also occurs in test or validation")
    _refuse(whole, groups, splitting, missing, options["min_class_samples"])
    said: dict[str, str] = {SPLITS[number]: "given" for number in range(3) if given[number]}
    strata = whole.labels if splitting == "stratified" else np.zeros_like(whole.labels)
    how = {"stratified": "of train, stratified", "by-label": "of train's labels", "random": "of train, at random"}
    for number, enough in ((TEST, ENOUGH_TEST), (VALIDATION, ENOUGH_VALIDATION)):
        if given[number]:
            continue
        train = np.flatnonzero(whole.splits == TRAIN)
        share = options[f"{SPLITS[number]}_share"] or share_for(len(train), enough)
        if splitting == "by-label":
            left = LEAST_LABELS * (2 if number == TEST and not given[VALIDATION] else 1)
            aside = cut_labels(whole.labels[train], share, seed, left)
        else:
            aside = cut(strata[train], groups[train], share, seed)
        if not aside.any():
            raise DataError(f"data.train: nothing is left of it for {SPLITS[number]}; give one, or a smaller share")
        whole.splits[train[aside]] = number
        said[SPLITS[number]] = f"{share:.1%} {how[splitting]}, seed {seed}"
    return said


def _refuse(whole: Whole, groups: Array, splitting: str, missing: Sequence[str], least: int) -> None:
    train = whole.splits == TRAIN
    if whole.kind == "class" and splitting == "stratified":
        refuse.refuse_too_few(_contents(whole, groups), missing, least)
        return
    if splitting == "by-label":
        contents = {word: count for word, count in _contents(whole, groups).items() if count}
        refuse.refuse_too_few_labels(len(contents), missing)
        refuse.refuse_small_classes(contents, least)
    else:
        refuse.refuse_too_few_samples(len(np.unique(groups[train])), missing)
    if whole.kind == "number":
        refuse.refuse_one_answer(float(whole.numbers[train].min()), float(whole.numbers[train].max()))


def _contents(whole: Whole, groups: Array) -> dict[str, int]:
    """Label to number of different contents in train; a content with two labels counts to the smaller class number."""
    train = whole.splits == TRAIN
    _, first = np.unique(groups[train], return_index=True)
    counts = Counter(int(label) for label in whole.labels[train][first])
    return {word: counts.get(number, 0) for number, word in enumerate(whole.words)}
