"""An int8 file on the levels of instruction sets that this processor can stand for: what joins its evidence."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.codec import digest
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import EvaluateJob
from sartor.types import Measurement

if TYPE_CHECKING:
    from sartor.catalog.contracts import Runtime

MOST_SAMPLES = 2000  # scored on each level but the processor's own

Again = Callable[[Sequence[int], Mapping[str, str]], Sequence[Measurement]]


def join_levels(
    found: Sequence[Measurement], job: EvaluateJob, workspace: Workspace, n: int, again: Again
) -> list[Measurement]:
    """Measurements with what is known of other levels among their conditions.

    ``level`` is the processor's own; ``same_on`` names levels that give the same integers, by reasoning;
    ``on_levels`` holds value, low and high as measured with the runtime held to a level.

    Args:
        found: of the processor's own level.
        job: whose ``levels`` are wanted, the own one first.
        workspace: holds the artifact.
        n: samples scored in ``found``.
        again: scores some of these samples (by position) with environment variables set.
    """
    if not job.levels:
        return list(found)
    own, *others = job.levels
    runtime: Runtime = registry.get("runtimes", job.pipeline.runtime)
    same = {own}
    if hasattr(runtime, "same_on"):
        same |= set(runtime.same_on(workspace.objects.path(job.artifact), own))
    measured: dict[str, dict[str, list[float]]] = {}
    if hasattr(runtime, "held_to"):
        chosen = _some(n, job)
        for level in others:
            try:
                there = again(chosen, runtime.held_to(level))
            except Unsupported:  # nothing is shown there, and nothing is said of it
                continue
            measured[level] = {one.metric.name: [one.value, one.low, one.high] for one in there}
    return [replace(one, conditions={**one.conditions, **_about(one, own, same, measured)}) for one in found]


def _about(
    one: Measurement, own: str, same: set[str], measured: Mapping[str, Mapping[str, list[float]]]
) -> dict[str, Any]:
    there = {level: values[one.metric.name] for level, values in measured.items() if one.metric.name in values}
    return {"level": own, "same_on": sorted(same), "on_levels": there}


def _some(n: int, job: EvaluateJob) -> list[int]:
    """Positions of up to ``MOST_SAMPLES`` samples, the same for every level and file."""
    if n <= MOST_SAMPLES:
        return list(range(n))
    return sorted(random.Random(digest({"data": job.data, "split": job.split})).sample(range(n), MOST_SAMPLES))
