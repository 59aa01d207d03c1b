"""The public function ``evaluate``: how good one artifact is on a split, on the very file and path that ship."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from sartor.stages.measure.on_levels import join_levels
from sartor.stages.measure.process import Patience, run_child
from sartor.stages.measure.staging import lay_out_package
from sartor.types import Example, Measurement, Pipeline, Table

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Scores, Task, Truths

Interval = tuple[float, float, float]  # value, low, high

CHILD = "sartor.stages.measure.score_child"
MOST_MISTAKES = 24
MOST_LOOKED_AT = 2_000  # samples whose inputs a task sees together
MOST_THUMBNAIL_LETTERS = 1_500_000  # base64, of all examples together: they go into every report
RESAMPLES = 400
GROUPS = 32  # of samples, each left out once for a replicate: the error of a difference is known to an eighth then
FEWEST_REPLICATES = 8  # fewer say too little of an error
SILENCE_S = 120.0  # for loading the model, and for each few dozen samples
_TOTAL_S = 6 * 3600.0


def evaluate(job: EvaluateJob, workspace: Workspace, tell: Tell = silent) -> EvaluateResult:
    """Score one artifact on a split, sample by sample from its raw bytes, in a fresh process.

    A sample that cannot be read any more, or for which the model gives no finite number, counts as wrong
    (``Task.wrong``) and is reported in the conditions.

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
    truths: Truths = samples.truths[chosen]
    folder = workspace.scratch(digest(job))
    try:
        outputs, facts = _run(job, workspace, folder, chosen, tell)
        unusable = unusable_rows(outputs, facts["broken"])
        outputs = count_as_wrong(task, outputs, truths, unusable)
        scores = task.score(outputs, truths, job.pipeline.labels, job.confidence)
        parent = _parent_outputs(job, workspace, len(truths))
        conditions = {
            "threads": job.pipeline.threads,
            "batch": job.pipeline.batch,
            "runtime": job.pipeline.runtime,
            "runtime_version": facts["runtime_version"],
            "effective_precision": facts["effective_precision"],
            "samples_of_split": len(samples),
            "broken": len(facts["broken"]),
            "not_finite": len(unusable) - len(facts["broken"]),
            "broken_places": [samples.place(chosen[position]) for position in facts["broken"][:5]],
        }
        saved = folder / "scored.npy"
        np.save(saved, outputs, allow_pickle=False)
        kept = workspace.objects.take(saved, format="npy", parent=job.artifact, made_by="evaluate")
        found = _measurements(task, scores, truths, _scored(task, parent, truths, job), job, conditions)
        if job.split != "test":  # the choice between candidates never looks there
            found[0] = replace(found[0], replicates=replicates(scores))

        def again(positions: Sequence[int], variables: Mapping[str, str]) -> list[Measurement]:
            some = [chosen[position] for position in positions]
            there, about = _run(job, workspace, folder, some, tell, variables)
            of_some: Truths = samples.truths[some]
            there = count_as_wrong(task, there, of_some, unusable_rows(there, about["broken"]))
            before = _scored(task, None if parent is None else parent[list(positions)], of_some, job)
            scored = task.score(there, of_some, job.pipeline.labels, job.confidence)
            return _measurements(task, scored, of_some, before, job, {})

        return EvaluateResult(
            tuple(join_levels(found, job, workspace, len(chosen), again)),
            kept.sha256,
            scores.confusion,
            worth_showing(task, samples, chosen, outputs, truths, scores, job.pipeline),
            scores.per_class,
            scores.charts,
            (*scores.tables, *_looked_at(task, samples, chosen, outputs, job)),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _looked_at(
    task: Task, samples: SampleSet, chosen: Sequence[int], outputs: Array, job: EvaluateJob
) -> tuple[Table, ...]:
    """Tables of what the first answers have in common with their inputs, of a task that has such."""
    if not hasattr(task, "look"):
        return ()
    some = chosen[:MOST_LOOKED_AT]
    tables: tuple[Table, ...] = task.look(
        [samples.raw(number) for number in some], outputs[: len(some)], job.pipeline.labels
    )
    return tables


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
    job: EvaluateJob,
    workspace: Workspace,
    folder: Path,
    chosen: Sequence[int],
    tell: Tell,
    variables: Mapping[str, str] | None = None,
) -> tuple[Array, Mapping[str, Any]]:
    lay_out_package(folder / "package", job.artifact, job.pipeline, workspace)
    request = {"data": job.data, "workspace": str(workspace.root), "split": job.split, "chosen": chosen}

    def listen(line: str) -> None:
        done, _, of = line.partition(" ")
        if of:
            tell(f"evaluating on {job.split}", int(done) / int(of))

    patience = Patience(silence_s=SILENCE_S, total_s=_TOTAL_S)
    threads = job.pipeline.threads
    facts = run_child(
        CHILD, folder, request, threads=threads, patience=patience, listen=listen, variables=variables or {}
    )
    return np.load(folder / "outputs.npy", allow_pickle=False), facts


def unusable_rows(outputs: Array, broken: Sequence[int]) -> list[int]:
    """Rows that answer nothing: of samples that could not be read, and those with numbers that are not finite."""
    if outputs.dtype.kind != "f":
        return sorted(broken)
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    return sorted({*np.flatnonzero(~finite).tolist(), *broken})


def count_as_wrong(task: Task, outputs: Array, truths: Truths, unusable: Sequence[int]) -> Array:
    """Outputs (n, …) in which unusable rows are what the task counts as wrong."""
    if not unusable:
        return outputs
    outputs = outputs.copy()
    for row in unusable:
        outputs[row] = task.wrong(outputs[row], truths[row])
    return outputs


def _parent_outputs(job: EvaluateJob, workspace: Workspace, n: int) -> Array | None:
    """The parent's saved outputs on the same samples; None for a root."""
    if not job.parent_outputs:
        return None
    path = workspace.objects.path(job.parent_outputs)
    try:
        outputs: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise StorageError(f"{path} is damaged ({error}); delete the workspace and run again") from error
    if len(outputs) != n:
        raise DataError(
            f"the parent was scored on {len(outputs)} samples and this on {n}; score both on the same split and limit"
        )
    return outputs


def _scored(task: Task, outputs: Array | None, truths: Truths, job: EvaluateJob) -> Scores | None:
    return None if outputs is None else task.score(outputs, truths, job.pipeline.labels, job.confidence)


def _measurements(
    task: Task, scores: Scores, truths: Truths, parent: Scores | None, job: EvaluateJob, conditions: Mapping[str, Any]
) -> list[Measurement]:
    """Every metric of the task that applies, then the worst class and the loss against the parent."""
    primary = task.metrics[0]
    worst, drop = quality_derivatives(primary)
    found: list[tuple[Metric, Interval]] = [
        (metric, scores.values[metric.name]) for metric in task.metrics if metric.name in scores.values
    ]
    per_class = scores.values.get(worst.name)
    if per_class is None and task.truth == "class" and worst.direction == "higher":
        per_class = worst_class(scores.correct, np.asarray(truths), job.confidence)
    if per_class is not None:
        found.append((worst, per_class))
    found.append((drop, (0.0, 0.0, 0.0) if parent is None else lost(primary, parent, scores, job.confidence)))
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


def lost(metric: Metric, parent: Scores, child: Scores, confidence: float) -> Interval:
    """How much worse the child is than its parent on the same samples, positive when worse, with its interval.

    Where the metric is the mean of contributions: of their paired differences. Else by bootstrap, both scored on the
    same samples drawn with repetition (percentile interval, Efron 1979); what no sample showed is allowed for as there.
    """
    scale = 1.0 if metric.bounded else abs(parent.values[metric.name][0])
    if parent.resample is None or child.resample is None:
        ours, theirs = parent.correct.tolist(), child.correct.tolist()
        span = 1.0 if metric.bounded else max((abs(a - b) for a, b in zip(ours, theirs, strict=True)), default=scale)
        return intervals.paired_drop(ours, theirs, confidence, span)
    sign = 1.0 if metric.direction == "higher" else -1.0
    n = len(child.correct)
    generator = np.random.default_rng(0)
    draws = [generator.integers(0, n, n) for _ in range(RESAMPLES)]
    differences = [sign * (parent.resample(draw) - child.resample(draw)) for draw in draws]
    value = sign * (parent.values[metric.name][0] - child.values[metric.name][0])
    tail = (1 - confidence) / 2
    low, high = (float(edge) for edge in np.quantile(differences, (tail, 1 - tail)))
    unseen = intervals.unseen(n, confidence) * scale
    return value, value - math.hypot(max(0.0, value - low), unseen), value + math.hypot(max(0.0, high - value), unseen)


def replicates(scores: Scores) -> tuple[float, ...]:
    """The primary metric with one of up to ``GROUPS`` groups of samples left out each time; empty for few samples.

    A sample's group depends on its position alone.
    """
    n = len(scores.correct)
    count = min(GROUPS, n)
    if count < FEWEST_REPLICATES:
        return ()
    resample = scores.resample or (lambda rows: float(np.mean(scores.correct[rows])))
    positions = np.arange(n)
    found = (resample(positions[positions % count != group]) for group in range(count))
    return tuple(float(f"{value:.9g}") for value in found)


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


def worth_showing(
    task: Task,
    samples: SampleSet,
    chosen: Sequence[int],
    outputs: Array,
    truths: Truths,
    scores: Scores,
    pipeline: Pipeline,
) -> tuple[Example, ...]:
    """What went worst, as the task orders it; else the most confident wrong answers. What is gone is left out."""
    order = scores.worst or _wrong_by_confidence(task, outputs, scores.correct, pipeline)
    found: list[Example] = []
    letters = 0
    for position in order[:MOST_MISTAKES]:
        try:
            raw = samples.raw(chosen[position])
            shown = task.show(raw, truths[position], outputs[position], pipeline)
        except DataError:
            continue
        letters += len(shown.thumbnail)
        if letters > MOST_THUMBNAIL_LETTERS:
            break
        found.append(replace(shown, place=samples.place(chosen[position])))
    return tuple(found)


def _wrong_by_confidence(task: Task, outputs: Array, correct: Array, pipeline: Pipeline) -> list[int]:
    """Rows of wrong answers, most confident first."""
    wrong = np.flatnonzero(correct == 0)
    if outputs.ndim == 2 and outputs.dtype.kind == "f":
        confidences = outputs[wrong].max(axis=1)
    else:
        confidences = np.array([float(task.answer(outputs[row], pipeline)["confidence"]) for row in wrong])
    return [int(row) for row in wrong[np.argsort(-confidences, kind="stable")]]
