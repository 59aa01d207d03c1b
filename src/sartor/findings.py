"""What a run has found out: outcomes of actions become records; records become the decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sartor import factoring, registry
from sartor.catalog.contracts import Action, Outcome
from sartor.jobs import (
    ArtifactResult,
    DescribeResult,
    EvaluateJob,
    EvaluateResult,
    ExplainResult,
    MeasureJob,
    MeasureResult,
    NetworkCost,
    TrainJob,
    TrainResult,
)
from sartor.metrics import COST_METRICS, Metric
from sartor.stages.decide import CODES, decide
from sartor.stages.predict import Calibration, Speeds, calibrate, estimate
from sartor.thread_counts import ThreadFact
from sartor.types import (
    Artifact,
    Candidate,
    DataCard,
    DataProblem,
    Decision,
    Device,
    Epoch,
    Insight,
    Measurement,
    Network,
    Record,
    Refusal,
    Requirement,
)

OPEN_CODES = frozenset({"NOT_TRIED", "NOT_FINALIST", "INCONCLUSIVE", "CHOSEN", "WORSE_OBJECTIVE", "NOT_DEPLOYED"})
"""Reason codes that leave a candidate in the race."""

_BESIDE = frozenset({"compare", "explain"})  # stages whose refusal says nothing against a candidate

WHOLE_EPOCHS, WHOLE_SAMPLES = 3.0, 1_000_000  # a training that saw its data less often, and fewer samples, was none
TAIL = 1.2  # p95 over p50 on a quiet machine, about


class Findings:
    """The situation of a run (``catalog.contracts.Situation``).

    ``learn``, ``stop``, ``enter`` and ``foresee`` alone change it.
    """

    def __init__(
        self,
        requirement: Requirement,
        card: DataCard,
        device: Device,
        metrics: Sequence[Metric],
        candidates: Sequence[Record],
        trained: Iterable[tuple[TrainJob, TrainResult]] = (),
        thread_facts: Sequence[ThreadFact] = (),
        speeds: Speeds | None = None,
    ) -> None:
        self.requirement, self.card, self.device, self.metrics = requirement, card, device, tuple(metrics)
        self.thread_facts = tuple(thread_facts)
        self._speeds = speeds
        self.curves: dict[str, tuple[Epoch, ...]] = {}
        self.insights: dict[str, Insight] = {}
        self._decoding_ms = 0.0
        self._seeds = {record.candidate.id: record for record in candidates}
        self._spent = 0.0
        self._costs: dict[str, NetworkCost] = {}
        self._files: dict[str, Artifact] = {}
        self._remarks: dict[str, str] = {}  # file -> what is worth telling of it
        self._probes: dict[str, tuple[Measurement, ...]] = {}
        self._finals: dict[str, tuple[Measurement, ...]] = {}
        self._quality: dict[str, dict[str, tuple[Measurement, ...]]] = defaultdict(dict)
        self._compared: dict[str, tuple[Measurement, ...]] = {}
        self._shipping: dict[str, Artifact] = {}
        self._refusals: dict[str, list[Refusal]] = defaultdict(list)
        self._stopped: dict[str, tuple[str, str]] = {}
        self._trained: dict[str, list[tuple[TrainJob, TrainResult]]] = defaultdict(list)
        self._calibration: Calibration | None = None  # of all that was probed so far
        self._records: tuple[Record, ...] | None = None
        self._decision: Decision | None = None
        self._prospect = ""
        for job, result in trained:
            self._add_training(job, result)

    # ------------------------------------------------------------------------------------------ what planners ask

    def records(self) -> tuple[Record, ...]:
        """Every candidate with what is known of it, estimates included where nothing was measured."""
        if self._records is None:
            if self._calibration is None:
                self._calibration = calibrate(self._pairs())
            self._records = tuple(self._record(seed, self._calibration) for seed in self._seeds.values())
        return self._records

    def decision(self) -> Decision:
        """What would be decided now."""
        if self._decision is None:
            decision = decide(self.requirement, self.records(), self.metrics)
            self._decision = replace(decision, prospect=self._prospect)
        return self._decision

    def open_candidates(self) -> frozenset[str]:
        """Ids of candidates that nothing speaks against so far."""
        return frozenset(fate.candidate for fate in self.decision().fates if fate.code in OPEN_CODES)

    def left_s(self) -> float:
        """Seconds of the budget not spent."""
        return self.requirement.budget.seconds - self._spent

    def cost_of(self, network: str) -> NetworkCost | None:
        """Static cost of a network, once described."""
        return self._costs.get(network)

    def artifact(self, sha256: str) -> Artifact:
        """A file made in this run."""
        return self._files[sha256]

    def trained(self, network: str) -> tuple[tuple[TrainJob, TrainResult], ...]:
        """Finished trainings of a network, shortest first."""
        return tuple(sorted(self._trained[network], key=lambda pair: pair[0].recipe.epochs))

    def stop(self, network: str, code: str, why: str) -> None:
        """Give up on a network."""
        self._stopped[network] = (code, why)
        self._forget()

    def enter(self, network: Network, like: str, *, child: bool = False, only: str = "") -> None:
        """Add a network made in the course of a plan, in every way in which another is run with all threads."""
        for seed in list(self._seeds.values()):
            candidate = replace(seed.candidate, network=network)
            shown = registry.get("runtimes", candidate.runtime).reference  # beside the search, to compare with
            if seed.candidate.network.id != like or candidate.fewer or shown or candidate.id in self._seeds:
                continue
            if only and candidate.compressor != only:
                continue
            parent = f"{network.id}{seed.parent.removeprefix(like)}" if seed.parent else ""
            if child:
                parent = seed.parent or seed.candidate.id
            self._seeds[candidate.id] = replace(seed, candidate=candidate, parent=parent)
        cost = self._costs.get(network.id)
        if cost is not None and not cost.multiplies:
            self._refuse_fewer_bits({network.id})
        self._forget()

    def foresee(self, sentence: str) -> None:
        """Say what more budget would likely buy."""
        self._prospect, self._decision = sentence, None

    def shipping(self, candidate: str) -> Artifact | None:
        """The trained file of a candidate."""
        return self._shipping.get(candidate)

    # ------------------------------------------------------------------------------------------ how it learns

    def spend(self, seconds: float) -> None:
        """Count time against the budget."""
        self._spent += seconds

    def learn(self, action: Action, outcome: Outcome) -> None:
        """Take in the outcome of an action."""
        self._spent += outcome.seconds
        self._forget()
        if action.stage == "measure" and action.subject not in self._seeds:
            self._add_seed(action.subject, action.job, refused=outcome.refusal is not None)
        if outcome.refusal is not None:
            self._refuse(action, outcome.refusal)
            return
        match outcome.result:
            case DescribeResult(costs=costs):
                self._costs.update({cost.network: cost for cost in costs})
                self._calibration = None
                self._refuse_fewer_bits({cost.network for cost in costs if not cost.multiplies})
            case ArtifactResult(artifact=artifact, remark=remark):
                self._files[artifact.sha256] = artifact
                self._remarks[artifact.sha256] = remark
            case MeasureResult():
                self._learn_measure(action, outcome.result)
            case TrainResult():
                self._add_training(action.job, outcome.result)
            case EvaluateResult():
                self._learn_evaluate(action, outcome.result)
            case ExplainResult():
                self._learn_explain(action, outcome.result)
            case _ if action.stage == "compare":
                self._compared[action.subject] = tuple(
                    m for m in (*self._compared.get(action.subject, ()), outcome.result.measurement)
                )

    def _refuse_fewer_bits(self, networks: set[str]) -> None:
        """What multiplies nothing (look-ups, trees) gains nothing from int8 or bf16, where fp32 is tried as well.

        Weights that are only stored in fewer bits are another matter: tables shrink by them like matrices.
        """
        tried = set(self._seeds)
        for name, seed in self._seeds.items():
            candidate = seed.candidate
            compressor = registry.get("compressors", candidate.compressor)
            if hasattr(compressor, "computed_in"):
                continue
            beside = f"{candidate.network.id}/fp32/{candidate.runtime}" in tried and candidate.precision != "fp32"
            if candidate.network.id in networks and (beside or getattr(compressor, "needs_products", False)):
                self._refusals[name].append(Refusal("NO_PRODUCTS", CODES["NO_PRODUCTS"]))

    def _learn_measure(self, action: Action, result: MeasureResult) -> None:
        job: MeasureJob = action.job
        held = self._finals if job.trained else self._probes
        held[action.subject] = result.measurements
        self._calibration = None
        insight = self.insights.get(action.subject, Insight(split=""))
        self.insights[action.subject] = replace(insight, latency_parts_ms=result.latency_parts_ms)
        decoding = result.latency_parts_ms.get("decode", 0.0)  # noise only lengthens it, so the shortest is a floor
        self._decoding_ms = min(self._decoding_ms or decoding, decoding)

    def _add_seed(self, name: str, job: MeasureJob, *, refused: bool) -> None:
        """One of the candidates run with fewer threads, or one outside the search that is measured for comparison."""
        more = self._seeds.get(name.rpartition("/")[0])
        if more is not None:
            candidate = replace(more.candidate, threads=job.pipeline.threads, fewer=True)
            self._seeds[name] = replace(more, candidate=candidate)
            return
        if refused:
            return  # only the comparison is lost
        like = next(seed.candidate for seed in self._seeds.values() if seed.candidate.network.id == name.split("/")[0])
        candidate = Candidate(like.network, "none", job.pipeline.runtime, job.pipeline.precision, job.pipeline.threads)
        self._seeds[name] = Record(candidate, notes={"reference": True})

    def _learn_evaluate(self, action: Action, result: EvaluateResult) -> None:
        job: EvaluateJob = action.job
        before = self._shipping.get(action.subject)
        if before is None or before.sha256 != job.artifact:
            self._shipping[action.subject] = self._files[job.artifact]
            self._quality[action.subject] = {}
            self._finals.pop(action.subject, None)
        unpaired = bool(self._seeds[action.subject].parent) and not job.parent_outputs
        self._quality[action.subject][job.split] = tuple(
            m for m in result.measurements if not (unpaired and m.metric.name.endswith("_drop"))
        )
        insight = self.insights.get(action.subject, Insight(split=""))
        if insight.split != "test":
            self.insights[action.subject] = replace(
                insight,
                split=job.split,
                confusion=result.confusion,
                mistakes=result.mistakes,
                per_class=result.per_class,
                charts=result.charts,
                tables=result.tables,
            )

    def _learn_explain(self, action: Action, result: ExplainResult) -> None:
        insight = self.insights.get(action.subject, Insight(split=""))
        self.insights[action.subject] = replace(insight, explained=result.examples)

    def _add_training(self, job: TrainJob, result: TrainResult) -> None:
        known = self._trained[job.network.id]
        if all(other.weights.sha256 != result.weights.sha256 for _, other in known):
            known.append((job, result))
        longest = max(known, key=lambda pair: pair[0].recipe.epochs)
        self.curves[job.network.id] = longest[1].curve
        told = {problem.sentence for problem in self.card.problems}
        fresh = [remark for remark in result.remarks if remark not in told]
        problems = [DataProblem("OTHER_DATA", "train", 1, remark, (job.network.id,)) for remark in fresh]
        self.card = replace(self.card, problems=(*self.card.problems, *problems))

    def _refuse(self, action: Action, refusal: Refusal) -> None:
        """A refusal belongs to the candidate it is about, or to all that depend on what could not be made."""
        if action.stage in _BESIDE:
            return
        if action.subject in self._seeds:
            self._refusals[action.subject].append(refusal)
            return
        if action.stage == "export" and action.job.format != "onnx":
            return  # only the comparison is lost
        compressor = action.job.compressor if action.stage == "compress" else ""
        if compressor and getattr(registry.get("compressors", compressor), "reshapes", False):
            compressor = ""  # it makes what all the others are made from
        for name, seed in self._seeds.items():
            candidate = seed.candidate
            if candidate.network.id == action.subject and compressor in ("", candidate.compressor):
                self._refusals[name].append(refusal)

    def _forget(self) -> None:
        self._records = self._decision = None

    # ------------------------------------------------------------------------------------------ how records are made

    def _deployed(self) -> set[str]:
        """Networks of which a trained file was judged."""
        return {self._seeds[name].candidate.network.id for name in self._shipping}

    def _pairs(self) -> list[tuple[NetworkCost, Candidate, Measurement]]:
        """Static cost and measured median latency of everything probed."""
        pairs = []
        for name, measurements in self._probes.items():
            candidate = self._seeds[name].candidate
            cost = self._costs.get(candidate.network.id)
            latency = next((m for m in measurements if m.metric.name == "latency_p50_ms"), None)
            if cost is not None and latency is not None and not latency.noisy:
                pairs.append((cost, candidate, latency))
        return pairs

    def _is_short(self, network: Network) -> bool:
        """True where all its trainings ended so early that what it misses says nothing of what it can do."""
        epochs = [
            result.epochs or job.recipe.epochs
            for job, result in self._trained.get(network.id, ())
            if job.recipe.optimizer != "closed-form"
        ]
        most = getattr(registry.get("models", network.model), "most_epochs", WHOLE_EPOCHS)
        seen = max(epochs, default=math.inf)
        return seen < min(WHOLE_EPOCHS, most) and seen * self.card.splits["train"].samples < WHOLE_SAMPLES

    def _record(self, seed: Record, calibration: Calibration) -> Record:
        candidate, name = seed.candidate, seed.candidate.id
        measured = (
            *self._probes.get(name, ()),
            *(m for split in sorted(self._quality[name]) for m in self._quality[name][split]),
            *self._finals.get(name, ()),
            *self._compared.get(name, ()),
        )
        cost = self._costs.get(candidate.network.id)
        guesses: tuple[Measurement, ...] = ()
        if cost is not None and not self._finals.get(name) and not self._probes.get(name):
            guesses = estimate(
                cost,
                candidate,
                self.device,
                calibration,
                speeds=self._speeds,
                batch=self.requirement.target.batch,
                decoding_ms=self._decoding_ms,
            )
        guesses += _tails_beyond_calls(measured)
        stopped = self._stopped.get(candidate.network.id)
        if stopped is None and name not in self._shipping and candidate.network.id in self._deployed():
            stopped = ("NOT_DEPLOYED", "its network was trained; faster ways to run it were preferred")
        notes: dict[str, Any] = {**seed.notes, **({"stopped": stopped[0], "why": stopped[1]} if stopped else {})}
        notes |= {"short": True} if self._is_short(candidate.network) else {}
        shipping = self._shipping.get(name)
        if shipping is not None and (remarks := self._told(candidate.network, shipping)):
            notes["remarks"] = remarks
        return replace(
            seed,
            measurements=(*guesses, *measured),
            artifact=shipping,
            refusals=(*seed.refusals, *self._refusals[name]),
            notes=notes,
        )

    def _told(self, network: Network, file: Artifact) -> list[str]:
        """What is worth telling of a shipping file: how it was made, and where its weights come from."""
        root = file
        told = [self._remarks.get(file.sha256, "")]
        while root.parent in self._files:
            root = self._files[root.parent]
            told.append(self._remarks.get(root.sha256, ""))
        for job, result in self._trained[factoring.id_of_whole(network)]:
            if result.weights.sha256 == root.parent:
                told += _origins(job)
        return [remark for remark in told if remark]


def _origins(job: TrainJob) -> list[str]:
    """What a training learnt from beside the data, one sentence each."""
    start, teacher = job.recipe.start, job.recipe.teacher
    if job.recipe.weight_bits and start is not None:
        # what it began with teaches it too, where it can
        return [f"it is {start.network.id} trained on with its products rounded to 8 bits"]
    told = [f"{teacher.network.id} was its teacher in training"] if teacher is not None else []
    if start is not None and start.network.id == job.network.id:
        told.append("its training went on from its own shorter one")
    elif start is not None:
        told.append(f"its training began with the weights of {start.network.id}")
    return told


def _tails_beyond_calls(measured: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Estimates of the percentiles that a slow candidate made too few calls to bound: no less than its median."""
    names = {m.metric.name for m in measured}
    median = next((m for m in reversed(measured) if m.metric.name == "latency_p50_ms"), None)
    if median is None or median.noisy:
        return ()
    wanted = [m for m in COST_METRICS if m.name in ("latency_p95_ms", "latency_p99_ms") and m.name not in names]
    return tuple(
        replace(
            median, metric=metric, value=median.value * TAIL, low=median.low, high=median.high * TAIL**8,
            n=0, basis="estimated", artifact="",
        )
        for metric in wanted
    )  # fmt: skip
