"""What a reader of data hands on: samples one by one, with where they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sartor.types import DataProblem, Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""How people call splits."""


@dataclass(frozen=True)
class Sample:
    """One sample as found.

    Args:
        place: file relative to the part's root, or table and row; shown to people.
        label: None where there is none.
        raw: the input's bytes; None for a file of its own, which is read when needed.
        problem: why a reader already knows the sample to be broken; empty otherwise.
        truth: of tasks whose truths are structures, as the reader found it; ``label`` is not used then.
    """

    place: str
    label: str | None
    raw: bytes | None = None
    problem: str = ""
    truth: bytes | None = None


@dataclass
class Part:
    """The samples of one split in one source, to be read once.

    Args:
        root: folder that ``Sample.place`` is relative to, for samples that are files of their own.
        names: class names in the order the source declares them; empty where it declares none.
        notes: what the reader noticed; complete once ``samples`` is exhausted.
        facts: what the reader found out about the source as a whole (features of items); they join the card's.
    """

    split: Split
    title: str
    root: Path
    samples: Iterable[Sample]
    names: tuple[str, ...] = ()
    notes: list[DataProblem] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)


def label_text(value: Any) -> str | None:
    """A label as text: whole numbers without a point, None for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value).strip() or None


def natural_order(labels: Iterable[str]) -> list[str]:
    """Class order where none is declared: by number where all are numbers, else by text."""
    found = sorted(set(labels))
    if all(label.lstrip("-").isdecimal() for label in found):
        return sorted(found, key=lambda label: (int(label), label))
    return found
