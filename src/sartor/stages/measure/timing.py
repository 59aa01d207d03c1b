"""The public function ``measure``: what one artifact costs, in fresh processes, from input bytes to answer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.codec import digest
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import MeasureJob, MeasureResult
from sartor.progress import Tell, silent
from sartor.stages.measure.pace import remember_pace
from sartor.stages.measure.process import Patience, run_child
from sartor.stages.measure.staging import lay_out_package, pack_samples
from sartor.stages.measure.summary import (
    Observation,
    calls_to_bound,
    measurements_of,
    parts_of,
    read_observation,
)
from sartor.types import Pipeline

CHILD = "sartor.stages.measure.time_child"
PACES = "paces.json"  # in the workspace: what is usual on its devices
SILENCE_S = 60.0  # for loading the model, and for any one call
_NOT_EFFECTIVE = {"int8": "NO_INT8", "int8-dynamic": "NO_INT8", "bf16": "NO_BF16"}


def measure(job: MeasureJob, workspace: Workspace, tell: Tell = silent) -> MeasureResult:
    """Time and weigh one artifact in ``job.processes`` fresh processes; one more when the machine was busy.

    Raises:
        Unsupported: the runtime declines, runs it at another precision than asked, or its process crashed
            (``CRASHED``), hung (``TIMEOUT``) or ran out of memory (``OOM``).
        StorageError: full disk, or the object has changed.

    Example:
        ``measure(MeasureJob(artifact, pipeline, card.fingerprint, device.id, 0.95, seconds=1.0), workspace)``
    """
    folder = workspace.scratch(digest(job))
    try:
        package_bytes = lay_out_package(folder / "package", job.artifact, job.pipeline, workspace)
        places = pack_samples(folder / "samples.bin", job.data, workspace)
        least, enough = (calls_to_bound(q, job.confidence) for q in (0.95, 0.99))
        bench = Bench(folder, places, job.seconds, least, enough, job.device, workspace.root / PACES)
        observations: list[Observation] = []
        while len(observations) < job.processes or (
            len(observations) == job.processes and any(observation.noise for observation in observations)
        ):
            tell(f"timing, process {len(observations) + 1}", min(1.0, len(observations) / job.processes))
            observations.append(observe(bench, job.pipeline))
        return MeasureResult(measurements_of(observations, job, package_bytes), parts_of(observations))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Bench:
    """What every observation of a job shares.

    Args:
        folder: holds ``package/`` and ``samples.bin``.
        places: offset and size of each sample.
        seconds: for all timed windows of a process together.
        least_calls: worth exceeding the seconds for.
        enough_calls: the windows do not stop early with fewer.
        device: whose pace is remembered, in the file ``paces``.
    """

    folder: Path
    places: Sequence[tuple[int, int]]
    seconds: float
    least_calls: int
    enough_calls: int
    device: str
    paces: Path


def observe(bench: Bench, pipeline: Pipeline) -> Observation:
    """Time the package that lies on the bench in one fresh process.

    Raises:
        Unsupported: see :func:`measure`.
    """
    request = {
        "seconds": bench.seconds,
        "samples": bench.places,
        "least_calls": bench.least_calls,
        "enough_calls": bench.enough_calls,
    }
    patience = Patience(silence_s=SILENCE_S, total_s=3 * SILENCE_S + 10 * bench.seconds)
    facts = run_child(CHILD, bench.folder, request, threads=pipeline.threads, patience=patience)
    ran, asked = facts["effective_precision"], pipeline.precision
    if ran != asked:
        raise Unsupported(
            _NOT_EFFECTIVE.get(asked, "WRONG_PRECISION"),
            f"{pipeline.runtime} ran the model in {ran} instead of {asked}",
        )
    usual = remember_pace(bench.paces, bench.device, facts["pace_ns"])
    return read_observation(bench.folder, facts, facts["pace_ns"] / usual)
