"""Looks at every sample once, streaming: what is broken, what it contains, where its bytes are. Never all in memory."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sartor.catalog.contracts import Sighting, Task
from sartor.errors import DataError
from sartor.prepared import Kind, in_order, kind_of, usable_threads
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
        folder: where this part's files lie while it is prepared; ``number`` of the part names them.
        names: labels, and classes inside structures, by number.
        labels: label per sample, by number in ``names``; ``numbers``: answer per sample where it is a number.
        classes: of structures: classes they hold, by number in ``names``, flat; ``class_ends`` says where each ends.
        truth_ends: of structures: where each ends in the file ``truths``.
        spans: offset in the pack (-1: a file of its own) and length, flat.
        content: 16 bytes per sample: digest of the decoded input.
        raw: 32 bytes per sample: SHA-256 of the bytes.
        likeness: 64-bit hashes; empty where the task has none.
        ends: where each place ends in the file ``places``.
        counted, tuples: text facts counted; tuple facts flat, one row per sample that has them, by (name, length).
        faults: code -> "place: reason" of what was left out.
        remarks: code -> places of what is odd but usable.
    """

    part: Part
    kind: Kind
    folder: Path
    number: int
    names: dict[str, int] = field(default_factory=dict)
    labels: array[int] = field(default_factory=lambda: array("i"))
    numbers: array[float] = field(default_factory=lambda: array("d"))
    classes: array[int] = field(default_factory=lambda: array("i"))
    class_ends: array[int] = field(default_factory=lambda: array("q", [0]))
    truth_ends: array[int] = field(default_factory=lambda: array("q", [0]))
    spans: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    content: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    likeness: array[int] = field(default_factory=lambda: array("Q"))
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    tuples: dict[tuple[str, int], array[int]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def pack(self) -> Path:
        """File of the bytes of samples that are not files of their own; empty where there are none."""
        return self.folder / f"pack-{self.number}.bin"

    @property
    def places(self) -> Path:
        """File of the samples' names."""
        return self.folder / f"seen-{self.number}.bin"

    @property
    def truths(self) -> Path:
        """File of truths that are structures."""
        return self.folder / f"seen-truths-{self.number}.bin"

    def place(self, index: int) -> str:
        """Name of sample ``index``, for people."""
        return shown(self._file(index))

    def _file(self, index: int) -> str:
        return os.fsdecode(_read_span(self.places, self.ends[index], self.ends[index + 1]))

    def read(self, index: int) -> bytes:
        """Bytes of sample ``index``."""
        offset, length = self.spans[2 * index], self.spans[2 * index + 1]
        if offset < 0:
            return (self.part.root / self._file(index)).read_bytes()
        return _read_span(self.pack, offset, offset + length)

    def truth(self, index: int) -> bytes:
        """The structure that sample ``index`` is judged by."""
        return _read_span(self.truths, self.truth_ends[index], self.truth_ends[index + 1])


def _read_span(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def scan(part: Part, task: Task, folder: Path, number: int, tell: Tell) -> Seen:
    """Examine every sample of a part, writing its bytes to a pack where it is no file of its own.

    Raises:
        DataError: the source itself cannot be read.
    """
    seen = Seen(part, kind_of(task), folder, number)
    with seen.places.open("wb") as places, seen.pack.open("wb") as pack, seen.truths.open("wb") as truths:

        def look(samples: list[Sample]) -> list[_Examined]:
            return [_examine(sample, part.root, task) for sample in samples]

        for chunk in in_order(look, chunked(part.samples), ahead=2 * usable_threads()):
            for examined in chunk:
                _note(seen, examined, places, pack, truths)
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
        held += len(sample.raw or b"") + len(sample.truth or b"")
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
        sighting = task.inspect(raw, sample.truth)
        return _Examined(sample, "", sighting, len(raw), hashlib.sha256(raw).digest())
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


def _note(seen: Seen, examined: _Examined, places: IO[bytes], pack: IO[bytes], truths: IO[bytes]) -> None:
    sample, sighting = examined.sample, examined.sighting
    if sighting is None:
        code = "EMPTY" if examined.problem == "the file is empty" else "BROKEN"
        seen.faults.setdefault(code, []).append(f"{shown(sample.place)}: {examined.problem}")
        return
    if (sighting.truth if seen.kind == "structure" else sample.label) is None:
        seen.faults.setdefault("UNLABELLED", []).append(shown(sample.place))
        return
    try:
        _note_truth(seen, sample, sighting, truths)
    except DataError as error:
        seen.faults.setdefault("BROKEN", []).append(f"{shown(sample.place)}: {error}")
        return
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
    for code in dict.fromkeys(sighting.remarks):
        seen.remarks.setdefault(code, []).append(shown(sample.place))
    for fact, value in sighting.facts.items():
        if isinstance(value, tuple):
            seen.tuples.setdefault((fact, len(value)), array("q")).extend(value)
        else:
            seen.counted.setdefault(fact, Counter())[str(value)] += 1


def _note_truth(seen: Seen, sample: Sample, sighting: Sighting, truths: IO[bytes]) -> None:
    """Keep what a sample is judged by.

    Raises:
        DataError: it is to be a number and is none.
    """
    if seen.kind == "structure":
        seen.truth_ends.append(seen.truth_ends[-1] + truths.write(sighting.truth or b""))
        seen.classes.extend(seen.names.setdefault(shown(name), len(seen.names)) for name in sighting.classes)
        seen.class_ends.append(len(seen.classes))
    elif seen.kind == "number":
        seen.numbers.append(_number(str(sample.label)))
    else:
        seen.labels.append(seen.names.setdefault(shown(str(sample.label)), len(seen.names)))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"its answer {text[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise DataError(f"its answer {text[:40]!r} is not finite")
    return value


def shown(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are not UTF-8 become a replacement sign."""
    return os.fsencode(name).decode(errors="replace")


_ADVICE = {
    "EMPTY": "hold no bytes and were left out; restore or remove them",
    "BROKEN": "cannot be used and were left out; correct or remove them",
    "UNLABELLED": "have no label and were left out; label them to use them",
}


def part_problems(seen: Seen, advice: Mapping[str, str]) -> list[DataProblem]:
    """What was left out of a part and what is odd in it, counted, with a few places; ``advice`` words the remarks."""
    total = len(seen) + sum(len(places) for places in seen.faults.values())
    found = [(code, places, _ADVICE[code]) for code, places in sorted(seen.faults.items())]
    found += [(code, places, advice.get(code, f"are {code}")) for code, places in sorted(seen.remarks.items())]
    return [
        DataProblem(
            code,
            seen.part.split,
            len(places),
            f"{len(places)} of {total} samples {words}",
            tuple(places[:EXAMPLES]),
        )
        for code, places, words in found
    ]


def gather_facts(all_seen: Sequence[Seen]) -> dict[str, Any]:
    """Facts over all parts: counts of words (``modes``), and smallest, median and largest of tuples (``sizes``)."""
    facts: dict[str, Any] = {}
    for name in sorted({name for seen in all_seen for name in seen.counted}):
        counts: Counter[str] = sum((seen.counted.get(name, Counter()) for seen in all_seen), Counter())
        facts[f"{name}s"] = dict(counts.most_common())
    for name, length in sorted({key for seen in all_seen for key in seen.tuples}):
        flat = np.concatenate([np.array(seen.tuples.get((name, length), ()), np.int64) for seen in all_seen])
        rows = flat.reshape(-1, length)
        volume = rows.astype(np.float64).prod(axis=1)
        facts[f"{name}s"] = {
            "smallest": [int(value) for value in rows[volume.argmin()]],
            "median": [int(value) for value in np.median(rows, axis=0)],
            "largest": [int(value) for value in rows[volume.argmax()]],
        }
    return facts
