"""What ``predict_latency.py`` is judged by: graphs timed in every runtime, twice, in different processes and times.

A recording is a CSV that grows by a few graphs at a time, so that it can be made in pieces: whatever is in it is not
timed again. Files of graphs are made beforehand, so that the machine does nothing else while it is timed.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from sartor.drawings import KERNELS, NETWORKS
from sartor.errors import Unsupported
from sartor.stages.measure.graph_child import is_off_pace
from sartor.stages.measure.graphs import CHILD, file_of, quantise, time_files

WAYS = (
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
    ("torch", "fp32"),
)
"""Ways to run a graph, one after the other."""
PER_FAMILY = 10
PER_KERNEL = {
    "convolutions": 30,
    "products": 18,
    "elementwise": 12,
    "maps": 12,
    "attentions": 8,
    "recurrences": 10,
    "look_ups": 4,
}
BATCHES = (1, 8)
SECONDS = 0.16  # timed per graph
CHUNK = {"onnxruntime": 12, "openvino": 12, "torch": 24}  # graphs per process
TORCH_CHILD = "_torch_graph"
TURNS = 2
BUSY = 0.15  # share of the cores that others may take; more, or an unusual pace: the graph is timed again later
FEWEST_PACES = 20


@dataclass(frozen=True)
class Asked:
    """One thing to time. ``kind``: a ``network`` or a graph of one ``kernel``, drawn; or a network of the catalogue."""

    kind: str
    family: str
    number: str
    runtime: str
    precision: str
    batch: int
    turn: int


@dataclass(frozen=True)
class Timed:
    """What came out: milliseconds of a call, number of calls, shares of cores that others took; or a refusal."""

    p50_ms: float = 0.0
    p10_ms: float = 0.0
    least_ms: float = 0.0
    calls: int = 0
    spread: float = 0.0
    load_ms: float = 0.0
    pace_ns: float = 0.0
    foreign: float = 0.0
    at: float = 0.0
    refusal: str = ""


COLUMNS = [*(one.name for one in fields(Asked)), "threads", *(one.name for one in fields(Timed))]


def plan(catalogue: Sequence[tuple[str, str]], per_family: int = PER_FAMILY) -> list[Asked]:
    """Everything that a recording holds, in the order in which it is timed: all once, then a fifth again.

    A way to run is finished, with its pairs, before the next begins: a recording that ends early tells its noise. A
    quarter of the networks are timed at both batches and half of them in int8.
    """
    asked = []
    for runtime, precision in WAYS:
        for turn in range(TURNS):
            for kind, family, number, place in _chosen(catalogue, per_family, kernels=not turn):
                if (precision == "int8" and kind == "network" and place % 2) or (turn and place % 4 != 2):
                    continue
                for batch in _batches(kind, place):
                    asked.append(Asked(kind, family, number, runtime, precision, batch, turn))
    return asked


def _chosen(
    catalogue: Sequence[tuple[str, str]], per_family: int, *, kernels: bool
) -> Iterator[tuple[str, str, str, int]]:
    """Kind, family, number and place of every graph."""
    for place, (family, number) in enumerate(catalogue):
        yield "catalogue", family, number, place
    for place in range(per_family):
        for family in NETWORKS:
            yield "network", family, str(place), place
    if kernels:
        share = min(per_family / PER_FAMILY, 1.0)
        for family in KERNELS:
            for place in range(max(1, round(share * PER_KERNEL[family]))):
                yield "kernel", family, str(place), place


def _batches(kind: str, place: int) -> tuple[int, ...]:
    if kind == "kernel":
        return (BATCHES[place % 3 == 2],)
    return BATCHES if place % 4 == 0 else BATCHES[:1]


def record(
    path: Path,
    asked: Sequence[Asked],
    files: Path,
    threads: int,
    seconds: float,
    say: Callable[[str], None],
    busy: float = BUSY,
) -> int:
    """Time what is not in the recording yet, for so many seconds; returns how much is left."""
    known = read(path)
    done, pace = {one for one, _, _ in known}, usual_pace([timed for _, _, timed in known])
    left = [one for one in asked if one not in done]
    until = time.monotonic() + seconds
    for chunk in _chunks(left):
        if time.monotonic() > until:
            break
        say(f"{len(left)} left: {chunk[0].runtime} {chunk[0].precision}, turn {chunk[0].turn + 1}")
        _append(path, chunk, _time(chunk, files, threads, pace), threads, busy, pace)
        left = left[len(chunk) :]
    return len(left)


def usual_pace(timed: Sequence[Timed]) -> float:
    """The median; 0 where too little is known. With several threads a runtime's own would be taken for others."""
    paces = [one.pace_ns for one in timed if one.pace_ns]
    return median(paces) if len(paces) >= FEWEST_PACES else 0.0


def _chunks(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    place = 0
    while place < len(asked):
        first = asked[place]
        chunk = [
            one
            for one in asked[place : place + CHUNK[first.runtime]]
            if (one.runtime, one.precision, one.turn) == (first.runtime, first.precision, first.turn)
        ]
        yield chunk
        place += len(chunk)


def _time(chunk: Sequence[Asked], files: Path, threads: int, pace: float) -> list[Timed]:
    request, missing = [], {}
    for place, one in enumerate(chunk):
        path = path_of(files, one)
        if path.is_file():
            request.append({"path": str(path), "precision": one.precision, "batch": one.batch})
        else:
            missing[place] = "NO_FILE"
    runtime = chunk[0].runtime
    child = TORCH_CHILD if runtime == "torch" else CHILD
    here = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = iter(
                time_files(
                    Path(folder),
                    runtime,
                    threads,
                    request,
                    SECONDS,
                    pace_ns=pace,
                    child=child,
                    variables={"PYTHONPATH": here},
                )
                if request
                else ()
            )
        except Unsupported as refusal:
            return [Timed(refusal=refusal.code)] * len(chunk)
    timed = []
    for place in range(len(chunk)):
        if place in missing:
            timed.append(Timed(refusal=missing[place]))
            continue
        facts = dict(next(found))
        refusal = facts.pop("refusal", None)
        timed.append(Timed(refusal=refusal["code"]) if refusal else Timed(**facts, at=round(time.time(), 1)))
    return timed


def path_of(files: Path, one: Asked) -> Path:
    """Where the file of a graph lies."""
    stem = f"{one.family}-{one.number}" + (f"-b{one.batch}" if one.kind == "catalogue" else "")
    return files / f"{stem}{'.int8' if one.precision == 'int8' else ''}.onnx"


def prepare(asked: Sequence[Asked], files: Path, say: Callable[[str], None]) -> None:
    """Make the files of drawn graphs that are not there yet, and the int8 ones of the catalogue's."""
    wanted = sorted({(one.kind, one.family, one.number, one.precision, path_of(files, one)) for one in asked})
    for place, (kind, family, number, precision, path) in enumerate(wanted):
        if path.is_file() or (kind == "catalogue" and precision != "int8"):
            continue
        if place % 20 == 0:
            say(f"making files: {place} of {len(wanted)}")
        try:
            if kind == "catalogue":
                quantise(path.with_name(path.name.replace(".int8", "")), path)
            else:
                file_of(files, family, int(number), precision)
        except (Unsupported, OSError) as refusal:
            say(f"{path.name}: {refusal}")


def read(path: Path) -> list[tuple[Asked, int, Timed]]:
    """Rows of a recording with their threads."""
    if not path.is_file():
        return []
    kinds = {one.name: {"int": int, "float": float}.get(str(one.type), str) for one in (*fields(Asked), *fields(Timed))}
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            asked = Asked(**{one.name: kinds[one.name](row[one.name]) for one in fields(Asked)})
            timed = Timed(**{one.name: kinds[one.name](row[one.name]) for one in fields(Timed)})
            rows.append((asked, int(row["threads"]), timed))
    return rows


def _append(path: Path, chunk: Sequence[Asked], timed: Sequence[Timed], threads: int, busy: float, pace: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        if new:
            table.writeheader()
        for one, facts in zip(chunk, timed, strict=True):
            disturbed = not facts.refusal and (facts.foreign > busy or is_off_pace(facts.pace_ns, pace))
            if disturbed or facts.refusal == "NO_FILE":
                continue
            numbers = {
                name: f"{value:.5g}" if isinstance(value, float) and name != "at" else value
                for name, value in asdict(facts).items()
            }
            table.writerow({**asdict(one), "threads": threads, **numbers})


if __name__ == "__main__":
    sys.exit("this is a part of predict_latency.py")
