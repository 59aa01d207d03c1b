"""Looks at every sample once, streaming: what is broken, what it contains, where its bytes are. Never all in memory."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sartor.catalog.contracts import Sighting, Task
from sartor.errors import DataError
from sartor.prepared import in_order
from sartor.progress import Tell
from sartor.reading.sample import Part, Sample
from sartor.types import DataProblem

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK, CHUNK_BYTES = 16, 4 << 20  # samples examined by one thread in one go; less where they carry many bytes
EXAMPLES = 5
LARGEST_FILE = 512 << 20  # bytes; a bigger one is broken, not read


@dataclass
class Seen:
    """What was seen in one part. Arrays are per usable sample, in the order of the source.

    Args:
        pack: file that holds the bytes of samples that are not files of their own; empty where there are none.
        labels: label per sample, by number in ``names``.
        spans: offset in the pack (-1: a file of its own) and length, flat.
        content: 16 bytes per sample: digest of the decoded input.
        raw: 32 bytes per sample: SHA-256 of the bytes.
        likeness: 64-bit hashes; empty where the task has none.
        places: file of UTF-8 names; ``ends`` says where each ends.
        facts: text facts counted; tuple facts flat, one row per sample.
    """

    part: Part
    pack: Path
    places: Path
    names: dict[str, int] = field(default_factory=dict)
    labels: array[int] = field(default_factory=lambda: array("i"))
    spans: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    content: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    likeness: array[int] = field(default_factory=lambda: array("Q"))
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    tuples: dict[str, array[int]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)  # code -> "place: reason"

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, index: int) -> str:
        """Name of sample ``index``, for people."""
        return shown(self._file(index))

    def _file(self, index: int) -> str:
        with self.places.open("rb") as file:
            file.seek(self.ends[index])
            return os.fsdecode(file.read(self.ends[index + 1] - self.ends[index]))

    def read(self, index: int) -> bytes:
        """Bytes of sample ``index``."""
        offset, length = self.spans[2 * index], self.spans[2 * index + 1]
        if offset < 0:
            return (self.part.root / self._file(index)).read_bytes()
        with self.pack.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def scan(part: Part, task: Task, folder: Path, number: int, tell: Tell) -> Seen:
    """Examine every sample of a part, writing its bytes to a pack where it is no file of its own.

    Raises:
        DataError: the source itself cannot be read.
    """
    seen = Seen(part, folder / f"pack-{number}.bin", folder / f"seen-{number}.bin")
    with seen.places.open("wb") as places, seen.pack.open("wb") as pack:
        chunks = chunked(part.samples)
        for chunk in in_order(
            lambda samples: [_examine(sample, part.root, task) for sample in samples], chunks, ahead=4
        ):
            for examined in chunk:
                _note(seen, examined, places, pack)
            tell(f"looking at {part.split} samples: {len(seen):,}")
        pack.flush()
        os.fsync(pack.fileno())
    return seen


def chunked(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples in lists short enough for several of them to be in memory at once."""
    chunk: list[Sample] = []
    held = 0
    for sample in samples:
        chunk.append(sample)
        held += len(sample.raw or b"")
        if len(chunk) == CHUNK or held > CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Examined:
    """A sample with what the task sees in it, or why it is broken. The bytes of a file are not held on to."""

    sample: Sample
    problem: str
    sighting: Sighting | None = None
    length: int = 0
    sha256: bytes = b""


def _examine(sample: Sample, root: Path, task: Task) -> _Examined:
    if sample.problem:
        return _Examined(sample, sample.problem)
    try:
        raw = sample.raw if sample.raw is not None else _read_file(root / sample.place)
        return _Examined(sample, "", task.inspect(raw), len(raw), hashlib.sha256(raw).digest())
    except DataError as error:
        return _Examined(sample, str(error))


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"the file is larger than {LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("the file does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a path
        raise DataError(f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _note(seen: Seen, examined: _Examined, places: IO[bytes], pack: IO[bytes]) -> None:
    sample, sighting = examined.sample, examined.sighting
    if sighting is None:
        code = "EMPTY" if examined.problem == "the file is empty" else "BROKEN"
        seen.faults.setdefault(code, []).append(f"{shown(sample.place)}: {examined.problem}")
        return
    if sample.label is None:
        seen.faults.setdefault("UNLABELLED", []).append(shown(sample.place))
        return
    seen.labels.append(seen.names.setdefault(shown(sample.label), len(seen.names)))
    seen.spans.extend((pack.tell() if sample.raw is not None else -1, examined.length))
    if sample.raw is not None:
        pack.write(sample.raw)
    seen.content += bytes.fromhex(sighting.content)[:16]
    seen.raw += examined.sha256
    if sighting.likeness is not None:
        seen.likeness.append(sighting.likeness)
    name = os.fsencode(sample.place)
    places.write(name)
    seen.ends.append(seen.ends[-1] + len(name))
    for fact, value in sighting.facts.items():
        if isinstance(value, tuple):
            seen.tuples.setdefault(fact, array("q")).extend(value)
        else:
            seen.counted.setdefault(fact, Counter())[str(value)] += 1


def shown(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are not UTF-8 become a replacement sign."""
    return os.fsencode(name).decode(errors="replace")


_ADVICE = {
    "EMPTY": "hold no bytes and were left out; restore or remove them",
    "BROKEN": "cannot be decoded and were left out; restore or remove them",
    "UNLABELLED": "have no label and were left out; label them to use them",
}


def fault_problems(seen: Seen) -> list[DataProblem]:
    """What was left out of a part, counted, with a few places."""
    total = len(seen) + sum(len(places) for places in seen.faults.values())
    return [
        DataProblem(
            code,
            seen.part.split,
            len(places),
            f"{len(places)} of {total} samples {_ADVICE[code]}",
            tuple(places[:EXAMPLES]),
        )
        for code, places in sorted(seen.faults.items())
    ]


def gather_facts(all_seen: Sequence[Seen]) -> dict[str, Any]:
    """Facts over all parts: counts of words (``modes``), and smallest, median and largest of tuples (``sizes``)."""
    facts: dict[str, Any] = {}
    for name in sorted({name for seen in all_seen for name in seen.counted}):
        counts: Counter[str] = sum((seen.counted.get(name, Counter()) for seen in all_seen), Counter())
        facts[f"{name}s"] = dict(counts.most_common())
    for name in sorted({name for seen in all_seen for name in seen.tuples}):
        rows = np.concatenate(
            [np.array(seen.tuples[name], np.int64).reshape(len(seen), -1) for seen in all_seen if name in seen.tuples]
        )
        volume = rows.astype(np.float64).prod(axis=1)
        facts[f"{name}s"] = {
            "smallest": [int(value) for value in rows[volume.argmin()]],
            "median": [int(value) for value in np.median(rows, axis=0)],
            "largest": [int(value) for value in rows[volume.argmax()]],
        }
    return facts
