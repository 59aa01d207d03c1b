"""The networks that are compressed: trained by Sartor's own trainer within a minute or two, kept with all they need.

A subject's folder holds, when it is made:

    facts.json             network, metric, seconds of training, sizes
    fp32.onnx, parent.safetensors   the trained parent, for runtimes and for torch (with everything to rebuild it)
    test.npy, truths.npy   prepared inputs (n, …) and classes (n,) that every form answers
    calibration.npy        300 prepared inputs of train, for whoever calibrates
    train.npy, train-truths.npy     for whoever trains on
    ours.json, ours/       what the catalogue's compressors made of it and of its pupils
    test-PUPIL.npy         prepared inputs of a pupil that reads them in another way
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sartor import factoring, pruning, registry
from sartor.catalog.contracts import Variant
from sartor.catalog.devices.local import identify
from sartor.catalog.planners.parts.repair import repairers
from sartor.errors import MissingExtra, SartorError
from sartor.evidence import Workspace
from sartor.execute import Executor
from sartor.jobs import CompressJob, ExportJob, PrepareJob, Start, Teacher, TrainJob
from sartor.prepared import open_data
from sartor.stages.data import stamp
from sartor.types import DataCard, DataSource, Network

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CALIBRATION = 300  # what NNCF takes by default, the most of all
TOLERANCE = 0.5  # of what repairs: the mildest that a run asks for
PRUNED = (0.5, 0.7)  # of the channels
FACTORED = (0.5, 0.25)  # of the operations that are left
MORE_EPOCHS = 4  # a pupil may take in the same time
TRAIN_PICTURES, TEST_PICTURES = 12_000, 1_500  # of CIFAR-10
Say = Callable[[str], None]


class NoData(Exception):
    """The data of a subject is not on this machine; where it should be."""


@dataclass(frozen=True)
class Subject:
    """What is trained on what.

    Args:
        kind: the class that bars name.
        family, variant: of the catalogue.
        epochs: at most; ``seconds`` is what training may take, 0 for no bound.
        source: writes or finds the data, given a folder of its own.
        runtimes: those of ours that run it; all that are installed where none is named.
        pupils: family and variant of smaller networks that a run would try beside it. Each is trained for as long as
            the subject was at most, on its answers where it reads the same inputs and gives logits too (distillation).
        pruned: shares of its channels that are cut; what is left is trained on like a pupil.
        factored: shares of its operations that are left when wide products become pairs of thin ones.
    """

    name: str
    kind: str
    task: str
    family: str
    variant: str
    epochs: float
    seconds: float
    source: Callable[[Path], DataSource]
    runtimes: tuple[str, ...] = ()
    pupils: tuple[tuple[str, str], ...] = ()
    pruned: tuple[float, ...] = ()
    factored: tuple[float, ...] = FACTORED


def _digits(folder: Path) -> DataSource:
    """Scikit-learn's handwritten digits, 8×8: there wherever scikit-learn is."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.repeat(np.round(found.images * (255 / 16)).astype(np.uint8)[..., None], 3, axis=3)  # (n, 8, 8, 3)
    return _pictures(folder, pixels, found.target)


def _two_sides(folder: Path) -> DataSource:
    """Points on two sides of a plane: learnt within a second."""
    points = np.random.default_rng(0).normal(size=(400, 6))
    sides = np.where(points @ [1, -1, 2, 0.5, 0, 0] > 0, "above", "below")
    lines = [
        ",".join([*(f"{number:.5f}" for number in point), side]) for point, side in zip(points, sides, strict=True)
    ]
    head = ",".join([*(f"x{number}" for number in range(6)), "side"])
    (folder / "points.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    return DataSource(str(folder / "points.csv"), label="side")


def _pictures(folder: Path, pixels: Any, labels: Any) -> DataSource:
    np.savez(folder / "pictures.npz", images=pixels, labels=np.asarray(labels, np.int64))
    return DataSource(str(folder / "pictures.npz"))


def _cifar10(folder: Path) -> DataSource:
    """The first rows of both files."""
    import pyarrow.parquet

    for split, rows in (("train", TRAIN_PICTURES), ("test", TEST_PICTURES)):
        table = pyarrow.parquet.read_table(_shared("cifar10", f"{split}.parquet"))
        pyarrow.parquet.write_table(table.slice(0, rows), folder / f"{split}.parquet")
    return DataSource(str(folder / "train.parquet"), test=str(folder / "test.parquet"))


def _shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise NoData(f"{'/'.join(parts)} is not in {SHARED.name}/ of the folder shared beside the repository")
    return path


_PICTURES, _TEXTS, _ROWS = "image-classification", "text-classification", "tabular-classification"
_SMALL_CNNS = (("resnet9", "s"), ("resnet9", "xs"), ("convnext-small", "s"), ("mobile", "s"))
SUBJECTS = (
    Subject("digits", "ResNet-class", _PICTURES, "resnet9", "m", 60, 45, _digits, (), _SMALL_CNNS, PRUNED),
    Subject("cifar10", "ResNet-class", _PICTURES, "resnet9", "m", 12, 90, _cifar10, (), _SMALL_CNNS, PRUNED),
    Subject(
        "sms_spam", "BERT-class", _TEXTS, "text-transformer", "s", 10, 60,
        lambda folder: DataSource(str(_shared("sms_spam"))),
        pupils=(("text-transformer", "xs"), ("text-cnn", "s"), ("text-linear", "pieces-20k")), pruned=PRUNED,
    ),
    Subject(
        "spambase", "MLP", _ROWS, "tabular-mlp", "m", 40, 40,
        lambda folder: DataSource(str(_shared("tabular", "spambase.parquet")), label="type"),
        pupils=(("tabular-mlp", "s"), ("gradient-boosting", "m")), pruned=PRUNED,
    ),
)  # fmt: skip
SMOKE = Subject("two_sides", "MLP", _ROWS, "tabular-mlp", "s", 8, 0, _two_sides, ("onnxruntime",), factored=(0.5,))


def wanted(named: Sequence[str] | None) -> list[Subject]:
    """Those named; else all, but digits where there is CIFAR-10, for which it stands in."""
    spare = "digits" if (SHARED / "cifar10").is_dir() else ""
    return [one for one in SUBJECTS if (one.name in named if named else one.name != spare)]


@dataclass(frozen=True)
class Ours:
    """What one of our compressors made, in one of our runtimes; ``error`` where it was refused."""

    name: str
    runtime: str
    precision: str
    file: str
    error: str = ""
    note: str = ""
    inputs: str = "test.npy"


def doing(executor: Executor) -> Callable[[str, object], Any]:
    """What does a job of a stage and gives its result.

    Raises:
        SartorError: (the function) the stage declined, with its code.
    """

    def do(stage: str, job: object) -> Any:
        outcome = executor.do(stage, job)
        if outcome.refusal is not None:
            raise SartorError(f"{outcome.refusal.code}: {outcome.refusal.detail}")
        return outcome.result

    return do


def make(subject: Subject, folder: Path, say: Say) -> Mapping[str, Any]:
    """Train, export and compress a subject where that was not done yet; its facts.

    Raises:
        NoData: its data is not there.
        SartorError: a stage failed.
    """
    told = folder / "facts.json"
    if told.is_file():
        found: Mapping[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return found
    folder.mkdir(parents=True, exist_ok=True)
    source = subject.source(folder)
    workspace = Workspace(folder / "workspace")
    evidence = workspace.evidence()
    try:
        with Executor(workspace, evidence, "frontier") as executor:
            facts = _trained(subject, source, workspace, folder, doing(executor), say)
    finally:
        evidence.close()
    told.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return facts


def _trained(
    subject: Subject,
    source: DataSource,
    workspace: Workspace,
    folder: Path,
    do: Callable[[str, object], Any],
    say: Say,
) -> Mapping[str, Any]:
    card: DataCard = do("prepare", PrepareJob(source, subject.task, 0, stamp(source))).card
    network = network_of(subject, card, subject.family, subject.variant)
    say(f"{subject.name}: training {network.id} for at most {subject.seconds:g} s")
    samples = card.splits["train"].samples
    recipe = registry.get("models", network.model).recipe(network, samples, subject.epochs)
    job = TrainJob(subject.task, network, card.fingerprint, recipe, 0, identify().cores, seconds=subject.seconds)
    trained = do("train", job)
    files = {}
    for name, kind in (("fp32.onnx", "onnx"), ("parent.safetensors", "torch")):
        asked = ExportJob(subject.task, network, card.fingerprint, trained.weights.sha256, 1, 0, kind)
        files[name] = do("export", asked).artifact
        shutil.copyfile(workspace.objects.path(files[name].sha256), folder / name)
    _write_samples(workspace, card, network, folder)
    compressing = _Compressing(subject, card, workspace, folder, do, say)
    ours = list(compressing.forms(network, files["fp32.onnx"], "fp32.onnx"))
    teacher = Teacher(network, trained.weights.sha256)
    for family, variant in subject.pupils:
        ours += compressing.pupil(network_of(subject, card, family, variant), teacher, trained.seconds)
    for share in subject.pruned if pruning.is_installed() else ():
        start = Start(network, trained.weights.sha256)
        ours += compressing.pupil(pruning.pruned(network, share), teacher, trained.seconds, start)
    for share in subject.factored:
        ours += compressing.factored(network, files["fp32.onnx"], share)
    (folder / "ours.json").write_text(json.dumps([vars(one) for one in ours], indent=1), encoding="utf-8")
    metric = registry.get("tasks", subject.task).metrics[0].name
    return {
        "subject": subject.name, "kind": subject.kind, "task": subject.task, "network": network.id, "metric": metric,
        "bytes": (folder / "fp32.onnx").stat().st_size, "train_seconds": trained.seconds, "epochs": trained.epochs,
        "train_rows": card.splits["train"].samples, "test_rows": card.splits["test"].samples,
        "validation_score": trained.score,
    }  # fmt: skip


def network_of(subject: Subject, card: DataCard, family: str, variant: str) -> Network:
    """A size of a family for a subject's data.

    Raises:
        SartorError: the family offers none of that name.
    """
    sizes = registry.get("tasks", subject.task).input_sizes(card)
    variants: Iterator[Variant] = registry.get("models", family).variants(card, sizes, "balanced")
    found = next((one for one in variants if one.name == variant), None)
    if found is None:
        raise SartorError(f"{family} offers no size {variant} for {subject.name}")
    outputs = len(card.labels)
    return Network(family, found.name, dict(found.options), tuple(found.input_size), outputs, found.encoding)


def _write_samples(workspace: Workspace, card: DataCard, network: Network, folder: Path) -> None:
    data, size, encoding = open_data(card.fingerprint, workspace), network.input_size, network.encoding
    np.save(folder / "calibration.npy", data.calibration(size, CALIBRATION, 0, encoding))
    for split, inputs, truths in (("test", "test", "truths"), ("train", "train", "train-truths")):
        samples = data.split(split)
        np.save(folder / f"{inputs}.npy", samples.prepared(size, encoding))
        np.save(folder / f"{truths}.npy", samples.truths)


@dataclass(frozen=True)
class _Compressing:
    """Makes every form that the catalogue has of one subject's networks."""

    subject: Subject
    card: DataCard
    workspace: Workspace
    folder: Path
    do: Callable[[str, object], Any]
    say: Say

    def pupil(self, network: Network, teacher: Teacher, seconds: float, start: Start | None = None) -> Iterator[Ours]:
        """Forms of a smaller network, trained for at most so long on the teacher's answers, or on labels alone."""
        family = registry.get("models", network.model)
        recipe = family.recipe(network, self.card.splits["train"].samples, self.subject.epochs * MORE_EPOCHS)
        same = ("input_size", "encoding", "outputs")
        taught = recipe.optimizer != "closed-form" and not hasattr(family, "loss")
        taught = taught and all(getattr(network, name) == getattr(teacher.network, name) for name in same)
        if taught:
            recipe = replace(recipe, teacher=teacher)
        recipe = replace(recipe, start=start)
        title = network.id if start else f"{network.id} {'distilled' if taught else 'in its place'}"
        self.say(f"{self.subject.name}: {title}, for at most {seconds:.0f} s")
        job = TrainJob(
            self.subject.task, network, self.card.fingerprint, recipe, 0, identify().cores, seconds=seconds
        )  # fmt: skip
        weights = self.do("train", job).weights.sha256
        asked = ExportJob(self.subject.task, network, self.card.fingerprint, weights, 1, 0)
        artifact, inputs = self.do("export", asked).artifact, "test.npy"
        file = self._kept(artifact, network.id)
        if any(getattr(network, name) != getattr(teacher.network, name) for name in same[:2]):
            inputs = f"test-{network.id}.npy"
            rows = open_data(self.card.fingerprint, self.workspace).split("test")
            np.save(self.folder / inputs, rows.prepared(network.input_size, network.encoding))
        for form in self.forms(network, artifact, file):
            yield replace(form, name=f"{title}, {form.name}", inputs=inputs)

    def factored(self, whole: Network, parent: Any, share: float) -> Iterator[Ours]:
        """Forms of a trained network with such a share of its operations left; none where it has no such form."""
        shape = factoring.factored(whole, share, "operations")
        try:
            done = self._compressed(shape, parent, factoring.COMPRESSOR, dict(shape.options[factoring.OPTION]))
        except SartorError as refusal:
            self.say(f"{self.subject.name}: {shape.id}: {refusal}")
            return
        for form in self.forms(shape, done.artifact, self._kept(done.artifact, shape.id)):
            yield replace(form, name=f"{shape.id}, {form.name}")

    def forms(self, network: Network, parent: Any, file: str) -> Iterator[Ours]:
        """A network in each runtime's precisions, and what repairs them; ``file`` is its own in fp32."""
        device, wanted = identify(), self.subject.runtimes
        made: dict[str, tuple[str, str, str]] = {"none": (file, "", "")}
        for runtime, precision, compressor in ways(wanted, _domains(network)):
            if compressor not in made:
                plugin = registry.get("compressors", compressor)
                options = dict(plugin.options(device)) | (
                    {"tolerance": TOLERANCE} if hasattr(plugin, "repairs") else {}
                )
                try:
                    done = self._compressed(network, parent, compressor, options)
                except SartorError as refusal:
                    made[compressor] = "", str(refusal), ""
                else:
                    kept = self._kept(done.artifact, f"{network.id}-{compressor}")
                    made[compressor] = kept, "", done.remark
            found, error, note = made[compressor]
            yield Ours(f"{compressor}, {runtime}", runtime, precision, found, error, note)

    def _compressed(self, network: Network, parent: Any, compressor: str, options: Mapping[str, Any]) -> Any:
        self.say(f"{self.subject.name}: {network.id}, {compressor}")
        job = CompressJob(
            compressor, parent.sha256, self.subject.task, self.card.fingerprint, network.input_size, 1, 0,
            options, network.encoding, parent.learnt,
        )  # fmt: skip
        return self.do("compress", job)

    def _kept(self, artifact: Any, name: str) -> str:
        """Put a file beside the others; its path in the subject's folder."""
        (self.folder / "ours").mkdir(exist_ok=True)
        shutil.copyfile(self.workspace.objects.path(artifact.sha256), self.folder / "ours" / f"{name}.onnx")
        return f"ours/{name}.onnx"


def _domains(network: Network) -> frozenset[str]:
    """Those of operators that a runtime needs for a network (trees)."""
    wanted: frozenset[str] = getattr(registry.get("models", network.model), "domains", frozenset())
    return wanted


def ways(only: Sequence[str] = (), domains: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str]]:
    """Runtime, precision and compressor of all that this machine can run; those that repair behind what they repair.

    Args:
        only: runtimes to look at; empty for all.
        domains: of operators that they have to know.
    """
    device = identify()
    repairs = repairers()
    for name in registry.names("runtimes"):
        runtime = registry.get("runtimes", name)
        if runtime.reference or (only and name not in only) or not domains <= getattr(runtime, "domains", frozenset()):
            continue
        try:
            runtime.version()
        except MissingExtra:
            continue
        for precision, compressor in runtime.precisions(device).items():
            yield name, precision, compressor
            for other in repairs.get(compressor, ()):
                yield name, precision, other
