"""All parts of a source seen as one numbered list of samples, with the split each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor.reading.sample import natural_order
from sartor.stages.data.scan import Seen, shown
from sartor.types import Split

Array = np.ndarray[Any, np.dtype[Any]]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
REMOVED = -1


class Whole:
    """Samples of all parts by one number.

    Attributes:
        words: class names in index order; those of train.
        labels: (n,) class numbers.
        splits: (n,) 0 train, 1 validation, 2 test, -1 removed.
        content: 16 bytes per sample, concatenated; ``raw``: 32 bytes.
        likeness: (n,) uint64; empty where the task has none.
    """

    def __init__(self, all_seen: Sequence[Seen]) -> None:
        self.parts = list(all_seen)
        self._starts = np.cumsum([0, *(len(seen) for seen in all_seen)])
        self.words = _class_order(all_seen)
        number = {word: index for index, word in enumerate(self.words)}
        self.labels: Array = _joined([_numbered(seen, number) for seen in all_seen])
        self.splits: Array = _joined([np.full(len(seen), SPLITS.index(seen.part.split)) for seen in all_seen])
        self.content = b"".join(bytes(seen.content) for seen in all_seen)
        self.raw: Array = np.frombuffer(b"".join(bytes(seen.raw) for seen in all_seen), np.uint8).reshape(-1, 32)
        self.likeness: Array = np.array([value for seen in all_seen for value in seen.likeness], np.uint64)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: int) -> tuple[int, int]:
        """Part and number within the part."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return part, int(index - self._starts[part])

    def place(self, index: int) -> str:
        """Name of a sample for people."""
        part, inner = self.at(index)
        return self.parts[part].place(inner)

    def read(self, index: int) -> bytes:
        """Bytes of a sample."""
        part, inner = self.at(index)
        return self.parts[part].read(inner)


def _class_order(all_seen: Sequence[Seen]) -> tuple[str, ...]:
    """Labels that train holds, in the order the source declares, else in natural order."""
    train = [seen for seen in all_seen if seen.part.split == "train"]
    found = {label for seen in train for label in seen.names}
    declared = next((seen.part.names for seen in train if seen.part.names), ())
    known = [shown(word) for word in declared if shown(word) in found]
    return tuple(known + natural_order(found - set(known)))


def _numbered(seen: Seen, number: dict[str, int]) -> Array:
    lookup = np.array([number.get(word, -1) for word in seen.names] or [0], np.int64)
    return np.asarray(lookup[np.array(seen.labels, np.int64)]) if len(seen) else np.zeros(0, np.int64)


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, np.int64)
