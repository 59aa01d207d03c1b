"""Writes a requirement file that a person reads: every choice with a comment, what was not chosen as a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sartor.stages.requirement.document import read_text
from sartor.stages.requirement.limits import Measurable, measurables
from sartor.stages.requirement.read import read_requirement
from sartor.types import Requirement

_BARE = re.compile(r"[A-Za-z_./~][\w./:~ -]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off")


@dataclass(frozen=True)
class Draft:
    """What is known of a requirement before it is written; values as in the file, empty for "not said".

    Args:
        limits: metric -> bound -> value.
        schema: address of the JSON Schema; empty for none.
    """

    task: str
    data: str
    test: str = ""
    name: str = ""
    device: str = "local"
    threads: int = 0
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    time: str = "15m"
    effort: str = "balanced"
    seed: int = 0
    schema: str = ""


def draft(values: Draft) -> str:
    """The text of the file. It is not checked: :func:`check` does."""
    lines = ["# What the model must do, and what it must fit into. Only task and data are needed."]
    if values.schema:
        lines.append(f"$schema: {scalar(values.schema)}")
    if values.name:
        lines.append(f"name: {scalar(values.name)}")
    lines.append(f"task: {scalar(values.task)}")
    lines.append("data:")
    lines.append(_row("  train", scalar(values.data), "folder, CSV, JSONL, Parquet, NumPy, or hub:owner/name"))
    if values.test:
        lines.append(_row("  test", scalar(values.test), "touched once, by the decision"))
    else:
        lines.append("  # test: path     # split off train where absent")
    lines.append("target:")
    lines.append(_row("  device", scalar(values.device), "local, or the profile of another machine"))
    if values.threads:
        lines.append(_row("  threads", str(values.threads), "CPU threads the model may use at most"))
    lines.append("  batch: 1")
    lines.extend(_limits(values))
    lines.append(f"# objectives: {{…: 1}}     # orders what meets every limit (sartor metrics {values.task})")
    lines.append(_row("decision", "{confidence: 0.95}", "how sure a verdict must be"))
    lines.append(_row("budget", f"{{time: {values.time}, effort: {values.effort}}}", "quick | balanced | thorough"))
    lines.append(f"seed: {values.seed}")
    return "\n".join(lines) + "\n"


def check(values: Draft, folder: Path) -> Requirement:
    """Read what :func:`draft` would write into ``folder``; problems name keys only, as there is no file with lines.

    Raises:
        RequirementError: with all problems.
    """
    return read_requirement(read_text(draft(values)).values, folder=folder)


def _limits(values: Draft) -> list[str]:
    known = measurables(values.task)
    heading = "limits:                     # hard: each is met with confidence, or no model is delivered"
    if not values.limits:
        example = next((item for item in known.values() if item.metric.kind == "quality"), None)
        lines = [f"# {heading}"]
        for item in (example, known["latency_p95_ms"], known["size_mb"]):
            if item is not None:
                lines.append(f"#   {item.metric.name}: {{{item.bound}: {item.example}}}")
        return lines
    return [heading, *(_limit(name, parts, known.get(name)) for name, parts in values.limits.items())]


def _limit(name: str, parts: Mapping[str, Any], measurable: Measurable | None) -> str:
    inner = ", ".join(f"{part}: {scalar(value)}" for part, value in parts.items())
    comment = f"{measurable.metric.title}, {measurable.metric.direction} is better" if measurable else ""
    return _row(f"  {name}", f"{{{inner}}}", comment)


def _row(key: str, value: str, comment: str) -> str:
    text = f"{key}: {value}"
    return f"{text:<42} # {comment}" if comment else text


def scalar(value: Any) -> str:
    """One value as YAML: bare where that reads back as the same text, else quoted."""
    if not isinstance(value, str):
        return json.dumps(value)
    bare = _BARE.fullmatch(value) and ": " not in value and not value.endswith((":", " "))
    if bare and value != "~" and not value.startswith(". ") and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=True)
