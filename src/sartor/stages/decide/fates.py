"""What became of each candidate: one reason code and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor.levels import on_bytes, unshown
from sartor.metrics import Metric
from sartor.stages.decide.judge import judge_all, known
from sartor.types import Limit, Measurement, Record, Verdict

DEFAULT_MAX_DROP = 0.02
"""Primary quality a compressed child may lose where the requirement sets no ``max_drop``."""

NOISE_FLOOR = 0.03
"""Ratios closer to 1 than this are ties on every machine we measured (docs/design)."""

MISS_CODES = {
    "latency_p50_ms": "TOO_SLOW",
    "latency_p95_ms": "TOO_SLOW",
    "latency_p99_ms": "TOO_SLOW",
    "throughput_per_s": "TOO_SLOW",
    "cold_start_ms": "TOO_SLOW_TO_START",
    "size_mb": "TOO_LARGE",
    "memory_peak_mb": "TOO_MUCH_MEMORY",
    "energy_mj": "TOO_MUCH_ENERGY",
}

CODES = {
    "CHOSEN": "the answer",
    "WORSE_OBJECTIVE": "meets every limit; another does the objectives better",
    "NOT_FINALIST": "would meet every limit on validation; the test split was spared for better ones",
    "BELOW_FLOOR": "misses a limit on quality",
    "ACCURACY_DROP": "compression lost more than allowed",
    "OTHER_ELSEWHERE": "an int8 file that is not shown to hold on every level of instruction sets that was asked for",
    "SLOWER_THAN_PARENT": "compression made it slower",
    "NOT_SMALLER": "compression made it no smaller",
    "TOO_SLOW": "misses a limit on time",
    "TOO_SLOW_TO_START": "misses the limit on cold start",
    "TOO_LARGE": "misses the limit on size",
    "TOO_MUCH_MEMORY": "misses the limit on memory",
    "TOO_MUCH_ENERGY": "misses the limit on energy",
    "INCONCLUSIVE": "an interval straddles a limit",
    "HALVED": "stopped after a short training that others led",
    "FLOOR_UNREACHABLE": "training stopped when the quality floor could no longer be reached",
    "PRUNED_OTHERWISE": "a pruned shape that was measured only to find out how far to prune",
    "FACTORED_OTHERWISE": "products of low rank that were tried only to find out how far to go",
    "NO_PRODUCTS": "the network multiplies nothing that fewer bits would speed up",
    "NOT_DEPLOYED": "its network was trained; faster ways to run it were preferred",
    "NOT_TRIED": "the budget ended before it was trained",
    "REFERENCE": "measured for comparison; it needs the trainer and is never shipped",
}
"""Reason codes and what they mean; plug-ins and workers add their own refusals (``NO_INT8``, ``CRASHED`` …)."""


@dataclass(frozen=True)
class Standing:
    """A candidate on its way to a fate. ``code`` is empty while nothing speaks against it.

    ``ready`` means every limit is met by final evidence; ``promising`` that nothing is missed and its quality is
    measured; ``doubts`` counts the limits that are not yet met with confidence.
    """

    record: Record
    verdicts: tuple[Verdict, ...]
    code: str
    detail: str
    ready: bool
    promising: bool
    doubts: int


def stand(
    record: Record,
    limits: Sequence[Limit],
    metrics: Mapping[str, Metric],
    primary: str,
    parent: Record | None,
    levels: Sequence[str] = (),
) -> Standing:
    """Where a candidate stands before the choice; ``levels``: of instruction sets, on which an int8 file must hold."""
    verdicts = judge_all(record, limits, metrics)
    doubts = sum(verdict.outcome != "met" for verdict in verdicts)

    def standing(code: str, detail: str, *, ready: bool = False, promising: bool = False) -> Standing:
        return Standing(record, verdicts, code, detail, ready, promising, doubts)

    if record.refusals:
        return standing(record.refusals[0].code, record.refusals[0].detail)
    if record.notes.get("reference"):
        return standing("REFERENCE", CODES["REFERENCE"])
    missed = [verdict for verdict in verdicts if verdict.outcome == "missed"]
    if missed:
        worst = next((verdict for verdict in missed if verdict.final), missed[0])
        return standing(_miss_code(worst.limit.metric), worst.sentence)
    elsewhere = unshown(verdicts, levels) if on_bytes(record.candidate.precision) else ""
    if elsewhere:
        return standing("OTHER_ELSEWHERE", elsewhere)
    unpaid = _compression_unpaid(record, parent, limits, primary)
    if unpaid:
        return standing(*unpaid)
    quality = known(record, primary)
    if quality is None or record.artifact is None:
        stopped = str(record.notes.get("stopped", ""))
        return standing(stopped or "NOT_TRIED", str(record.notes.get("why", "")) or CODES[stopped or "NOT_TRIED"])
    tested = any(measurement.split == "test" for measurement in record.measurements)
    ready = all(verdict.outcome == "met" and verdict.final for verdict in verdicts) and tested
    if ready:
        return standing("", "", ready=True)
    final_doubts = [verdict for verdict in verdicts if verdict.outcome == "inconclusive" and verdict.final]
    if tested and final_doubts:
        return standing("INCONCLUSIVE", final_doubts[0].sentence)
    if record.notes.get("stopped"):
        code = str(record.notes["stopped"])
        return standing(code, str(record.notes.get("why", "")) or CODES.get(code, code))
    return standing("", "", promising=True)


def _miss_code(metric: str) -> str:
    if metric.endswith("_drop"):
        return "ACCURACY_DROP"
    return MISS_CODES.get(metric, "BELOW_FLOOR")


def _compression_unpaid(
    record: Record, parent: Record | None, limits: Sequence[Limit], primary: str
) -> tuple[str, str] | None:
    """Compression must pay: not slower than the parent beyond noise, not worse than allowed.

    What only stores its weights in fewer bits pays by its size: there a slower file may be what is wanted, which is for
    limits and the choice to weigh.
    """
    if parent is None:
        return None
    ratio = known(record, "latency_vs_parent")
    if record.notes.get("stores_less"):
        ours, theirs = known(record, "size_mb"), known(parent, "size_mb")
        if _both_measured(ours, theirs) and ours.value > theirs.value * (1 - NOISE_FLOOR):  # type: ignore[union-attr]
            return (
                "NOT_SMALLER",
                f"{ours.metric.format(ours.value)} against {theirs.metric.format(theirs.value)} of its parent"  # type: ignore[union-attr]
                f" {parent.candidate.id}",
            )
    elif ratio is not None and ratio.basis == "measured" and not ratio.noisy:
        if ratio.low > 1 + NOISE_FLOOR:
            return (
                "SLOWER_THAN_PARENT",
                f"{ratio.value:.2f}× ({ratio.low:.2f} … {ratio.high:.2f}) the time of its parent",
            )
    else:
        ours, theirs = known(record, "latency_p50_ms"), known(parent, "latency_p50_ms")
        if _both_measured(ours, theirs) and ours.low > theirs.high * (1 + NOISE_FLOOR):  # type: ignore[union-attr]
            return (
                "SLOWER_THAN_PARENT",
                f"p50 {ours.metric.format(ours.value)} against {theirs.metric.format(theirs.value)} of its parent"  # type: ignore[union-attr]
                f" {parent.candidate.id}",
            )
    drop = known(record, f"{primary}_drop")
    limited = any(limit.metric == f"{primary}_drop" for limit in limits)
    if drop is not None and not limited and drop.low > DEFAULT_MAX_DROP:
        return (
            "ACCURACY_DROP",
            f"lost {drop.value:.3f} ({drop.low:.3f} … {drop.high:.3f}) of its parent's {primary};"
            f" {DEFAULT_MAX_DROP} is allowed (set limits.{primary}.max_drop to change that)",
        )
    return None


def _both_measured(ours: Measurement | None, theirs: Measurement | None) -> bool:
    return all(m is not None and m.basis == "measured" and not m.noisy for m in (ours, theirs))
