"""The JSON Schema of a requirement file, so that editors complete and check while people type."""

from __future__ import annotations

from typing import Any

from sartor import registry
from sartor.stages.requirement.form import RequirementForm
from sartor.stages.requirement.limits import Measurable, measurables, parts_of
from sartor.stages.requirement.units import NUMBER, SCALES

ADDRESS = "urn:sartor:requirement:1"


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of requirement files, with the limits of each task's metrics.

    It accepts whatever :func:`read_requirement` accepts; what no schema can say (whether a path exists, unknown
    names of plug-ins installed elsewhere) is left to the reader.
    """
    form = RequirementForm.model_json_schema(by_alias=True)
    properties = form["properties"]
    properties["data"] = {
        "description": properties["data"]["description"],
        "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/DataForm"}],
    }
    tasks = registry.names("tasks")
    properties["task"]["enum"] = list(tasks)
    for key, kind in (("models", "models"), ("runtimes", "runtimes")):
        form["$defs"]["SearchForm"]["properties"][key]["items"] = {"enum": list(registry.names(kind))}
    form["allOf"] = [
        {"if": {"properties": {"task": {"const": task}}}, "then": {"properties": _of_task(task)}} for task in tasks
    ]
    _allow_nothing(form)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ADDRESS, **form}


def _of_task(task: str) -> dict[str, Any]:
    known = measurables(task)
    weights = [name for name, item in known.items() if item.role != "drop"]
    weight = {"type": "number", "exclusiveMinimum": 0}
    return {
        "limits": {
            "properties": {name: _limit(parts_of(known, name)) for name in known},
            "additionalProperties": False,
        },
        "objectives": {"properties": dict.fromkeys(weights, weight), "additionalProperties": False},
    }


def _limit(parts: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": next(iter(parts.values())).metric.title,
        "properties": {part: _value(measurable) for part, measurable in parts.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _value(measurable: Measurable) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number", "description": measurable.range}
    if measurable.role == "drop":
        number |= {"minimum": 0} | ({"exclusiveMaximum": 1} if measurable.of.bounded else {})
    else:
        number |= {"exclusiveMinimum": 0} | ({"maximum": 1} if measurable.metric.bounded else {})
    units = "|".join(unit.replace("/", "\\/") for unit in SCALES.get(measurable.metric.unit, {}))
    text = {"type": "string", "pattern": rf"^\s*{NUMBER}\s*({units})?\s*$"}
    return {"anyOf": [number, text]}


def _allow_nothing(form: dict[str, Any]) -> None:
    """A key left empty counts as not given; say so for the mappings, where it happens ("limits:" and nothing)."""
    for key in ("limits", "objectives", "target", "decision", "budget", "search"):
        known = form["properties"][key]
        description = known.pop("description", "")
        known.pop("default", None)
        form["properties"][key] = {"description": description, "anyOf": [known, {"type": "null"}]}
    for task in form["allOf"]:
        for key, value in task["then"]["properties"].items():
            task["then"]["properties"][key] = {"anyOf": [value, {"type": "null"}]}
