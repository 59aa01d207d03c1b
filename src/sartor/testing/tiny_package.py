"""A real package made without training: a graph that says which colour of a picture is strongest.

For tests of whatever reads packages. Needs the base install only.
"""

from __future__ import annotations

import io
from pathlib import Path

from sartor.metrics import COST_METRICS, Metric, index
from sartor.storage import file_sha256
from sartor.types import (
    Artifact,
    Budget,
    Candidate,
    Ceiling,
    DataCard,
    DataSource,
    Decision,
    Device,
    Fate,
    Limit,
    Measurement,
    Network,
    Objective,
    Package,
    Pipeline,
    Record,
    Requirement,
    RunFile,
    SplitCard,
    Target,
    Verdict,
)

LABELS = ("red", "green", "blue")
SIZE = 8
ACCURACY = Metric("accuracy", "", "higher", "quality", "accuracy", True)


def write_colour_model(path: Path, *, float_input: bool = False) -> Path:
    """Write an ONNX graph from a picture to the probabilities of :data:`LABELS`.

    Args:
        path: of the file to write.
        float_input: take float32 (1, 3, 8, 8) in 0..1 and give logits, as files from elsewhere do, instead of
            uint8 (1, 8, 8, 3) and probabilities.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    axes = [2, 3] if float_input else [1, 2]
    scale = 8.0 if float_input else 8.0 / 255
    constants = [
        numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        numpy_helper.from_array(np.array(scale, np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("Cast", ["input"], ["pixels"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0, name="mean"),
        helper.make_node("Mul", ["means", "scale"], ["output" if float_input else "scaled"], name="scaling"),
    ]
    if not float_input:
        nodes.append(helper.make_node("Softmax", ["scaled"], ["output"], axis=-1, name="softmax"))
    kind, shape = (TensorProto.FLOAT, [1, 3, SIZE, SIZE]) if float_input else (TensorProto.UINT8, [1, SIZE, SIZE, 3])
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(LABELS)])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def picture(colour: str, size: int = 12, shade: int = 200) -> bytes:
    """PNG bytes of a picture in one of :data:`LABELS`."""
    from PIL import Image

    pixel = tuple(shade if label == colour else 30 for label in LABELS)
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), pixel).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_run(
    model: Path,
    *,
    data: str = "/no/such/data",
    limits: tuple[Limit, ...] = (),
    pipeline: Pipeline | None = None,
    quality: Metric = ACCURACY,
) -> RunFile:
    """A run file whose decision chose the file ``model``; its numbers are made up, its hashes are true.

    ``pipeline`` is how the file is run, the colour model's where it is None; ``quality`` the task's primary metric.
    """
    pipeline = pipeline or tiny_pipeline()
    metrics = {**index(COST_METRICS), quality.name: quality}
    limits = limits or (
        Limit("accuracy", "min", 0.9, "limits.accuracy.min"),
        Limit("latency_p95_ms", "max", 500.0, "limits.latency_p95_ms.max"),
        Limit("size_mb", "max", 1.0, "limits.size_mb.max"),
    )
    artifact = Artifact(file_sha256(model), "onnx", model.stat().st_size, "", "export", pipeline.learnt)
    network = Network("resnet9", "xs", {}, pipeline.input_size, len(pipeline.labels), pipeline.encoding)
    candidate = Candidate(network, "none", "onnxruntime", "fp32", 1)
    device = Device("d" * 64, "a test machine", 2, 1 << 30, (), {"fp32": Ceiling(1e9, "test")}, 1e9, {})

    def measured(limit: Limit) -> Measurement:
        metric = metrics[limit.metric]
        value = limit.value * (0.5 if limit.bound == "max" else 1.05)
        split = "test" if metric.kind == "quality" else ""
        low, high = value * 0.99, value * 1.01
        return Measurement(metric, value, low, high, 50, "measured", 0.95, artifact.sha256, device.id, split)

    measurements = tuple(measured(limit) for limit in limits)
    verdicts = tuple(
        Verdict(limit, "met", True, measurement, f"{limit} met")
        for limit, measurement in zip(limits, measurements, strict=True)
    )
    record = Record(candidate, measurements, artifact)
    split = SplitCard(30, dict.fromkeys(pipeline.labels, 10), "f" * 64)
    decision = Decision(
        "met",
        candidate.id,
        verdicts,
        f"MET by {candidate.id}",
        ("it is the only one",),
        (Fate(candidate.id, "CHOSEN", "meets everything", verdicts, True),),
        (candidate.id,),
    )
    return RunFile(
        format=1,
        sartor="0.1.0",
        created="2026-01-01T00:00:00Z",
        requirement=Requirement(
            "colours" if pipeline.labels == LABELS else pipeline.task,
            pipeline.task,
            DataSource(f"{data}/train", test=f"{data}/test"),
            Target(),
            limits,
            (Objective(quality.name, 1.0),),
            0.95,
            Budget(60.0),
        ),
        device=device,
        card=DataCard(
            pipeline.task,
            "e" * 64,
            pipeline.labels,
            {"train": split, "validation": split, "test": split},
            (),
            licence="CC0-1.0",
        ),
        metrics=tuple(metrics.values()),
        records=(record,),
        decision=decision,
    )


def tiny_pipeline() -> Pipeline:
    """How the colour model is run."""
    return Pipeline(
        "image-classification", LABELS, (SIZE, SIZE), "model.onnx", "onnxruntime", "fp32", 1, 1, {"top_k": 3}
    )


def build_tiny_package(folder: Path, **run_options: object) -> Package:
    """Build the package in ``folder/package``."""
    from sartor.stages.package import build_package

    folder.mkdir(parents=True, exist_ok=True)
    model = write_colour_model(folder / "made.onnx")
    golden = [picture(label, shade=shade) for label in LABELS for shade in (120, 220)]
    run = tiny_run(model, **run_options)  # type: ignore[arg-type]
    return build_package(run, model, tiny_pipeline(), golden, folder / "package")
