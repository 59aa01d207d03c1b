"""The public function ``explain``: why one artifact answers a few samples as it does."""

from __future__ import annotations

import shutil
from dataclasses import replace

from sartor.codec import digest
from sartor.errors import SartorError, StorageError
from sartor.evidence import Workspace
from sartor.jobs import ExplainJob, ExplainResult
from sartor.pipeline import Predictor
from sartor.prepared import SampleSet, open_data
from sartor.progress import Tell, silent
from sartor.stages.measure.staging import lay_out_package
from sartor.types import Example


def explain(job: ExplainJob, workspace: Workspace, tell: Tell = silent) -> ExplainResult:
    """Answer samples with the artifact and ask it again, with parts of them taken away, what the answers rest on.

    A sample that cannot be read, answered or explained is left out: explanations illustrate, nothing is judged by them.

    Raises:
        Unsupported: the runtime declines the artifact.
        DataError: the data is not prepared, or has no such split.
        StorageError: full disk, or an object is missing or has changed.

    Example:
        ``explain(ExplainJob(artifact, pipeline, card.fingerprint, "test", (0, 7)), workspace).examples``
    """
    samples = open_data(job.data, workspace).split(job.split)
    folder = workspace.scratch(digest(job))
    try:
        lay_out_package(folder / "package", job.artifact, job.pipeline, workspace)
        predictor = Predictor(folder / "package")
        found = []
        for turn, number in enumerate(job.samples):
            tell("explaining answers", turn / len(job.samples))
            try:
                found.append(_explained(predictor, samples, number))
            except StorageError:
                raise
            except SartorError:
                continue
        return ExplainResult(tuple(found))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _explained(predictor: Predictor, samples: SampleSet, number: int) -> Example:
    raw = samples.raw(number)
    shown = predictor.task.show(raw, samples.truths[number], predictor.outputs([raw])[0], predictor.pipeline)
    return replace(shown, place=samples.place(number), explanation=predictor.explain(raw))
