"""A requirement back in the form of its file, so that it can be shown, kept, changed and read again."""

from __future__ import annotations

from typing import Any

from sartor.codec import to_plain
from sartor.stages.requirement.units import written_duration
from sartor.types import Requirement


def to_mapping(requirement: Requirement) -> dict[str, Any]:
    """The mapping that :func:`read_requirement` reads as this very requirement; paths stay absolute."""
    limits: dict[str, dict[str, float]] = {}
    for limit in requirement.limits:
        metric, part = limit.key.removeprefix("limits.").rsplit(".", 1)
        limits.setdefault(metric, {})[part] = limit.value
    data = {key: value for key, value in to_plain(requirement.data).items() if value and key != "options"}
    search = {key: list(value) for key, value in to_plain(requirement.search).items() if value}
    return {
        "name": requirement.name,
        "task": requirement.task,
        "data": data | to_plain(requirement.data.options),
        "target": {key: value for key, value in to_plain(requirement.target).items() if value},
        "limits": limits,
        "objectives": {objective.metric: objective.weight for objective in requirement.objectives},
        "decision": {"confidence": requirement.confidence},
        "budget": {"time": written_duration(requirement.budget.seconds), "effort": requirement.budget.effort}
        | {key: value for key in ("processes", "cluster") if (value := getattr(requirement.budget, key))},
        **({"search": search} if search else {}),
        **({"model": requirement.model} if requirement.model else {}),
        "seed": requirement.seed,
    }
