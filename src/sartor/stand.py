"""A test stand: puts one model file on this machine's scales, through the same stages and workers as a run.

Evidence of a stand is its own and thrown away with it: what is asked here is what holds now.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
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
from sartor.prepared import open_data
from sartor.progress import Tell, silent
from sartor.stages.data import stamp
from sartor.storage import telling_disk_errors, write_bytes, write_text
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
        copy = self.folder / "taken"
        with telling_disk_errors(copy):
            shutil.copyfile(path, copy)
        return self.workspace.objects.take(copy, format="onnx", made_by="given")

    def prepare(self, source: DataSource) -> DataCard:
        """Prepare data as a run would.

        Raises:
            DataError: it is missing or cannot be used.
        """
        return self._do("prepare", PrepareJob(source, self.task, self.seed, stamp(source)), PrepareResult).card

    def prepare_labelled(self, address: str, labels: Sequence[str], input_size: Sequence[int]) -> DataCard:
        """Prepare labelled data of which every sample is to be scored: its test part where it has one, else all.

        The splits that learn are filled with noise under ``labels``, so that a label the model does not know is
        refused, and one that the data lacks is no problem.

        Raises:
            DataError: the data is missing, cannot be used, or holds other labels.
        """
        path = Path(address)
        parts = sorted(path.glob("test*")) if path.is_dir() else []
        test = address if address.startswith("hub:") else str((parts[0] if parts else path).resolve())
        folder = self.folder / "labelled"
        learning = [str(self._noise(folder, split, labels, input_size)) for split in ("train", "validation")]
        return self.prepare(DataSource(learning[0], learning[1], test))

    def stand_in(self, raws: Sequence[bytes], input_size: Sequence[int]) -> str:
        """Fingerprint of prepared data that only serves to time on: the inputs given, under made-up labels."""
        folder = self.folder / "stand-in"
        train = self._noise(folder, "train", ("a", "b"), input_size)
        test = self._noise(folder, "test", ("a", "b"), input_size)
        timed = _write_table(folder / "validation", [(raw, "a") for raw in raws])
        return self.prepare(DataSource(str(train), str(timed), str(test))).fingerprint

    def _noise(self, folder: Path, split: str, labels: Sequence[str], size: Sequence[int]) -> Path:
        seed = zlib.crc32(split.encode())
        return _write_table(folder / split, list(zip(noise_pictures(len(labels), size, seed), labels, strict=True)))

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
        if set(card.labels) != set(pipeline.labels):
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
        truths = number[open_data(card.fingerprint, self.workspace).split("test").truths]
        task: Task = registry.get("tasks", self.task)
        scores = task.score(outputs, truths, pipeline.labels, self.confidence)
        values = dict(scores.values)
        worst = worst_class(scores.correct, truths, self.confidence)
        if worst is not None:
            values[quality_derivatives(task.metrics[0])[0].name] = worst
        kept = [(one, values[one.metric.name]) for one in result.measurements if one.metric.name in values]
        return tuple(
            replace(one, value=float(value), low=float(low), high=float(high)) for one, (value, low, high) in kept
        )

    def compress(self, compressor: str, artifact: str, pipeline: Pipeline, data: str) -> Artifact:
        """The compressed child of an artifact.

        Raises:
            Unsupported: the compressor declines.
        """
        size = tuple(pipeline.input_size)
        job = CompressJob(compressor, artifact, self.task, data, size, pipeline.batch, self.seed)
        return self._do("compress", job, ArtifactResult).artifact


def _write_table(folder: Path, samples: Sequence[tuple[bytes, str]]) -> Path:
    """Files and the table that labels them, as a data source."""
    rows = []
    for place, (raw, label) in enumerate(samples):
        write_bytes(folder / f"{place}.png", raw)  # readers go by content; the name only has to be a picture's
        rows.append(json.dumps({"path": f"{place}.png", "label": label}))
    write_text(folder / "samples.jsonl", "\n".join(rows) + "\n")
    return folder / "samples.jsonl"


def noise_pictures(count: int, size: Sequence[int], seed: int = 0) -> list[bytes]:
    """PNG files of seeded noise, (H, W) pixels: stand-ins where no picture is at hand."""
    import numpy as np

    from sartor.media.image import to_png

    generator = np.random.default_rng(seed)
    return [to_png(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]
