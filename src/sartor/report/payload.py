"""What the page's scripts need of a run, as compact JSON: everything the decision in the page reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from sartor.codec import canonical_json, to_plain
from sartor.intervals import expected_maximum
from sartor.language.pages import said_by, strings
from sartor.metrics import Metric
from sartor.report.figures import unit
from sartor.report.kinds import KINDS, table
from sartor.stages.decide import CODES, MOST_FINALISTS
from sartor.stages.decide.choose import EQUALLY_FAST, RESOLUTION, ROUNDING, TIE_BREAKERS
from sartor.stages.decide.decide import FAR, UNTRIED
from sartor.stages.decide.fates import DEFAULT_MAX_DROP, MISS_CODES, NOISE_FLOOR
from sartor.types import Measurement, Record, RunFile

OUTCOMES = ("met", "missed", "inconclusive")


class _Table:
    """Distinct values by place, so that a row holds a small number instead of a long value."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        key = canonical_json(value)
        if key not in self._places:
            self._places[key] = len(self.rows)
            self.rows.append(to_plain(value))
        return self._places[key]


def payload(run: RunFile, script: str = "") -> str:
    """The run as JSON that may stand inside a ``<script>`` element, with what ``script`` says of it in words."""
    tables = {name: _Table() for name in ("metrics", "artifacts", "devices", "conditions")}
    primary = next((metric.name for metric in run.metrics if metric.kind == "quality"), "")
    for metric in run.metrics:
        tables["metrics"].place(metric)
    content = {
        "candidates": [_candidate(record, tables) for record in run.records],
        "primary": primary,
        "limits": [to_plain(limit) for limit in run.requirement.limits],
        "objectives": [to_plain(objective) for objective in run.requirement.objectives],
        "rules": {
            "mostFinalists": MOST_FINALISTS,
            "noiseFloor": NOISE_FLOOR,
            "maxDrop": DEFAULT_MAX_DROP,
            "resolution": RESOLUTION,
            "rounding": ROUNDING,
            "expectedMaximum": [expected_maximum(count) for count in range(len(run.records) + 1)],
            "tieBreakers": list(TIE_BREAKERS),
            "equallyFast": EQUALLY_FAST,
            "missCodes": MISS_CODES,
            "codes": CODES,
            "untried": sorted(UNTRIED),
            "far": FAR,
        },
        "kindOf": table(),
        "kinds": KINDS,
        "decision": {
            "status": run.decision.status,
            "chosen": run.decision.chosen,
            "next": run.decision.next,
            "front": list(run.decision.front),
        },
        "z": _normal_quantiles(run),
        "steps": [
            [s.action, s.subject, round(s.started, 3), round(s.seconds, 3), s.reused, s.outcome] for s in run.steps
        ],
        "units": {metric.name: unit(metric) for metric in _every_metric(run)},
        "strings": strings(_said(run) | said_by(script)),
        **{name: table.rows for name, table in tables.items()},
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _candidate(record: Record, tables: Mapping[str, _Table]) -> dict[str, Any]:
    notes = record.notes
    row: dict[str, Any] = {
        "id": record.candidate.id,
        "family": record.candidate.network.model,
        "m": [_row(item, tables) for item in record.measurements],
    }
    if record.artifact:
        row["artifact"] = tables["artifacts"].place(record.artifact.sha256)
    if record.parent:
        row["parent"] = record.parent
    if record.refusals:
        row["refusal"] = record.refusals[0].code
    row |= {
        name: notes[name] for name in ("reference", "baseline", "stopped", "stores_less", "short") if notes.get(name)
    }
    return row


def _row(item: Measurement, tables: Mapping[str, _Table]) -> list[Any]:
    return [
        tables["metrics"].place(item.metric),
        item.value,
        item.low,
        item.high,
        item.n,
        item.basis[0],
        item.confidence,
        tables["artifacts"].place(item.artifact) if item.artifact else -1,
        tables["devices"].place(item.device) if item.device else -1,
        item.split,
        int(item.trained),
        int(item.noisy),
        tables["conditions"].place(item.conditions) if item.conditions else -1,
        *((list(item.replicates),) if item.replicates else ()),
    ]


def _normal_quantiles(run: RunFile) -> dict[str, float]:
    """Confidence to the two-sided quantile of the normal distribution, as ``decide`` computes it."""
    levels = {item.confidence for record in run.records for item in record.measurements}
    return {repr(level): NormalDist().inv_cdf(0.5 + level / 2) for level in sorted(levels)}


def _said(run: RunFile) -> set[str]:
    """Words of the run itself that the page shows."""
    titles = {metric.title for metric in _every_metric(run)}
    items = [item for record in run.records for item in record.measurements]
    steps = {word for step in run.steps for word in (f"to {step.action}", step.outcome)}
    words = {word for item in items for word in (item.basis, item.split)}
    return {word for word in titles | steps | words if word} | {*OUTCOMES, *KINDS.values(), *CODES.values()}


def _every_metric(run: RunFile) -> list[Metric]:
    return [*run.metrics, *(item.metric for record in run.records for item in record.measurements)]
