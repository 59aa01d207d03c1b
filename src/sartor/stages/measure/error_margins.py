"""The public function ``margins``: what the answers of one artifact may be off by, for tasks that tell."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import registry
from sartor.codec import digest
from sartor.errors import DataError
from sartor.evidence import Workspace
from sartor.pipeline import Predictor
from sartor.prepared import open_data
from sartor.stages.measure.staging import lay_out_package
from sartor.types import Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Task

MOST_SAMPLES = 2_000


def margins(artifact: str, pipeline: Pipeline, data: str, workspace: Workspace) -> Mapping[str, Any]:
    """What joins ``Pipeline.options`` of the package, from the artifact's outputs on validation.

    Test is kept for the decision. Samples that cannot be read any more are left out.

    Args:
        artifact: sha256 of the model file.
        pipeline: how it is run.
        data: fingerprint of the prepared data.
        workspace: holds both.

    Returns:
        Nothing for a task that has no ``margins``.

    Raises:
        Unsupported: the runtime declines the artifact.
        DataError: the data is not prepared.
        StorageError: full disk, or an object is missing or has changed.
    """
    task: Task = registry.get("tasks", pipeline.task)
    told = getattr(task, "margins", None)
    if told is None:
        return {}
    samples = open_data(data, workspace).split("validation")
    folder = workspace.scratch(digest([artifact, pipeline, data, "margins"]))
    try:
        lay_out_package(folder, artifact, pipeline, workspace)
        predictor = Predictor(folder)
        step = max(1, len(samples) / MOST_SAMPLES)
        outputs, truths = [], []
        for number in sorted({int(place * step) for place in range(min(len(samples), MOST_SAMPLES))}):
            try:
                outputs.append(predictor.outputs([samples.raw(number)])[0])
            except DataError:
                continue
            truths.append(samples.truths[number])
        options: Mapping[str, Any] = told(np.array(outputs), np.array(truths)) if outputs else {}
        return options
    finally:
        shutil.rmtree(folder, ignore_errors=True)
