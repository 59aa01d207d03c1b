"""The public function ``time_graphs``: how long drawn graphs take in one runtime, which a calibration learns from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.codec import digest
from sartor.drawings import at_batch, draw
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import TimedGraph, TimeGraphsJob, TimeGraphsResult
from sartor.progress import Tell, silent
from sartor.stages.measure.graph_child import example_of
from sartor.stages.measure.process import Patience, run_child
from sartor.storage import telling_disk_errors

CHILD = "sartor.stages.measure.graph_child"
LONGEST_MS = 150.0
SAMPLES = 4  # that int8 is calibrated on: speed does not depend on the ranges


def time_graphs(job: TimeGraphsJob, workspace: Workspace, tell: Tell = silent) -> TimeGraphsResult:
    """Median latency of each drawn graph, one after the other in one fresh process.

    Raises:
        Unsupported: the process crashed, hung or ran out of memory.
        StorageError: full disk.

    Example:
        ``time_graphs(TimeGraphsJob("onnxruntime", "fp32", 2, (("mlp", 0, 1),), device.id), workspace).timed[0].p50_ms``
    """
    folder = workspace.scratch(digest(job))
    asked: list[Mapping[str, Any]] = []
    refusals: dict[int, str] = {}
    try:
        for place, (family, number, batch) in enumerate(job.graphs):
            tell(f"drawing {family} {number}", place / len(job.graphs))
            try:
                path = file_of(workspace.root / "drawings", family, number, job.precision)
            except Unsupported as refusal:
                refusals[place] = refusal.code
                continue
            asked.append({"path": str(path), "precision": job.precision, "batch": batch})
        found = iter(time_files(folder, job.runtime, job.threads, asked, job.seconds) if asked else ())
        timed = [
            TimedGraph(refusal=refusals[place]) if place in refusals else _timed(next(found))
            for place in range(len(job.graphs))
        ]
        return TimeGraphsResult(tuple(timed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def time_files(
    folder: Path,
    runtime: str,
    threads: int,
    graphs: Sequence[Mapping[str, Any]],
    seconds: float,
    *,
    pace_ns: float = 0.0,
    child: str = CHILD,
    variables: Mapping[str, str] | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Facts of each graph (``path``, ``precision``, ``batch``) from one fresh process.

    ``pace_ns`` is the usual pace of the processor: graphs that ran at another are timed again, a few times.

    Raises:
        Unsupported: the process crashed, hung or ran out of memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "runtime": runtime,
        "threads": threads,
        "graphs": list(graphs),
        "seconds": seconds,
        "longest_ms": LONGEST_MS,
        "pace_ns": pace_ns,
    }
    patience = Patience(silence_s=60.0, total_s=60.0 + 20.0 * len(graphs))
    answered = run_child(child, folder, request, threads=threads, patience=patience, variables=variables)
    found: Sequence[Mapping[str, Any]] = answered["timed"]
    return found


def file_of(folder: Path, family: str, number: int, precision: str) -> Path:
    """The file of a drawn graph, made where it is not there yet.

    Raises:
        Unsupported: it has nothing to quantise.
    """
    plain = folder / f"{family}-{number}.onnx"
    if not plain.is_file():
        _keep(plain, draw(family, number).SerializeToString())
    if precision != "int8":
        return plain
    path = plain.with_suffix(".int8.onnx")
    if not path.is_file():
        quantise(plain, path)
    return path


def quantise(source: Path, target: Path) -> None:
    """What ships as int8 of a float file, but for the ranges of its activations, which are made up.

    Raises:
        Unsupported: it has nothing to quantise.
    """
    import numpy as np
    import onnx

    compressor = registry.get("compressors", "int8-static")
    example = example_of(at_batch(onnx.load(source), SAMPLES))
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        compressor.apply(source, part, np.ascontiguousarray(example), compressor.options(identify()), 0)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _keep(path: Path, contents: bytes) -> None:
    with telling_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(contents)
        os.replace(part, path)


def _timed(facts: Mapping[str, Any]) -> TimedGraph:
    if "refusal" in facts:
        return TimedGraph(refusal=facts["refusal"]["code"])
    return TimedGraph(facts["p50_ms"], facts["p10_ms"], facts["calls"], facts["foreign"], facts["pace_ns"])
