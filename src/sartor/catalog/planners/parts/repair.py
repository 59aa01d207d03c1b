"""Mixed precision for what was compressed, scored and found to have lost too much; nothing where int8 does well."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from sartor import registry, rounding
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.metrics import Metric
from sartor.types import Fate, Measurement, Network, Record

ROUNDS = 2  # at one file: the second asks for more, where validation says that the first was not enough
AIM = 0.5  # share of the loss that is allowed, aimed at: what holds on validation must hold with confidence
ALLOWED = 0.02  # of the primary metric may be lost where the requirement does not say
STRICTEST, MILDEST = 1 / 64, 1 / 2  # shares of the noise of int8 that are asked for
STRICTER = 4.0  # times as strict is the second round
GAIN = 0.95  # times the latency of its parent, what was compressed must have had: else there is nothing to repair
TRIALS, RANKED = 22, 32  # for ranges, smoothing and bisection; and for layers, alone or in groups
TRIAL_S, LAYER_S = 0.1, 0.015  # what a trial takes beside its samples, and for each layer of the graph
MOST_SAMPLES, PIXELS = 64, 700_000  # of a trial, fewer of large pictures; a quarter of them for a layer alone


class Repair:
    """Repairs the compressed files of one plan, in every way to run them in which they lose too much."""

    def __init__(
        self, situation: Situation, shop: Workshop, forecast: Forecast, reserve: Reserve, scout: Scout
    ) -> None:
        self.now, self.shop, self.forecast, self.reserve, self.scout = situation, shop, forecast, reserve, scout
        self.primary: Metric = registry.get("tasks", situation.requirement.task).metrics[0]
        self._by: Mapping[str, tuple[str, ...]] = repairers()

    def run(self, network: Network, weights: str, scored: set[str]) -> Step[None]:
        """Repair what was scored, the fastest first; each is scored anew, and timed again where that made it good.

        Not what was trained for 8 bits: a repair brings a file nearer to its own weights in float, and those are not
        what it learnt to equal.
        """
        if rounding.is_rounded(network):
            return
        broken = [r for r in self.shop.of(network) if r.candidate.id in scored and self.lost_too_much(r)]
        for record in sorted(broken, key=lambda r: (value_of(r, "latency_p50_ms"), r.candidate.id)):
            tolerance = self._tolerance(record)
            for _ in range(ROUNDS):
                made = yield from self._remade(record, weights, tolerance)
                if not made:
                    break
                yield from self.shop.evaluate(record.candidate, weights, "validation")
                if not self.lost_too_much(self.shop.record(record.candidate.id)):
                    yield from self.scout.probe(record.candidate)
                    break
                tolerance = max(STRICTEST, tolerance / STRICTER)

    def _remade(self, record: Record, weights: str, tolerance: float) -> Step[str]:
        """The file that the first of the repairing compressors makes which can; empty where none can in time."""
        for compressor in self._by[record.candidate.compressor]:
            if not self._has_time(record, compressor):
                return ""
            made = yield from self.shop.repair(record.candidate, weights, compressor, tolerance)
            if made:
                return made
        return ""

    def lost_too_much(self, record: Record) -> bool:
        """True where quality alone speaks against it, not against its parent, and it is faster than that."""
        if record.candidate.compressor not in self._by or not record.parent:
            return False
        fates = {fate.candidate: fate for fate in self.now.decision().fates}
        own, parent = fates[record.candidate.id], fates.get(record.parent)
        judged = own.code in ("ACCURACY_DROP", "BELOW_FLOOR") or self._likely_lost(record, own)
        if not judged or parent is None or not _misses(own) <= {"quality"}:
            return False
        ours, theirs = (value_of(r, "latency_p50_ms") for r in (record, self.shop.record(record.parent)))
        return "quality" not in _misses(parent) and not (ours and theirs and ours > GAIN * theirs)

    def _likely_lost(self, record: Record, fate: Fate) -> bool:
        """True where more than is allowed seems lost, on too few samples to reject it: more than its standard error."""
        name = f"{self.primary.name}_drop"
        drop = next((m for m in reversed(record.measurements) if m.metric.name == name), None)
        if drop is None or fate.code not in ("INCONCLUSIVE", "NOT_FINALIST") or not self.primary.bounded:
            return False
        return drop.value > max(self._allowed(), (drop.high - drop.low) / 4)

    def _allowed(self) -> float:
        """What may be lost of the primary metric."""
        limits = {limit.metric: limit.value for limit in self.now.requirement.limits}
        return limits.get(f"{self.primary.name}_drop", ALLOWED)

    def _tolerance(self, record: Record) -> float:
        """Which share of its noise may be left: the accuracy lost grows with the noise's power, when it is small.

        A power of two, so that runs with slightly different scores share their files.
        """
        ours = self._score(record)
        theirs = self._score(self.shop.record(record.parent))
        limits = {limit.metric: limit.value for limit in self.now.requirement.limits}
        if ours is None or theirs is None:
            return MILDEST
        sign = 1.0 if self.primary.direction == "higher" else -1.0
        lost = sign * (theirs.value - ours.value)
        allowed = self._allowed() if self.primary.bounded or f"{self.primary.name}_drop" in limits else lost / 2
        if self.primary.name in limits:
            allowed = min(allowed, sign * (theirs.value - limits[self.primary.name]))
        if lost <= 0 or allowed <= 0:  # another metric is what is missed, or the limit is met by luck at best
            return STRICTER * STRICTEST
        return min(MILDEST, max(STRICTEST, 2.0 ** math.floor(math.log2(AIM * allowed / lost))))

    def _score(self, record: Record) -> Measurement | None:
        found = (m for m in reversed(record.measurements) if m.metric == self.primary and m.split == "validation")
        return next(found, None)

    def _has_time(self, record: Record, compressor: str) -> bool:
        """True where a confirmation fits behind a repair; what is only nice to know may not any more."""
        candidate = record.candidate
        cost = self.now.cost_of(candidate.network.id)
        call_s = value_of(self.shop.record(record.parent), "latency_p50_ms") / 1000
        layers = cost.layers if cost else 0
        samples = max(8, min(MOST_SAMPLES, PIXELS // math.prod(candidate.network.input_size)))
        ranked = min(layers, RANKED)
        trials = (TRIALS + ranked) * (TRIAL_S + LAYER_S * layers) + (2 * TRIALS + ranked / 4) * samples * call_s
        made = self.forecast.making(replace(candidate, compressor=compressor))
        seconds = max(made, trials) + self.forecast.evaluating(candidate, "validation") + self.scout.probing(candidate)
        return self.reserve.has_time_for(seconds + self.reserve.least_confirming(record))


def repairers() -> dict[str, tuple[str, ...]]:
    """Compressor to those installed that repair its files, in the order in which they are asked."""
    plugins = [plugin for plugin in registry.every("compressors") if hasattr(plugin, "repairs")]
    found: dict[str, tuple[str, ...]] = {}
    for plugin in sorted(plugins, key=lambda plugin: not getattr(plugin, "in_bytes", False)):
        if getattr(plugin, "is_installed", lambda: True)():
            found[plugin.repairs] = (*found.get(plugin.repairs, ()), plugin.name)
    return found


def _misses(fate: Fate) -> set[str]:
    """Kinds of the metrics whose limits a candidate misses."""
    return {v.measurement.metric.kind for v in fate.verdicts if v.outcome == "missed" and v.measurement is not None}
