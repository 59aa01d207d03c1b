"""The contracts of the catalogues, each stated once. Plug-ins fulfil them; they inherit no code.

Heavy packages (torch, onnxruntime, …) are imported inside methods, never at the top of a plug-in's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sartor.jobs import Recipe
from sartor.metrics import Metric
from sartor.types import DataCard, Device, Network, Options, Pipeline, Provenance

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
    """

    content: str
    facts: Mapping[str, Any]


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


class Check(Protocol):
    """A further examination of an artifact whose result is evidence (robustness, privacy, explanation …)."""

    name: str
    metrics: tuple[Metric, ...]
