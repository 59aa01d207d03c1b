"""The words of the product as frozen dataclasses. Standard library only; nothing here does work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sartor.metrics import Metric

Basis = Literal["measured", "estimated", "quoted"]
Split = Literal["train", "validation", "test"]
Outcome = Literal["met", "missed", "inconclusive"]
Status = Literal["met", "infeasible", "inconclusive"]
Options = Mapping[str, Any]


# ---------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Limit:
    """A contract on one metric.

    Args:
        metric: the metric's name; ``max_drop`` and ``per_class_min`` are limits on derived metrics.
        bound: ``min`` or ``max``.
        value: in the metric's unit.
        key: where it stands in the requirement, e.g. ``limits.latency_p95_ms.max``.
    """

    metric: str
    bound: Literal["min", "max"]
    value: float
    key: str

    def holds(self, value: float) -> bool:
        """True when a value is on the allowed side."""
        return value >= self.value if self.bound == "min" else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {'≥' if self.bound == 'min' else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Objective:
    """A wish that orders what is feasible; only the ratio of weights matters."""

    metric: str
    weight: float


@dataclass(frozen=True)
class DataSource:
    """Where the samples are.

    Args:
        train: path, or dataset id of a hub (``hub:owner/name``).
        validation: same; split off ``train`` where empty.
        test: same; split off ``train`` where empty.
        input: column of a table that holds the input (path, bytes or text); guessed where empty.
        label: column that holds the answer; guessed where empty.
        options: whatever else a reader takes (``validation_share``, ``max_broken_share`` …).
    """

    train: str
    validation: str = ""
    test: str = ""
    input: str = ""
    label: str = ""
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Where and how the model must run: ``local`` or a profile's path; threads; batch size."""

    device: str = "local"
    threads: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Budget:
    """What the search may spend: seconds of wall time, and how widely it looks."""

    seconds: float
    effort: Literal["quick", "balanced", "thorough"] = "balanced"


@dataclass(frozen=True)
class SearchSpace:
    """Names the search is restricted to; empty means everything in the catalogue."""

    models: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requirement:
    """A task, data, a device, limits (hard) and objectives (order what is feasible)."""

    name: str
    task: str
    data: DataSource
    target: Target
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    confidence: float
    budget: Budget
    search: SearchSpace = field(default_factory=SearchSpace)
    seed: int = 0
    model: str = ""  # a checkpoint folder to include among the candidates


# ---------------------------------------------------------------------------------------------- what is known


@dataclass(frozen=True)
class Ceiling:
    """The best rate seen at one precision. ``by`` says which runtime reached it."""

    operations_per_s: float
    by: str


@dataclass(frozen=True)
class Device:
    """A machine as a candidate sees it.

    Args:
        id: digest of what matters for speed; evidence is kept per device id.
        ceilings: precision (``fp32``, ``bf16``, ``int8``) to compute ceiling in operations per second.
        bandwidth_bytes_per_s: sequential read.
        instruction_sets: e.g. ``avx512_vnni``, ``amx_int8``.
        runtimes: name to version of those that import and run here.
        basis: ``measured`` by a probe or ``quoted`` from a datasheet.
    """

    id: str
    name: str
    cores: int
    memory_bytes: int
    instruction_sets: tuple[str, ...]
    ceilings: Mapping[str, Ceiling]
    bandwidth_bytes_per_s: float
    runtimes: Mapping[str, str]
    basis: Basis = "measured"
    probed_at: str = ""
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitCard:
    """Counts of one split. ``classes`` maps a label to its number of samples."""

    samples: int
    classes: Mapping[str, int]
    fingerprint: str


@dataclass(frozen=True)
class DataProblem:
    """Something found in the data. ``code`` in capitals, e.g. ``BROKEN``; ``examples`` name places (file, row)."""

    code: str
    split: str
    count: int
    sentence: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCard:
    """What the data is: counts, classes in index order, problems, one fingerprint over everything used.

    ``facts`` holds what the task saw (for images: ``modes`` and ``sizes``, smallest, median and largest, (h, w)).
    """

    task: str
    fingerprint: str
    labels: tuple[str, ...]
    splits: Mapping[str, SplitCard]
    problems: tuple[DataProblem, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where a model or a method comes from."""

    source: str
    licence: str
    paper: str


@dataclass(frozen=True)
class Network:
    """An architecture with its size fixed: what shares trained weights.

    Args:
        model: name of the model family in the catalogue.
        variant: readable short form of ``options`` (``s``, ``w64`` …), unique within the family.
        options: what the family's ``build`` takes.
        input_size: shape of one prepared input, e.g. (height, width) in pixels, (length,) in tokens.
        outputs: number of labels (classes, items); 1 for a number.
        encoding: which of the task's ways to prepare an input it takes; empty where there is only one.
    """

    model: str
    variant: str
    options: Options
    input_size: tuple[int, ...]
    outputs: int
    encoding: str = ""

    @property
    def id(self) -> str:
        """E.g. ``resnet9-s``."""
        return f"{self.model}-{self.variant}" if self.variant else self.model


@dataclass(frozen=True)
class Candidate:
    """One point of the search: network × compression × runtime × precision × threads."""

    network: Network
    compressor: str
    runtime: str
    precision: str
    threads: int

    @property
    def id(self) -> str:
        """Readable and unique within a run, e.g. ``resnet9-s/int8/onnxruntime``."""
        return f"{self.network.id}/{self.precision}/{self.runtime}"


@dataclass(frozen=True)
class Pipeline:
    """Everything beside the model file that prediction needs; ``pipeline.json`` in a package.

    Args:
        task: name of the task, which decodes inputs and words answers.
        labels: in output order.
        input_size: as in :class:`Network`; the input is resized to it before the model.
        model: file name of the model, beside this file.
        runtime, precision, threads, batch: how the model is run; the file is run no other way.
        options: what else the task needs, e.g. ``top_k``.
        encoding: as in :class:`Network`.
        learnt: sha256 of ``encoder.bin`` beside this file, what preparing learnt from train (a vocabulary,
            categories, histories); empty where nothing is learnt.
    """

    task: str
    labels: tuple[str, ...]
    input_size: tuple[int, ...]
    model: str
    runtime: str
    precision: str
    threads: int
    batch: int
    options: Options = field(default_factory=dict)
    encoding: str = ""
    learnt: str = ""


@dataclass(frozen=True)
class Artifact:
    """A file that can be run or compressed further, by content.

    Args:
        sha256: of the file's bytes; the object store finds the file by it.
        format: ``onnx``, ``safetensors`` …
        bytes: its size.
        parent: sha256 of what it was made from; empty for a root.
        made_by: name of the stage or compressor.
        learnt: sha256 of the encoder's learnt state that it was made for (``Pipeline.learnt``); empty for none.
    """

    sha256: str
    format: str
    bytes: int
    parent: str = ""
    made_by: str = ""
    learnt: str = ""


@dataclass(frozen=True)
class Measurement:
    """A number with everything needed to trust it; never a bare float.

    Args:
        low, high: two-sided interval at ``confidence`` (for an estimate: the range it is believed to lie in).
        n: number of observations behind it (timed calls, test samples); 0 for an estimate.
        artifact: sha256 of the exact file measured; empty for an estimate.
        device: id of the device it was measured on; empty where it does not depend on one.
        split: for quality: which split.
        trained: False for a cost measured on random weights of the same architecture.
        noisy: True when the machine was too busy or unsteady for the number to decide anything.
        conditions: threads, load, effective precision, versions …
    """

    metric: Metric
    value: float
    low: float
    high: float
    n: int
    basis: Basis
    confidence: float = 0.95
    artifact: str = ""
    device: str = ""
    split: str = ""
    trained: bool = True
    noisy: bool = False
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why a candidate went no further, as data: a code in capitals and one sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Record:
    """A candidate with everything known about it; what ``decide`` reads.

    Args:
        artifact: the trained, compressed file that would ship; None while there is none.
        parent: id of the candidate this one is compressed from (same network, uncompressed, same runtime).
        refusals: from plug-ins and workers; any refusal removes the candidate.
        notes: e.g. ``epochs``, ``rung``.
    """

    candidate: Candidate
    measurements: tuple[Measurement, ...] = ()
    artifact: Artifact | None = None
    parent: str = ""
    refusals: tuple[Refusal, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- what is decided


@dataclass(frozen=True)
class Verdict:
    """One limit judged for one candidate. ``measurement`` is None when nothing is known yet.

    ``final`` is True when the measurement is of the shipping artifact (and of the test split, for quality):
    only a final verdict can accept.
    """

    limit: Limit
    outcome: Outcome
    final: bool
    measurement: Measurement | None
    sentence: str


@dataclass(frozen=True)
class Fate:
    """What became of a candidate: ``CHOSEN`` or the one reason code why not, and a sentence."""

    candidate: str
    code: str
    detail: str
    verdicts: tuple[Verdict, ...] = ()
    on_front: bool = False


@dataclass(frozen=True)
class Relaxation:
    """The smallest change of limits that a measured candidate shows to be enough."""

    changes: Mapping[str, float]  # limit key -> value that would do
    candidate: str
    sentence: str


@dataclass(frozen=True)
class Certificate:
    """Why nothing meets the requirement: binding limits, best value reached, what would do."""

    binding: tuple[str, ...]  # limit keys
    best: Mapping[str, Measurement]  # limit key -> best measured value, the other limits kept where possible
    sentence: str
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The answer. A pure function of requirement and records; every reader renders this."""

    status: Status
    chosen: str  # candidate id; empty unless met
    verdicts: tuple[Verdict, ...]
    sentence: str
    why: tuple[str, ...]
    fates: tuple[Fate, ...]
    front: tuple[str, ...]
    certificate: Certificate | None = None
    advice: tuple[str, ...] = ()
    next: str = ""  # candidate id that needs final evidence before the decision can close; empty when closed


# ---------------------------------------------------------------------------------------------- what is kept


@dataclass(frozen=True)
class Epoch:
    """One row of a training curve. ``score`` is the task's primary metric on validation, None if not evaluated."""

    epoch: float
    seconds: float
    loss: float
    score: float | None
    learning_rate: float


@dataclass(frozen=True)
class Step:
    """One action of a run: what was done to what, how long it took, whether earlier evidence was reused.

    ``started`` is seconds since the run began; ``outcome`` is ``done``, ``refused`` or ``failed``.
    """

    action: str
    subject: str
    started: float
    seconds: float
    reused: bool
    outcome: str
    evidence: str = ""


@dataclass(frozen=True)
class Cause:
    """One thing in an input that spoke for or against the answer.

    Args:
        name: the word, the feature with its value, the item's title, or where in the picture.
        weight: how much the answer's confidence falls when it is taken away; negative where it rises.
        place: (start, end) characters of a word; (top, left, bottom, right) of a region, as shares of the picture.
    """

    name: str
    weight: float
    place: tuple[float, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why the shipped file answered so: found by asking it again with parts of the input taken away.

    Args:
        kind: ``regions``, ``words``, ``features`` or ``items``.
        causes: strongest first.
        sentence: the same in words.
        picture: PNG (base64) of the input with its regions marked; empty where there is none.
    """

    kind: str
    causes: tuple[Cause, ...]
    sentence: str
    picture: str = ""


@dataclass(frozen=True)
class Example:
    """A sample worth looking at.

    Args:
        place: where it is.
        truth, answer: in words.
        confidence: of the answer.
        thumbnail: small PNG (base64), the answer drawn in where the task draws; empty for what is no picture.
        text: the input, or its beginning, where it is read rather than looked at.
        explanation: of the answer; None where nobody asked.
    """

    place: str
    truth: str
    answer: str
    confidence: float
    thumbnail: str = ""
    text: str = ""
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Lines on common axes, e.g. precision over recall per class; ``note`` says how to read it."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names, e.g. what was recommended to whom."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Insight:
    """What a person looks at for one candidate.

    Args:
        split: the split these come from.
        confusion: rows are truths, columns answers, in label order; empty where the task has none.
        mistakes: what went worst, e.g. the most confident wrong answers.
        latency_parts_ms: median milliseconds by part: ``decode``, ``prepare``, ``model``, ``answer``.
        per_class: label to its score.
        charts, tables: whatever else the task shows.
        explained: a few samples with explanations, of the chosen candidate.
    """

    split: str
    confusion: tuple[tuple[int, ...], ...] = ()
    mistakes: tuple[Example, ...] = ()
    latency_parts_ms: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    explained: tuple[Example, ...] = ()


@dataclass(frozen=True)
class RunFile:
    """The contents of ``decision.json``: the one artefact every reader uses; ``decide`` replays from it alone.

    ``curves`` and ``insights`` are keyed by network id and candidate id.
    """

    format: int
    sartor: str
    created: str
    requirement: Requirement
    device: Device
    card: DataCard
    metrics: tuple[Metric, ...]
    records: tuple[Record, ...]
    decision: Decision
    steps: tuple[Step, ...] = ()
    curves: Mapping[str, tuple[Epoch, ...]] = field(default_factory=dict)
    insights: Mapping[str, Insight] = field(default_factory=dict)
    package: str = ""


@dataclass(frozen=True)
class Package:
    """What ships: a folder that runs without the trainer, or one ``.sartor`` file of it.

    Args:
        path: absolute.
        digest: sha256 of its manifest, which holds the sha256 of every other file: it names the content.
        name: of the requirement it meets.
        files: their number, the manifest included.
        bytes: of all files together.
        model: sha256 of the model file.
    """

    path: str
    digest: str
    name: str
    files: int
    bytes: int
    model: str
