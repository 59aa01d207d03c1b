"""What a planner has made so far: files by their origin, outputs by their file; and the jobs that make more."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from sartor import factoring, registry, rounding, tuning
from sartor.catalog.contracts import Action, Outcome, Purpose, Situation
from sartor.jobs import CompareJob, CompareSide, CompressJob, EvaluateJob, EvaluateResult, ExportJob, MeasureJob
from sartor.levels import least, levels_within, on_bytes
from sartor.types import Candidate, Device, Measurement, Network, Options, Pipeline, Record

UNCOMPRESSED = "none"
Value = TypeVar("Value")
Step = Generator[Action, Outcome, Value]
"""A part of a plan: yields actions, is sent their outcomes, returns a value."""


class Workshop:
    """Exports, compresses, evaluates and measures for one plan; whatever was made once is not asked for again."""

    def __init__(self, situation: Situation) -> None:
        self.now = situation
        self.requirement = situation.requirement
        self._files: dict[tuple[str, str, str], str] = {}  # network, weights, compressor or format -> artifact
        self._repaired: dict[tuple[str, str, str, str], str] = {}  # network, weights, compressor, runtime -> artifact
        self._outputs: dict[tuple[str, str, str], str] = {}  # candidate, artifact, split -> saved outputs

    def evaluate(self, candidate: Candidate, weights: str, split: str) -> Step[EvaluateResult | None]:
        file = yield from self.file(candidate, weights)
        if not file:
            return None
        record = self.record(candidate.id)
        parent_outputs = ""
        if record.parent and (split != "test" or self._limits_drop()):
            parent = self.record(record.parent).candidate
            _, parent_weights = self.origin(candidate.network, weights)
            parent_file = yield from self.file(parent, parent_weights)
            parent_outputs = self._outputs.get((parent.id, parent_file, split), "")
            if parent_file and not parent_outputs:
                parent_result = yield from self.evaluate(parent, parent_weights, split)
                parent_outputs = parent_result.outputs if parent_result else ""
        job = EvaluateJob(
            file,
            self.pipeline(candidate, file),
            self.now.card.fingerprint,
            split,
            self.now.device.id,
            self.requirement.confidence,
            parent_outputs,
            levels=self._levels(candidate) if split == "test" or self.requirement.target.levels else (),
        )
        outcome = yield Action("evaluate", job, candidate.id, "confirm" if split == "test" else "select")
        if outcome.refusal:
            return None
        result: EvaluateResult = outcome.result
        self._outputs[candidate.id, file, split] = result.outputs
        return result

    def _levels(self, candidate: Candidate) -> tuple[str, ...]:
        """Levels of instruction sets that matter for a candidate: the same int8 file may be another model on each."""
        return levels_within(self.now.device.instruction_sets) if on_bytes(candidate.precision) else ()

    def _least_device(self) -> Device:
        """What a file may count on: the device's instruction sets, or what all of the family it is for have of them."""
        levels = self.requirement.target.levels
        return least(self.now.device, levels) if levels else self.now.device

    def file(self, candidate: Candidate, weights: str) -> Step[str]:
        """The model file of a candidate with these weights (random ones where empty); empty where it cannot be made.

        Where it was repaired: the repaired one, whatever its weights where only its cost is wanted.
        """
        network = candidate.network
        repaired = self._repaired.get((network.id, weights, candidate.compressor, candidate.runtime))
        if repaired:
            return repaired
        root = yield from self.exported(network, weights, "onnx")
        if not root or candidate.compressor == UNCOMPRESSED:
            return root
        key = (network.id, weights, candidate.compressor)
        if key not in self._files:
            self._files[key] = yield from self._compress(network, root, candidate.compressor, {}, bool(weights))
        return self._files[key]

    def repair(self, candidate: Candidate, weights: str, compressor: str, tolerance: float) -> Step[str]:
        """The file of a candidate made anew by a compressor that repairs, its from now on; empty where it cannot be."""
        root = yield from self.exported(candidate.network, weights, "onnx")
        if not root:
            return ""
        made = yield from self._compress(candidate.network, root, compressor, {"tolerance": tolerance}, trained=True)
        if made:
            for key in (weights, ""):
                self._repaired[candidate.network.id, key, candidate.compressor, candidate.runtime] = made
        return made

    def is_repaired(self, candidate: Candidate) -> bool:
        """Whether a compressor that repairs made its file."""
        return (candidate.network.id, "", candidate.compressor, candidate.runtime) in self._repaired

    def factor(self, network: Network, whole: Network, weights: str) -> Step[str]:
        """The file of a factored network, from its whole's with these weights; empty where it cannot be made.

        It is its file from now on, where only its cost is wanted too: its shape depends on the weights.
        """
        root = yield from self.exported(whole, weights, "onnx")
        options = network.options[factoring.OPTION]
        made = ""
        if root:
            made = yield from self._compress(network, root, factoring.COMPRESSOR, options, trained=True)
        for key in (weights, ""):
            self._files[network.id, key, "onnx"] = made
        return made

    def _compress(self, network: Network, root: str, compressor: str, more: Options, trained: bool) -> Step[str]:
        job = CompressJob(
            compressor,
            root,
            self.requirement.task,
            self.now.card.fingerprint,
            network.input_size,
            self.requirement.target.batch,
            self.requirement.seed,
            {**self.options(compressor), **more},
            network.encoding,
            self.now.artifact(root).learnt,
        )
        outcome = yield Action("compress", job, network.id, "select" if trained else "probe")
        return "" if outcome.refusal else outcome.result.artifact.sha256

    def options(self, compressor: str) -> Options:
        """Options of a compressor that suit what its files are to run on."""
        options: Options = registry.get("compressors", compressor).options(self._least_device())
        return options

    def exported(self, network: Network, weights: str, format: str) -> Step[str]:
        key = (network.id, weights, format)
        if key not in self._files:
            job = ExportJob(
                self.requirement.task,
                network if weights else rounding.unrounded(tuning.untuned(network)),
                self.now.card.fingerprint,
                weights,
                self.requirement.target.batch,
                self.requirement.seed,
                format,
            )
            purpose: Purpose = "confirm" if format != "onnx" else "select" if weights else "probe"
            outcome = yield Action("export", job, network.id, purpose)
            self._files[key] = "" if outcome.refusal else outcome.result.artifact.sha256
        return self._files[key]

    def measure_job(
        self, candidate: Candidate, file: str, seconds: float, *, trained: bool, processes: int = 1
    ) -> MeasureJob:
        return MeasureJob(
            file,
            self.pipeline(candidate, file),
            self.now.card.fingerprint,
            self.now.device.id,
            self.requirement.confidence,
            seconds,
            processes,
            trained,
        )

    def pipeline(self, candidate: Candidate, file: str) -> Pipeline:
        """How a candidate's file is run."""
        model = "model.safetensors" if candidate.runtime == "torch" else "model.onnx"
        return Pipeline(
            self.requirement.task,
            self.now.card.labels,
            candidate.network.input_size,
            model,
            candidate.runtime,
            candidate.precision,
            candidate.threads,
            self.requirement.target.batch,
            encoding=candidate.network.encoding,
            learnt=self.now.artifact(file).learnt,
        )

    def comparison(self, ours: Candidate, file: str, other: Candidate, other_file: str, metric: str) -> Action:
        job = CompareJob(
            CompareSide(file, self.pipeline(ours, file)),
            CompareSide(other_file, self.pipeline(other, other_file)),
            self.now.card.fingerprint,
            self.now.device.id,
            self.requirement.confidence,
            metric,
        )
        return Action("compare", job, ours.id, "confirm")

    def weights_of(self, record: Record) -> str:
        """The weights behind a record's shipping file."""
        assert record.artifact is not None
        name = record.candidate.network.id
        made = [*self._files.items(), *self._repaired.items()]
        for (network, weights, *_), file in made:
            if network == name and weights and file == record.artifact.sha256:
                return weights
        raise AssertionError(f"{record.candidate.id} has a file that this plan did not make")

    def _limits_drop(self) -> bool:
        """True when a limit compares with the parent; only then does the parent see the test split as well."""
        return any(limit.metric.endswith("_drop") for limit in self.requirement.limits)

    def networks(self) -> list[Network]:
        """Networks that nothing has refused, in catalogue order."""
        found = {r.candidate.network.id: r.candidate.network for r in self.now.records() if not r.refusals}
        return list(found.values())

    def origin(self, network: Network, weights: str) -> tuple[Network, str]:
        """What a network was factored from, or trained on from for 8 bits, with its weights; itself where it was not.

        That is what a file of it is judged against, as what was compressed is against its float parent.
        """
        if rounding.is_rounded(network):
            jobs = (job for job, result in self.now.trained(network.id) if result.weights.sha256 == weights)
            start = next(job.recipe.start for job in jobs if job.recipe.start is not None)
            return start.network, start.weights
        wanted = factoring.id_of_whole(network)
        return next(r.candidate.network for r in self.now.records() if r.candidate.network.id == wanted), weights

    def of(self, network: Network) -> list[Record]:
        """A network's candidates, uncompressed first."""
        records = [r for r in self.now.records() if r.candidate.network.id == network.id and not r.refusals]
        return sorted(records, key=lambda r: (bool(r.parent), r.candidate.id))

    def can_wait(self, record: Record) -> bool:
        """What only stores its weights smaller costs about what its parent does: it is tried once that is trained.

        Unless its parent is too large, or not to be trained for itself.
        """
        if not record.notes.get("stores_less"):
            return False
        codes = {fate.candidate: fate.code for fate in self.now.decision().fates}
        return codes.get(record.parent) not in ("TOO_LARGE", "TOO_MUCH_MEMORY", "REFERENCE")

    def record(self, candidate: str) -> Record:
        return next(r for r in self.now.records() if r.candidate.id == candidate)

    def size(self, network: Network) -> float:
        """What a call works, by which networks are ordered; of those that work alike the larger counts more."""
        cost = self.now.cost_of(network.id)
        return cost.work + cost.parameters / 1000 if cost else 0.0


def value_of(record: Record, metric: str) -> float:
    """The last measured value of a metric; 0 where there is none."""
    measured: list[Measurement] = [m for m in record.measurements if m.metric.name == metric and m.basis == "measured"]
    return measured[-1].value if measured else 0.0


def last_cost(record: Record, metric: str) -> Measurement | None:
    """What is known of a cost by now: measured, or estimated."""
    found = (m for m in reversed(record.measurements) if m.metric.name == metric and m.metric.kind == "cost")
    return next(found, None)
