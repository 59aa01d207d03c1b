"""What samples are judged by: an array of classes or numbers, or structures read from disk one by one."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, SupportsIndex, overload

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["class", "number", "structure"]

TYPES: dict[str, np.dtype[Any]] = {"class": np.dtype(np.int64), "number": np.dtype(np.float64)}


def kind_of(task: Any) -> Kind:
    """What a task's truths are; labels where it does not say."""
    kind: Kind = getattr(task, "truth", "class")
    return kind


class Truths:
    """Truths that are structures, in the order of their samples; nothing is held but where each ends.

    An index gives bytes; a slice, or an array or list of indices, gives a list of them.
    """

    def __init__(self, content: Path, ends: Array) -> None:
        self._handle = -1  # before anything that may fail, for __del__
        self._ends = ends
        self._handle = os.open(content, os.O_RDONLY)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[bytes]:
        return (self._one(index) for index in range(len(self)))

    @overload
    def __getitem__(self, index: SupportsIndex) -> bytes: ...
    @overload
    def __getitem__(self, index: slice | Iterable[Any]) -> list[bytes]: ...
    def __getitem__(self, index: Any) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self._one(one) for one in range(*index.indices(len(self)))]
        if isinstance(index, Iterable) and not (isinstance(index, np.ndarray) and index.ndim == 0):
            return [self._one(int(one)) for one in np.arange(len(self))[np.asarray(index, _index_type(index))]]
        return self._one(operator.index(index))

    def _one(self, index: int) -> bytes:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no truth {index} among {len(self)}")
        index %= len(self)
        start = int(self._ends[index - 1]) if index else 0
        return os.pread(self._handle, int(self._ends[index]) - start, start)


def _index_type(index: Iterable[Any]) -> Any:
    """An empty list of indices would be an array of floats."""
    return np.int64 if isinstance(index, (list, tuple, range)) and not any(type(one) is bool for one in index) else None


def read_truths(index: Path, split: str, kind: Kind) -> Array | Truths:
    """The truths of a split of an index folder."""
    if kind != "structure":
        array: Array = np.load(index / f"{split}-truths.npy", allow_pickle=False)
        return array
    ends = np.load(index / f"{split}-truth-ends.npy", mmap_mode="r", allow_pickle=False)
    return Truths(index / f"{split}-truths.bin", ends)
