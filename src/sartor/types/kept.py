"""What is kept of a run: its steps and curves, the file every reader uses, the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sartor.metrics import Metric
from sartor.types.asked import Requirement
from sartor.types.decided import Decision
from sartor.types.known import DataCard, Device, Record
from sartor.types.shown import Insight


@dataclass(frozen=True)
class Epoch:
    """One row of a training curve. ``score`` is the task's primary metric on validation, None if not evaluated."""

    epoch: float
    seconds: float
    loss: float
    score: float | None
    learning_rate: float


@dataclass(frozen=True)
class Step:
    """One action of a run: what was done to what, how long it took, whether earlier evidence was reused.

    ``started`` is seconds since the run began; ``outcome`` is ``done``, ``refused`` or ``failed``.
    """

    action: str
    subject: str
    started: float
    seconds: float
    reused: bool
    outcome: str
    evidence: str = ""


@dataclass(frozen=True)
class RunFile:
    """The contents of ``decision.json``: the one artefact every reader uses; ``decide`` replays from it alone.

    ``curves`` and ``insights`` are keyed by network id and candidate id.
    """

    format: int
    sartor: str
    created: str
    requirement: Requirement
    device: Device
    card: DataCard
    metrics: tuple[Metric, ...]
    records: tuple[Record, ...]
    decision: Decision
    steps: tuple[Step, ...] = ()
    curves: Mapping[str, tuple[Epoch, ...]] = field(default_factory=dict)
    insights: Mapping[str, Insight] = field(default_factory=dict)
    package: str = ""


@dataclass(frozen=True)
class Package:
    """What ships: a folder that runs without the trainer, or one ``.sartor`` file of it.

    Args:
        path: absolute.
        digest: sha256 of its manifest, which holds the sha256 of every other file: it names the content.
        name: of the requirement it meets.
        files: their number, the manifest included.
        bytes: of all files together.
        model: sha256 of the model file.
    """

    path: str
    digest: str
    name: str
    files: int
    bytes: int
    model: str
