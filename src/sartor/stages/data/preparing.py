"""Prepare data: find, look at every sample, check, split, describe, and index it for the stages that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor import codec, registry
from sartor.catalog.contracts import Task
from sartor.errors import DataError, nearest
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, PrepareResult
from sartor.prepared import alone, in_order
from sartor.progress import Tell, silent
from sartor.reading.locate import locate
from sartor.stages.data import duplicates, refuse
from sartor.stages.data.scan import Seen, fault_problems, gather_facts, scan
from sartor.stages.data.splits import ENOUGH_TEST, ENOUGH_VALIDATION, cut, share_for
from sartor.stages.data.whole import REMOVED, SPLITS, TEST, TRAIN, VALIDATION, Whole
from sartor.stages.data.write import fingerprint, split_cards, write_index
from sartor.storage import telling_disk_errors
from sartor.types import DataCard, DataProblem, DataSource

Array = np.ndarray[Any, np.dtype[Any]]

OPTIONS = frozenset(
    {"licence", "max_broken_share", "validation_share", "test_share", "min_class_samples", "revision", "config"}
)
"""Keys that ``data`` takes beside its splits and columns."""

SMALL_CLASS, IMBALANCE = 20, 10
SURVEY_SAMPLES, SURVEY_SIDE = 2000, 32
NEAR_SIDE, LEAST_SIDE = 12, 16  # near copies are compared at 12 × 12; below 16 all pictures of a class look alike


def prepare(job: PrepareJob, workspace: Workspace, tell: Tell = silent) -> PrepareResult:
    """Read, check, split and index the data; ``open_data(card.fingerprint, workspace)`` opens the result.

    Killed anywhere and called again it starts over; prepared data appears whole or not at all.

    Raises:
        DataError: the data cannot be used; one sentence.
        StorageError: the disk is full or read-only.
    """
    task: Task = registry.get("tasks", job.task)
    key = codec.digest(job)
    with alone(workspace.root / "data" / f"prepare-{key[:16]}"):  # not in scratch, which is removed at the end
        workspace.clear_scratch(key)  # what a kill has left
        try:
            return _prepare(job, task, workspace.scratch(key) / "index", workspace, tell)
        finally:
            workspace.clear_scratch(key)


def _prepare(job: PrepareJob, task: Task, folder: Path, workspace: Workspace, tell: Tell) -> PrepareResult:
    if task.reader != "images":
        raise DataError(f"task {job.task} asks for the reader {task.reader!r}, which stages.data does not have")
    with telling_disk_errors(folder):
        folder.mkdir()
    source, options = job.source, _options(job.source)
    all_seen: list[Seen] = []
    for number, part in enumerate(locate(source)):
        with telling_disk_errors(folder):
            seen = scan(part, task, folder, number, tell)
        broken = [place for places in seen.faults.values() for place in places]
        refuse.refuse_broken(part.title, len(seen), broken, options["max_broken_share"])
        all_seen.append(seen)
    problems = [problem for seen in all_seen for problem in (*seen.part.notes, *fault_problems(seen))]
    whole = Whole(all_seen)
    for seen in all_seen:
        if seen.part.split != "train":
            refuse.refuse_unknown_labels(seen.part.split, list(seen.names), whole.words)

    tell("looking for copies and leaks")
    groups = duplicates.group_numbers(whole.content)
    problems += _remove_leaks(whole, groups)
    cuts = _cut_missing(whole, groups, options, job.seed)
    problems += duplicates.conflicts(groups, whole.labels, whole.words, whole.place)
    for number, name in enumerate(SPLITS):
        problems += duplicates.copies_within(groups, whole.splits, number, name, whole.place)
    facts = gather_facts(all_seen) | {"split": cuts}
    if min(facts["sizes"]["median"]) >= LEAST_SIDE:
        problems += _near(whole, groups, task)

    splits = split_cards(whole)
    problems += _balance(whole, all_seen)
    tell("looking at the data as a whole")
    facts |= dict(_survey(whole, task, facts, job.seed))
    card = DataCard(
        task=job.task,
        fingerprint=fingerprint(job.task, whole.words, splits),
        labels=whole.words,
        splits=splits,
        problems=tuple(problems),
        facts=codec.to_plain(facts),
        licence=str(source.options.get("licence", "")),
    )
    write_index(whole, card, folder, workspace)
    return PrepareResult(card)


def _options(source: DataSource) -> dict[str, Any]:
    """Options with their defaults, checked."""
    allowed = {"max_broken_share": refuse.MAX_BROKEN_SHARE, "validation_share": 0.0, "test_share": 0.0}
    for name in source.options:
        if name not in OPTIONS:
            near = nearest(name, OPTIONS)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(sorted(OPTIONS))}"
            raise DataError(f"data.{name} is not an option of data. {hint}")
    found: dict[str, Any] = {"min_class_samples": source.options.get("min_class_samples", 0)}
    for name, default in allowed.items():
        value = source.options.get(name, default)
        most = 1.0 if name == "max_broken_share" else 0.9
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise DataError(f"data.{name} is {value!r}; it must be a share from 0 to {most:g}, e.g. 0.1")
        found[name] = float(value)
    least = found["min_class_samples"]
    if isinstance(least, bool) or not isinstance(least, int) or least < 0:
        raise DataError(f"data.min_class_samples is {least!r}; it must be a whole number, e.g. 10")
    return found


def _remove_leaks(whole: Whole, groups: Array) -> list[DataProblem]:
    """Take copies out of the split that learns or chooses; test is left as it is."""
    problems = []
    for kept, cleaned in ((TEST, TRAIN), (TEST, VALIDATION), (VALIDATION, TRAIN)):
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


def _cut_missing(whole: Whole, groups: Array, options: Mapping[str, Any], seed: int) -> dict[str, str]:
    """Cut test, then validation, from train where they are not given; says for each split where it comes from."""
    given = [bool((whole.splits == number).any()) for number in range(3)]
    missing = [SPLITS[number] for number in (VALIDATION, TEST) if not given[number]]
    if not given[TRAIN]:
        raise DataError("data.train: nothing is left of it, all its samples also occur in test or validation")
    refuse.refuse_too_few(_contents(whole, groups), missing, options["min_class_samples"])
    said: dict[str, str] = {SPLITS[number]: "given" for number in range(3) if given[number]}
    for number, enough in ((TEST, ENOUGH_TEST), (VALIDATION, ENOUGH_VALIDATION)):
        if given[number]:
            continue
        train = np.flatnonzero(whole.splits == TRAIN)
        share = options[f"{SPLITS[number]}_share"] or share_for(len(train), enough)
        aside = cut(whole.labels[train], groups[train], share, seed)
        whole.splits[train[aside]] = number
        said[SPLITS[number]] = f"{share:.1%} of train, stratified, seed {seed}"
    return said


def _contents(whole: Whole, groups: Array) -> dict[str, int]:
    """Label to number of different contents in train; a content with two labels counts to the smaller class number."""
    train = whole.splits == TRAIN
    _, first = np.unique(groups[train], return_index=True)
    counts = Counter(int(label) for label in whole.labels[train][first])
    return {word: counts.get(number, 0) for number, word in enumerate(whole.words)}


def _near(whole: Whole, groups: Array, task: Task) -> list[DataProblem]:
    if len(whole.likeness) != len(whole):
        return []
    kept = np.flatnonzero(whole.splits != REMOVED)
    pairs = kept[duplicates.near_pairs(whole.likeness[kept], whole.splits[kept], groups[kept])]

    def small(index: int) -> Array:
        return np.asarray(task.prepare(task.decode(whole.read(index)), (NEAR_SIDE, NEAR_SIDE))).astype(np.float32)

    def same(left: int, right: int) -> bool:
        return duplicates.differ_by(small(left), small(right)) <= duplicates.NEAR_RATIO

    confirmed = duplicates.confirm_near(pairs, same)
    return duplicates.near_problems(confirmed, whole.splits, SPLITS, whole.place)


def _balance(whole: Whole, all_seen: Sequence[Seen]) -> list[DataProblem]:
    counts = np.bincount(whole.labels[whole.splits == TRAIN], minlength=len(whole.words))
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
    declared = {name for seen in all_seen for name in seen.part.names}
    absent = sorted(declared - set(whole.words))
    if absent:
        sentence = f"{len(absent)} declared classes have no samples and were left out"
        problems.append(DataProblem("ABSENT_CLASS", "train", len(absent), sentence, tuple(absent[:5])))
    for number in (VALIDATION, TEST):
        held = np.bincount(whole.labels[whole.splits == number], minlength=len(whole.words))
        lacking = [whole.words[index] for index in np.flatnonzero(held == 0)]
        if lacking:
            sentence = (
                f"{len(lacking)} classes of train have no sample in {SPLITS[number]}, so nothing is known of them there"
            )
            problems.append(
                DataProblem("CLASS_NOT_IN_SPLIT", SPLITS[number], len(lacking), sentence, tuple(lacking[:5]))
            )
    return problems


def _survey(whole: Whole, task: Task, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """What only many samples together show: the task looks at a seeded choice of train at a small size."""
    train = np.flatnonzero(whole.splits == TRAIN)
    median = facts["sizes"]["median"]
    side = max(1, min(SURVEY_SIDE, *median))
    count = SURVEY_SAMPLES if max(median) <= 256 else SURVEY_SAMPLES // 4
    chosen = np.sort(np.random.default_rng(seed).permutation(train)[:count])
    prepared = in_order(lambda index: task.prepare(task.decode(whole.read(int(index))), (side, side)), chosen)
    return task.survey(np.stack(list(prepared)), whole.labels[chosen], seed)
