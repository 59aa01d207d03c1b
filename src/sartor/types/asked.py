"""What is asked: the requirement and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sartor.codec import LATER

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """A contract on one metric.

    Args:
        metric: the metric's name; ``max_drop`` and ``per_class_min`` are limits on derived metrics.
        bound: ``min`` or ``max``.
        value: in the metric's unit.
        key: where it stands in the requirement, e.g. ``limits.latency_p95_ms.max``.
    """

    metric: str
    bound: Literal["min", "max"]
    value: float
    key: str

    def holds(self, value: float) -> bool:
        """True when a value is on the allowed side."""
        return value >= self.value if self.bound == "min" else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {'≥' if self.bound == 'min' else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Objective:
    """A wish that orders what is feasible; only the ratio of weights matters."""

    metric: str
    weight: float


@dataclass(frozen=True)
class DataSource:
    """Where the samples are.

    Args:
        train: path, or dataset id of a hub (``hub:owner/name``).
        validation: same; split off ``train`` where empty.
        test: same; split off ``train`` where empty.
        input: column of a table that holds the input (path, bytes or text); guessed where empty.
        label: column that holds the answer; guessed where empty.
        options: whatever else a reader takes (``validation_share``, ``max_broken_share`` …).
    """

    train: str
    validation: str = ""
    test: str = ""
    input: str = ""
    label: str = ""
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Where and how the model must run: ``local`` or a profile's path; threads at most; batch size.

    ``levels`` of instruction sets (``sartor.levels``) are those that processors may be of to which the file goes; empty
    where only this device's own matters.
    """

    device: str = "local"
    threads: int = 1
    batch: int = 1
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """What the search may spend: seconds of wall time, how widely it looks, and on what it trains.

    ``processes`` 0: one per CUDA device, or one. ``cluster``: ``local``, ``auto`` or ``HOST:PORT`` of a Ray cluster
    whose machines train; empty for this machine alone.
    """

    seconds: float
    effort: Literal["quick", "balanced", "thorough"] = "balanced"
    processes: int = field(default=0, metadata=LATER)
    cluster: str = field(default="", metadata=LATER)


@dataclass(frozen=True)
class SearchSpace:
    """Names the search is restricted to; empty means everything in the catalogue."""

    models: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requirement:
    """A task, data, a device, limits (hard) and objectives (order what is feasible)."""

    name: str
    task: str
    data: DataSource
    target: Target
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    confidence: float
    budget: Budget
    search: SearchSpace = field(default_factory=SearchSpace)
    seed: int = 0
    model: str = ""  # a checkpoint folder or an ONNX file to include among the candidates
