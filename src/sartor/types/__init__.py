"""The words of the product as frozen dataclasses. Standard library only; nothing here does work.

Plug-ins import them from here: ``from sartor.types import Candidate``.
"""

from __future__ import annotations

from sartor.types.asked import Budget, DataSource, Limit, Objective, Options, Requirement, SearchSpace, Target
from sartor.types.decided import Certificate, Decision, Fate, Outcome, Relaxation, Status, Verdict
from sartor.types.kept import Epoch, Package, RunFile, Step
from sartor.types.known import (
    Artifact,
    Basis,
    Candidate,
    Ceiling,
    DataCard,
    DataProblem,
    Device,
    Measurement,
    Network,
    Pipeline,
    Provenance,
    Record,
    Refusal,
    Split,
    SplitCard,
)
from sartor.types.shown import Cause, Chart, Example, Explanation, Insight, Line, Table

__all__ = [
    "Artifact",
    "Basis",
    "Budget",
    "Candidate",
    "Cause",
    "Ceiling",
    "Certificate",
    "Chart",
    "DataCard",
    "DataProblem",
    "DataSource",
    "Decision",
    "Device",
    "Epoch",
    "Example",
    "Explanation",
    "Fate",
    "Insight",
    "Limit",
    "Line",
    "Measurement",
    "Network",
    "Objective",
    "Options",
    "Outcome",
    "Package",
    "Pipeline",
    "Provenance",
    "Record",
    "Refusal",
    "Relaxation",
    "Requirement",
    "RunFile",
    "SearchSpace",
    "Split",
    "SplitCard",
    "Status",
    "Step",
    "Table",
    "Target",
    "Verdict",
]
