"""Builds realistic run files without running anything; the decision in them is made by ``decide`` itself."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import random
from collections.abc import Sequence
from dataclasses import replace

from sartor.intervals import proportion
from sartor.metrics import COST_METRICS, Metric, index, quality_derivatives
from sartor.stages.decide import decide
from sartor.types import (
    Artifact,
    Budget,
    Candidate,
    Ceiling,
    DataCard,
    DataProblem,
    DataSource,
    Decision,
    Device,
    Epoch,
    Example,
    Insight,
    Limit,
    Measurement,
    Network,
    Objective,
    Record,
    Refusal,
    Requirement,
    RunFile,
    SplitCard,
    Step,
    Target,
)

ACCURACY = Metric("accuracy", "", "higher", "quality", "accuracy", bounded=True)
METRICS = (ACCURACY, *quality_derivatives(ACCURACY), *COST_METRICS)
BY_NAME = index(METRICS)
DIGITS = tuple(str(digit) for digit in range(10))

FAMILIES = {  # name -> error at infinite size, milliseconds of the smallest, megabytes of the smallest
    "resnet9": (0.012, 0.35, 0.18),
    "depthwise": (0.014, 0.16, 0.05),
    "tiny-vit": (0.03, 0.42, 0.11),
}
VARIANTS = {"xs": 0, "s": 1, "m": 2, "l": 3}
BASELINES = {"majority": (0.9, 0.03, 0.002), "linear": (0.06, 0.035, 0.003), "knn": (0.03, 0.9, 0.37)}
RUNTIMES = {  # (runtime, precision) -> (time factor, size factor, lost accuracy)
    ("onnxruntime", "fp32"): (1.0, 1.0, 0.0),
    ("onnxruntime", "int8"): (0.62, 0.28, 0.004),
    ("openvino", "fp32"): (0.9, 1.0, 0.0),
    ("openvino", "bf16"): (0.55, 1.0, 0.0005),
    ("openvino", "int8"): (0.42, 0.28, 0.004),
}
DEVICE = Device(
    id="d" * 64,
    name="Intel Xeon, 2 cores",
    cores=2,
    memory_bytes=24_000_000_000,
    instruction_sets=("avx2", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16"),
    ceilings={
        "fp32": Ceiling(3.5e11, "openvino"),
        "bf16": Ceiling(2.3e12, "openvino"),
        "int8": Ceiling(3.2e12, "openvino"),
    },
    bandwidth_bytes_per_s=2.5e10,
    runtimes={"onnxruntime": "1.32.0", "openvino": "2026.4.1", "torch": "2.13.0"},
    probed_at="2026-11-23T14:02:00Z",
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cost(
    metric: str,
    value: float,
    spread: float,
    basis: str,
    artifact: str = "",
    *,
    trained: bool = True,
    noisy: bool = False,
) -> Measurement:
    measured = basis == "measured"
    return Measurement(
        BY_NAME[metric],
        value,
        value * (1 - spread),
        value * (1 + spread),
        2400 if measured and "latency" in metric else 1 if measured else 0,
        basis,  # type: ignore[arg-type]
        artifact=artifact,
        device=DEVICE.id if measured else "",
        trained=trained,
        noisy=noisy,
        conditions={"threads": 2, "load": 0.1, "processes": 2, "effective_precision": "int8"} if measured else {},
    )


def score(error: float, n: int, split: str, artifact: str, confidence: float = 0.95) -> Measurement:
    right = round((1 - error) * n)
    low, high = proportion(right, n, confidence)
    return Measurement(
        ACCURACY, right / n, low, high, n, "measured", confidence, artifact, DEVICE.id, split, conditions={"batch": 1}
    )


def drop(lost: float, n: int, artifact: str) -> Measurement:
    reach = 1.96 * math.sqrt(max(lost, 1 / n) / n)
    return Measurement(
        BY_NAME["accuracy_drop"],
        lost,
        lost - reach,
        lost + reach,
        n,
        "measured",
        0.95,
        artifact,
        DEVICE.id,
        "validation",
    )


def costs(
    ms: float, mb: float, basis: str, artifact: str = "", *, trained: bool = True, noisy: bool = False
) -> tuple[Measurement, ...]:
    wide = 0.05 if basis == "measured" else 0.6
    more = {"trained": trained, "noisy": noisy}
    size_spread = 0.0 if basis == "measured" else 0.1
    found = [
        cost("latency_p50_ms", ms * 0.93, wide * 0.6, basis, artifact, **more),
        cost("latency_p95_ms", ms, wide, basis, artifact, **more),
        cost("size_mb", mb, size_spread, basis, artifact, trained=trained),
    ]
    if basis == "measured":
        found += [
            cost("memory_peak_mb", 62 + mb * 4, 0.01, basis, artifact, trained=trained),
            cost("throughput_per_s", 1000 / ms, 0.04, basis, artifact, **more),
            cost("cold_start_ms", 45 + mb * 9, 0.1, basis, artifact, trained=trained),
        ]
    return tuple(found)


def records(seed: int = 0, *, n: int = 360, families: Sequence[str] = tuple(FAMILIES)) -> list[Record]:
    """About seventy candidates in every state a run leaves them in before the test split is touched."""
    chance = random.Random(seed)
    found: list[Record] = []
    for name, (error, ms, mb) in BASELINES.items():
        candidate = Candidate(Network(name, "", {}, (8, 8), 10), "none", "onnxruntime", "fp32", 2)
        found.append(replace(_trained(candidate, error, ms, mb, n, ""), notes={"baseline": True}))
    for family in families:
        floor, ms, mb = FAMILIES[family]
        for variant, size in VARIANTS.items():
            network = Network(family, variant, {"width": 16 << size}, (8, 8), 10)
            error = floor + 0.05 / (2.2**size) + chance.uniform(0, 0.004)
            for (runtime, precision), (faster, smaller, lost) in RUNTIMES.items():
                compressor = "int8-static" if precision == "int8" else "none"
                candidate = Candidate(network, compressor, runtime, precision, 2)
                parent = "" if precision == "fp32" else f"{network.id}/fp32/{runtime}"
                time = ms * 2.4**size * faster * chance.uniform(0.95, 1.08)
                if family == "tiny-vit" and precision == "int8" and runtime == "onnxruntime":
                    time = ms * 2.4**size * 1.2  # the slow int8 file everybody meets once
                found.append(_record(candidate, error + lost, time, mb * 3.1**size * smaller, n, parent, lost))
            reference = Candidate(network, "none", "torch", "fp32", 2)
            found.append(replace(_trained(reference, error, ms * 2.4**size * 3, mb, n, ""), notes={"reference": True}))
    return found


def finished(asked: Requirement, found: Sequence[Record], n: int = 360) -> tuple[tuple[Record, ...], Decision]:
    """Give the test split to whoever the decision asks for next, until it is closed, as a run does."""
    found = tuple(found)
    decision = decide(asked, found, METRICS)
    for _ in range(3):
        if not decision.next:
            break
        found = tuple(_tested(item, n) if item.candidate.id == decision.next else item for item in found)
        decision = decide(asked, found, METRICS)
    return found, decision


def in_pairs(found: Sequence[Record]) -> list[Record]:
    """The records with scores on the same samples in common: a small difference can be told where they agree."""
    chance = random.Random(1)
    common = [chance.gauss(0, 0.002) for _ in range(12)]
    made = []
    for record in found:
        own = [common_one + chance.gauss(0, 0.0008) for common_one in common]
        measurements = tuple(
            replace(m, replicates=tuple(m.value + each for each in own)) if m.metric is ACCURACY else m
            for m in record.measurements
        )
        made.append(replace(record, measurements=measurements))
    return made


def _validation(record: Record) -> float:
    return max((m.value for m in record.measurements if m.metric is ACCURACY and m.split == "validation"), default=0.0)


def _trained(
    candidate: Candidate, error: float, ms: float, mb: float, n: int, parent: str, lost: float | None = None
) -> Record:
    file = sha(candidate.id)
    artifact = Artifact(file, "onnx", int(mb * 1e6), sha(parent) if parent else "", candidate.compressor)
    measurements = (*costs(ms, mb, "estimated"), *costs(ms, mb, "measured", file), score(error, n, "validation", file))
    if lost is not None and candidate.compressor != "none":
        measurements += (drop(lost, n, file),)
    return Record(candidate, measurements, artifact, parent, notes={"epochs": 16})


def _record(candidate: Candidate, error: float, ms: float, mb: float, n: int, parent: str, lost: float) -> Record:
    if ms > 4.5:
        return Record(candidate, costs(ms, mb, "estimated"), parent=parent)
    if candidate.network.id == "tiny-vit-m" and candidate.precision == "bf16":
        refusal = Refusal("OOM", "the worker ran out of memory at 3.1 GB while compiling the model")
        return Record(candidate, costs(ms, mb, "estimated"), parent=parent, refusals=(refusal,))
    if candidate.network.id in ("tiny-vit-l", "resnet9-l"):
        untrained = costs(ms, mb, "measured", sha(candidate.id + "random"), trained=False)
        return Record(candidate, (*costs(ms, mb, "estimated"), *untrained), parent=parent)
    if candidate.network.id == "tiny-vit-s" and candidate.precision == "int8" and candidate.runtime == "openvino":
        return _trained(candidate, error + 0.06, ms, mb, n, parent, 0.06)
    record = _trained(candidate, error, ms, mb, n, parent, lost)
    if candidate.network.id == "tiny-vit-xs" and candidate.precision == "bf16":
        return replace(
            record, notes={"stopped": "HALVED", "why": "after 4 epochs 6 others led; its training was stopped"}
        )
    if candidate.network.id == "tiny-vit-xs" and candidate.runtime == "openvino" and candidate.precision == "fp32":
        noisy = costs(ms, mb, "measured", record.artifact.sha256 if record.artifact else "", noisy=True)
        return replace(record, measurements=(*noisy, *record.measurements[-1:]))
    return record


def estimated_only(record: Record, suffix: str) -> Record:
    """A sibling of a candidate of which nothing but estimates is known."""
    network = replace(record.candidate.network, variant=record.candidate.network.variant + suffix)
    guesses = tuple(m for m in record.measurements if m.basis == "estimated")
    return Record(replace(record.candidate, network=network), guesses, notes=record.notes)


def _tested(record: Record, n: int) -> Record:
    assert record.artifact is not None
    test = score(1 - _validation(record) + 0.002, n, "test", record.artifact.sha256)
    lost = [replace(m, split="test") for m in record.measurements if m.metric.name == "accuracy_drop"]
    return replace(record, measurements=(*record.measurements, test, *lost))


def requirement(*limits: tuple[str, str, float], name: str = "digits") -> Requirement:
    return Requirement(
        name=name,
        task="image-classification",
        data=DataSource("examples/digits/train"),
        target=Target("local", 2, 1),
        limits=tuple(Limit(metric, bound, value, f"limits.{metric}.{bound}") for metric, bound, value in limits),  # type: ignore[arg-type]
        objectives=(Objective("accuracy", 1.0),),
        confidence=0.95,
        budget=Budget(180.0, "balanced"),
    )


STANDARD = (("accuracy", "min", 0.93), ("latency_p95_ms", "max", 1.0), ("size_mb", "max", 0.5))


def card(labels: Sequence[str] = DIGITS) -> DataCard:
    counts = {name: {label: 10 + (row * 7) % 9 for row, label in enumerate(labels)} for name in ("train", "test")}
    counts = {
        "train": {k: v * 9 for k, v in counts["train"].items()},
        "validation": counts["test"],
        "test": counts["test"],
    }
    return DataCard(
        task="image-classification",
        fingerprint=sha("data"),
        labels=tuple(labels),
        splits={name: SplitCard(sum(c.values()), c, sha(name)) for name, c in counts.items()},
        problems=(
            DataProblem("DUPLICATE", "train", 2, "2 samples are exact copies of others", ("train/3/0017.png",)),
            DataProblem("BROKEN", "train", 1, "1 file could not be decoded", ("train/7/0101.png",)),
        ),
        facts={"modes": {"L": 1797}, "sizes": {"smallest": [8, 8], "median": [8, 8], "largest": [8, 8]}},
        licence="CC BY 4.0",
    )


def thumbnail(seed: int) -> str:
    from PIL import Image

    chance = random.Random(seed)
    image = Image.new("RGB", (48, 48), (chance.randrange(60), chance.randrange(60), chance.randrange(90)))
    for _ in range(60):
        x, y = int(chance.gauss(24, 9)) % 45, int(chance.gauss(24, 9)) % 45
        image.paste((230, 200 + chance.randrange(50), 180), (x, y, x + 4, y + 4))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def insight(labels: Sequence[str] = DIGITS, *, seed: int = 0) -> Insight:
    chance, size = random.Random(seed), len(labels)
    confusion = [[0] * size for _ in labels]
    for row in range(size):
        confusion[row][row] = 30 + chance.randrange(8)
        for _ in range(chance.randrange(3)):
            confusion[row][chance.randrange(size)] += 1
    per_class = {label: confusion[row][row] / sum(confusion[row]) for row, label in enumerate(labels)}
    mistakes = tuple(
        Example(
            f"test/{labels[k % size]}/{k:04d}.png",
            labels[k % size],
            labels[(k * 3 + 1) % size],
            0.99 - k / 40,
            thumbnail(k),
        )
        for k in range(8)
    )
    parts = {"decode": 0.041, "prepare": 0.022, "model": 0.146, "answer": 0.008}
    return Insight("test", tuple(map(tuple, confusion)), mistakes, parts, per_class)


def curve(error: float, seconds: float, epochs: int = 16) -> tuple[Epoch, ...]:
    rows = []
    for epoch in range(1, epochs + 1):
        value = 1 - error - (0.9 - error) * math.exp(-4.0 * epoch / epochs)
        rows.append(Epoch(epoch, seconds * epoch / epochs, 2.3 * math.exp(-3 * epoch / epochs), value, 0.1))
    return tuple(rows)


def steps(found: Sequence[Record]) -> tuple[Step, ...]:
    clock, made = 0.0, []

    def add(action: str, subject: str, seconds: float, reused: bool = False, outcome: str = "done") -> None:
        nonlocal clock
        made.append(Step(action, subject, clock, 0.0 if reused else seconds, reused, outcome, sha(action + subject)))
        clock += 0.0 if reused else seconds

    add("prepare", "data", 1.4)
    add("probe", "local", 9.2, reused=True)
    add("describe", "15 networks", 0.4)
    for record in found:
        if any(m.basis == "measured" for m in record.measurements):
            add("measure", record.candidate.id, 1.1, reused=record.candidate.precision == "fp32")
        for refusal in record.refusals:
            add("measure", record.candidate.id, 2.0, outcome="refused" if refusal.code != "OOM" else "failed")
    for network in sorted({r.candidate.network.id for r in found if r.artifact}):
        add("train", network, 5.5)
    for record in found:
        if record.artifact:
            add("evaluate", record.candidate.id, 0.3)
    return tuple(made)


def run_file(
    *limits: tuple[str, str, float],
    found: Sequence[Record] | None = None,
    labels: Sequence[str] = DIGITS,
    name: str = "digits",
) -> RunFile:
    """A run whose decision is what ``decide`` says of the records."""
    asked = requirement(*(limits or STANDARD), name=name)
    found, decision = finished(asked, records() if found is None else found)
    trained = sorted({record.candidate.network.id for record in found if record.artifact})
    looked_at = decision.chosen or decision.next
    return RunFile(
        format=1,
        sartor="0.1.0",
        created="2026-11-23T14:05:00Z",
        requirement=asked,
        device=DEVICE,
        card=card(labels),
        metrics=METRICS,
        records=found,
        decision=decision,
        steps=steps(found),
        curves={name: curve(0.01 + 0.008 * place, 4 + place) for place, name in enumerate(trained)},
        insights={looked_at: insight(labels)} if looked_at and labels else {},
        package=f"runs/{name}/package" if decision.status == "met" else "",
    )


def infeasible() -> RunFile:
    return run_file(("accuracy", "min", 0.95), ("latency_p95_ms", "max", 0.02), ("size_mb", "max", 0.5))


def inconclusive() -> RunFile:
    """Everything is measured, but the test interval of the best straddles the limit."""
    return run_file(("accuracy", "min", 0.975), ("latency_p95_ms", "max", 1.0))


def ended_early(*, short: bool) -> RunFile:
    """One family was judged, on trainings cut ``short`` or on whole ones; of another nothing but estimates is known."""
    judged, other, *_ = FAMILIES
    found = [r for r in records() if r.notes.get("baseline") or r.candidate.network.model == judged]
    found = [replace(r, notes={**r.notes, "short": True}) if short else r for r in found]
    found += [estimated_only(r, "") for r in records() if r.candidate.network.model == other and not r.notes]
    return run_file(("accuracy", "min", 0.97), ("latency_p95_ms", "max", 0.5), found=found)
