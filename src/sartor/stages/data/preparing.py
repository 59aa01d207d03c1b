"""Prepare data: find, look at every sample, check, split, describe, and index it for the stages that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sartor import codec, registry
from sartor.catalog.contracts import Task
from sartor.errors import DataError, nearest
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, PrepareResult
from sartor.prepared import alone, in_order, kind_of
from sartor.progress import Tell, silent
from sartor.reading.sample import Part, natural_order
from sartor.stages.data import duplicates, refuse, remarks, sides
from sartor.stages.data.scan import Seen, gather_facts, part_problems, scan
from sartor.stages.data.whole import REMOVED, SPLITS, TRAIN, Whole, label_order
from sartor.stages.data.write import fingerprint, split_cards, write_index
from sartor.storage import telling_disk_errors
from sartor.types import DataCard, DataProblem, DataSource

Array = np.ndarray[Any, np.dtype[Any]]

OPTIONS = frozenset(
    {"licence", "max_broken_share", "validation_share", "test_share", "min_class_samples", "revision", "config"}
)
"""Keys that ``data`` takes beside its splits and columns; a task's ``options`` join them."""

SURVEY_SAMPLES, LARGE_SIDE = 2000, 256
DECODED_AHEAD = 4
"""Decoded samples that wait for a survey: large pictures take 30 MB each."""


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
    with telling_disk_errors(folder):
        folder.mkdir()
    options = _options(job.source, task)
    all_seen = _look(_parts(job, task), task, folder, options["max_broken_share"], tell)
    problems = [problem for seen in all_seen for problem in (*seen.part.notes, *part_problems(seen, task.advice))]
    whole = Whole(all_seen, kind_of(task), _words(job, task, all_seen))
    _refuse_unknown(job, task, whole)

    tell("looking for copies and leaks")
    groups = duplicates.group_numbers(whole.content)
    judged = _only_judged(job)
    if judged:
        cuts = {"test": "given"}
    else:
        problems += sides.remove_leaks(whole, groups)
        cuts = _cut(job, task, whole, groups, options, problems)
    if whole.kind == "class":
        problems += duplicates.conflicts(groups, whole.labels, whole.words, whole.place)
    for number, name in enumerate(SPLITS):
        problems += duplicates.copies_within(groups, whole.splits, number, name, whole.place)
    facts = gather_facts(all_seen) | {"split": cuts} | _range(whole) | _asked(job.source, task)
    for seen in all_seen:
        facts |= seen.part.facts
    problems += remarks.near_copies(whole, groups, facts, task)
    if not judged:
        if whole.kind == "class" and task.splitting == "stratified":
            problems += remarks.balance(whole)
        problems += remarks.absent(whole, all_seen)
        tell("looking at the data as a whole")
        surveyed = dict(_survey(whole, task, facts, job.seed))
        problems += surveyed.pop("problems", ())
        facts |= surveyed

    splits = split_cards(whole, only_held=task.splitting == "by-label")
    card = DataCard(
        task=job.task,
        fingerprint=fingerprint(job.task, whole.words, splits),
        labels=whole.words,
        splits=splits,
        problems=tuple(problems),
        facts=codec.to_plain(facts),
        licence=str(job.source.options.get("licence", "")),
    )
    write_index(whole, card, folder, workspace)
    return PrepareResult(card)


def _only_judged(job: PrepareJob) -> bool:
    """Whether a model that is there is judged on the data, so that nothing is learnt from it or cut."""
    return not job.source.train


def _parts(job: PrepareJob, task: Task) -> list[Part]:
    """What the task finds in the source; where it is only judged by, the test part or else all of it, as test."""
    if not _only_judged(job):
        return task.read(job.source)
    parts = task.read(replace(job.source, train=job.source.test, validation="", test=""))
    parts = [part for part in parts if part.split == "test"] or parts
    for part in parts:
        part.split = "test"
    return parts


def _look(parts: list[Part], task: Task, folder: Path, broken_share: float, tell: Tell) -> list[Seen]:
    """Every sample of every part, looked at once.

    Raises:
        DataError: a part has no usable samples, or too many broken ones.
    """
    if not parts:
        raise DataError("data.train: there are no samples in it; check the path")
    all_seen = []
    for number, part in enumerate(parts):
        with telling_disk_errors(folder):
            seen = scan(part, task, folder, number, tell)
        broken = [place for places in seen.faults.values() for place in places]
        refuse.refuse_broken(part.title, len(seen), broken, broken_share)
        all_seen.append(seen)
    return all_seen


def _words(job: PrepareJob, task: Task, all_seen: list[Seen]) -> tuple[str, ...]:
    """Labels in index order: those of the model that is to be judged, else the data's."""
    kind, by_label = kind_of(task), task.splitting == "by-label"
    if not job.labels:
        return label_order(all_seen, kind, "test" if _only_judged(job) else "train", others_too=by_label)
    found = {name for seen in all_seen for name in seen.names} if by_label else set()
    return (*job.labels, *natural_order(found - set(job.labels)))


def _refuse_unknown(job: PrepareJob, task: Task, whole: Whole) -> None:
    if whole.kind == "number" or task.splitting == "by-label":
        return
    for seen in whole.parts:
        if job.labels:
            refuse.refuse_labels_unknown_to_model(list(seen.names), whole.words)
        elif seen.part.split != "train":
            refuse.refuse_unknown_labels(seen.part.split, list(seen.names), whole.words)


def _cut(
    job: PrepareJob, task: Task, whole: Whole, groups: Array, options: Mapping[str, Any], problems: list[DataProblem]
) -> dict[str, str]:
    """Cut what is missing from train; with whole labels, clear both sides of what they share before and after."""
    if task.splitting != "by-label":
        return sides.cut_missing(whole, groups, task.splitting, options, job.seed)
    problems += sides.remove_shared_labels(whole)
    cuts = sides.cut_missing(whole, groups, task.splitting, options, job.seed)
    problems += sides.remove_leaks(whole, groups)  # copies under two labels may now be on two sides
    held = set(whole.labels[whole.splits == TRAIN].tolist())
    learnt = [word for number, word in enumerate(whole.words) if number in held]
    whole.renumber((*learnt, *(word for word in whole.words if word not in set(learnt))))
    return cuts


def _options(source: DataSource, task: Task) -> dict[str, Any]:
    """Options with their defaults, checked; those of the task are its own to check."""
    known = OPTIONS | getattr(task, "options", frozenset())
    allowed = {"max_broken_share": refuse.MAX_BROKEN_SHARE, "validation_share": 0.0, "test_share": 0.0}
    for name in source.options:
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(sorted(known))}"
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


def _asked(source: DataSource, task: Task) -> dict[str, Any]:
    """The task's own options as they were given, which what is learnt of the data may hang on."""
    asked = {name: source.options[name] for name in sorted(getattr(task, "options", ())) if name in source.options}
    return {"options": asked} if asked else {}


def _range(whole: Whole) -> dict[str, Any]:
    """Of answers that are numbers: the smallest, median and largest of train, or of all where nothing is learnt."""
    if whole.kind != "number":
        return {}
    train = whole.splits == TRAIN
    values = whole.numbers[train if train.any() else whole.splits != REMOVED]
    named = {"smallest": values.min(), "median": np.median(values), "largest": values.max()}
    return {"truth_range": {name: float(value) for name, value in named.items()}}


def _survey(whole: Whole, task: Task, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """What only many samples together show: the task looks at a seeded choice of train."""
    train = np.flatnonzero(whole.splits == TRAIN)
    large = max(facts["sizes"]["median"]) > LARGE_SIDE if "sizes" in facts else False
    count = SURVEY_SAMPLES // 4 if large else SURVEY_SAMPLES
    chosen = np.sort(np.random.default_rng(seed).permutation(train)[:count])
    decoded = in_order(lambda index: task.decode(whole.read(int(index))), chosen, ahead=DECODED_AHEAD)
    return task.survey(decoded, whole.truths(chosen), facts, seed)
