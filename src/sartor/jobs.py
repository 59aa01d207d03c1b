"""What each stage is asked and what it answers: the actions of the loop as plain values.

A job is all that its result depends on, so the digest of a job names its evidence: the same work is never done twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sartor.codec import LATER
from sartor.types import Artifact, Chart, DataCard, DataSource, Epoch, Example, Measurement, Network, Pipeline, Table


@dataclass(frozen=True)
class PrepareJob:
    """Read, check, split and index the data (``stages.data.prepare``).

    Args:
        source: with absolute paths.
        stamp: digest over names, sizes and times of the source's files, so that changed data is prepared anew.
        labels: of a model that is to be judged on a source without ``train``, from which nothing is learnt or cut;
            empty where it has none, and for data to learn from.
    """

    source: DataSource
    task: str
    seed: int
    stamp: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrepareResult:
    """The card; its fingerprint names the prepared data in the workspace."""

    card: DataCard


@dataclass(frozen=True)
class TranslateJob:
    """Bring a trained model of a user's own into ONNX (``stages.translate.translate``).

    Args:
        path: absolute.
        kind: its format, of ``stages.translate.formats``.
        stamp: digest of its files and of the names beside it.
        interpreter: the Python that has TensorFlow, for its formats; else empty.
        trusted: whether code that it brings along may be run to convert it.
    """

    path: str
    kind: str
    stamp: str
    interpreter: str = ""
    trusted: bool = False


@dataclass(frozen=True)
class TranslateResult:
    """One ONNX file that answers as the model does."""

    artifact: Artifact


@dataclass(frozen=True)
class DescribeJob:
    """Count what networks cost, without weights (``stages.predict.describe``)."""

    task: str
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class Kernel:
    """What a runtime computes at once, of one shape, ``count`` times in a call.

    Args:
        kind: ``conv``, ``conv-1x1``, ``conv-depthwise``, ``conv-grouped``, ``conv-transposed``, ``product`` (with
            weights), ``product-computed`` (of two computed matrices), ``lstm``, ``gru``, ``elementwise``, ``norm``,
            ``softmax``, ``pool``, ``pool-whole``, ``reduce``, ``resize``, ``turn``, ``join``, ``move``, ``cast``,
            ``reorder`` (into blocks of channels, or back), ``look-up``, ``trees``, ``free`` (only another shape),
            ``other``.
        operations: 2 × multiply-accumulates.
        read, written: numbers of activations.
        weights: numbers of constants read whole.
        light, heavy: elementwise steps, cheap and with a transcendental function.
        m, n, k: rows, columns and depth of the product that it is, within a group and a picture.
        groups, area, stride, images: of a convolution; groups are also heads, ways of a recurrence, images its steps.
        table: numbers of the table that rows are taken from.
        int8: its products run on bytes.
        axes: sides of the picture that a convolution runs over: 1 of a signal.
    """

    kind: str
    operations: float = 0.0
    read: int = 0
    written: int = 0
    weights: int = 0
    light: int = 0
    heavy: int = 0
    m: int = 1
    n: int = 1
    k: int = 1
    groups: int = 1
    area: int = 1
    stride: int = 1
    images: int = 1
    table: int = 0
    int8: bool = False
    count: int = 1
    axes: int = field(default=2, metadata=LATER)


@dataclass(frozen=True)
class NetworkCost:
    """Static cost of one network at batch 1.

    Args:
        operations: 2 × multiply-accumulates of one forward pass.
        parameters: count.
        activation_bytes: fp32 bytes written by all layers of one forward pass.
        layers: number of convolutions and matrix products.
        looked_up: those of the parameters that lie in tables of which a call reads a few rows.
        rows: numbers that one call reads from such tables.
        kernels: runtime to the kernels it would make of the graph, at batch 1; empty where it could not be traced.
    """

    network: str
    operations: int
    parameters: int
    activation_bytes: int
    layers: int
    looked_up: int = 0
    rows: int = 0
    kernels: Mapping[str, tuple[Kernel, ...]] = field(default_factory=dict)

    @property
    def work(self) -> int:
        """Arithmetic, and numbers read from tables and written: what orders networks by size, look-ups among them."""
        return self.operations + self.rows + self.activation_bytes // 4

    @property
    def multiplies(self) -> bool:
        """False where products are next to nothing of its work and of its weights: fewer bits would gain nothing."""
        whole = self.parameters - self.looked_up
        return self.layers > 0 and (self.operations > 0.05 * self.work or whole > 0.05 * self.parameters)


@dataclass(frozen=True)
class DescribeResult:
    """One :class:`NetworkCost` per network, in order."""

    costs: tuple[NetworkCost, ...]


@dataclass(frozen=True)
class Teacher:
    """A trained network on whose answers another is trained (distillation).

    Args:
        weights: sha256 of its weights; its inputs and outputs are those of its pupil.
        temperature: divides the logits of both.
        share: of the loss that is the distance to its answers; the rest is the loss on the labels.
    """

    network: Network
    weights: str
    temperature: float = 2.0
    share: float = 0.9


@dataclass(frozen=True)
class Start:
    """A trained network with whose weights another of its family begins, in place of random ones (a warm start).

    Args:
        weights: sha256 of its weights. Where its layers are wider, the channels with the largest weights stay.
    """

    network: Network
    weights: str


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Rates are for the batch size given.

    ``augment`` names augmentations of the task; ``auto`` stands for those the task suggests for the data. ``clip`` is
    the largest norm of a step's gradient, 0 for no bound. ``teacher``: whose answers it learns from beside the labels.
    ``start``: whose weights it begins with; random ones where there is none. ``lowest_rate``: the share of the learning
    rate at which the lowest layer learns, those between it and the head at shares between. ``adapters``: rank of the
    matrices that are learnt beside attention projections while all but them and the head stays frozen (LoRA); 0 where
    every weight is learnt. ``weight_bits``: what the weights of products are rounded to in every pass, their inputs to
    8 bits (quantisation-aware training); 0 where nothing is rounded.
    """

    epochs: float
    batch_size: int
    optimizer: str  # "nesterov" | "muon" | "adamw" | "closed-form"
    learning_rate: float
    weight_decay: float
    label_smoothing: float = 0.1
    warmup_share: float = 0.15
    ema_decay: float = 0.99
    augment: tuple[str, ...] = ()
    clip: float = 0.0
    teacher: Teacher | None = None
    start: Start | None = field(default=None, metadata=LATER)
    lowest_rate: float = field(default=1.0, metadata=LATER)
    adapters: int = field(default=0, metadata=LATER)
    weight_bits: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class TrainJob:
    """Train one network on the prepared data (``stages.train.train``).

    Args:
        data: fingerprint of prepared data in the workspace.
        floor: score on validation that must be reached; training stops early when it no longer can. 0 for none.
        threads: CPU threads.
        seconds: its steps and looks may take so long; where they would take longer it ends its schedule with fewer
            epochs. 0 for no bound.
    """

    task: str
    network: Network
    data: str
    recipe: Recipe
    seed: int
    threads: int
    floor: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainResult:
    """Weights (safetensors), the curve, the final validation score, and how fast it went.

    ``stopped`` is empty, or why it ended early (``FLOOR_UNREACHABLE``, ``DIVERGED``). ``remarks`` are sentences of the
    family on how network and data go together.
    """

    weights: Artifact
    curve: tuple[Epoch, ...]
    score: float
    samples_per_s: float
    seconds: float
    stopped: str = ""
    conditions: Mapping[str, Any] = field(default_factory=dict)  # device, precision, threads, versions
    remarks: tuple[str, ...] = ()

    @property
    def epochs(self) -> float:
        """Passes over the training data it had in the end: fewer than asked for where its time was short."""
        return self.curve[-1].epoch if self.curve else 0.0


@dataclass(frozen=True)
class ArrangeResult:
    """What a training reads of the prepared data (``stages.train.arrange``): files, by their paths in the workspace."""

    files: tuple[str, ...]


@dataclass(frozen=True)
class ThroughputJob:
    """Find out how fast a training would run, without training (``stages.train.probe_throughput``).

    Args:
        seconds: how long to try, at most about.
        attempt: how often it was tried before, on a machine too busy to tell.
    """

    train: TrainJob
    seconds: float = 3.0
    attempt: int = 0


@dataclass(frozen=True)
class ThroughputResult:
    """Training samples per second, and samples per second when validation is scored.

    ``foreign_load`` is the share of the processor cores that others took meanwhile; with ``noisy`` it was too large for
    the rate to rule anything out.
    """

    samples_per_s: float
    evaluated_per_s: float
    foreign_load: float = 0.0
    noisy: bool = False


@dataclass(frozen=True)
class ExportJob:
    """Turn a network into a file a runtime takes, pre- and post-processing inside (``stages.compress.export``).

    Args:
        weights: sha256 of the trained weights; empty for random weights (only its cost is wanted then).
        format: ``onnx``, or ``torch`` (safetensors with the network in its metadata) for the reference runtime.
    """

    task: str
    network: Network
    data: str
    weights: str
    batch: int
    seed: int
    format: str = "onnx"


@dataclass(frozen=True)
class CompressJob:
    """Apply one compressor to an artifact (``stages.compress.compress``). Calibration samples come from train."""

    compressor: str
    artifact: str
    task: str
    data: str
    input_size: tuple[int, ...]
    batch: int
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    encoding: str = ""
    learnt: str = ""


@dataclass(frozen=True)
class ArtifactResult:
    """The file made. ``remark``: what is worth telling of it, one sentence; empty for nothing."""

    artifact: Artifact
    seconds: float
    remark: str = ""


@dataclass(frozen=True)
class MeasureJob:
    """Time one artifact in a fresh process, from input bytes to answer (``stages.measure.measure``).

    Args:
        artifact: sha256 of the model file.
        device: id of the device this must run on.
        seconds: how long the timed windows may take together; up to three times that where the calls are too few to
            bound p95.
        processes: number of fresh processes; the interval is the hull over them.
        trained: False where the weights are random.
    """

    artifact: str
    pipeline: Pipeline
    data: str
    device: str
    confidence: float
    seconds: float
    processes: int = 1
    trained: bool = True


@dataclass(frozen=True)
class MeasureResult:
    """Cost measurements, and the median milliseconds of each part of a call."""

    measurements: tuple[Measurement, ...]
    latency_parts_ms: Mapping[str, float]


@dataclass(frozen=True)
class EvaluateJob:
    """Score one artifact on a split through the very pipeline that ships (``stages.measure.evaluate``).

    Args:
        parent_outputs: sha256 of the parent's saved outputs on the same split, for the paired drop; empty for a root.
        limit: at most so many samples (a fixed, seeded choice); 0 for all.
        levels: of instruction sets (``sartor.levels``) that matter for an int8 file: the processor's own, then those
            the runtime is to be held to as well; empty where none matters.
    """

    artifact: str
    pipeline: Pipeline
    data: str
    split: str
    device: str
    confidence: float
    parent_outputs: str = ""
    limit: int = 0
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluateResult:
    """Quality measurements; ``outputs`` is the sha256 of the saved raw outputs (npy, (n, …))."""

    measurements: tuple[Measurement, ...]
    outputs: str
    confusion: tuple[tuple[int, ...], ...] = ()
    mistakes: tuple[Example, ...] = ()
    per_class: Mapping[str, float] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class ExplainJob:
    """Explain a few answers of one artifact by asking it again (``stages.measure.explain``).

    Args:
        samples: numbers of samples in the split.
    """

    artifact: str
    pipeline: Pipeline
    data: str
    split: str
    samples: tuple[int, ...]


@dataclass(frozen=True)
class ExplainResult:
    """The samples with answers and explanations."""

    examples: tuple[Example, ...]


@dataclass(frozen=True)
class CompareSide:
    """One side of a comparison: a model file and how it is run."""

    artifact: str
    pipeline: Pipeline


@dataclass(frozen=True)
class CompareJob:
    """Time two artifacts against each other in alternating fresh processes, A B B A (``stages.measure.compare``).

    Args:
        metric: name of the ratio, ``latency_vs_parent`` or ``latency_vs_reference``.
    """

    ours: CompareSide
    other: CompareSide
    data: str
    device: str
    confidence: float
    metric: str


@dataclass(frozen=True)
class CompareResult:
    """The ratio of median latencies, ours / other, below 1 when ours is faster; artifact is ours.

    Its metric is ``Metric(job.metric, "×", "lower", "cost", …)``; within the noise floor it is a tie.
    """

    measurement: Measurement
    tie: bool


@dataclass(frozen=True)
class TimeGraphsJob:
    """Time drawn graphs in one runtime (``stages.measure.time_graphs``).

    Args:
        graphs: family, number and batch of each (``sartor.drawings``).
        device: id of the device this must run on.
        seconds: timed per graph.
    """

    runtime: str
    precision: str
    threads: int
    graphs: tuple[tuple[str, int, int], ...]
    device: str
    seconds: float = 0.2


@dataclass(frozen=True)
class TimedGraph:
    """Median and fast (tenth percentile) milliseconds of a graph's calls; or the code of why it could not be run.

    ``foreign_load`` is the share of the processor cores that others took meanwhile, ``pace_ns`` how fast it ran.
    """

    p50_ms: float = 0.0
    p10_ms: float = 0.0
    calls: int = 0
    foreign_load: float = 0.0
    pace_ns: float = 0.0
    refusal: str = ""


@dataclass(frozen=True)
class TimeGraphsResult:
    """One per graph, in order."""

    timed: tuple[TimedGraph, ...]
