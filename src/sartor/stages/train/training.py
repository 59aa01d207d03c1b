"""The actions of this stage: train a network, and find out how fast it would train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.codec import canonical_json, digest, from_plain
from sartor.errors import DataError, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ThroughputJob, ThroughputResult, TrainJob, TrainResult
from sartor.prepared import PreparedData, open_data
from sartor.progress import Tell, silent
from sartor.stages.train._launch import is_rank, launch, wanted_processes
from sartor.storage import write_text

if TYPE_CHECKING:
    from sartor.stages.train._ranks import Ranks

_FEWEST_SAMPLES = 2


def train(job: TrainJob, workspace: Workspace, tell: Tell = silent) -> TrainResult:
    """Train a network on prepared data; weights, curve and score on validation come back.

    Killed anywhere and called again it continues from its last checkpoint, mid-epoch included, and ends with the
    same weights to the bit on a CPU with the same number of threads and processes: order, augmentation and dropout are
    functions of (seed, step), and a checkpoint holds everything else. The weights kept are the moving average,
    at the end or where it scored better on validation before. On several processes (``SARTOR_PROCESSES``) batches and
    their order are the same, so the weights are too, but for rounding and for what dropout draws.

    Example::

        recipe = family.recipe(network, samples=45_000, epochs=8)
        job = TrainJob(task, network, card.fingerprint, recipe, seed=0, threads=2)
        result = train(job, workspace)
        result.score, workspace.objects.path(result.weights.sha256)

    Raises:
        Unsupported: the recipe cannot be run, or there are too few samples (a recorded reason).
        DataError: the data is not prepared in this workspace.
        StorageError: full disk; what was reached is kept.
    """
    scratch = workspace.scratch(digest(job))
    finished = _finished(scratch, workspace)
    if finished is not None:
        return finished
    processes = _processes(job)
    if processes > 1:
        _data(job, workspace)
        together: TrainResult = from_plain(
            TrainResult, launch(job, workspace.root, scratch, processes, tell, job.threads)
        )
        return together
    result = train_here(job, workspace, tell)
    assert result is not None
    return result


def train_here(job: TrainJob, workspace: Workspace, tell: Tell, ranks: Ranks | None = None) -> TrainResult | None:
    """:func:`train` in this process, alone or as one of several ranks; None for those that do not lead."""
    scratch = workspace.scratch(digest(job))
    data = _data(job, workspace)
    result: TrainResult | None
    if job.recipe.optimizer == "closed-form":
        from sartor.stages.train._closed_form import fit

        result = fit(job, data, workspace, scratch, tell)
    else:
        from sartor.stages.train._loop import fit_by_gradient
        from sartor.stages.train._ranks import ALONE

        result = fit_by_gradient(job, data, workspace, scratch, tell, ranks or ALONE)
    if result is not None:
        write_text(scratch / "result.json", canonical_json(result))
    return result


def probe_throughput(job: ThroughputJob, workspace: Workspace, tell: Tell = silent) -> ThroughputResult:
    """Training and evaluation samples per second, from real steps on real batches whose outcome is thrown away.

    Raises:
        Unsupported: as :func:`train`.
    """
    processes = _processes(job.train)
    if processes > 1:
        _data(job.train, workspace)
        scratch = workspace.scratch(digest(job))
        together: ThroughputResult = from_plain(
            ThroughputResult, launch(job, workspace.root, scratch, processes, tell, job.train.threads)
        )
        return together
    return probe_here(job, workspace, tell)


def probe_here(job: ThroughputJob, workspace: Workspace, tell: Tell, ranks: Ranks | None = None) -> ThroughputResult:
    """:func:`probe_throughput` in this process, alone or as one of several ranks."""
    data = _data(job.train, workspace)
    if job.train.recipe.optimizer == "closed-form":
        from sartor.stages.train._closed_form import probe

        return probe(job.train, data, job.seconds, tell)
    from sartor.stages.train._loop import probe as probe_steps
    from sartor.stages.train._ranks import ALONE

    return probe_steps(job.train, data, job.seconds, tell, ranks or ALONE)


def _processes(job: TrainJob) -> int:
    """On how many processes a job runs: what is computed is on one, and none has less than two samples of a batch."""
    if job.recipe.optimizer == "closed-form" or is_rank():
        return 1
    return max(1, min(wanted_processes(), job.recipe.batch_size // _FEWEST_SAMPLES))


def _data(job: TrainJob, workspace: Workspace) -> PreparedData:
    data = open_data(job.data, workspace)
    for split in ("train", "validation"):
        if len(data.split(split)) == 0:
            raise DataError(f"the split {split} is empty; training needs samples in train and in validation")
    if len(data.split("train")) < _FEWEST_SAMPLES:
        raise Unsupported("TOO_FEW_SAMPLES", f"training needs at least {_FEWEST_SAMPLES} samples in train")
    return data


def _finished(scratch: Path, workspace: Workspace) -> TrainResult | None:
    """The result of a training that was killed after its end but before it was recorded."""
    try:
        result: TrainResult = from_plain(TrainResult, json.loads((scratch / "result.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return result if workspace.objects.holds(result.weights.sha256) else None
