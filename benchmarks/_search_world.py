"""A recorded grid, replayed: what every action would have given and taken, without doing it."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from sartor import registry
from sartor.catalog.contracts import Action, Outcome
from sartor.codec import digest, from_plain
from sartor.findings import Findings
from sartor.intervals import proportion
from sartor.jobs import (
    ArtifactResult,
    CompareResult,
    DescribeResult,
    EvaluateResult,
    ExplainResult,
    MeasureResult,
    NetworkCost,
    ThroughputResult,
    TrainJob,
    TrainResult,
)
from sartor.metrics import COST_METRICS, Metric, index, quality_derivatives
from sartor.run import COMPARISONS, metrics_of
from sartor.types import (
    Artifact,
    Budget,
    DataCard,
    Device,
    Epoch,
    Limit,
    Measurement,
    Objective,
    Record,
    Refusal,
    Requirement,
)

COSTS = index(COST_METRICS)
PROBE_S = 0.5
WINDOWS = 1.5
DELIVERY_S = 2.0


class Recording:
    """What was recorded of one task, with times smoothed: a busy machine recorded them."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.plain = plain
        self.task = registry.get("tasks", plain["task"])
        self.primary: Metric = self.task.metrics[0]
        self.card: DataCard = from_plain(DataCard, plain["card"])
        self.device: Device = from_plain(Device, plain["device"])
        self.costs = {cost.network: cost for cost in (from_plain(NetworkCost, c) for c in plain["costs"])}
        self.samples = self.card.splits["train"].samples
        records = [from_plain(Record, r) for r in plain["candidates"]]
        self.records = {r.candidate.id: r for r in records if r.candidate.id in plain["probed"]}
        self.records = {k: r for k, r in self.records.items() if self._is_whole(r)}
        trainings = plain["trained"].values()
        self.start_s = median(
            max(0.3, t["seconds"] - t["epochs"] * self.samples / t["samples_per_s"]) for ts in trainings for t in ts
        )
        self.rates = {name: max(t["samples_per_s"] for t in ts) for name, ts in plain["trained"].items() if ts}
        made: dict[str, list[float]] = {}
        for of_network in plain["made"].values():
            for what, seconds in of_network.items():
                made.setdefault(what, []).append(seconds)
        self.made = {what: median(seconds) for what, seconds in made.items()}
        process = median(p["seconds"] for p in plain["probed"].values())
        self.process_s = max(0.3, process - WINDOWS * PROBE_S)
        scored = [s for ways in plain["deployed"].values() for rung in ways.values() for s in rung.items()]
        self.score_s = {
            split: median(found["seconds"] for name, found in scored if name == split)
            for split in ("validation", "test")
        }

    def _is_whole(self, record: Record) -> bool:
        name = record.candidate.network.id
        return bool(self.plain["trained"].get(name)) and record.candidate.id in self.plain["deployed"]

    # ------------------------------------------------------------------------------------------ what things are

    def score(self, candidate: str, epochs: float, split: str = "validation") -> float:
        """Primary metric of a candidate after so many epochs, between the rungs by the logarithm of the epochs."""
        record = self.records[candidate]
        curve = self._curve(record, split)
        score = _between(curve, epochs)
        last = f"{self.plain['trained'][record.candidate.network.id][-1]['epochs']:g}"
        mine, plain = self.plain["deployed"][candidate].get(last, {}).get(split), self._plain_way(record, last, split)
        return score + (mine["value"] - plain if mine and plain is not None else 0.0)

    def _curve(self, record: Record, split: str) -> list[tuple[float, float]]:
        trained = self.plain["trained"][record.candidate.network.id]
        if split == "validation":
            return [(t["epochs"], t["score"]) for t in trained]
        found = [(t["epochs"], self._plain_way(record, f"{t['epochs']:g}", split)) for t in trained]
        return [(epochs, score) for epochs, score in found if score is not None]

    def _plain_way(self, record: Record, epochs: str, split: str) -> float | None:
        """The score of the network's uncompressed way."""
        for other in self.records.values():
            if other.candidate.network == record.candidate.network and not other.parent:
                found = self.plain["deployed"][other.candidate.id].get(epochs, {}).get(split)
                if found:
                    return float(found["value"])
        return None

    def truth(self, candidate: str, epochs: float) -> float:
        """Its score over validation and test together: nobody chooses by it, everybody is judged by it."""
        n = {split: self.card.splits[split].samples for split in ("validation", "test")}
        return sum(n[split] * self.score(candidate, epochs, split) for split in n) / sum(n.values())

    def cost(self, candidate: str, metric: str) -> float:
        return float(self.plain["probed"][candidate]["values"][metric][0])

    def longest(self, network: str) -> float:
        return float(self.plain["trained"][network][-1]["epochs"])

    # ------------------------------------------------------------------------------------------ what things take

    def training_s(self, network: str, epochs: float) -> float:
        return self.start_s + epochs * self.samples / self.rates[network]

    def making_s(self, candidate: str) -> float:
        compressor = self.records[candidate].candidate.compressor
        return self.made["export"] + (self.made[compressor] if compressor != "none" else 0.0)

    def probing_s(self, seconds: float = PROBE_S, processes: int = 1) -> float:
        return processes * (self.process_s + WINDOWS * seconds)

    def networks(self) -> list[str]:
        return list(dict.fromkeys(r.candidate.network.id for r in self.records.values()))

    def exhaustive_s(self) -> float:
        """What the whole grid takes: every network trained once to its end, every candidate made, timed and scored."""
        trained = sum(self.training_s(name, self.longest(name)) for name in self.networks())
        scored = sum(2 * self.making_s(name) + self.probing_s() + self.score_s["validation"] for name in self.records)
        return trained + scored

    def best(self, limits: Sequence[Limit]) -> float:
        """The oracle: the best true score among candidates that keep the limits, fully trained or less."""
        return max(
            (
                self.truth(name, t["epochs"])
                for name, r in self.records.items()
                if self.keeps(name, limits)
                for t in self.plain["trained"][r.candidate.network.id]
            ),
            default=0.0,
        )

    def keeps(self, candidate: str, limits: Sequence[Limit]) -> bool:
        """True when a candidate's costs keep the limits."""
        return all(limit.holds(self.cost(candidate, limit.metric)) for limit in limits)


def read_recording(path: Path) -> Recording:
    return Recording(json.loads(path.read_text(encoding="utf-8")))


def _between(curve: Sequence[tuple[float, float]], epochs: float) -> float:
    places = [math.log(e) for e, _ in curve]
    at = math.log(max(1e-9, epochs))
    right = bisect_right(places, at)
    if right == 0 or right == len(curve):
        return curve[min(right, len(curve) - 1)][1]
    share = (at - places[right - 1]) / (places[right] - places[right - 1])
    return curve[right - 1][1] * (1 - share) + curve[right][1] * share


class RecordedWorld:
    """Answers a planner's actions from a recording. A seed varies what a machine varies: times by a tenth or so."""

    def __init__(self, recording: Recording, seed: int = 0) -> None:
        self.recording, self.seed = recording, seed
        self.spent = 0.0
        self.actions: list[Action] = []
        self._networks = {r.candidate.network.id: r.candidate.network for r in recording.records.values()}
        self._weights: dict[str, tuple[str, float]] = {}  # weights -> network, epochs
        self._files: dict[str, tuple[str, float, str]] = {}  # file -> network, epochs, compressor

    def answer(self, action: Action) -> Outcome:
        key = digest({"stage": action.stage, "job": action.job})
        dice = random.Random(f"{self.seed}{key}")
        result, seconds = getattr(self, f"_{action.stage}")(action, action.job, dice)
        seconds *= math.exp(dice.gauss(0.0, 0.1))
        self.spent += seconds
        self.actions.append(action)
        if isinstance(result, Refusal):
            return Outcome(key, None, result, seconds, False)
        return Outcome(key, result, None, seconds, False)

    def epochs_of(self, file: str) -> float:
        return self._files[file][1]

    def _describe(self, action, job, dice):
        return DescribeResult(tuple(self.recording.costs[n.id] for n in job.networks)), self.recording.plain[
            "describe_s"
        ]

    def _throughput(self, action, job, dice):
        rate = self.recording.rates[job.train.network.id] * math.exp(dice.gauss(0.0, 0.1))
        return ThroughputResult(rate, 4 * rate), self.recording.start_s + job.seconds

    def _train(self, action, job: TrainJob, dice):
        name, rate = job.network.id, self.recording.rates[job.network.id]
        epochs = job.recipe.epochs
        if job.seconds:
            epochs = min(epochs, job.seconds * rate / self.recording.samples)
        seconds = epochs * self.recording.samples / rate
        way = next(
            r.candidate.id for r in self.recording.records.values() if r.candidate.network.id == name and not r.parent
        )
        score = self.recording.score(way, epochs)
        sha = digest(job)
        self._weights[sha] = name, epochs
        curve = (Epoch(epochs, seconds, 1.0, score, 0.0),)
        result = TrainResult(Artifact(sha, "safetensors", 10), curve, score, rate, seconds)
        return result, seconds + self.recording.start_s

    def _export(self, action, job, dice):
        name, epochs = self._weights.get(job.weights, (job.network.id, 0.0))
        return self._made(job, name, epochs, "none"), self.recording.made["export"]

    def _compress(self, action, job, dice):
        name, epochs, _ = self._files[job.artifact]
        if job.compressor not in self.recording.made:  # repairs came after the recordings
            return Refusal("NOT_REPAIRED", "it was not recorded"), max(self.recording.made.values())
        return self._made(job, name, epochs, job.compressor), self.recording.made[job.compressor]

    def _made(self, job, name, epochs, compressor):
        sha = digest(job)
        self._files[sha] = name, epochs, compressor
        return ArtifactResult(Artifact(sha, "onnx", 1000), 1.0)

    def _measure(self, action, job, dice):
        seconds = self.recording.probing_s(job.seconds, job.processes)
        probed = self.recording.plain["probed"].get(action.subject)
        if probed is None:
            if job.pipeline.runtime != "torch":
                return Refusal("CRASHED", "it was not recorded"), seconds
            like = next(
                n for n, r in self.recording.records.items() if r.candidate.network.id == action.subject.split("/")[0]
            )
            probed = self.recording.plain["probed"][like]
        shift = math.exp(dice.gauss(0.0, 0.02))
        found = tuple(
            Measurement(
                COSTS[name], v * f, low * f, high * f, n, "measured", artifact=job.artifact,
                device=self.recording.device.id, trained=job.trained,
            )
            for name, (v, low, high, n) in probed["values"].items()
            for f in (shift if name.startswith("latency") else 1.0,)
        )  # fmt: skip
        return MeasureResult(found, {"model": probed["values"]["latency_p50_ms"][0]}), seconds

    def _evaluate(self, action, job, dice):
        n = self.recording.card.splits[job.split].samples
        right = round(n * self.recording.score(action.subject, self._files[job.artifact][1], job.split))
        right = min(n, max(0, right))
        low, high = proportion(right, n, job.confidence)
        found = [(self.recording.primary, right / n, low, high)]
        if job.parent_outputs:
            record = self.recording.records[action.subject]
            parent = self.recording.score(record.parent, self._files[job.artifact][1], job.split)
            drop = parent - right / n
            spread = math.sqrt(max(abs(drop), 1 / n) / n)
            metric = next(m for m in quality_derivatives(self.recording.primary) if m.name.endswith("_drop"))
            found.append((metric, drop, drop - 2 * spread, drop + 2 * spread))
        measured = tuple(
            Measurement(m, v, lo, hi, n, "measured", artifact=job.artifact, split=job.split) for m, v, lo, hi in found
        )
        return EvaluateResult(measured, digest(job)), self.recording.score_s[job.split]

    def _compare(self, action, job, dice):
        metric = next(m for m in COMPARISONS if m.name == job.metric)
        ours, other = (side.pipeline.precision for side in (job.ours, job.other))
        ratio = 0.5 if ours != other else 0.6
        found = Measurement(metric, ratio, ratio * 0.97, ratio * 1.03, 400, "measured", artifact=job.ours.artifact)
        return CompareResult(found, False), 4 * (self.recording.process_s + WINDOWS * 0.8)

    def _explain(self, action, job, dice):
        return ExplainResult(()), self.recording.process_s + 2.0


def asked(recording: Recording, limits: Sequence[Limit], seconds: float, effort: str) -> Requirement:
    """A requirement over a recorded task."""
    plain: Requirement = from_plain(Requirement, recording.plain["requirement"])
    objectives = (Objective(recording.primary.name, 1.0),)
    return replace(plain, limits=tuple(limits), objectives=objectives, budget=Budget(seconds, effort))  # type: ignore[arg-type]


def situation(recording: Recording, requirement: Requirement) -> Findings:
    """Where a run over a recording begins: nothing is measured."""
    return Findings(
        requirement, recording.card, recording.device, metrics_of(recording.task), list(recording.records.values())
    )


def plan(
    recording: Recording, requirement: Requirement, world: RecordedWorld, planner: str = "deterministic"
) -> Findings:
    """Play a plan to its end; what it found."""
    known = situation(recording, requirement)
    steps = registry.get("planners", planner).plan(known)
    try:
        action = next(steps)
        while True:
            outcome = world.answer(action)
            known.learn(action, outcome)
            action = steps.send(outcome)
    except StopIteration:
        return known
