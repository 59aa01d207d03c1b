"""The contracts of the catalogues, each stated once. Plug-ins fulfil them; they inherit no code.

Heavy packages (torch, onnxruntime, …) are imported inside methods, never at the top of a plug-in's file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sartor.jobs import NetworkCost, Recipe, TrainJob, TrainResult
from sartor.metrics import Metric
from sartor.types import (
    Artifact,
    DataCard,
    Decision,
    Device,
    Network,
    Options,
    Pipeline,
    Provenance,
    Record,
    Refusal,
    Requirement,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]
    Tensor = torch.Tensor
    Module = torch.nn.Module


@dataclass(frozen=True)
class Sighting:
    """What a task saw in one sample while checking it.

    Args:
        content: digest of what the input means (decoded pixels), equal for equal content in different files.
        facts: small values worth counting, e.g. ``{"mode": "RGB", "size": (32, 32)}``.
        likeness: 64-bit hash, a few bits apart for near copies; None where the task has none.
    """

    content: str
    facts: Mapping[str, Any]
    likeness: int | None = None


@dataclass(frozen=True)
class Scores:
    """Quality of outputs against truths. Values are in the metric's unit with a two-sided interval.

    Args:
        values: metric name -> (value, low, high).
        correct: per sample, the contribution to the primary metric (0/1 for accuracy); pairs parent and child.
        per_class: label -> score.
        confusion: rows truths, columns answers; empty where there is none.
    """

    values: Mapping[str, tuple[float, float, float]]
    correct: Array
    per_class: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...] = ()


class Task(Protocol):
    """What is being asked of a model, from raw input to answer and its judgement.

    ``decode``, ``prepare`` and ``answer`` run inside packages: base install only.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]  # quality metrics; the first is the primary one
    reader: str  # which reader of stages.data fits: "images"

    def inspect(self, raw: bytes) -> Sighting:
        """Check one raw input; raise ``DataError`` with the reason when it is broken."""

    def survey(self, prepared: Array, truths: Array, seed: int) -> Mapping[str, Any]:
        """Facts that only many samples together show, from a part of train (n, …); they join ``DataCard.facts``."""

    def decode(self, raw: bytes) -> Array:
        """Raw input to its decoded form, e.g. (h, w, 3) uint8; raise ``DataError`` when it cannot be."""

    def prepare(self, decoded: Array, input_size: Sequence[int]) -> Array:
        """Decoded input to what the model takes, without the batch axis, e.g. (H, W, 3) uint8."""

    def answer(self, output: Array, pipeline: Pipeline) -> dict[str, Any]:
        """One row of model output to the answer people read (JSON values): at least ``label``, ``confidence``."""

    def score(self, outputs: Array, truths: Array, labels: Sequence[str], confidence: float) -> Scores:
        """Judge outputs (n, outputs) against truths (n,)."""

    def thumbnail(self, raw: bytes) -> str:
        """A small PNG of a sample as base64, for the report; empty where there is nothing to show."""

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """Input sizes worth trying for this data, the most natural first."""

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        """The module that ships: prepared batch (uint8) -> normalise -> module -> probabilities."""

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """Prepared batch (n, H, W, 3) uint8 to what ``ModelFamily.build`` modules take, (n, 3, H, W) float."""

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """Statistics of prepared training samples that normalise needs, e.g. ``mean`` and ``std`` per channel."""

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """Names of augmentations that suit the data."""

    def augment(self, batch: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
        """Augment a normalised batch."""

    def loss(self, outputs: Tensor, truths: Tensor, label_smoothing: float) -> Tensor:
        """Mean training loss of a batch."""


@dataclass(frozen=True)
class Variant:
    """A size of a family worth trying. ``options`` are what ``build`` takes."""

    name: str
    options: Options
    input_size: tuple[int, ...]


class ModelFamily(Protocol):
    """A scalable architecture, or a baseline.

    ``build`` returns a module from normalised input (n, 3, H, W) float to logits (n, outputs).
    ``fitting`` is ``gradient``, or ``closed-form`` for families that have a ``fit`` method instead of being trained.
    """

    name: str
    tasks: frozenset[str]
    provenance: Provenance
    fitting: Literal["gradient", "closed-form"]
    baseline: bool

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Sizes worth trying for this data, smallest first; raise ``Unsupported`` when the family does not fit."""

    def build(self, network: Network) -> Module:
        """The module with random weights (the caller has seeded torch)."""

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """How to train it well in so many epochs over so many samples."""

    def fit(self, module: Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Closed-form families only: set the module's buffers from normalised training batches."""


class Compressor(Protocol):
    """Makes an artifact smaller or faster; the measurement decides whether it paid."""

    name: str
    accepts: frozenset[str]  # artifact formats
    produces: str
    precision: str  # the precision a runtime reports for its files: "int8"
    extra: str
    provenance: Provenance

    def options(self, device: Device) -> Options:
        """Options that suit a device (its instruction sets); what ``CompressJob.options`` should hold."""

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Read ``source``, write ``target``. ``calibration`` is prepared input (n, …), batch axis first."""


class Session(Protocol):
    """One loaded model."""

    effective_precision: str  # read back from the runtime, not what was asked
    version: str

    def run(self, batch: Array) -> Array:
        """Prepared batch to outputs (batch, outputs) float32."""


class Runtime(Protocol):
    """Runs artifacts. ``precisions`` says which it can truly run on a device, for which compressor.

    ``reference`` runtimes are measured for comparison and never shipped.
    """

    name: str
    title: str
    accepts: frozenset[str]
    extra: str
    reference: bool

    def version(self) -> str:
        """Version of the installed runtime; raise ``MissingExtra`` where it is not installed."""

    def precisions(self, device: Device) -> Mapping[str, str]:
        """Precision -> compressor that makes its file (``none``, ``int8-static``), for this device."""

    def load(self, path: Path, precision: str, threads: int) -> Session:
        """Load a model file with pinned threads; raise ``Unsupported`` when it cannot run it at that precision."""


class DeviceKind(Protocol):
    """A way to reach a target."""

    name: str

    def accepts(self, address: str) -> bool:
        """True when ``target.device`` names this kind (``local``, a profile's path, a URL)."""

    def profile(self, address: str) -> Device:
        """The device behind the address; raise ``DeviceError`` when there is none."""


Purpose = Literal["estimate", "probe", "train", "select", "confirm"]


@dataclass(frozen=True)
class Action:
    """The next thing to do: a stage's job, what it is about, and what its result is for.

    Args:
        stage: name of the stage (``sartor.worker.STAGES``).
        job: the stage's job.
        subject: id of the candidate or network it is about.
        purpose: ``estimate``, ``probe``, ``train``, ``select`` or ``confirm``.
    """

    stage: str
    job: Any
    subject: str
    purpose: Purpose


@dataclass(frozen=True)
class Outcome:
    """What an action came to: a result or a refusal, and whether it was there already.

    ``seconds`` is what it cost this run: the same when the run is continued, 0 for another run's evidence.
    """

    key: str
    result: Any
    refusal: Refusal | None
    seconds: float
    reused: bool


class Situation(Protocol):
    """Where a run stands; it learns every outcome before the planner hears of it."""

    requirement: Requirement
    card: DataCard
    device: Device

    def records(self) -> tuple[Record, ...]:
        """Every candidate with what is known of it, estimates included."""

    def decision(self) -> Decision:
        """What would be decided now."""

    def open_candidates(self) -> frozenset[str]:
        """Ids of candidates that nothing speaks against so far."""

    def left_s(self) -> float:
        """Seconds of the budget not spent; counted from evidence, so that a continued run plans alike."""

    def cost_of(self, network: str) -> NetworkCost | None:
        """Static cost of a network, once described."""

    def artifact(self, sha256: str) -> Artifact:
        """A file made in this run."""

    def trained(self, network: str) -> tuple[tuple[TrainJob, TrainResult], ...]:
        """Finished trainings of a network on this data, from any run, shortest first."""

    def stop(self, network: str, code: str, why: str) -> None:
        """Give up on a network: a reason for all its candidates."""


Plan = Generator[Action, Outcome, None]


class Planner(Protocol):
    """Picks the next action from requirement and evidence.

    A plan is a generator that is sent the outcome of each action it yields. It must depend on nothing but the
    situation and the outcomes: a continued run replays it over the evidence and arrives where it was.
    """

    name: str

    def plan(self, situation: Situation) -> Plan:
        """Actions until the decision is closed or the budget is spent."""


class Check(Protocol):
    """A further examination of an artifact whose result is evidence (robustness, privacy, explanation …)."""

    name: str
    metrics: tuple[Metric, ...]
