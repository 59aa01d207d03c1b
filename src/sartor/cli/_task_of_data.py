"""Which task a data source is for, where that can be seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor.catalog.contracts import Task
    from sartor.reading.sample import Part, Sample

PICTURES, TEXTS = "image-classification", "text-classification"
LOOKED_AT, FEW = 500, 5  # samples; of pictures and structures few tell
FEW_NUMBERS = 20  # different whole numbers, up to which they are taken for names of classes
TEXT_WORDS = 5  # in a cell that is read rather than looked up


def task_of(what: str) -> str:
    """The task whose reader takes the data; where several do, what its samples look like decides.

    Boxes, masks and interactions are read by nothing else. Of pictures alone the usual task is meant, of rows that
    are mostly one text that of texts, of other rows that of numbers or of classes, by what is answered. What is
    missing counts as pictures, for ``prepare`` to tell.

    Raises:
        SartorError: several tasks would do, or none.
    """
    from sartor import registry
    from sartor.errors import SartorError

    place = Path(what)
    if what.startswith("hub:"):
        raise SartorError(f"{what} may serve several tasks; say with --task which: {_listed(registry.names('tasks'))}")
    if not any(sign in what for sign in "*?[") and not place.exists():
        return PICTURES
    tasks: list[Task] = [registry.get("tasks", name) for name in registry.names("tasks")]
    taken = {task.name: samples for task in tasks if (samples := _samples(task, what))}
    found = _choose({task.name: task for task in tasks if task.name in taken}, taken)
    if len(found) == 1:
        return found[0]
    if found:
        raise SartorError(f"{what} may serve several tasks; say with --task which: {_listed(found)}")
    if place.suffix.lower() == ".npz" or (place.is_dir() and not any(place.glob("*.*"))):
        return PICTURES
    raise SartorError(
        f"{what} is nothing that a task reads as it is; say with --task which it is for, and what is missing will be "
        f"told: {_listed(registry.names('tasks'))}"
    )


def _samples(task: Task, what: str) -> list[Sample]:
    """The first samples that a task reads; empty where it does not take the data."""
    from sartor.errors import SartorError
    from sartor.types import DataSource

    try:
        parts = task.read(DataSource(str(Path(what).absolute())))
        train = next((part for part in parts if part.split == "train"), parts[0])
        cells = task.media == "record" and task.truth != "structure"
        found = list(islice(train.samples, LOOKED_AT if cells else FEW))
        sound = task.media != "image" or any(_readable(task, train, sample) for sample in found)
        return found if sound else []
    except SartorError:
        return []


def _readable(task: Task, part: Part, sample: Sample) -> bool:
    """Whether the input is what the task takes: a column of texts may be read as names of pictures."""
    from sartor.errors import SartorError

    try:
        task.inspect((part.root / sample.place).read_bytes() if sample.raw is None else sample.raw)
    except (OSError, SartorError, ValueError):
        return False
    return True


def _choose(tasks: dict[str, Task], taken: dict[str, list[Sample]]) -> list[str]:
    """Names of the tasks that it may be for."""
    for kind in (
        [name for name, task in tasks.items() if task.truth == "structure"],
        [name for name, task in tasks.items() if task.media == "image" and task.splitting == "stratified"],
        [name for name, task in tasks.items() if task.media == "image"],
    ):
        if kind:
            return kind
    texts = [name for name, task in tasks.items() if task.media == "text"]
    rows = {task.truth: name for name, task in tasks.items() if task.media == "record"}
    if not {"class", "number"} <= rows.keys():
        return [*texts, *rows.values()]
    if _mostly_text(taken[rows["class"]]):
        return texts or [TEXTS]
    return [rows["number" if _numbers(taken[rows["number"]]) else "class"]]


def _mostly_text(rows: list[Sample]) -> bool:
    """Whether most of what the rows hold is to be read."""
    cells = [str(value) for row in rows for value in json.loads(row.raw or b"{}").values() if value is not None]
    return 2 * sum(len(cell) for cell in cells if _is_read(cell)) > sum(map(len, cells))


def _is_read(cell: str) -> bool:
    """Several words, or letters of a writing that puts no spaces between them."""
    return len(cell.split()) >= TEXT_WORDS or sum(letter >= "\u2e80" for letter in cell) >= 2 * TEXT_WORDS


def _numbers(rows: list[Sample]) -> bool:
    """Whether the truths are numbers of a measure, not names and not numbers of classes."""
    values = set()
    for row in rows:
        try:
            values.add(float(row.label or 0))
        except ValueError:
            return False
    return len(values) > FEW_NUMBERS or not all(value.is_integer() for value in values)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
