"""A made-up grid for smoke runs: curves and costs by formulas, in the form of a recording. None of it is a result."""

from __future__ import annotations

import math
from typing import Any

from sartor.codec import to_plain
from sartor.jobs import NetworkCost
from sartor.types import (
    Budget,
    Candidate,
    Ceiling,
    DataCard,
    DataSource,
    Device,
    Network,
    Record,
    Requirement,
    SplitCard,
    Target,
)

TASK = "image-classification"
SAMPLES = {"train": 10_000, "validation": 1000, "test": 2000}
WAYS = {"fp32": ("none", 1.0, 1.0), "int8": ("int8-static", 0.4, 0.25)}  # compressor, share of time, of size
RUNGS = (0.5, 2.0, 8.0, 32.0)


def made_up() -> dict[str, Any]:
    """Two families in four sizes, two ways each, and a baseline."""
    cards = {name: SplitCard(count, {}, name) for name, count in SAMPLES.items()}
    card = DataCard(TASK, "f" * 64, tuple("0123456789"), cards, (), {})
    device = Device("made-up", "made up", 2, 1 << 34, (), {"fp32": Ceiling(4e11, "x")}, 2e10, {"onnxruntime": "1"})
    asked = Requirement("made up", TASK, DataSource("none"), Target(threads=2), (), (), 0.95, Budget(60.0, "balanced"))
    grid: dict[str, Any] = {
        "task": TASK, "requirement": to_plain(asked), "card": to_plain(card), "device": to_plain(device),
        "costs": [], "candidates": [], "describe_s": 1.0, "made": {}, "probed": {}, "trained": {}, "deployed": {},
    }  # fmt: skip
    for network, million, best in _networks():
        _add(grid, network, million, best)
    return grid


def _networks() -> list[tuple[Network, float, float]]:
    """Networks with million operations and the score that they tend to."""
    sizes = {"xs": 1.0, "s": 4.0, "m": 20.0, "l": 80.0}
    found = [
        (Network(model, variant, {}, (32, 32), 10), million * factor, 0.86 + 0.02 * place + bonus)
        for model, factor, bonus in (("resnet9", 1.0, 0.01), ("mobile", 0.7, 0.0))
        for place, (variant, million) in enumerate(sizes.items())
    ]
    return [*found, (Network("linear-pixels", "", {}, (8, 8), 10), 0.01, 0.5)]


def _add(grid: dict[str, Any], network: Network, million: float, best: float) -> None:
    name, rate = network.id, 20_000 / (0.2 + million) ** 0.8
    cost = NetworkCost(name, int(million * 1e6), int(million * 1e4), 10**5, 8)
    grid["costs"].append(to_plain(cost))
    grid["made"][name] = {"export": 1.0, "int8-static": 1.5}
    power = 0.5 + 0.1 * math.log2(1 + million)
    grid["trained"][name] = [
        {
            "epochs": epochs, "score": round(best - (best - 0.1) * (1 + epochs) ** -power, 5),
            "seconds": 3 + epochs * SAMPLES["train"] / rate, "samples_per_s": rate,
        }
        for epochs in RUNGS
    ]  # fmt: skip
    baseline = network.model == "linear-pixels"
    for precision, (compressor, time, size) in WAYS.items():
        if baseline and compressor != "none":
            continue
        candidate = Candidate(network, compressor, "onnxruntime", precision, 2)
        parent = "" if compressor == "none" else f"{name}/fp32/onnxruntime"
        grid["candidates"].append(to_plain(Record(candidate, parent=parent, notes={"baseline": baseline})))
        median, megabytes = 0.1 + 0.02 * million * time, 0.04 * million * size
        values = {"latency_p50_ms": median, "latency_p95_ms": 1.2 * median, "latency_p99_ms": 1.4 * median}
        grid["probed"][candidate.id] = {
            "seconds": 1.75,
            "values": {
                **{metric: [v, 0.98 * v, 1.02 * v, 1000] for metric, v in values.items()},
                "size_mb": [megabytes] * 3 + [1],
                "memory_peak_mb": [90.0, 90.0, 90.0, 1],
            },
        }
        scores = {f"{t['epochs']:g}": t["score"] - (0.003 if parent else 0.0) for t in grid["trained"][name]}
        grid["deployed"][candidate.id] = {
            epochs: {split: {"value": score, "seconds": 1.5} for split in ("validation", "test")}
            for epochs, score in scores.items()
        }
