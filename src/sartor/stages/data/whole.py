"""All parts of a source seen as one numbered list of samples, with the split each belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sartor.prepared import Kind
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
        kind: of the truths.
        words: labels in index order.
        labels: (n,) class numbers, -1 for a label that ``words`` lacks; zeros where truths are no classes.
        numbers: (n,) float64; empty where truths are no numbers.
        splits: (n,) 0 train, 1 validation, 2 test, -1 removed.
        content: 16 bytes per sample, concatenated; ``raw``: 32 bytes.
        likeness: (n,) uint64; empty where the task has none.
    """

    def __init__(self, all_seen: Sequence[Seen], kind: Kind, words: tuple[str, ...]) -> None:
        self.parts, self.kind, self.words = list(all_seen), kind, words
        self._starts = np.cumsum([0, *(len(seen) for seen in all_seen)])
        number = {word: index for index, word in enumerate(words)}
        self._numbers = [np.array([number.get(name, -1) for name in seen.names], np.int64) for seen in all_seen]
        self.labels: Array = np.zeros(int(self._starts[-1]), np.int64)
        if kind == "class":
            labels = [
                found[np.array(seen.labels, np.int64)] for found, seen in zip(self._numbers, all_seen, strict=True)
            ]
            self.labels = np.concatenate(labels).astype(np.int64)
        self.numbers: Array = np.array([value for seen in all_seen for value in seen.numbers], np.float64)
        self.splits: Array = np.concatenate([np.full(len(seen), SPLITS.index(seen.part.split)) for seen in all_seen])
        self.content = b"".join(bytes(seen.content) for seen in all_seen)
        self.raw: Array = np.frombuffer(b"".join(bytes(seen.raw) for seen in all_seen), np.uint8).reshape(-1, 32)
        self.likeness: Array = np.array([value for seen in all_seen for value in seen.likeness], np.uint64)

    def __len__(self) -> int:
        return int(self._starts[-1])

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

    def truth(self, index: int) -> bytes:
        """The structure that a sample is judged by."""
        part, inner = self.at(index)
        return self.parts[part].truth(inner)

    def truths(self, members: Iterable[int]) -> Array | list[bytes]:
        """What some samples are judged by, as tasks take it."""
        chosen = np.asarray(list(members), np.int64)
        if self.kind == "structure":
            return [self.truth(int(index)) for index in chosen]
        return np.asarray((self.labels if self.kind == "class" else self.numbers)[chosen])

    def instances(self, number: int) -> Array:
        """(labels,) how often each class occurs in a split: samples, or instances inside structures."""
        held = self.splits == number
        if self.kind != "structure":
            return np.bincount(self.labels[held], minlength=len(self.words))
        counts = np.zeros(len(self.words), np.int64)
        for part, seen in enumerate(self.parts):
            ends = np.array(seen.class_ends, np.int64)
            per_sample = ends[1:] - ends[:-1]
            inside = np.repeat(held[self._starts[part] : self._starts[part + 1]], per_sample)
            classes = self._numbers[part][np.array(seen.classes, np.int64)[inside]]
            counts += np.bincount(classes[classes >= 0], minlength=len(self.words))
        return counts

    def renumber(self, words: tuple[str, ...]) -> None:
        """Put the same words into another order."""
        number = {word: index for index, word in enumerate(words)}
        self.labels = np.array([number[word] for word in self.words], np.int64)[self.labels]
        self._numbers = [np.array([number[name] for name in seen.names], np.int64) for seen in self.parts]
        self.words = words


def label_order(all_seen: Sequence[Seen], kind: Kind, first: Split, *, others_too: bool) -> tuple[str, ...]:
    """Labels in index order: as the source declares them, else in natural order; none for numbers.

    Classes: those that the split ``first`` holds, then (``others_too``) those of the other splits. Structures:
    declared names that occur, or all declared where structures do not name their classes; then undeclared ones of
    ``first``.
    """
    if kind == "number":
        return ()
    own = {name for seen in all_seen if seen.part.split == first for name in seen.names}
    found = {name for seen in all_seen for name in seen.names}
    declared = [shown(word) for word in _declared(all_seen, first)]
    if kind == "structure":
        known = [word for word in declared if word in found or not found]
        return tuple(known + natural_order(own - set(known)))
    known = [word for word in declared if word in own]
    known += natural_order(own - set(known))
    return tuple(known + natural_order(found - set(known))) if others_too else tuple(known)


def _declared(all_seen: Sequence[Seen], first: Split) -> tuple[str, ...]:
    """Names that the source of a split declares, else another's."""
    ordered = sorted(all_seen, key=lambda seen: seen.part.split != first)
    return tuple(dict.fromkeys(next((seen.part.names for seen in ordered if seen.part.names), ())))
