"""Limits and objectives of a requirement, checked against the metrics that the task has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sartor import registry
from sartor.metrics import COST_METRICS, Metric, quality_derivatives
from sartor.stages.requirement.problems import KeyPath, Problems, did_you_mean, dotted, shown
from sartor.stages.requirement.units import EXAMPLES, NAMED, UNIT_KINDS, WORDS, WrongUnit, parse_quantity
from sartor.types import Limit, Objective

Bound = Literal["min", "max"]
PARTS = ("min", "max", "max_drop", "per_class_min")


@dataclass(frozen=True)
class Measurable:
    """A metric a limit can be set on.

    Args:
        metric: the metric.
        of: the metric it derives from; itself for a plain one.
        role: ``plain``, ``worst`` (worst class) or ``drop`` (lost against the uncompressed parent).
    """

    metric: Metric
    of: Metric
    role: Literal["plain", "worst", "drop"] = "plain"

    @property
    def bound(self) -> Bound:
        """The side a limit can be on: a limit keeps the worse values out."""
        return "min" if self.metric.direction == "higher" else "max"

    @property
    def range(self) -> str:
        """What values make sense, in words."""
        if self.role == "drop":
            return "a number from 0 to below 1" if self.of.bounded else "a number of at least 0"
        if self.metric.bounded:
            return "a number above 0, at most 1"
        unit = WORDS.get(self.metric.unit, self.metric.unit)
        return f"a number of {unit} greater than 0" if unit else "a number greater than 0"

    @property
    def example(self) -> str:
        """A value to try."""
        if self.role == "drop" or (self.metric.bounded and self.bound == "max"):
            return "0.01" if self.role == "drop" else "0.1"
        return EXAMPLES.get(self.metric.unit, "1")

    def allows(self, value: float) -> bool:
        """True when a limit of this value makes sense."""
        if self.role == "drop":
            return 0 <= value < 1 if self.of.bounded else value >= 0
        return 0 < value <= 1 if self.metric.bounded else value > 0


def measurables(task: str) -> Mapping[str, Measurable]:
    """Everything a limit can be set on for a task: costs, the task's metrics and what derives from them.

    An empty name gives the costs, which every task has.

    Raises:
        SartorError: unknown task.
    """
    found = {metric.name: Measurable(metric, metric) for metric in COST_METRICS}
    for metric in registry.get("tasks", task).metrics if task else ():
        worst, drop = quality_derivatives(metric)
        found[metric.name] = Measurable(metric, metric)
        found[worst.name] = Measurable(worst, metric, "worst")
        found[drop.name] = Measurable(drop, metric, "drop")
    return found


def parts_of(known: Mapping[str, Measurable], name: str) -> Mapping[str, Measurable]:
    """What may stand under a metric in ``limits`` (``min``, ``max_drop`` …) and the metric each limits."""
    plain = known[name]
    parts: dict[str, Measurable] = {plain.bound: plain}
    if plain.role == "plain" and plain.metric.kind == "quality":
        worst, drop = quality_derivatives(plain.metric)
        parts["max_drop"] = known[drop.name]
        if plain.metric.direction == "higher":
            parts["per_class_min"] = known[worst.name]
    return parts


def read_limits(values: Mapping[str, Any], task: str, problems: Problems) -> tuple[Limit, ...]:
    """Limits in the order of the file; what is wrong is noted. Without a task only costs can be checked."""
    known = measurables(task)
    limits: dict[tuple[str, str], Limit] = {}
    for name, parts in values.items():
        path: KeyPath = ("limits", name)
        if problems.known(path) or parts is None:
            continue
        if name not in known:
            if task:
                problems.add(path, _unknown_metric(path, name, known, task))
            continue
        for limit in _limits_of(path, known[name], parts, parts_of(known, name), problems):
            twin = limits.setdefault((limit.metric, limit.bound), limit)
            if twin is not limit:
                problems.add(path, f"{limit.key} and {twin.key} limit the same thing; keep one")
    return tuple(limits.values())


def _limits_of(
    path: KeyPath, plain: Measurable, parts: Any, allowed: Mapping[str, Measurable], problems: Problems
) -> list[Limit]:
    name, attempt = plain.metric.name, f"{plain.metric.name}: {{{plain.bound}: {plain.example}}}"
    if not isinstance(parts, Mapping) or not parts:
        if isinstance(parts, (int, float, str)) and not isinstance(parts, bool):
            attempt = f"{name}: {{{plain.bound}: {parts if isinstance(parts, str) else format(parts, 'g')}}}"
        problems.add(path, f"{dotted(path)} is {shown(parts)}; it must say which bound. Try: {attempt}")
        return []
    limits = []
    for part, value in parts.items():
        place = (*path, part)
        if problems.known(place) or value is None:
            continue
        if part not in allowed:
            problems.add(place, _wrong_part(place, part, value, plain, parts, allowed))
            continue
        number = _number(place, part, value, allowed[part], problems)
        if number is not None:
            bound: Bound = "min" if part in ("min", "per_class_min") else "max"
            limits.append(Limit(allowed[part].metric.name, bound, number, dotted(place)))
    return limits


def _unknown_metric(path: KeyPath, name: str, known: Mapping[str, Measurable], task: str) -> str:
    plain = [other for other, measurable in known.items() if measurable.role == "plain"]
    asked = name.replace("-", "_")
    elsewhere = [other for other in registry.names("tasks") if asked in _quality_names(other)]
    if elsewhere:
        return (
            f"{dotted(path)} is not a metric of {task}; it belongs to {', '.join(elsewhere)}. "
            f"There are: {', '.join(plain)} (sartor metrics {task})"
        )
    hint = did_you_mean(asked, plain, of="There are")
    return f"{dotted(path)} is not a metric of {task}. {hint} (sartor metrics {task})"


def _quality_names(task: str) -> set[str]:
    return {metric.name for metric in registry.get("tasks", task).metrics}


def _wrong_part(
    place: KeyPath,
    part: str,
    value: Any,
    plain: Measurable,
    parts: Mapping[str, Any],
    allowed: Mapping[str, Measurable],
) -> str:
    key, metric = dotted(place), plain.metric
    if part not in PARTS:
        return f"{key} is not a bound. {did_you_mean(part, list(allowed), of='There are')}"
    if part in ("max_drop", "per_class_min"):
        return f"{key}: {part} works on quality metrics where higher is better, not on {metric.name}; take it out"
    if plain.bound in parts and _crossed(parts, plain):
        return (
            f"{key} is {shown(value)} and {plain.bound} is {shown(parts[plain.bound])}: nothing is both; "
            f"keep {plain.bound}, as {metric.title} is better when {metric.direction}"
        )
    hint = f"Take {part} out." if plain.bound in parts else f"Did you mean {plain.bound}: {_bare(value)}?"
    return f"{key}: {metric.title} is better when {metric.direction}, so {part} would keep the good ones out. {hint}"


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _crossed(parts: Mapping[str, Any], plain: Measurable) -> bool:
    try:
        return parse_quantity(parts["min"], plain.metric.unit) > parse_quantity(parts["max"], plain.metric.unit)
    except ValueError:
        return False


def _number(place: KeyPath, part: str, value: Any, measurable: Measurable, problems: Problems) -> float | None:
    """The value in the metric's unit, or None with the problem noted."""
    key, unit = dotted(place), measurable.metric.unit
    must = f"it must be {measurable.range}. "
    try:
        number = parse_quantity(value, unit)
    except WrongUnit as error:
        units = f" ({NAMED[unit]} are understood)" if unit in NAMED else ""
        attempt = f"{error.number:g}" if measurable.allows(error.number) else measurable.example
        problems.add(
            place,
            f"{key} is {shown(value)}; {measurable.metric.title} is {UNIT_KINDS.get(unit, unit)}, not "
            f"{shown(error.unit)}{units}. Try: {part}: {attempt}",
        )
        return None
    except ValueError:
        problems.add(place, f"{key} is {shown(value)}; {must}Try: {part}: {measurable.example}")
        return None
    if measurable.allows(number):
        return number
    hint = f"Try: {part}: {measurable.example}"
    if measurable.of.bounded and 1 <= number <= 100 and measurable.allows(number / 100):
        hint = f"Did you mean {number / 100:.2f}?" if number * 100 % 100 == 0 else f"Did you mean {number / 100:g}?"
    problems.add(place, f"{key} is {shown(value)}; {must}{hint}")
    return None


def read_objectives(values: Mapping[str, Any], task: str, problems: Problems) -> tuple[Objective, ...]:
    """Objectives in the order of the file; the task's first metric where there are none."""
    known = dict(measurables(task))
    objectives = []
    for name, weight in values.items():
        path: KeyPath = ("objectives", name)
        if problems.known(path) or weight is None:
            continue
        if name not in known:
            if task:
                problems.add(path, _unknown_metric(path, name, known, task))
        elif known[name].role == "drop":
            problems.add(
                path,
                f"{dotted(path)} compares with the uncompressed parent, which an objective cannot weigh. "
                f"Did you mean {known[name].of.name}?",
            )
        elif isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            problems.add(
                path, f"{dotted(path)} is {shown(weight)}; a weight must be a number greater than 0. Try: {name}: 1"
            )
        else:
            objectives.append(Objective(name, float(weight)))
    if task and not objectives:
        return (Objective(registry.get("tasks", task).metrics[0].name, 1.0),)
    return tuple(objectives)
