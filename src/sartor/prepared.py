"""Prepared data as every stage reads it: splits of samples by index, decoded once per input size and kept on disk.

``stages.data.prepare`` writes it. Layout of ``data/<fingerprint>/`` in a workspace::

    current.json            which index is current: {"index": "index-…"}
    index-<digest>/         where the samples are; a second one appears when the same content moved elsewhere
        card.json           the DataCard
        sources.json        per source: root folder, and the pack file in this folder that holds its bytes, if any
        <split>-truths.npy  int64 (n,)
        <split>-spans.npy   int64 (n, 3): source, offset in the pack or -1 (a file of its own), length in bytes
        <split>-places.bin, <split>-ends.npy    where each is (file, or table and row), and where its name ends
    cache/                  prepared arrays and statistics by input size
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sartor import codec, registry
from sartor.errors import DataError, StorageError
from sartor.evidence import Workspace
from sartor.storage import telling_disk_errors, write_atomically, write_text
from sartor.types import DataCard

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = 1
THREADS = 2
STATISTICS_SAMPLES = 2000


def open_data(fingerprint: str, workspace: Workspace) -> PreparedData:
    """The prepared data of a fingerprint.

    Raises:
        DataError: it was never prepared in this workspace.
        StorageError: it is damaged.
    """
    folder = workspace.data_folder(fingerprint)
    try:
        current = json.loads((folder / "current.json").read_text())["index"]
        return PreparedData(folder / current, folder / "cache")
    except FileNotFoundError:
        raise DataError(
            f"data {fingerprint[:12]}… is not prepared in {workspace.root}; run the requirement again"
        ) from None
    except (ValueError, KeyError) as error:
        raise StorageError(f"{folder} is damaged ({error}); delete it and run again") from error


class PreparedData:
    """Card and splits. ``statistics`` and ``calibration`` come from train only."""

    def __init__(self, index: Path, cache: Path) -> None:
        self._index, self._cache = index, cache
        self.card: DataCard = codec.from_plain(DataCard, json.loads((index / "card.json").read_text()))
        self._sources = json.loads((index / "sources.json").read_text())
        self._task = registry.get("tasks", self.card.task)

    def split(self, name: str) -> SampleSet:
        """One of ``train``, ``validation``, ``test``."""
        if name not in self.card.splits:
            raise DataError(f"there is no split {name!r}; the data has {', '.join(sorted(self.card.splits))}")
        return SampleSet(self._index, self._cache, name, self._sources, self._task)

    def statistics(self, input_size: Sequence[int]) -> Mapping[str, Sequence[float]]:
        """What the task's ``normalise`` needs, from a fixed choice of at most 2,000 training samples."""
        place = self._cache / f"statistics-{_stem(input_size, self._task)}.json"
        if not place.is_file():
            samples = self.calibration(input_size, STATISTICS_SAMPLES, seed=0)
            write_text(place, codec.canonical_json(self._task.statistics(samples)))
        return {name: tuple(values) for name, values in json.loads(place.read_text()).items()}

    def calibration(self, input_size: Sequence[int], n: int, seed: int) -> Array:
        """At most ``n`` prepared training samples, (n, …), drawn without replacement; the seed fixes the choice."""
        train = self.split("train")
        count = min(n, len(train))
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:count])
        return np.stack(list(in_order(lambda i: train.prepare_one(int(i), input_size), chosen)))


class SampleSet:
    """The samples of one split, by number."""

    def __init__(self, index: Path, cache: Path, name: str, sources: Sequence[Mapping[str, str]], task: Any) -> None:
        self.name = name
        self._packs: dict[str, int] = {}  # open files, by name; before anything that may fail, for __del__
        self.truths: Array = np.load(index / f"{name}-truths.npy", allow_pickle=False)
        self._index, self._cache, self._sources, self._task = index, cache, sources, task
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

    def prepare_one(self, index: int, input_size: Sequence[int]) -> Array:
        """Decode and prepare one sample, past the cache."""
        try:
            return np.asarray(self._task.prepare(self._task.decode(self.raw(index)), input_size))
        except DataError as error:
            raise DataError(f"{self.place(index)}: {error}") from error

    def prepared(self, input_size: Sequence[int]) -> Array:
        """All samples prepared, (n, …), memory-mapped read-only; made once, by whichever process asks first.

        Raises:
            DataError: a sample can no longer be read.
            StorageError: the disk is full.
        """
        path = self._cache / f"{self.name}-{_stem(input_size, self._task)}.npy"
        if not path.is_file():
            with alone(path):
                if not path.is_file():
                    write_atomically(path, lambda temporary: self._fill(temporary, input_size))
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array

    def _fill(self, path: Path, input_size: Sequence[int]) -> None:
        samples = in_order(lambda index: self.prepare_one(index, input_size), range(len(self)))
        first = next(samples)
        target = np.lib.format.open_memmap(path, "w+", first.dtype, (len(self), *first.shape))
        _reserve(path)
        target[0] = first
        for index, sample in enumerate(samples, 1):
            target[index] = sample
        target.flush()


def _reserve(path: Path) -> None:
    """Claim the disk space first: writing to a map of a sparse file on a full disk kills the process (SIGBUS)."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _stem(input_size: Sequence[int], task: Any) -> str:
    return f"{'x'.join(str(side) for side in input_size)}-v{getattr(task, 'version', 1)}"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes ``path``; the lock goes with the process, however it ends."""
    with telling_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(make: Callable[[Item], Made], items: Iterable[Item], *, ahead: int = 32) -> Iterator[Made]:
    """``make`` of every item, in order, on two threads, never more than ``ahead`` results waiting.

    Threads suffice: Pillow's decoders and resampling and the digests release the interpreter's lock, and there is
    nothing to start, to pickle or to be left behind by a kill.
    """
    pending: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
