"""The public function ``evaluate``: how good one artifact is on a split, on the very file and path that ship."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import intervals, registry
from sartor.codec import digest
from sartor.errors import DataError, StorageError
from sartor.evidence import Workspace
from sartor.jobs import EvaluateJob, EvaluateResult
from sartor.metrics import Metric, quality_derivatives
from sartor.prepared import SampleSet, open_data
from sartor.progress import Tell, silent
from sartor.stages.measure.process import Patience, run_child
from sartor.stages.measure.staging import lay_out_package
from sartor.types import Example, Measurement

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Scores, Task

CHILD = "sartor.stages.measure.score_child"
MOST_MISTAKES = 24
SILENCE_S = 120.0  # for loading the model, and for each few dozen samples
_TOTAL_S = 6 * 3600.0


def evaluate(job: EvaluateJob, workspace: Workspace, tell: Tell = silent) -> EvaluateResult:
    """Score one artifact on a split, sample by sample from its raw bytes, in a fresh process.

    A sample that cannot be read any more, or for which the model gives no finite number, counts as wrong and is
    reported in the conditions.

    Raises:
        Unsupported: the runtime declines, or its process crashed, hung or ran out of memory.
        DataError: the data is not prepared, has no such split, or none of its samples can be read.
        StorageError: full disk, or an object is missing or has changed.

    Example:
        ``evaluate(EvaluateJob(artifact, pipeline, card.fingerprint, "validation", device.id, 0.95), workspace)``
    """
    task: Task = registry.get("tasks", job.pipeline.task)
    samples = open_data(job.data, workspace).split(job.split)
    chosen = choose_samples(len(samples), job)
    truths = samples.truths[chosen]
    folder = workspace.scratch(digest(job))
    try:
        outputs, facts = _run(job, workspace, folder, chosen, tell)
        unusable: Array = np.logical_not(np.isfinite(outputs).all(axis=1))
        outputs = count_as_wrong(outputs, truths, unusable)
        scores = task.score(outputs, truths, job.pipeline.labels, job.confidence)
        parent = _parent_contributions(job, workspace, task, truths)
        conditions = {
            "threads": job.pipeline.threads,
            "batch": job.pipeline.batch,
            "runtime": job.pipeline.runtime,
            "runtime_version": facts["runtime_version"],
            "effective_precision": facts["effective_precision"],
            "samples_of_split": len(samples),
            "broken": len(facts["broken"]),
            "not_finite": int(unusable.sum()) - len(facts["broken"]),
            "broken_places": [samples.place(chosen[position]) for position in facts["broken"][:5]],
        }
        saved = folder / "scored.npy"
        np.save(saved, outputs, allow_pickle=False)
        kept = workspace.objects.take(saved, format="npy", parent=job.artifact, made_by="evaluate")
        return EvaluateResult(
            tuple(_measurements(task, scores, truths, parent, job, conditions)),
            kept.sha256,
            scores.confusion,
            _mistakes(task, samples, chosen, outputs, scores.correct, truths, job),
            scores.per_class,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose_samples(n: int, job: EvaluateJob) -> list[int]:
    """Numbers of the samples to score: all, or a fixed choice that is the same for every artifact.

    Raises:
        DataError: the split is empty.
    """
    if n == 0:
        raise DataError(f"the {job.split} split is empty, so there is nothing to score the model on")
    if not job.limit or job.limit >= n:
        return list(range(n))
    seed = digest({"data": job.data, "split": job.split, "limit": job.limit})
    return sorted(random.Random(seed).sample(range(n), job.limit))


def _run(
    job: EvaluateJob, workspace: Workspace, folder: Path, chosen: Sequence[int], tell: Tell
) -> tuple[Array, Mapping[str, Any]]:
    lay_out_package(folder / "package", job.artifact, job.pipeline, workspace)
    request = {"data": job.data, "workspace": str(workspace.root), "split": job.split, "chosen": chosen}

    def listen(line: str) -> None:
        done, _, of = line.partition(" ")
        if of:
            tell(f"evaluating on {job.split}", int(done) / int(of))

    patience = Patience(silence_s=SILENCE_S, total_s=_TOTAL_S)
    facts = run_child(CHILD, folder, request, threads=job.pipeline.threads, patience=patience, listen=listen)
    outputs = np.load(folder / "outputs.npy", allow_pickle=False)
    if outputs.shape != (len(chosen), len(job.pipeline.labels) or outputs.shape[1]):
        raise DataError(
            f"the model gives {outputs.shape[1]} outputs, but the data has {len(job.pipeline.labels)} labels; "
            "train or export it for this data"
        )
    return outputs, facts


def count_as_wrong(outputs: Array, truths: Array, unusable: Array) -> Array:
    """Outputs (n, classes) in which unusable rows share the probability among all wrong classes."""
    if not unusable.any():
        return outputs
    outputs = outputs.copy()
    rows = np.flatnonzero(unusable)
    outputs[rows] = 1.0 / max(outputs.shape[1] - 1, 1)
    outputs[rows, truths[rows]] = 0.0
    return outputs


def _parent_contributions(job: EvaluateJob, workspace: Workspace, task: Task, truths: Array) -> Array | None:
    """The parent's contribution to the primary metric on the same samples; None for a root."""
    if not job.parent_outputs:
        return None
    path = workspace.objects.path(job.parent_outputs)
    try:
        outputs = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise StorageError(f"{path} is damaged ({error}); delete the workspace and run again") from error
    if len(outputs) != len(truths):
        raise DataError(
            f"the parent was scored on {len(outputs)} samples and this on {len(truths)}; "
            "score both on the same split and limit"
        )
    return task.score(outputs, truths, job.pipeline.labels, job.confidence).correct


def _measurements(
    task: Task, scores: Scores, truths: Array, parent: Array | None, job: EvaluateJob, conditions: Mapping[str, Any]
) -> list[Measurement]:
    """Every metric of the task that applies, then the worst class and the loss against the parent."""
    worst, drop = quality_derivatives(task.metrics[0])
    found: list[tuple[Metric, tuple[float, float, float]]] = [
        (metric, scores.values[metric.name]) for metric in task.metrics if metric.name in scores.values
    ]
    per_class = worst_class(scores.correct, truths, job.confidence)
    if per_class is not None and worst.direction == "higher":
        found.append((worst, per_class))
    lost = (0.0, 0.0, 0.0)
    if parent is not None:
        lost = intervals.paired_drop(parent.tolist(), scores.correct.tolist(), job.confidence)
    found.append((drop, lost))
    return [
        Measurement(
            metric,
            float(value),
            float(low),
            float(high),
            len(truths),
            "measured",
            confidence=job.confidence,
            artifact=job.artifact,
            device=job.device,
            split=job.split,
            conditions=conditions,
        )
        for metric, (value, low, high) in found
    ]


def worst_class(correct: Array, truths: Array, confidence: float) -> tuple[float, float, float] | None:
    """Share of right answers in the worst class, over the classes that occur.

    Exact intervals per class, each at a confidence that makes all of them hold together (Bonferroni): then the
    smallest of the true shares lies between the smallest low and the smallest high.

    Args:
        correct: 0 or 1 per sample, (n,).
        truths: class numbers, (n,).
        confidence: of the interval returned.

    Returns:
        Value, low, high; None where contributions are not 0 or 1, as exact intervals do not hold then.
    """
    if not np.isin(correct, (0.0, 1.0)).all():
        return None
    classes = np.unique(truths)
    each = 1 - (1 - confidence) / len(classes)
    found = []
    for number in classes:
        mine = correct[truths == number]
        successes, n = int(mine.sum()), len(mine)
        found.append((successes / n, *intervals.proportion(successes, n, each)))
    values, lows, highs = zip(*found, strict=True)
    return min(values), min(lows), min(highs)


def _mistakes(
    task: Task,
    samples: SampleSet,
    chosen: Sequence[int],
    outputs: Array,
    correct: Array,
    truths: Array,
    job: EvaluateJob,
) -> tuple[Example, ...]:
    """The most confident wrong answers, most confident first."""
    wrong = np.flatnonzero(correct == 0)
    order = np.argsort(-outputs[wrong].max(axis=1), kind="stable")[:MOST_MISTAKES]
    found = []
    for position in wrong[order]:
        answer = task.answer(outputs[position], job.pipeline)
        place, truth = samples.place(chosen[position]), job.pipeline.labels[int(truths[position])]
        confidence = float(answer["confidence"])
        found.append(
            Example(place, truth, str(answer["label"]), confidence, _thumbnail(task, samples, chosen[position]))
        )
    return tuple(found)


def _thumbnail(task: Task, samples: SampleSet, sample: int) -> str:
    try:
        return task.thumbnail(samples.raw(sample))
    except DataError:
        return ""
