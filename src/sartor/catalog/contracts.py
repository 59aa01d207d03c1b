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
from sartor.reading.sample import Part
from sartor.thread_counts import ThreadFact
from sartor.types import (
    Artifact,
    Chart,
    DataCard,
    DataSource,
    Decision,
    Device,
    Example,
    Explanation,
    Network,
    Options,
    Pipeline,
    Provenance,
    Record,
    Refusal,
    Requirement,
    Table,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]
    Tensor = torch.Tensor
    Module = torch.nn.Module
    Pair = tuple[Tensor, Tensor]
    Truths = Array | Sequence[bytes]


@dataclass(frozen=True)
class Sighting:
    """What a task saw in one sample while checking it.

    Args:
        content: digest of what the input means (decoded pixels), equal for equal content in different files.
        facts: small values worth counting, e.g. ``{"mode": "RGB", "size": (32, 32)}``.
        likeness: 64-bit hash, a few bits apart for near copies; None where the task has none.
        truth: of a task whose truths are structures: the truth as it is kept, checked and in the task's own form.
        classes: names of classes that the truth holds, one per instance (boxes, objects); they become labels.
        remarks: codes of things that are odd but usable (``BOX_OUTSIDE``), counted; ``Task.advice`` words them.
    """

    content: str
    facts: Mapping[str, Any]
    likeness: int | None = None
    truth: bytes | None = None
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Quality of outputs against truths. Values are in the metric's unit with a two-sided interval.

    Args:
        values: metric name -> (value, low, high). The worst class of the primary metric
            (``<primary>_per_class_min``) is added from ``correct`` where truths are classes and contributions 0 or
            1; other tasks may put it here.
        correct: per sample, its contribution to the primary metric, higher is better (0/1 for accuracy); pairs
            parent and child where the metric is their mean.
        per_class: label -> score.
        confusion: rows truths, columns answers; empty where there is none.
        worst: numbers of the samples worth looking at, worst first; empty for the wrong ones (``correct`` 0), the
            most confident first.
        resample: value of the primary metric over chosen samples (with repetition); None where it is the mean of
            ``correct``. Pairs parent and child by bootstrap.
        charts, tables: what a person looks at beside the numbers (precision over recall, lists with titles).
    """

    values: Mapping[str, tuple[float, float, float]]
    correct: Array
    per_class: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...] = ()
    worst: tuple[int, ...] = ()
    resample: Callable[[Array], float] | None = None
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()


class Task(Protocol):
    """What is being asked of a model, from raw input to answer and its judgement.

    A raw input is always bytes: a picture's file, UTF-8 text, or a JSON object (a table's row, a user). ``decode``,
    ``recall``, ``prepare``, ``answer`` and ``explain`` run inside packages: base install only.

    A task of numbers may define two methods more: ``truth_statistics(truths) -> Mapping[str, Sequence[float]]``, which
    joins the statistics that ``normalise`` and ``wrap`` get, and ``scale(targets, statistics) -> Tensor``, by which a
    batch's targets go before ``loss`` sees them. A task whose inputs may name what was learnt (a user) may define
    ``spell_out(raw, learnt) -> bytes``: the same input with all that the name stands for, which ``explain`` then gets.
    A task that tells how far an answer may be off may define ``margins(outputs, truths) -> Mapping[str, Any]``: what
    the shipped file's outputs on validation show joins ``Pipeline.options`` of the package.
    A task whose learnt state names the outputs may define ``labels_of(learnt) -> tuple[str, ...]``: packages do not
    hold them twice then.
    A task whose inputs can be prepared in several ways may define ``encoding(card) -> str``: the way that suits the
    data, for variants that name none. A task of comparisons may define ``enrol(model, place, false_accepts) ->
    Mapping[str, Any]``: known samples at a place, or what else it takes to say that two inputs are one, for
    ``Pipeline.options``.
    A task may define ``look(raws, outputs, labels) -> tuple[Table, ...]``: what answers have in common with their
    inputs, on up to 2,000 samples of a split, for the report.
    One whose ``loss`` is no mean over samples (it counts boxes, or pixels of the batch) says ``loss_spans_batch =
    True``: a batch that is computed in parts, or by several processes, is then judged as a whole.
    Further keys of ``data`` that it takes stand in ``options``, those that may name files in ``files`` too; what was
    given of them is the fact ``options``.
    """

    name: str
    title: str
    version: int  # of what ``prepare`` and ``target`` yield; a change makes cached prepared data stale
    media: Literal["image", "text", "record"]  # what a raw input is
    truth: Literal["class", "number", "structure"]  # what is answered: a label, a number, bytes in the task's form
    splitting: Literal[
        "stratified", "random", "by-label"
    ]  # how missing splits are cut; by-label: no label on two sides
    metrics: tuple[Metric, ...]  # quality metrics; the first is the primary one
    advice: Mapping[str, str]  # remark code -> what is said of the samples: "reach outside their picture, were clipped"

    # ------------------------------------------------------------------------------------------------- data

    def read(self, source: DataSource) -> list[Part]:
        """The parts of a source, by the readers of ``sartor.reading``; raise ``DataError`` when it does not fit."""

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """Check one sample; raise ``DataError`` with the reason when it is broken. ``truth``: of structures only."""

    def alike(self, left: Any, right: Any) -> bool:
        """Whether two decoded inputs with near ``likeness`` are near copies."""

    def survey(self, decoded: Iterator[Any], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Facts that only many samples together show, from a part of train; they join ``DataCard.facts``.

        A fact ``problems`` holds :class:`DataProblem` s and joins the card's.
        """

    # --------------------------------------------------------------------------------- from bytes to answer

    def decode(self, raw: bytes) -> Any:
        """Raw input to its decoded form, e.g. (h, w, 3) uint8 or str; raise ``DataError`` when it cannot be."""

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Any], truths: Truths) -> bytes:
        """What preparing has to know from train (a vocabulary, categories); empty where nothing is learnt."""

    def recall(self, encoding: str, learnt: bytes) -> Any:
        """What :meth:`learn` gave, ready to use; loaded once per process. Data, never code: no pickle."""

    def prepare(self, decoded: Any, input_size: Sequence[int], learnt: Any = None) -> Array:
        """Decoded input to what the model takes, without the batch axis, shape ``input_size`` (and channels)."""

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        """One row of model output to the answer people read (JSON values): at least ``label``.

        ``label`` is the answer in a few words whatever the task ("3 RBC, 1 WBC", "4.2"); ``confidence`` (0..1) how sure
        it is, where the task can tell; ``range`` of a number, where it lies in a share ``within`` of all cases.
        ``note``: a sentence on what it rests on. ``decoded`` is the input.
        """

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """Why this answer: ``ask`` gives the shipped file's outputs for variations of the input."""

    # -------------------------------------------------------------------------------------------- judgement

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        """Judge outputs (n, …) against n truths: an array for classes and numbers, a list of bytes for structures."""

    def wrong(self, output: Array, truth: Any) -> Array:
        """An output of the same shape that counts as a wrong answer: for samples that could not be answered."""

    def difference(self, now: Array, then: Array) -> float:
        """How far two outputs for one input are apart, 0 equal, on the scale of a probability (golden pairs)."""

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        """A sample as people look at it, the answer drawn in; ``place`` is filled in by the caller."""

    def noise(self, count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
        """Raw stand-ins to time on where no data is at hand."""

    # --------------------------------------------------------------------------------------------- training

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """Input sizes worth trying for this data, the most natural first."""

    def example(self, input_size: Sequence[int], encoding: str = "") -> Array:
        """A prepared input of zeros, without the batch axis: what networks are counted with."""

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """Statistics of prepared training samples that normalise needs, e.g. ``mean`` and ``std`` per channel."""

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        """A truth as training takes it, of fixed shape per input size; identity for classes and numbers."""

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """Prepared batch to what ``ModelFamily.build`` modules take; for pictures (n, 3, H, W) float."""

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        """The module that ships: prepared batch -> normalise -> module -> outputs (n, …), ready to be judged."""

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """Names of augmentations that suit the data."""

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        """Augment a normalised batch, and its targets where they move with it (boxes, masks)."""

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float) -> Tensor:
        """Mean training loss of a batch."""


@dataclass(frozen=True)
class Variant:
    """A size of a family worth trying. ``options`` are what ``build`` takes, ``encoding`` which inputs it reads."""

    name: str
    options: Options
    input_size: tuple[int, ...]
    encoding: str = ""


class ModelFamily(Protocol):
    """A scalable architecture, or a baseline.

    ``build`` returns a module from the task's normalised input, (n, 3, H, W) float for pictures, to what its ``wrap``
    and ``loss`` take: logits (n, outputs) for labels.
    ``fitting`` is ``gradient``, or ``closed-form`` for families that have a ``fit`` method instead of being trained.

    One that takes a checkpoint folder or a model file (``model`` in the requirement) defines
    ``checkpoint_variant(path, sizes) -> Variant``, or ``labelled_variant(path, sizes, labels)`` where what it takes may
    know the labels already; with an attribute ``answers = True`` nothing else is searched then. They raise ``Refused``
    for what is unsafe or nothing at all, ``Unsupported`` for what another family may take.

    One of closed form whose module is an encoder that stays as it is and a head on its vectors defines ``encode(module,
    inputs) -> Tensor`` (n, width) and ``fit_head(module, vectors, truths)``: the vectors of the training data are then
    computed once for all runs.

    A family may define further methods. ``loss(outputs, targets, label_smoothing)`` replaces the task's in training;
    ``furnish(module, learnt)`` gives a new module, before it is trained, what preparing has learnt (features of items);
    ``to_onnx(shipped, example)`` returns the ModelProto of a wrapped module where torch's exporter is not the best way
    (input ``input``, output ``output``, batch fixed by ``example`` (batch, …)); its answers are compared with torch's;
    ``denormalise(module, statistics)`` tells a new module by what the task normalises, where it wants inputs as they
    were; ``cost(network) -> NetworkCost`` counts what torch does not see.
    And five attributes: ``loss_spans_batch`` of its own ``loss``, as a task's; ``adaptable = True`` where a checkpoint
    may be fine-tuned by adapters too (its ``recipe`` then goes through ``tuning.tuned``); ``most_epochs``, beyond which
    training gains nothing (a fine-tuning needs few), ``autocast``, False for what must be trained in fp32, and
    ``domains``, the ONNX operator domains its graphs use beyond the standard one (``ai.onnx.ml``): runtimes that lack
    one are not tried.
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
    """Makes an artifact smaller or faster; the measurement decides whether it paid.

    One that acts on convolutions and matrix products alone says so by an attribute ``needs_products = True``: networks
    without any are not given to it. One whose files only store less names the precision that they are computed in by
    ``computed_in``: such a file is another point than its parent where it is smaller, however fast, and it is tried
    once its parent is trained. ``weight_bytes`` is what a weight takes in its files, for estimates (4 unless told).
    One that no runtime names, and that names another by ``repairs``, is tried where files of that one lost too much;
    its option ``tolerance`` says which share of that loss may be left, and its files are run like that one's. Where
    several do, they are asked until one can: first those whose files keep every product in bytes, ``in_bytes = True``,
    for they are faster. One of an extra says by ``is_installed()`` whether it is there.
    One that makes another graph of the same precision says ``reshapes = True``: its files are run like what was not
    compressed, and compressed further like it.
    """

    name: str
    accepts: frozenset[str]  # artifact formats
    produces: str
    precision: str  # the precision a runtime reports for its files: "int8", "w8"
    extra: str
    provenance: Provenance

    def options(self, device: Device) -> Options:
        """Options that suit a device (its instruction sets); what ``CompressJob.options`` should hold."""

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> str | None:
        """Read ``source``, write ``target``. ``calibration`` is prepared input (n, …), batch axis first.

        May return a sentence on what was made, for the reader of the decision.
        """


class Session(Protocol):
    """One loaded model."""

    effective_precision: str  # read back from the runtime, not what was asked
    version: str

    def run(self, batch: Array) -> Array:
        """Prepared batch to outputs (batch, …); floats as float32, whole numbers as they are."""


class Runtime(Protocol):
    """Runs artifacts. ``precisions`` says which it can truly run on a device, for which compressor.

    ``reference`` runtimes are measured for comparison and never shipped. An attribute ``domains`` names the ONNX
    operator domains it runs beyond the standard one. Two methods more serve int8 files, which may be other models
    elsewhere: ``held_to(level)`` gives environment variables with which a process behaves as on a lower level of
    instruction sets (``sartor.levels``), ``same_on(path, level)`` the levels on which a file's integer products are
    the same.
    """

    name: str
    title: str
    accepts: frozenset[str]
    extra: str
    reference: bool

    def version(self) -> str:
        """Version of the installed runtime; raise ``MissingExtra`` where it is not installed."""

    def precisions(self, device: Device) -> Mapping[str, str]:
        """Precision -> compressor that makes its file (``none``, ``int8-static``, …), for this device."""

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
        ahead: what will be asked for after it, whatever comes of it: an executor that has room elsewhere may begin it.
    """

    stage: str
    job: Any
    subject: str
    purpose: Purpose
    ahead: tuple[Action, ...] = ()


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
    thread_facts: tuple[ThreadFact, ...]  # of earlier runs on the device

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

    def enter(self, network: Network, like: str, *, child: bool = False, only: str = "") -> None:
        """A network made in the course of the plan joins the race, in every way in which another, ``like``, is run.

        One that was compressed from the other is its ``child``: what it lost and gained is judged against that. With
        ``only``, the name of a compressor, in those ways alone that this one makes files for.
        """

    def foresee(self, sentence: str) -> None:
        """What more budget would likely buy, for the reader of the decision: an estimate, on which nothing rests."""


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
