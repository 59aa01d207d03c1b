"""Timings of fresh processes to measurements with intervals, and whether the machine was quiet enough for them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from sartor.intervals import percentile
from sartor.jobs import MeasureJob
from sartor.metrics import COST_METRICS, Metric, index
from sartor.stages.measure.pace import SLOWED
from sartor.stages.measure.windows import DISAGREEMENT, Timings
from sartor.types import Measurement

FOREIGN_SHARE = 0.15  # of the machine's cores; more than that used by others makes timings noisy
NEIGHBOUR = 2.0
"""What a noisy machine may have done even to the fastest call: a neighbour on the same core or memory bus halves its
pace, a slower clock too. Whatever else interferes comes and goes, and some call escapes it."""
_STALL_MS = 1000.0
_STALL_RATIO = 20.0
_METRICS = index(COST_METRICS)
_PERCENTILES = {"latency_p50_ms": 0.50, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


@dataclass(frozen=True)
class Observation:
    """What one fresh process showed.

    Args:
        facts: its result as it wrote it.
        slowdown: the processor's pace against its usual one; 1.5 means half as slow again.
    """

    timings: Timings
    facts: Mapping[str, Any]
    slowdown: float = 1.0

    @property
    def noise(self) -> tuple[str, ...]:
        """Why its timings should not decide anything; empty when they may."""
        found = []
        share = self.facts["load"]["share"]
        if share > FOREIGN_SHARE:
            found.append(f"others used {share:.0%} of the processor cores")
        if self.facts["last_spread"] > DISAGREEMENT:
            found.append(f"the last windows differ by {self.facts['last_spread']:.0%}")
        if self.slowdown > SLOWED:
            found.append(f"the processor ran {self.slowdown:.2f} times slower than usual")
        totals = self.timings.totals()
        if max(totals) > max(_STALL_MS, _STALL_RATIO * median(totals)):
            found.append(f"the process stood still for {max(totals) / 1e3:.1f} s")
        return tuple(found)


def read_observation(folder: Path, facts: Mapping[str, Any], slowdown: float) -> Observation:
    """The timings a child left in ``folder`` with the facts it reported."""
    values = array("d")
    values.frombytes((folder / "timings.f64").read_bytes())
    calls = len(values) // 4
    decode, prepare, model, answer = (values[start : start + calls] for start in range(0, 4 * calls, calls))
    return Observation(Timings(decode, prepare, model, answer, list(facts["ends"])), facts, slowdown)


def calls_to_bound(q: float, confidence: float) -> int:
    """Fewest calls with which the q-quantile has an upper bound: q^n must not exceed the tail."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(q))


def quiet_ones(observations: Sequence[Observation]) -> tuple[Sequence[Observation], bool]:
    """The observations to believe, and False where not one was quiet, so that all are kept but decide nothing."""
    quiet = [observation for observation in observations if not observation.noise]
    return (quiet, True) if quiet else (observations, False)


def measurements_of(
    observations: Sequence[Observation], job: MeasureJob, package_bytes: int
) -> tuple[Measurement, ...]:
    """Cost measurements: the value is the median over processes, the interval the hull of theirs.

    A machine that is busy is slower, never faster. So the interval of a noisy timing reaches on its good side to what
    a quiet machine could show: latencies down to a half of the fastest call (``NEIGHBOUR``), throughput up to the
    same pace, a cold start, of which there are few, and energy, of which others have their share, to nothing. A limit
    beyond that is missed in spite of the noise.
    A percentile that has no upper bound at the confidence asked (too few calls) is left out.
    """
    kept, quiet = quiet_ones(observations)
    conditions = _conditions(kept, job, dropped=len(observations) - len(kept))
    made = []

    def add(name: str, intervals: Sequence[tuple[float, float, float]], n: int, *, at_best: float | None) -> None:
        made.append(_hull(_METRICS[name], intervals, n, job, conditions, at_best=None if quiet else at_best))

    sorted_totals = [sorted(observation.timings.totals()) for observation in kept]
    fastest = min(totals[0] for totals in sorted_totals) / NEIGHBOUR
    calls = sum(len(totals) for totals in sorted_totals)
    for name, q in _PERCENTILES.items():
        intervals = percentile_intervals(sorted_totals, q, job.confidence)
        if intervals:
            add(name, intervals, calls, at_best=fastest)
    batch = job.pipeline.batch
    throughputs = [_throughput(kept_one.timings, batch) for kept_one in kept]
    add("throughput_per_s", throughputs, calls, at_best=batch * 1e3 / fastest)
    energies = [_energy(kept_one, batch) for kept_one in kept if any(kept_one.facts.get("joules", ()))]
    if energies:
        add("energy_mj", energies, calls, at_best=0.0)
    cold = [kept_one.facts["cold_start_ms"] for kept_one in kept]
    add("cold_start_ms", [(value, value, value) for value in cold], len(cold), at_best=0.0)
    peaks = [observation.facts["peak_memory_bytes"] / 1e6 for observation in observations]
    add("memory_peak_mb", [(value, value, value) for value in peaks], len(peaks), at_best=None)
    size = package_bytes / 1e6
    add("size_mb", [(size, size, size)], 1, at_best=None)
    return tuple(made)


def percentile_intervals(
    processes: Sequence[Sequence[float]], q: float, confidence: float
) -> list[tuple[float, float, float]]:
    """Value, low and high of a percentile per process; of all calls together where one process alone has too few.

    Args:
        processes: ascending milliseconds of each process.
        q: 0..1.
        confidence: of the interval.

    Returns:
        Empty where even all calls together give no upper bound.
    """
    for groups in (processes, [sorted(call for calls in processes for call in calls)]):
        found = [percentile(calls, q, confidence) for calls in groups]
        bounded = [(value, low, high) for value, low, high in found if high is not None]
        if len(bounded) == len(found):
            return bounded
    return []


def parts_of(observations: Sequence[Observation]) -> Mapping[str, float]:
    """Median milliseconds of each part of a call, over the observations to believe."""
    kept, _ = quiet_ones(observations)
    return {
        part: median(median(getattr(observation.timings, part)) for observation in kept)
        for part in ("decode", "prepare", "model", "answer")
    }


def _throughput(timings: Timings, batch: int) -> tuple[float, float, float]:
    """Samples per second over all calls, between the slowest and the fastest window."""
    totals = timings.totals()
    windows = [batch * 1e3 / fmean(window) for window in timings.by_window(totals)]
    return batch * 1e3 / fmean(totals), min(windows), max(windows)


def _energy(observation: Observation, batch: int) -> tuple[float, float, float]:
    """Millijoules per answer over all calls, between the window that drew least and the one that drew most."""
    joules, windows = observation.facts["joules"], observation.timings.by_window(observation.timings.totals())
    answers = [batch * len(window) for window in windows]
    each = [1e3 * drawn / count for drawn, count in zip(joules, answers, strict=True)]
    return 1e3 * sum(joules) / sum(answers), min(each), max(each)


def _hull(
    metric: Metric,
    intervals: Sequence[tuple[float, float, float]],
    n: int,
    job: MeasureJob,
    conditions: Mapping[str, Any],
    *,
    at_best: float | None,
) -> Measurement:
    """One measurement of several processes; ``at_best`` is what noise may hide, None where there was none."""
    values, lows, highs = zip(*intervals, strict=True)
    reach = () if at_best is None else (at_best,)
    return Measurement(
        metric,
        median(values),
        min((*lows, *reach)) if metric.direction == "lower" else min(lows),
        max((*highs, *reach)) if metric.direction == "higher" else max(highs),
        n,
        "measured",
        confidence=job.confidence,
        artifact=job.artifact,
        device=job.device,
        trained=job.trained,
        noisy=at_best is not None,
        conditions=conditions,
    )


def _conditions(kept: Sequence[Observation], job: MeasureJob, *, dropped: int) -> dict[str, Any]:
    """Under what these numbers hold; of several processes the worst."""
    facts = [observation.facts for observation in kept]
    totals = [observation.timings.totals() for observation in kept]
    models = [observation.timings.model for observation in kept]
    found = {
        "threads": job.pipeline.threads,
        "batch": job.pipeline.batch,
        "runtime": job.pipeline.runtime,
        "runtime_version": facts[0]["runtime_version"],
        "effective_precision": facts[0]["effective_precision"],
        "processes": len(kept),
        "processes_dropped_as_noisy": dropped,
        "windows": [len(fact["ends"]) for fact in facts],
        "warm_up_calls": [fact["warm_up_calls"] for fact in facts],
        "calls": [len(calls) for calls in totals],
        "foreign_load": max(fact["load"]["share"] for fact in facts),
        "foreign_load_at_start": max(fact["load_at_start"]["share"] for fact in facts),
        "steal": max(fact["load"]["stolen_cores"] for fact in facts),
        "slowdown": max(observation.slowdown for observation in kept),
        "spread": max(fact["spread"] for fact in facts),
        "min_ms": min(min(calls) for calls in totals),
        "max_ms": max(max(calls) for calls in totals),
        # How far the usual call is above the best one: grows when the clock is throttled or others interfere.
        "model_p50_over_min": max(median(model) / max(min(model), 1e-6) for model in models),
        "load_ms": median(fact["load_ms"] for fact in facts),
        "memory": "peak resident memory of the whole process that answers",
        "cold_start": "process start to first answer, files in the page cache",
    }
    found = {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}
    if facts[0]["autogroups"]:
        found["autogroups"] = "on: a low priority of other sessions does not keep them away"
    if facts[0].get("joules"):
        found["energy"] = "of all processor packages, what they draw when idle included"
    reasons = sorted({reason for observation in kept for reason in observation.noise})
    if reasons:
        found["noise"] = reasons
    return found
