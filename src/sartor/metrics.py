"""What can be measured: every metric knows its unit and which direction is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A named quantity.

    Args:
        name: identifier as written in a requirement; the unit ends the name where there is one.
        unit: ``ms``, ``MB``, ``1/s`` …; empty for a plain ratio.
        direction: which way is better. Lower-is-better is a type, not a convention.
        kind: ``cost`` does not depend on the weights (time, memory, size); ``quality`` does.
        title: how people say it.
        bounded: True where values lie in 0..1.
    """

    name: str
    unit: str
    direction: Direction
    kind: Literal["cost", "quality"]
    title: str
    bounded: bool = False

    def better(self, left: float, right: float) -> bool:
        """True when ``left`` is strictly better than ``right``."""
        return left > right if self.direction == "higher" else left < right

    def format(self, value: float) -> str:
        """The value with its unit, to three significant digits."""
        return f"{self._number(value)} {self.unit}".rstrip()

    def format_interval(self, value: float, low: float, high: float) -> str:
        """The value with its unit, and its interval."""
        return f"{self.format(value)} ({self._number(low)} … {self._number(high)})"

    def _number(self, value: float) -> str:
        if self.bounded:
            return f"{value:.3f}"
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


COST_METRICS: tuple[Metric, ...] = (
    Metric("latency_p50_ms", "ms", "lower", "cost", "latency p50"),
    Metric("latency_p95_ms", "ms", "lower", "cost", "latency p95"),
    Metric("latency_p99_ms", "ms", "lower", "cost", "latency p99"),
    Metric("throughput_per_s", "1/s", "higher", "cost", "throughput"),
    Metric("size_mb", "MB", "lower", "cost", "size"),
    Metric("memory_peak_mb", "MB", "lower", "cost", "peak memory"),
    Metric("cold_start_ms", "ms", "lower", "cost", "cold start"),
    Metric("energy_mj", "mJ", "lower", "cost", "energy per answer"),
)
"""Metrics of every task. MB is 10^6 bytes; latency runs from the input's bytes to the answer, and
energy is what the processor packages draw meanwhile, whatever else runs (``sartor.energy``)."""


def index(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    """Metrics by name."""
    return {metric.name: metric for metric in metrics}


def quality_derivatives(metric: Metric) -> tuple[Metric, Metric]:
    """The two metrics that every quality metric brings along.

    ``<name>_per_class_min`` is the worst class; ``<name>_drop`` is what was lost against the
    uncompressed parent on the same samples (paired).
    """
    worst = Metric(
        f"{metric.name}_per_class_min",
        metric.unit,
        metric.direction,
        "quality",
        f"{metric.title}, worst class",
        metric.bounded,
    )
    drop = Metric(f"{metric.name}_drop", metric.unit, "lower", "quality", f"{metric.title} lost", False)
    return worst, drop
