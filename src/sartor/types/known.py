"""What is known: of the device, of the data, and of every candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sartor.codec import LATER
from sartor.metrics import Metric
from sartor.types.asked import Options

Basis = Literal["measured", "estimated", "quoted"]
Split = Literal["train", "validation", "test"]


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
        probed_at, probe_seconds: when a probe ended, in ISO 8601, and how long it took.
        kind: ``cpu``, or what else computes (``gpu``, ``tpu``): then ceilings and bandwidth are of that card.
        power_w: what it draws at most, in watts; 0 where unknown.
        price_usd, price_per_hour_usd: to buy, to rent; 0 where unknown.

    Quoted figures may be unknown: ``memory_bytes`` and ``bandwidth_bytes_per_s`` are 0 then.
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
    probe_seconds: float = 0.0
    accelerators: tuple[str, ...] = ()
    kind: str = "cpu"
    power_w: float = 0.0
    price_usd: float = 0.0
    price_per_hour_usd: float = 0.0


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
    """One point of the search: network × compression × runtime × precision × threads.

    Args:
        threads: CPU threads it is run with.
        fewer: True where that is less than the target allows.
    """

    network: Network
    compressor: str
    runtime: str
    precision: str
    threads: int
    fewer: bool = False

    @property
    def id(self) -> str:
        """Readable and unique within a run: ``resnet9-s/int8/onnxruntime``, with fewer threads ``…/1-thread``."""
        way = f"{self.network.id}/{self.precision}/{self.runtime}"
        return f"{way}/{self.threads}-thread{'s' if self.threads > 1 else ''}" if self.fewer else way


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
        replicates: of the primary metric on validation: its value with one group of samples left out each time, the
            same groups for every candidate, so that two of them compare in pairs.
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
    replicates: tuple[float, ...] = field(default=(), metadata=LATER)


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
        notes: e.g. ``baseline``, ``stopped`` with ``why``, ``remarks`` (sentences on how its file was made).
    """

    candidate: Candidate
    measurements: tuple[Measurement, ...] = ()
    artifact: Artifact | None = None
    parent: str = ""
    refusals: tuple[Refusal, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
