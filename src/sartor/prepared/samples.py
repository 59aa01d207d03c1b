"""The samples of one split: raw, decoded, prepared; what is made of all of them is made once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from sartor.errors import DataError
from sartor.prepared.streams import alone, in_order
from sartor.prepared.truths import Array, Truths, kind_of, read_truths
from sartor.storage import write_atomically

Recalled = Callable[[Sequence[int], str], Any]
"""Input size and encoding -> what preparing needs to have learnt."""


class SampleSet:
    """The samples of one split, by number.

    Attributes:
        truths: (n,) int64 class numbers, (n,) float64 numbers, or :class:`Truths`.
    """

    def __init__(
        self,
        index: Path,
        cache: Path,
        name: str,
        sources: Sequence[Mapping[str, str]],
        task: Any,
        labels: Sequence[str],
        recalled: Recalled,
    ) -> None:
        self.name = name
        self._packs: dict[str, int] = {}  # open files, by name; before anything that may fail, for __del__
        self.truths: Array | Truths = read_truths(index, name, kind_of(task))
        self._index, self._cache, self._sources, self._task = index, cache, sources, task
        self._labels, self._recalled = labels, recalled
        self._spans = np.load(index / f"{name}-spans.npy", mmap_mode="r", allow_pickle=False)
        self._ends = np.load(index / f"{name}-ends.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.truths)

    def __del__(self) -> None:
        for handle in self._packs.values():
            os.close(handle)

    def place(self, index: int) -> str:
        """Where sample ``index`` comes from, in words people can follow (a file, or a table and its row)."""
        return self._place_bytes(index).decode(errors="replace")

    def _place_bytes(self, index: int) -> bytes:
        start = int(self._ends[index - 1]) if index else 0
        with (self._index / f"{self.name}-places.bin").open("rb") as file:
            file.seek(start)
            return file.read(int(self._ends[index]) - start)

    def raw(self, index: int) -> bytes:
        """The bytes of one sample as they were found.

        Raises:
            DataError: its file is gone or was changed since it was prepared.
        """
        source, offset, length = (int(value) for value in self._spans[index])
        if offset >= 0:
            return os.pread(self._pack(self._sources[source]["pack"]), length, offset)
        path = Path(self._sources[source]["root"]) / os.fsdecode(self._place_bytes(index))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read any more ({error.strerror}); prepare the data again") from error
        if len(content) != length:
            raise DataError(f"{path} was changed since the data was prepared; run again to prepare it anew")
        return content

    def _pack(self, name: str) -> int:
        if name not in self._packs:
            handle = os.open(self._index / name, os.O_RDONLY)
            if self._packs.setdefault(name, handle) != handle:  # another thread was first
                os.close(handle)
        return self._packs[name]

    def decoded(self, index: int) -> Any:
        """One sample decoded by the task.

        Raises:
            DataError: it can no longer be read.
        """
        try:
            return self._task.decode(self.raw(index))
        except DataError as error:
            raise DataError(f"{self.place(index)}: {error}") from error

    def prepare_one(self, index: int, input_size: Sequence[int], encoding: str = "") -> Array:
        """Decode and prepare one sample, past the cache."""
        learnt = self._recalled(input_size, encoding)
        decoded = self.decoded(index)
        try:
            return np.asarray(self._task.prepare(decoded, input_size, learnt))
        except DataError as error:
            raise DataError(f"{self.place(index)}: {error}") from error

    def prepared(self, input_size: Sequence[int], encoding: str = "") -> Array:
        """All samples prepared, (n, …), memory-mapped read-only; made once, by whichever process asks first.

        Raises:
            DataError: a sample can no longer be read.
            StorageError: the disk is full.
        """
        path = self._cache / f"{self.name}-{stem(self._task, input_size, encoding)}.npy"
        return _made_once(path, lambda temporary: self._fill(temporary, input_size, encoding))

    def targets(self, input_size: Sequence[int], encoding: str = "") -> Array:
        """What training compares outputs with, (n, …): classes and numbers as they are, structures by ``Task.target``.

        Those of structures are memory-mapped and made once, like :meth:`prepared`.
        """
        if not isinstance(self.truths, Truths):
            return self.truths
        path = self._cache / f"{self.name}-targets-{stem(self._task, input_size, encoding)}.npy"
        return _made_once(path, lambda temporary: self._fill_targets(temporary, input_size))

    def derived(
        self, name: str, rows: Callable[[], Iterator[Array]], input_size: Sequence[int], encoding: str = ""
    ) -> tuple[Array, bool]:
        """What ``rows`` makes of the prepared samples, one row for each, and whether it was there already.

        Memory-mapped and made once, like :meth:`prepared`. ``name`` tells it from all that is made otherwise.

        Raises:
            StorageError: the disk is full.
        """
        path = self._cache / f"{self.name}-{stem(self._task, input_size, encoding)}-{name}.npy"
        kept = path.is_file()
        return _made_once(path, lambda temporary: _write_rows(temporary, rows(), len(self), None)), kept

    def _fill(self, path: Path, input_size: Sequence[int], encoding: str) -> None:
        samples = in_order(lambda index: self.prepare_one(index, input_size, encoding), range(len(self)))
        nothing = None if len(self) else np.asarray(self._task.example(input_size, encoding))
        _write_rows(path, samples, len(self), nothing)

    def _fill_targets(self, path: Path, input_size: Sequence[int]) -> None:
        def one(truth: bytes) -> Array:
            return np.asarray(self._task.target(truth, input_size, self._labels))

        _write_rows(path, in_order(one, self.truths), len(self), np.zeros(()))


def stem(task: Any, input_size: Sequence[int], encoding: str) -> str:
    """Name of what is made for an input size and encoding; any text may be an encoding, so its digest stands for it."""
    size = f"{'x'.join(str(side) for side in input_size)}-v{getattr(task, 'version', 1)}"
    return f"{size}-{hashlib.sha256(encoding.encode()).hexdigest()[:16]}" if encoding else size


def _made_once(path: Path, fill: Callable[[Path], None]) -> Array:
    if not path.is_file():
        with alone(path):
            if not path.is_file():
                write_atomically(path, fill)
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_rows(path: Path, rows: Iterator[Array], count: int, nothing: Array | None) -> None:
    """Rows of one shape as an array file; ``nothing`` gives the shape of a row where there is none."""
    if not count and nothing is not None:
        with path.open("wb") as file:
            np.save(file, np.zeros((0, *nothing.shape), nothing.dtype), allow_pickle=False)
        return
    first = next(rows)
    with path.open("wb") as file:  # not through a map, whose pages would count as this process's memory
        header = np.lib.format.header_data_from_array_1_0(np.empty((0, *first.shape), first.dtype))
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *first.shape)})
        _reserve(file, first.nbytes * count)
        for row in chain([first], rows):
            if row.shape != first.shape:
                raise ValueError(f"a row is {row.shape} where the first is {first.shape}")
            file.write(np.ascontiguousarray(row, first.dtype).data)


def _reserve(file: IO[bytes], size: int) -> None:
    """Claim the disk space first: a full disk is told before an hour of decoding, not after it."""
    file.flush()
    if size:
        os.posix_fallocate(file.fileno(), file.tell(), size)
