"""A test stand: puts one model file on this machine's scales, through the same stages and workers as a run.

Evidence of a stand is its own and thrown away with it: what is asked here is what holds now.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from sartor import registry
from sartor.catalog.contracts import Task
from sartor.catalog.devices.local import identify
from sartor.errors import DataError, Unsupported
from sartor.evidence import Evidence, Workspace
from sartor.execute import Executor
from sartor.jobs import (
    ArtifactResult,
    CompressJob,
    EvaluateJob,
    EvaluateResult,
    MeasureJob,
    MeasureResult,
    PrepareJob,
    PrepareResult,
)
from sartor.metrics import quality_derivatives
from sartor.pipeline import ENCODER
from sartor.prepared import open_data, write_stand_in
from sartor.progress import Tell, silent
from sartor.stages.data import stamp
from sartor.storage import telling_disk_errors
from sartor.types import Artifact, DataCard, DataSource, Measurement, Pipeline

_Result = TypeVar("_Result")


class Stand:
    """Measures model files; a context, as it holds worker processes and a temporary folder.

    Args:
        task: whose data and answers these are.
        confidence: of the intervals.
        seed: for what preparing and calibrating draw.
        workspace: where prepared data is kept; a temporary folder where None.
    """

    def __init__(
        self, task: str, *, confidence: float = 0.95, seed: int = 0, workspace: Path | None = None, tell: Tell = silent
    ) -> None:
        self.task, self.confidence, self.seed, self.tell = task, confidence, seed, tell
        self.device = identify()
        self.folder = Path(tempfile.mkdtemp(prefix="sartor-stand-"))
        self.workspace = Workspace(workspace or self.folder / "workspace")
        self._evidence = Evidence(self.folder / "evidence.db")
        self._executor = Executor(self.workspace, self._evidence, "stand")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.__exit__(kind, error, trace)
        self._evidence.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _do(self, stage: str, job: object, kind: type[_Result]) -> _Result:
        outcome = self._executor.do(stage, job, self.tell)
        if outcome.refusal is not None:
            raise Unsupported(outcome.refusal.code, outcome.refusal.detail)
        return cast(_Result, outcome.result)

    def take(self, path: Path) -> Artifact:
        """A copy of a model file in the workspace."""
        return self._take(path, "onnx")

    def take_package(self, folder: Path, pipeline: Pipeline) -> Artifact:
        """A copy of a package's model file in the workspace, and beside it of its encoder where it has one."""
        if pipeline.learnt:
            self._take(folder / ENCODER, "encoder")
        return replace(self._take(folder / pipeline.model, "onnx"), learnt=pipeline.learnt)

    def _take(self, path: Path, format: str) -> Artifact:
        copy = self.folder / "taken"
        with telling_disk_errors(copy):
            shutil.copyfile(path, copy)
        return self.workspace.objects.take(copy, format=format, made_by="given")

    def prepare(self, source: DataSource) -> DataCard:
        """Prepare data as a run would.

        Raises:
            DataError: it is missing or cannot be used.
        """
        return self._do("prepare", PrepareJob(source, self.task, self.seed, stamp(source)), PrepareResult).card

    def prepare_labelled(self, address: str, labels: Sequence[str], like: DataSource | None = None) -> DataCard:
        """Prepare labelled data of which every sample is to be scored: its test part where it has one, else all.

        Args:
            address: of the data.
            labels: of the model, in its order; a label it does not know is refused.
            like: a source with the same columns and options.

        Raises:
            DataError: the data is missing, cannot be used, or holds other labels.
        """
        test = address if address.startswith("hub:") else str(Path(address).resolve())
        source = replace(like or DataSource(""), train="", validation="", test=test)
        job = PrepareJob(source, self.task, self.seed, stamp(source), tuple(labels))
        return self._do("prepare", job, PrepareResult).card

    def stand_in(self, raws: Sequence[bytes], labels: Sequence[str]) -> str:
        """Fingerprint of prepared data that only serves to time on: the inputs given, without truths."""
        return write_stand_in(self.task, raws, labels, self.workspace)

    def noise(self, count: int, input_size: Sequence[int]) -> list[bytes]:
        """Made-up inputs of the task."""
        task: Task = registry.get("tasks", self.task)
        return task.noise(count, input_size, self.seed)

    def measure(
        self, artifact: str, pipeline: Pipeline, data: str, *, seconds: float, processes: int = 1
    ) -> MeasureResult:
        """Cost of an artifact.

        Raises:
            Unsupported: the runtime declines it, or its process crashed, hung or ran out of memory.
        """
        pipeline = replace(pipeline, model="model.onnx")
        job = MeasureJob(artifact, pipeline, data, self.device.id, self.confidence, seconds, processes)
        return self._do("measure", job, MeasureResult)

    def evaluate(self, artifact: str, pipeline: Pipeline, card: DataCard) -> tuple[Measurement, ...]:
        """Quality of an artifact on the test split of prepared data, also where that counts its labels otherwise.

        Raises:
            Unsupported: as :meth:`measure`.
            DataError: the data has other labels than the model.
        """
        task: Task = registry.get("tasks", self.task)
        if task.splitting == "by-label":  # such a model knows no labels: what is new to it is judged like the rest
            pipeline = replace(pipeline, labels=card.labels)
        elif set(card.labels) != set(pipeline.labels) or (task.truth != "class" and card.labels != pipeline.labels):
            raise DataError(
                f"the data has {len(card.labels)} labels ({', '.join(card.labels[:5])} …), the model "
                f"{len(pipeline.labels)} ({', '.join(pipeline.labels[:5])} …); give data with the model's labels"
            )
        pipeline = replace(pipeline, model="model.onnx")
        job = EvaluateJob(artifact, pipeline, card.fingerprint, "test", self.device.id, self.confidence)
        result = self._do("evaluate", job, EvaluateResult)
        return result.measurements if card.labels == pipeline.labels else self._rescored(result, pipeline, card)

    def _rescored(self, result: EvaluateResult, pipeline: Pipeline, card: DataCard) -> tuple[Measurement, ...]:
        """The same outputs judged with truths numbered as the model numbers them."""
        import numpy as np

        from sartor.stages.measure.quality import worst_class

        outputs = np.load(self.workspace.objects.path(result.outputs), allow_pickle=False)
        number = np.array([pipeline.labels.index(label) for label in card.labels])
        truths = number[np.asarray(open_data(card.fingerprint, self.workspace).split("test").truths)]
        task: Task = registry.get("tasks", self.task)
        scores = task.score(outputs, truths, pipeline.labels, self.confidence)
        values = dict(scores.values)
        worst = worst_class(scores.correct, truths, self.confidence)
        if worst is not None:
            values.setdefault(quality_derivatives(task.metrics[0])[0].name, worst)
        kept = [(one, values[one.metric.name]) for one in result.measurements if one.metric.name in values]
        return tuple(
            replace(one, value=float(value), low=float(low), high=float(high)) for one, (value, low, high) in kept
        )

    def compress(self, compressor: str, artifact: str, pipeline: Pipeline, data: str) -> Artifact:
        """The compressed child of an artifact.

        Raises:
            Unsupported: the compressor declines.
        """
        job = CompressJob(
            compressor,
            artifact,
            self.task,
            data,
            tuple(pipeline.input_size),
            pipeline.batch,
            self.seed,
            encoding=pipeline.encoding,
            learnt=pipeline.learnt,
        )
        return self._do("compress", job, ArtifactResult).artifact
