"""The package that a run chose, with everything behind it: its run, its workspace, its weights and their trainings."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _protocol import BLOCKS, CONFIDENCE, RESULTS, SECONDS, Side

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.codec import from_plain
from sartor.errors import SartorError
from sartor.evidence import Entry, Workspace
from sartor.jobs import EvaluateJob, TrainJob, TrainResult
from sartor.prepared import open_data
from sartor.run import load_run
from sartor.stages.measure import evaluate
from sartor.stages.measure.quality import choose_samples
from sartor.stages.package import open_package
from sartor.types import Network, Pipeline, Record, RunFile

RUNS = "runs/cifar10-*"  # where a benchmark called without a folder looks
SAMPLES = 2000
Array = np.ndarray[Any, np.dtype[Any]]


class Skipped(Exception):
    """What a benchmark needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True)
class Training:
    """One training of the chosen network; ``seconds`` is the whole action, process start included."""

    job: TrainJob
    result: TrainResult
    seconds: float


@dataclass(frozen=True)
class Subject:
    """A run that delivered a package.

    Args:
        side: the package's own model file, as it is run.
        weights: sha256 of the trained weights behind it.
        trainings: of its network, oldest first.
    """

    folder: Path
    file: RunFile
    workspace: Workspace
    side: Side
    weights: str
    trainings: tuple[Training, ...]

    @property
    def network(self) -> Network:
        """The chosen one."""
        return chosen_record(self.file).candidate.network

    @property
    def data(self) -> str:
        """Fingerprint of the prepared data."""
        return self.file.card.fingerprint

    @property
    def training_seconds(self) -> float:
        """Wall time of all trainings of the chosen network."""
        return sum(training.seconds for training in self.trainings)

    @property
    def conditions(self) -> str:
        """For the name of a result file."""
        pipeline = self.side.pipeline
        return (
            f"{self.folder.name}-{self.network.id}-{pipeline.precision}-{pipeline.runtime}"
            f"-{pipeline.threads}threads-batch{pipeline.batch}-{identify().name}"
        )


def chosen_record(file: RunFile) -> Record:
    """The record of what was chosen."""
    return next(record for record in file.records if record.candidate.id == file.decision.chosen)


def read_subject(folder: Path, workspace: Path | None) -> Subject:
    """A run folder, its package and its workspace (beside ``runs`` where none is named).

    Raises:
        Skipped: the run delivered no package, or its workspace is gone.
        SartorError: a file is damaged.
    """
    folder = folder.resolve()
    file = load_run(folder)
    if file.decision.status != "met":
        raise Skipped(f"{folder} is {file.decision.status}: it delivered no package to measure")
    root = workspace or next((p / ".sartor" for p in folder.parents if (p / ".sartor").is_dir()), Path(".sartor"))
    if not (root / "evidence.db").is_file():
        raise Skipped(f"{root} is not the workspace of {folder}; name it: --workspace FOLDER")
    place = Workspace(root)
    contents = open_package(folder / "package")
    with tempfile.TemporaryDirectory(dir=place.root) as scratch:
        copy = Path(scratch) / "model"
        shutil.copyfile(contents.folder / contents.pipeline.model, copy)
        model = place.objects.take(copy, format="onnx", made_by="package")
    weights, trainings = _behind(file, place, model.sha256)
    return Subject(folder, file, place, Side("package", model.sha256, contents.pipeline), weights, trainings)


def _behind(file: RunFile, workspace: Workspace, model: str) -> tuple[str, tuple[Training, ...]]:
    """The weights of a model file, and the trainings of its network."""
    evidence = workspace.evidence()
    try:
        used = [evidence.get(step.evidence) for step in file.steps]
        every_training = evidence.of_stage("train")
    finally:
        evidence.close()
    entries = [entry for entry in used if entry is not None and not entry.refusal]
    weights = _weights(entries, model)
    network, keys = chosen_record(file).candidate.network, {entry.key for entry in entries}
    trainings = []
    for entry in every_training:
        if entry.refusal or from_plain(TrainJob, entry.job).network != network:
            continue
        result: TrainResult = from_plain(TrainResult, entry.result)
        if entry.key in keys or result.weights.sha256 == weights:  # the weights may come from an earlier run
            trainings.append(Training(from_plain(TrainJob, entry.job), result, entry.seconds))
    return weights, tuple(trainings)


def _weights(entries: Sequence[Entry], model: str) -> str:
    """Walk from a file back to what it was made from, until an export names its weights."""
    made = {entry.result["artifact"]["sha256"]: entry.job for entry in entries if entry.stage in ("export", "compress")}
    while model in made:
        job = made[model]
        if "weights" in job:
            return str(job["weights"])
        model = job["artifact"]
    raise Skipped("the run's evidence does not say from which weights its package was made; run it again")


# ---------------------------------------------------------------------------------------------- quality


@dataclass(frozen=True)
class Quality:
    """How a side did on some samples of the test split: value with its interval, and what it answered."""

    name: str
    value: float
    low: float
    high: float
    outputs: Array  # (n, outputs) float32
    correct: Array  # (n,) 0 or 1


def score(subject: Subject, side: Side, samples: int) -> Quality:
    """Score a side on the same samples of the test split, sample by sample, in a fresh process.

    The decision was taken before; nothing is chosen by these numbers.
    """
    job = EvaluateJob(side.artifact, side.pipeline, subject.data, "test", identify().id, CONFIDENCE, "", samples)
    result = evaluate(job, subject.workspace)
    task = registry.get("tasks", side.pipeline.task)
    outputs = np.load(subject.workspace.objects.path(result.outputs), allow_pickle=False)
    split = open_data(subject.data, subject.workspace).split("test")
    truths = split.truths[choose_samples(len(split), job)]
    metric = task.metrics[0].name
    found = next(one for one in result.measurements if one.metric.name == metric)
    correct = (outputs.argmax(axis=1) == truths).astype(np.int8)
    return Quality(metric, found.value, found.low, found.high, outputs, correct)


def few(n: int, limit: int, seed: int) -> list[int]:
    """At most ``limit`` of ``n`` numbers, the same each time."""
    return sorted(random.Random(seed).sample(range(n), min(n, limit)))


# ---------------------------------------------------------------------------------------------- command line


def parser(text: str) -> argparse.ArgumentParser:
    """What the benchmarks of a run have in common."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", nargs="?", type=Path, metavar="RUN_FOLDER", help=f"default: the newest of {RUNS}")
    made.add_argument("--workspace", type=Path, help="of the run; default: .sartor beside it")
    made.add_argument("--blocks", type=int, default=BLOCKS, help="of four processes each (%(default)s)")
    made.add_argument("--timed", type=float, default=SECONDS, metavar="SECONDS", help="per process (%(default)s)")
    made.add_argument("--samples", type=int, default=SAMPLES, help="of the test split, 0 for all (%(default)s)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV (%(default)s)")
    made.add_argument("--smoke", action="store_true", help="on tiny made-up data, under a minute; proves nothing")
    return made


def subject_of(asked: argparse.Namespace, smoke_folder: Path) -> Subject:
    """The subject asked for: a folder, the newest run, or a made-up one."""
    if asked.smoke:
        from _smoke import make_run

        asked.blocks, asked.timed, asked.samples = 1, 0.2, 30
        if asked.results == RESULTS:  # what a smoke run measures is nobody's result
            asked.results = smoke_folder / "results"
        if asked.run is None:
            return read_subject(make_run(smoke_folder), smoke_folder / ".sartor")
    if asked.run is None:
        found = sorted((path.parent for path in Path().glob(f"{RUNS}/package")), key=lambda path: path.stat().st_mtime)
        if not found:
            raise Skipped(f"no {RUNS}/package here. Run: sartor run examples/cifar10.yaml (or try --smoke)")
        asked.run = found[-1]
    return read_subject(asked.run, asked.workspace)


def main(work: Callable[[argparse.Namespace, Subject], None], asked: argparse.Namespace, claim: str) -> int:
    """Run a benchmark; what is missing is said loudly, what is wrong in one sentence."""
    print(f"CLAIM   {claim}")
    with tempfile.TemporaryDirectory(prefix="sartor-benchmark-") as folder:
        try:
            subject = subject_of(asked, Path(folder))
            work(asked, subject)
        except Skipped as reason:
            print(f"SKIPPED, NOTHING WAS MEASURED: {reason}", file=sys.stderr)
        except SartorError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def package_label(pipeline: Pipeline, network: Network) -> str:
    """How the chosen one is called in a table."""
    return f"{network.id} {pipeline.precision} {pipeline.runtime}"
