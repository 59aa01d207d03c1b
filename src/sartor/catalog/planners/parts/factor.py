"""A trained network with thin products in place of wide ones: as few as its limits need, or as many as it bears."""

from __future__ import annotations

from dataclasses import replace

from sartor import factoring, registry, rounding
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.costly import Costly
from sartor.catalog.planners.parts.deployment import Deployment
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.workshop import UNCOMPRESSED, Step, Workshop, value_of
from sartor.metrics import Metric
from sartor.types import Candidate, Measurement, Network, Record

SHARES = (0.8, 0.65, 0.5, 0.35, 0.25, 0.15)  # of the work that are left; three trials find where to stop
BY_WEIGHTS = frozenset({"TOO_LARGE", "TOO_MUCH_MEMORY", "size_mb", "memory_peak_mb"})
"""Reasons and wishes that fewer weights answer; fewer operations answer the others."""

ALLOWED = 0.02  # of the primary metric may be lost where the requirement does not say
AIM = 0.5  # share of it that is aimed at: what holds on validation must hold with confidence


class Factor:
    """Factors one network of a plan after its training, and scores it in every way in which the whole one is run.

    Where it costs too much, the largest share that is measured to fit; where less is better, or a loss is allowed in so
    many words, the smallest that validation finds good. What it gained is measured like anything else.
    """

    def __init__(
        self,
        situation: Situation,
        shop: Workshop,
        forecast: Forecast,
        reserve: Reserve,
        scout: Scout,
        deployment: Deployment,
        costly: Costly,
    ) -> None:
        self.now, self.shop, self.forecast, self.reserve = situation, shop, forecast, reserve
        self.scout, self.deployment, self.costly = scout, deployment, costly
        self.primary: Metric = registry.get("tasks", situation.requirement.task).metrics[0]
        self._limits = {limit.metric: limit.value for limit in situation.requirement.limits}

    def run(self) -> Step[None]:
        """Factor the best trained network that costs too much; else the best of all, where it may be asked for less."""
        effort = self.now.requirement.budget.effort
        if effort == "quick":
            return
        costly = self.costly.too_costly(self._suits)
        found = costly or self.costly.best_where_less_is_better(self._suits)
        if found is None and (effort == "thorough" or self._drop in self._limits):
            found = self.costly.best(self._suits)
        if found is None:
            return
        whole, weights, wish = found
        of = "weights" if BY_WEIGHTS & {wish, *self._codes(whole)} else "operations"
        best = yield from self._search(whole, weights, of, fit=costly is not None)
        if best is not None:
            yield from self.deployment.run(best, weights)

    @property
    def _drop(self) -> str:
        return f"{self.primary.name}_drop"

    def _suits(self, network: Network) -> bool:
        records = self.shop.of(network)
        made = factoring.is_factored(network) or rounding.is_rounded(network)
        return not made and not any(record.notes.get("baseline") for record in records)

    def _codes(self, whole: Network) -> set[str]:
        return {f.code for f in self.now.decision().fates if f.candidate.split("/")[0] == whole.id}

    def _search(self, whole: Network, weights: str, of: str, *, fit: bool) -> Step[Network | None]:
        """By bisection the largest share that fits, or the smallest that is good; the others are out of the race."""
        best: Network | None = None
        tried: list[Network] = []
        low, high = 0, len(SHARES)
        while low < high:
            middle = (low + high) // 2
            shape = factoring.factored(whole, SHARES[middle], of)
            if not self._has_time(whole):
                break
            self.now.enter(shape, whole.id, child=True)
            tried.append(shape)
            made = yield from self.shop.factor(shape, whole, weights)
            if not made:  # the lowest ranks leave more, or there is nothing to factor
                high = middle
                continue
            good = yield from self._is_good(shape, weights, fit=fit)
            if good:
                best = shape
            if good == fit:
                high = middle
            else:
                low = middle + 1
        for shape in tried:
            if shape != best:
                why = f"{best.id} does better" if best else "no share of its products was found to do"
                self.now.stop(shape.id, "FACTORED_OTHERWISE", why)
        return best

    def _is_good(self, shape: Network, weights: str, *, fit: bool) -> Step[bool]:
        """True where its likeliest way keeps the limits on cost, or loses no more on validation than may be lost."""
        way = self._way(shape)
        if way is None:
            return False
        yield from self.scout.probe(way)
        if fit or way.id not in self.now.open_candidates():
            return way.id in self.now.open_candidates()
        yield from self.shop.evaluate(way, weights, "validation")
        record = self.shop.record(way.id)
        return way.id in self.now.open_candidates() and self._bears(record)

    def _way(self, shape: Network) -> Candidate | None:
        """How a shape is run to judge it: uncompressed, where its whole is known to be fastest so."""
        openings = self.now.open_candidates()
        ways = [
            (not (known := value_of(self.shop.record(r.parent), "latency_p50_ms")), known, r.candidate.id, r.candidate)
            for r in self.shop.of(shape)
            if r.candidate.compressor == UNCOMPRESSED and r.candidate.id in openings
        ]
        return min(ways, key=lambda way: way[:3])[3] if ways else None

    def _bears(self, record: Record) -> bool:
        ours, theirs = (self._score(r) for r in (record, self.shop.record(record.parent)))
        if ours is None or theirs is None:
            return False
        lost = ours.value - theirs.value if self.primary.direction == "lower" else theirs.value - ours.value
        noise = (theirs.high - theirs.low) / 4  # about one standard error
        return lost <= AIM * self._limits.get(self._drop, ALLOWED if self.primary.bounded else noise / AIM)

    def _score(self, record: Record) -> Measurement | None:
        found = (m for m in reversed(record.measurements) if m.metric == self.primary and m.split == "validation")
        return next(found, None)

    def _has_time(self, whole: Network) -> bool:
        """True where one more share can be made, measured and scored before a confirmation."""
        record = next(r for r in self.shop.of(whole) if r.candidate.compressor == UNCOMPRESSED)
        candidate = record.candidate
        seconds = self.forecast.making(replace(candidate, compressor=factoring.COMPRESSOR))
        seconds += self.scout.probing(candidate) + self.forecast.evaluating(candidate, "validation")
        return self.reserve.has_time_for(seconds + self.reserve.least_confirming(record))
