"""From a network's weights to its scores: which ways to run it are made, measured and scored on validation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from sartor import registry
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.repair import Repair
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.threads import MOST_WAYS
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.types import Candidate, Network, Record


class Deployment:
    """Scores what was trained, in the ways to run it that promise most for the time left."""

    def __init__(
        self,
        situation: Situation,
        shop: Workshop,
        forecast: Forecast,
        reserve: Reserve,
        trainer: Trainer,
        scout: Scout,
    ) -> None:
        self.now, self.shop, self.forecast = situation, shop, forecast
        self.reserve, self.trainer, self.scout = reserve, trainer, scout
        self.repair = Repair(situation, shop, forecast, reserve, scout)

    def run(self, network: Network, weights: str, *, even_if_ruled_out: bool = False) -> Step[None]:
        """Evaluate a trained network on validation in its fastest deployments, each parent before its child.

        Ways that were not measured yet are measured now, but for a parent that is ruled out. The first that may ship is
        evaluated in any case, further ones while there is time for them beside the confirmation.
        """
        most, begun, scored = self.reserve.deployments(network, 1.0), False, set[str]()
        wanted = self.reserve.to_deploy(network, most, even_if_ruled_out=even_if_ruled_out)
        while wanted:
            for record in wanted:
                candidate = record.candidate
                if candidate.id in scored:
                    continue
                if begun and not self._has_time_for(record, even_if_ruled_out=even_if_ruled_out):
                    return
                if self._may_ship(candidate, even_if_ruled_out) and not value_of(record, "latency_p50_ms"):
                    yield from self.scout.probe(candidate, weights)
                may_ship = self._may_ship(candidate, even_if_ruled_out)
                if may_ship or candidate.id in self.reserve.parents(network):
                    begun = begun or may_ship
                    yield from self.shop.evaluate(candidate, weights, "validation")
                    scored.add(candidate.id)
            wanted = [] if begun else self.reserve.to_deploy(network, 1)
        if not even_if_ruled_out:
            yield from self.repair.run(network, weights, scored)
        yield from self._on_fewer_threads(network, weights, scored)
        yield from self._store_smaller(network, weights, scored)

    def _may_ship(self, candidate: Candidate, even_if_ruled_out: bool) -> bool:
        return even_if_ruled_out or candidate.id in self.now.open_candidates()

    def _on_fewer_threads(self, network: Network, weights: str, scored: set[str]) -> Step[None]:
        """The fastest ways scored with fewer threads too; what is as fast so is scored, and takes less of a machine."""
        fastest = next(iter(self.reserve.to_deploy(network, 1)), None)
        if fastest is None:
            return
        more = MOST_WAYS * self.scout.probing(fastest.candidate)
        more += self.forecast.evaluating(fastest.candidate, "validation") + self.reserve.confirming(fastest)
        if not self.reserve.has_time_for(more):
            return
        yield from self.scout.try_fewer(network)
        for record in self.reserve.to_deploy(network, MOST_WAYS):
            new = record.candidate.fewer and record.candidate.id not in scored
            if new and self._has_time_for(record, even_if_ruled_out=False):
                yield from self.shop.evaluate(record.candidate, weights, "validation")
                scored.add(record.candidate.id)

    def _store_smaller(self, network: Network, weights: str, scored: set[str]) -> Step[None]:
        """The fastest way scored that may have smaller weights, unless a compressed one does as well, or may."""
        openings = scored & self.now.open_candidates()
        records = {r.candidate.id: r for r in self.shop.of(network)}
        shared = {_with_all_threads(records[name].candidate): records[name] for name in openings}
        children: dict[str, list[Record]] = defaultdict(list)
        for record in records.values():
            if record.notes.get("stores_less") and record.parent in shared:
                children[record.parent].append(record)
        if not children:
            return
        parent = min(children, key=lambda name: (value_of(shared[name], "latency_p50_ms"), name))
        root = shared[parent]
        compressed = [r for r in records.values() if r.parent and not r.notes.get("stores_less")]
        judged = [r for r in compressed if r.candidate.id in openings]
        tried = any(r.candidate.id in scored for r in compressed)
        untried = not tried and any(r.candidate.id in self.now.open_candidates() for r in compressed)
        if untried or any(self.trainer.as_good(record, root) for record in judged):
            return
        for child in sorted(children[parent], key=lambda record: (-_weight_bytes(record), record.candidate.id)):
            if self._has_time_for(child, even_if_ruled_out=False):
                if not value_of(child, "latency_p50_ms"):
                    yield from self.scout.probe(child.candidate, weights)
                yield from self.shop.evaluate(child.candidate, weights, "validation")

    def _has_time_for(self, record: Record, *, even_if_ruled_out: bool) -> bool:
        """True where one more way can be scored, and measured where it was not, before a confirmation."""
        candidate = record.candidate
        seconds = self.forecast.making(candidate) + self.forecast.evaluating(candidate, "validation")
        seconds += 0.0 if value_of(record, "latency_p50_ms") else self.scout.timing(candidate)
        return self.reserve.has_time_for(
            seconds + (0.0 if even_if_ruled_out else self.reserve.least_confirming(record))
        )


def _weight_bytes(record: Record) -> float:
    return float(getattr(registry.get("compressors", record.candidate.compressor), "weight_bytes", 4.0))


def _with_all_threads(candidate: Candidate) -> str:
    """The id of a candidate run with as many threads as the target allows."""
    return replace(candidate, fewer=False).id
