"""A pretend world for planners: every action has a plausible outcome that depends on its job alone."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import replace

from sartor import pruning, registry
from sartor.catalog.contracts import Action, Outcome
from sartor.codec import canonical_json, digest
from sartor.findings import Findings
from sartor.jobs import (
    ArtifactResult,
    CompareResult,
    DescribeResult,
    EvaluateResult,
    ExplainResult,
    MeasureResult,
    NetworkCost,
    ThroughputResult,
    TrainResult,
)
from sartor.metrics import COST_METRICS, Metric, index
from sartor.run import COMPARISONS, metrics_of
from sartor.types import (
    Artifact,
    Budget,
    Candidate,
    Ceiling,
    DataCard,
    DataSource,
    Device,
    Epoch,
    Limit,
    Measurement,
    Network,
    Objective,
    Record,
    Refusal,
    Requirement,
    SplitCard,
    Target,
)

TASK = "image-classification"
COSTS = index(COST_METRICS)
SIZES = {"xs": 1, "s": 4, "m": 20, "l": 120}  # million operations
WAYS = {"fp32/onnxruntime": ("none", 1.0), "int8/onnxruntime": ("int8-static", 0.4), "bf16/openvino": ("none", 0.3)}


def million(network):
    """Million operations of a network: they fall with the square of the channels kept."""
    return network.options["million"] * pruning.share_of(network) ** 2


def networks():
    for model in ("resnet9", "mobile"):
        for variant, size in SIZES.items():
            yield Network(model, variant, {"million": size}, (32, 32), 10), float(size)
    yield Network("linear-pixels", "", {"million": 0.01}, (8, 8), 10), 0.01


def seeds():
    records = []
    for network, _ in networks():
        baseline = network.model == "linear-pixels"
        for way, (compressor, _) in WAYS.items():
            precision, runtime = way.split("/")
            if baseline and compressor != "none":
                continue
            candidate = Candidate(network, compressor, runtime, precision, 2)
            parent = "" if compressor == "none" else f"{network.id}/fp32/{runtime}"
            records.append(Record(candidate, parent=parent, notes={"baseline": baseline}))
    return records


def findings(limits=(), seconds=600.0, effort="balanced", samples=45_000):
    requirement = Requirement(
        "pretend", TASK, DataSource("d"), Target(threads=2),
        tuple(Limit(k.rsplit(".", 1)[0], k.rsplit(".", 1)[1], v, f"limits.{k}") for k, v in limits),
        (Objective("accuracy", 1.0),), 0.95, Budget(seconds, effort),
    )  # fmt: skip
    splits = {"train": samples, "validation": 5000, "test": 9000}
    cards = {name: SplitCard(count, {}, name) for name, count in splits.items()}
    card = DataCard(TASK, "f" * 64, tuple("0123456789"), cards, (), {})
    device = Device("dev", "pretend", 2, 1 << 34, (), {"fp32": Ceiling(4e11, "x")}, 2e10, {"onnxruntime": "1"})
    return Findings(requirement, card, device, metrics_of(registry.get("tasks", TASK)), seeds())


class World:
    """Answers actions. ``refusing`` is the share of actions that crash; ``noisy`` that of measurements spoilt.

    All but training takes ``slow`` times as long as usual; trainings are ``drag`` times slower than a probe of their
    rate promises.
    """

    def __init__(self, *, refusing=0.0, noisy=0.0, seed=0, samples=45_000, slow=1.0, drag=1.0):
        self.refusing, self.noisy, self.seed, self.samples = refusing, noisy, seed, samples
        self.slow, self.drag = slow, drag
        self.memory: dict[str, Outcome] = {}
        self.done: list[Action] = []
        self._weights: dict[str, tuple[float, float]] = {}  # weights -> size, epochs
        self._files: dict[str, tuple[float, float, str]] = {}  # file -> size, epochs, way

    def answer(self, action: Action) -> Outcome:
        key = digest({"stage": action.stage, "job": action.job})
        if key not in self.memory:
            self.done.append(action)
            self.memory[key] = self._do(action, key)
        return self.memory[key]

    def _do(self, action: Action, key: str) -> Outcome:
        dice = random.Random(f"{self.seed}{key}")
        if dice.random() < self.refusing and action.stage != "describe":
            return Outcome(key, None, Refusal("CRASHED", "pretend crash"), 1.0, False)
        result, seconds = getattr(self, f"_{action.stage}")(action.job, dice)
        if action.stage not in ("train", "throughput"):
            seconds *= self.slow
        return Outcome(key, result, None, seconds, False)

    def _describe(self, job, dice):
        costs = tuple(NetworkCost(n.id, int(million(n) * 1e6), int(million(n) * 1e4), 10**5, 8) for n in job.networks)
        return DescribeResult(costs), 1.0

    def _throughput(self, job, dice):
        return ThroughputResult(self._rate(job.train.network), 4000.0), 3.0

    def _rate(self, network):
        return 40_000 / million(network) ** 0.8

    def _train(self, job, dice):
        size, rate = million(job.network), self._rate(job.network) / self.drag
        in_time = job.seconds * rate / self.samples if job.seconds else math.inf
        epochs = min(job.recipe.epochs, in_time)
        best = {"linear-pixels": 0.4}.get(job.network.model, 0.80 + 0.03 * len(str(int(size))) + size / 2000)
        pace = 0.5 + 0.15 * math.log2(1 + size)  # larger networks learn more from each epoch
        score = best - (best - 0.1) * (1 + epochs) ** -pace
        sha = hashlib.sha256(canonical_json(job).encode()).hexdigest()
        self._weights[sha] = (size, score)
        seconds = epochs * self.samples / rate
        curve = (Epoch(epochs, seconds, 1.0, score, 0.0),)
        return TrainResult(Artifact(sha, "safetensors", 10), curve, score, rate, seconds), 3 + seconds

    def _export(self, job, dice):
        size, score = self._weights.get(job.weights, (million(job.network), 0.1))
        return self._made("onnx", job, size, score, "none")

    def _compress(self, job, dice):
        size, score, _ = self._files[job.artifact]
        return self._made("onnx", job, size, score - 0.002, job.compressor)

    def _made(self, format, job, size, score, compressor):
        sha = hashlib.sha256(canonical_json(job).encode()).hexdigest()
        self._files[sha] = (size, score, compressor)
        return ArtifactResult(Artifact(sha, format, int(size * 4e4) + 1), 1.0), 1.0

    def _measure(self, job, dice):
        size, _, _ = self._files[job.artifact]
        factor = WAYS.get(f"{job.pipeline.precision}/{job.pipeline.runtime}", ("", 3.0))[1]
        median = 0.2 + size * 0.02 * factor
        values = {
            "latency_p50_ms": median, "latency_p95_ms": median * 1.2, "latency_p99_ms": median * 1.4,
            "size_mb": size * 0.04 * (0.25 if job.pipeline.precision == "int8" else 1), "memory_peak_mb": 100.0,
        }  # fmt: skip
        noisy = dice.random() < self.noisy
        found = tuple(
            Measurement(
                COSTS[name], v, v * 0.98, v * 1.02, 1000, "measured", artifact=job.artifact, device="dev",
                trained=job.trained, noisy=noisy and name.startswith("latency"),
            )
            for name, v in values.items()
        )  # fmt: skip
        return MeasureResult(found, {"model": median}), job.seconds * job.processes + 1

    def _evaluate(self, job, dice):
        _, score, _ = self._files[job.artifact]
        task = registry.get("tasks", TASK)
        accuracy = task.metrics[0]
        values = [(accuracy, score)]
        if not job.parent_outputs:
            values.append((Metric("accuracy_drop", "", "lower", "quality", "accuracy lost"), 0.0))
        found = tuple(
            Measurement(m, v, v - 0.006, v + 0.006, 9000, "measured", artifact=job.artifact, split=job.split)
            for m, v in values
        )
        return EvaluateResult(found, hashlib.sha256(canonical_json(job).encode()).hexdigest()), 4.0

    def _compare(self, job, dice):
        metric = next(m for m in COMPARISONS if m.name == job.metric)
        ratio = Measurement(metric, 0.5, 0.48, 0.52, 40, "measured", artifact=job.ours.artifact)
        return CompareResult(ratio, False), 5.0

    def _explain(self, job, dice):
        return ExplainResult(()), 1.0


class Gaining(World):
    """Some trainings, as a subclass says, make ``gain`` of the errors of a plain one less."""

    def __init__(self, gain=0.5, **more):
        super().__init__(**more)
        self.gain = gain

    def gains(self, recipe):
        raise NotImplementedError

    def _train(self, job, dice):
        result, seconds = super()._train(job, dice)
        if not self.gains(job.recipe):
            return result, seconds
        score = result.score + self.gain * (1 - result.score)
        self._weights[result.weights.sha256] = (million(job.network), score)
        return replace(result, score=score, curve=tuple(replace(row, score=score) for row in result.curve)), seconds

    def _made(self, format, job, size, score, compressor):
        result, seconds = super()._made(format, job, size, score, compressor)
        parent = job.weights if compressor == "none" else job.artifact
        return replace(result, artifact=replace(result.artifact, parent=parent)), seconds


def play(known: Findings, world: World, *, planner="deterministic", most=2000) -> list[Action]:
    """Run a plan to its end; the actions in their order."""
    plan = registry.get("planners", planner).plan(known)
    actions = []
    try:
        action = next(plan)
        while len(actions) < most:
            actions.append(action)
            outcome = world.answer(action)
            known.learn(action, outcome)
            action = plan.send(outcome)
    except StopIteration:
        return actions
    raise AssertionError(f"the plan did not end within {most} actions")
