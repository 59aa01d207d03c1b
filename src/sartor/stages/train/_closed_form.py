"""Families that are computed instead of trained. Needs torch; import it inside functions only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sartor import registry
from sartor.cpu_load import read_cpu_times
from sartor.evidence import Workspace
from sartor.jobs import ThroughputResult, TrainJob, TrainResult
from sartor.prepared import PreparedData
from sartor.progress import Tell
from sartor.stages.train._features import frozen_features
from sartor.stages.train._feed import in_sequence, scaled
from sartor.stages.train._machine import NOISY_LOAD, foreign_load, settle
from sartor.stages.train._scoring import Scorer
from sartor.stages.train._weights import built, conditions, keep_weights
from sartor.types import Epoch

_CPU = torch.device("cpu")


def fit(job: TrainJob, data: PreparedData, workspace: Workspace, scratch: Path, tell: Tell) -> TrainResult:
    """Let the family fit its module over the training data, then score it. Quick enough to start over after a kill."""
    started = time.perf_counter()
    settle(job.threads)
    tell(f"{job.network.id}: reading the training data", 0.0)
    module, remarks, kept = fitted(job, data)
    if kept:
        tell(f"{job.network.id}: what it makes of the training data was kept by an earlier training")
    seconds = time.perf_counter() - started
    score = Scorer(job, data, _CPU, torch.float32).score(module)
    tell(f"{job.network.id}: {registry.get('tasks', job.task).metrics[0].title} {score.value:.3f}", 1.0)
    return TrainResult(
        weights=keep_weights(module, workspace, scratch),
        curve=(Epoch(1.0, seconds, 0.0, score.value, 0.0),),
        score=score.value,
        samples_per_s=len(data.split("train")) / seconds,
        seconds=time.perf_counter() - started,
        conditions={**conditions(_CPU, torch.float32, job), **({} if kept is None else {"features_kept": kept})},
        remarks=remarks,
    )


def fitted(job: TrainJob, data: PreparedData) -> tuple[nn.Module, tuple[str, ...], bool | None]:
    """The module with its buffers set, what its family remarks on it and the data, whether features were kept.

    The last is None where there are none to keep.
    """
    family = registry.get("models", job.network.model)
    task = registry.get("tasks", job.task)
    train = data.split("train")
    network = job.network
    samples = train.prepared(network.input_size, network.encoding)
    targets = train.targets(network.input_size, network.encoding)
    statistics = data.statistics(network.input_size, network.encoding)
    torch.manual_seed(job.seed)
    module = built(network, data)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, truths in in_sequence(samples, targets, job.recipe.batch_size, _CPU):
            yield task.normalise(inputs, statistics), scaled(task, truths, statistics)

    kept: bool | None = None
    with torch.no_grad():
        if hasattr(family, "encode"):
            vectors, kept = frozen_features(family, module.eval(), job, data)
            family.fit_head(module, vectors, scaled(task, torch.from_numpy(np.array(targets)), statistics))
        else:
            family.fit(module, batches)
        remarks = tuple(family.remarks(module.eval(), batches)) if hasattr(family, "remarks") else ()
    return module.eval(), remarks, kept


def probe(job: TrainJob, data: PreparedData, seconds: float, tell: Tell) -> ThroughputResult:
    """As fast as fitting truly is, since it is quick; the module that is scored has random content."""
    settle(job.threads)
    before, started = read_cpu_times(), time.perf_counter()
    module, *_ = fitted(job, data)
    rate = len(data.split("train")) / (time.perf_counter() - started)
    load = foreign_load(before)
    evaluated = Scorer(job, data, _CPU, torch.float32, limit=1024).score(module).samples_per_s
    return ThroughputResult(rate, evaluated, load, load > NOISY_LOAD)
