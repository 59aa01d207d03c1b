"""Prepared data as it is opened: its card, its splits, and what is learnt from train alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor import codec, registry
from sartor.errors import DataError, StorageError
from sartor.evidence import Workspace
from sartor.prepared.samples import SampleSet, stem
from sartor.prepared.streams import alone, in_order
from sartor.prepared.truths import Array
from sartor.storage import write_bytes, write_text
from sartor.types import DataCard

STATISTICS_SAMPLES = 2000
DECODED_AHEAD = 4
"""Decoded samples that wait to be learnt from: large pictures take 30 MB each."""


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
    """Card and splits. ``learnt``, ``statistics`` and ``calibration`` come from train only."""

    def __init__(self, index: Path, cache: Path) -> None:
        self.index, self._cache = index, cache
        self.card: DataCard = codec.from_plain(DataCard, json.loads((index / "card.json").read_text()))
        self._sources = json.loads((index / "sources.json").read_text())
        self._task = registry.get("tasks", self.card.task)
        self._held: dict[str, Any] = {}  # recalled states
        self._recalling = threading.Lock()

    def split(self, name: str) -> SampleSet:
        """One of ``train``, ``validation``, ``test``."""
        if name not in self.card.splits:
            raise DataError(f"there is no split {name!r}; the data has {', '.join(sorted(self.card.splits))}")
        return SampleSet(self.index, self._cache, name, self._sources, self._task, self.card.labels, self.recalled)

    def learnt(self, input_size: Sequence[int], encoding: str = "") -> bytes:
        """What the task's ``prepare`` has to know from train; found out once, by whichever process asks first.

        Raises:
            DataError: a sample of train can no longer be read.
            StorageError: the disk is full.
        """
        path = self._cache / f"learnt-{stem(self._task, input_size, encoding)}.bin"
        if not path.is_file():
            with alone(path):
                if not path.is_file():
                    write_bytes(path, self._learn(input_size, encoding))
        return path.read_bytes()

    def _learn(self, input_size: Sequence[int], encoding: str) -> bytes:
        train = self.split("train")

        def decoded() -> Iterator[Any]:  # a task that learns nothing asks for none
            yield from in_order(train.decoded, range(len(train)), ahead=DECODED_AHEAD)

        learnt: bytes = self._task.learn(encoding, input_size, decoded(), train.truths)
        return learnt

    def recalled(self, input_size: Sequence[int], encoding: str = "") -> Any:
        """:meth:`learnt`, ready to be used by ``prepare``; loaded once."""
        name = stem(self._task, input_size, encoding)
        with self._recalling:
            if name not in self._held:
                self._held[name] = self._task.recall(encoding, self.learnt(input_size, encoding))
            return self._held[name]

    def statistics(self, input_size: Sequence[int], encoding: str = "") -> Mapping[str, Sequence[float]]:
        """What the task's ``normalise`` needs, from a fixed choice of at most 2,000 training samples.

        A task's ``truth_statistics``, where it has them, are of all truths of train.
        """
        place = self._cache / f"statistics-{stem(self._task, input_size, encoding)}.json"
        if not place.is_file():
            samples = self.calibration(input_size, STATISTICS_SAMPLES, 0, encoding)
            found = dict(self._task.statistics(samples))
            if hasattr(self._task, "truth_statistics"):
                found |= self._task.truth_statistics(self.split("train").truths)
            write_text(place, codec.canonical_json(found))
        return {name: tuple(values) for name, values in json.loads(place.read_text()).items()}

    def calibration(
        self, input_size: Sequence[int], n: int, seed: int, encoding: str = "", learnt: bytes | None = None
    ) -> Array:
        """At most ``n`` prepared training samples, (n, …), drawn without replacement; the seed fixes the choice.

        ``learnt``: what a model given from elsewhere prepares by, in place of what this data would teach.
        """
        train = self.split("train")
        if not len(train):
            raise DataError("this data is there to judge by alone: it has no training samples to learn from")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[: min(n, len(train))])
        if learnt is None:
            return np.stack(list(in_order(lambda i: train.prepare_one(int(i), input_size, encoding), chosen)))
        recalled = self._task.recall(encoding, learnt)
        return np.stack([np.asarray(self._task.prepare(train.decoded(int(i)), input_size, recalled)) for i in chosen])
