"""One model file on the scales of this machine: a row per runtime and precision, all from fresh processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sartor import registry
from sartor.adopt import adopt
from sartor.errors import MissingExtra, SartorError, Unsupported
from sartor.progress import Tell, silent
from sartor.stages.package import open_package
from sartor.stand import Stand
from sartor.types import DataCard, DataSource, Measurement, Pipeline

TASK = "image-classification"  # the only one that a bare file is taken for: its input and output say enough
STAND_INS = 32  # inputs to time on where no data is given


@dataclass(frozen=True)
class BenchRow:
    """One way to run the model. ``refusal`` says why it could not be run; empty otherwise."""

    runtime: str
    precision: str
    measurements: tuple[Measurement, ...] = ()
    refusal: str = ""

    def value(self, metric: str) -> Measurement | None:
        """The measurement of a metric."""
        return next((one for one in self.measurements if one.metric.name == metric), None)


@dataclass(frozen=True)
class BenchResult:
    """All rows, and what was assumed to get them."""

    model: str
    device: str
    threads: int
    rows: tuple[BenchRow, ...]
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Conditions:
    """How to bench.

    Args:
        data: data source to score on; its training part calibrates int8. Empty: no quality, timed on stand-ins.
        runtimes: names; all that ship where empty.
        threads: CPU threads; 0 for what a package says, else 1.
        seconds: timed per row.
        size: (H, W) where a bare file leaves it open.
        normalise: of a bare float file.
        labels: of a bare file's outputs, in their order; as the data counts them where empty.
        workspace: where prepared data is kept.
    """

    data: str = ""
    runtimes: tuple[str, ...] = ()
    threads: int = 0
    seconds: float = 2.0
    size: tuple[int, int] | None = None
    normalise: str = "imagenet"
    labels: tuple[str, ...] = ()
    workspace: Path | None = None


def bench(path: Path | str, conditions: Conditions | None = None, *, tell: Tell = silent) -> BenchResult:
    """Measure a package of any task, or a bare ONNX image classifier, in every runtime and precision of this machine.

    Raises:
        Refused: the file or package is unsafe to load.
        SartorError: a bare file is no image classifier, or nothing of what was asked for exists.

    Example:
        >>> bench("model.onnx").rows[0].value("latency_p50_ms").value  # doctest: +SKIP
    """
    conditions = conditions or Conditions()
    place = Path(path)
    if not place.exists():
        raise SartorError(f"{place} does not exist; give an .onnx file or a package")
    task = open_package(place).pipeline.task if place.suffix != ".onnx" else TASK
    with Stand(task, workspace=conditions.workspace, tell=tell) as stand:
        pipeline, artifact, int8, assumptions = _given(place, stand, conditions)
        card = stand.prepare(_source(conditions.data)) if conditions.data else None
        if card is not None and not pipeline.labels:
            pipeline = replace(pipeline, labels=card.labels)
            shown = ", ".join(card.labels[:4])
            assumptions.append(f"its outputs are in the order in which the data counts labels: {shown} … (--labels)")
        if card is None:
            data = stand.stand_in(stand.noise(STAND_INS, pipeline.input_size), pipeline.labels)
            assumptions.append("timed on made-up inputs, quality not measured; give --data")
        else:
            data = card.fingerprint
        rows = [
            _row(
                stand,
                artifact,
                replace(pipeline, runtime=runtime, precision=precision),
                compressor,
                data,
                card,
                conditions,
            )
            for runtime, precision, compressor in _ways(stand, conditions.runtimes, int8=int8)
        ]
        if any(row.precision == "int8" for row in rows) and not int8 and card is None:
            assumptions.append("int8 was calibrated on made-up inputs: its speed holds, its quality would not")
        return BenchResult(str(place), stand.device.name, pipeline.threads, tuple(rows), tuple(assumptions))


def _given(place: Path, stand: Stand, conditions: Conditions) -> tuple[Pipeline, str, bool, list[str]]:
    """The pipeline, the model file taken in, whether it is int8 already, and what was assumed."""
    if place.suffix != ".onnx":
        contents = open_package(place)
        pipeline = replace(contents.pipeline, threads=conditions.threads or contents.pipeline.threads)
        artifact = stand.take_package(contents.folder, pipeline)
        return pipeline, artifact.sha256, pipeline.precision == "int8", []
    target = stand.folder / "adopted.onnx"
    adopted = adopt(place, target, size=conditions.size, normalise=conditions.normalise)
    labels = conditions.labels or (() if conditions.data else tuple(map(str, range(adopted.outputs))))
    if labels and len(labels) != adopted.outputs:
        raise SartorError(f"{place.name} has {adopted.outputs} outputs, but --labels names {len(labels)}")
    threads = conditions.threads or 1
    pipeline = Pipeline(stand.task, labels, adopted.input_size, "model.onnx", "", "", threads, adopted.batch)
    return pipeline, stand.take(target).sha256, adopted.int8, list(adopted.assumptions)


def _source(address: str) -> DataSource:
    return DataSource(address if address.startswith("hub:") else str(Path(address).resolve()))


def _ways(stand: Stand, wanted: Sequence[str], *, int8: bool) -> list[tuple[str, str, str]]:
    """Runtime, precision and compressor of every way to run an ONNX file here."""
    ways = []
    for name in wanted or registry.names("runtimes"):
        runtime = registry.get("runtimes", name)
        if "onnx" not in runtime.accepts or (runtime.reference and not wanted):
            if wanted:
                raise SartorError(f"the runtime {name} does not run ONNX files")
            continue
        try:
            runtime.version()
        except MissingExtra:
            if wanted:
                raise
            continue
        for precision, compressor in runtime.precisions(stand.device).items():
            if int8 == (precision == "int8"):
                ways.append((name, precision, "none"))
            elif not int8:
                ways.append((name, precision, compressor))
    if not ways:
        raise SartorError("no runtime on this machine runs this model. Run: pip install onnxruntime")
    return ways


def _row(
    stand: Stand,
    artifact: str,
    pipeline: Pipeline,
    compressor: str,
    data: str,
    card: DataCard | None,
    conditions: Conditions,
) -> BenchRow:
    try:
        if compressor != "none":
            artifact = stand.compress(compressor, artifact, pipeline, data).sha256
        found = stand.measure(artifact, pipeline, data, seconds=conditions.seconds).measurements
        if card is not None:
            found += stand.evaluate(artifact, pipeline, card)
    except Unsupported as refusal:
        return BenchRow(pipeline.runtime, pipeline.precision, refusal=f"{refusal.code}: {refusal.detail}")
    return BenchRow(pipeline.runtime, pipeline.precision, found)
