"""Cost before training: which networks are measured untrained, in which way, until enough are known to fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.schedule import Effort, is_computed
from sartor.catalog.planners.parts.threads import MOST_WAYS, Threads
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, last_cost, value_of
from sartor.types import Candidate, Network, Record

FEWEST_USUAL = 6  # probes at least, where a budget is not small
FEWEST, SMALL_SHARE = 2, 0.15  # so many probes are made in a small budget too, up to this share of it
MOST_FEWER = 2  # networks that are tried with fewer threads where nothing fits
ASSURING_SHARE = 0.25  # of a long training's time at most goes into making sure that a way of its network fits
FRUITLESS_SHARE = 0.6  # of the budget at most goes into a search for anything that fits


class Scout:
    """Measures near the limits: the largest networks believed to fit and to be trained in time come first.

    Of what is computed in one pass the smallest of each family comes before them, for on a short budget that is what
    there is time for; a larger one is measured just before it is fitted.

    A network is measured in one way only, the fastest it is believed to have; its other ways when it was trained. What
    is believed comes from estimates, which every measurement sharpens; they order, the measurement decides.
    """

    def __init__(
        self,
        situation: Situation,
        shop: Workshop,
        forecast: Forecast,
        reserve: Reserve,
        trainer: Trainer,
        effort: Effort,
    ) -> None:
        self.now, self.shop, self.forecast, self.reserve = situation, shop, forecast, reserve
        self.trainer, self.effort = trainer, effort
        self._threads = Threads(situation, shop)
        self._asked: set[str] = set()  # candidates that were probed, or that could not be

    def run(self) -> Step[None]:
        """Probe until a bracket of networks fits and can be trained, or a share of the budget is spent.

        Where nothing fits, fewer threads may be what it takes: the fastest networks are tried so.
        """
        yield from self._probe_all()
        if not self.reserve.fitting():
            measured = [r for r in self.now.records() if value_of(r, "latency_p50_ms") and not r.notes.get("baseline")]
            for record in sorted(measured, key=lambda r: (value_of(r, "latency_p50_ms"), r.candidate.id))[:MOST_FEWER]:
                room = self.now.left_s() - FRUITLESS_SHARE * self.now.requirement.budget.seconds
                if room > MOST_WAYS * self.probing(record.candidate):
                    yield from self.try_fewer(record.candidate.network)

    def _probe_all(self) -> Step[None]:
        spent, budget = 0.0, self.now.requirement.budget.seconds
        while (record := self._next()) is not None:
            probing = self.probing(record.candidate)
            allowance = max(self.effort.probe_share * budget, min(SMALL_SHARE * budget, FEWEST * probing))
            hopeful = self.reserve.is_likely(record) and self._is_trainable(record.candidate.network)
            useful = any(self._is_trainable(network) or not hopeful for network in self.reserve.fitting())
            if spent + probing > (allowance if useful else FRUITLESS_SHARE * budget):
                return
            before = self.now.left_s()
            yield from self.probe(record.candidate)
            spent += before - self.now.left_s()
            network = record.candidate.network
            first = not self.trainer.knows_a_rate() and not record.notes.get("baseline") and not is_computed(network)
            if first and network in self.reserve.fitting():
                yield from self.trainer.rate(network, self.trainer.needed_rate(network), self.shop.size)

    def probing(self, candidate: Candidate) -> float:
        """Seconds that a probe will take."""
        return self.forecast.making(candidate) + self.timing(candidate)

    def timing(self, candidate: Candidate) -> float:
        """Seconds of a probe once its file is there."""
        return self.forecast.timing(candidate, self.effort.probe_seconds, 1)

    def probe(self, candidate: Candidate, weights: str = "") -> Step[None]:
        """Measure a candidate before it is a finalist: with random weights, or with those that it will ship."""
        self._asked.add(candidate.id)
        file = yield from self.shop.file(candidate, weights)
        if file:
            job = self.shop.measure_job(candidate, file, self.effort.probe_seconds, trained=False)
            yield Action("measure", job, candidate.id, "probe")

    def try_fewer(self, network: Network) -> Step[None]:
        """Measure the fastest ways of a network that were measured with fewer threads too, where that may pay."""
        yield from self._threads.try_fewer(network, self.probe)

    def best_way(self, network: Network) -> Candidate | None:
        """The way in which a network is measured first; None where every one was asked for or is ruled out."""
        openings = self.now.open_candidates()
        ways = [
            r
            for r in self.shop.of(network)
            if r.candidate.id in openings and r.candidate.id not in self._asked and not self.shop.can_wait(r)
        ]
        return min(ways, key=self._preference).candidate if ways else None

    def _next(self) -> Record | None:
        """The candidate to probe next; None when enough is known."""
        fitting = {network.id for network in self.reserve.fitting()}
        openings = self.now.open_candidates()
        known, waiting = Counter[str](), list[tuple[tuple[float, ...], str, Record]]()
        ways: dict[str, list[Record]] = {}
        for record in self.now.records():
            candidate = record.candidate
            if candidate.id in openings and value_of(record, "latency_p50_ms") and record.notes.get("baseline"):
                fitting.add(candidate.network.id)
            elif candidate.id in openings and candidate.id not in self._asked and not self.shop.can_wait(record):
                ways.setdefault(candidate.network.id, []).append(record)
        bracket = 0
        for network in self.reserve.fitting():
            known[network.model] += 1
            bracket += not is_computed(network) and self._is_trainable(network)
        others = sum(known.values()) > 0 and self._is_tight()
        for name, records in ways.items():
            if name in fitting:
                continue
            record = min(records, key=self._preference)
            network = record.candidate.network
            if others and record.notes.get("baseline"):
                continue  # what is left of the time at the end is theirs
            enough = is_computed(network) or bracket >= self.effort.bracket
            if not enough or known[network.model] == 0:
                waiting.append((self._urgency(record, known[network.model]), record.candidate.id, record))
        return min(waiting, key=lambda entry: entry[:2])[2] if waiting else None

    def _is_tight(self) -> bool:
        """True where the share of the budget that is for probes holds hardly any."""
        candidate = next(iter(self.now.records())).candidate
        return self.effort.probe_share * self.now.requirement.budget.seconds < FEWEST_USUAL * self.probing(candidate)

    def _urgency(self, record: Record, turn: int) -> tuple[float, ...]:
        """What comes first has the least: likely to fit, trainable, of a family not seen yet, computed, large.

        Baselines come before what is trained, as they tell what a process takes; in a small budget after it.
        """
        network, likely = record.candidate.network, self.reserve.is_likely(record)
        size, computed = self.shop.size(network), is_computed(network)
        kind = 1 if computed else 3
        if record.notes.get("baseline"):
            kind = 4 if self._is_tight() else 2
        return not likely, not self._is_trainable(network), turn, kind, -size if likely and not computed else size

    def _preference(self, record: Record) -> tuple[float, ...]:
        """Of the ways of a network: one that likely fits, then uncompressed, then fast."""
        latency = last_cost(record, "latency_p50_ms")
        fast = math.inf if latency is None else latency.value
        return not self.reserve.is_likely(record), bool(record.parent), fast

    def assure(self, networks: Sequence[Network], wanted: int, spare: Sequence[Network] = ()) -> Step[list[Network]]:
        """Networks in order, those behind that are not believed to fit any more now that they were looked at.

        Where too few of them are, those ``spare`` that are believed to come before what is not.

        Of so many that get a long training next, each has a way whose measurement keeps every limit; until one does
        ways are measured, in a share of that training's time. Noise that makes an interval wide rules nothing out, and
        neither does the word of a larger network: it would be a long training for no way that can be shown to fit.
        """
        sure: list[Network] = []
        doubtful: list[Network] = []
        for place, network in enumerate(networks):
            if len(sure) == wanted:
                return [*sure, *networks[place:], *doubtful]
            believed = yield from self._look_at(network)
            (sure if believed else doubtful).append(network)
        for network in spare:
            if len(sure) < wanted and (yield from self._look_at(network)):
                sure.append(network)
        return [*sure, *doubtful]

    def _look_at(self, network: Network) -> Step[bool]:
        """Measure ways of a network until one is believed to fit; True if one is, or none could be."""
        room = ASSURING_SHARE * self.trainer.training_time(network)
        while not any(map(self.reserve.is_sure, measured := [r for r in self._open(network) if _is_measured(r)])):
            way = self.best_way(network)
            if way is None or not self.reserve.is_likely(self.shop.record(way.id)):
                return False
            if self.probing(way) > room:
                return not measured
            before = self.now.left_s()
            yield from self.probe(way)
            room -= before - self.now.left_s()
        return True

    def _open(self, network: Network) -> list[Record]:
        openings = self.now.open_candidates()
        return [record for record in self.shop.of(network) if record.candidate.id in openings]

    def _is_trainable(self, network: Network) -> bool:
        """True when it is believed to see its data often enough in the time that is left."""
        if is_computed(network):
            return True
        return self.trainer.expected_rate(network, self.shop.size) >= self.trainer.needed_rate(network)


def _is_measured(record: Record) -> bool:
    return bool(value_of(record, "latency_p50_ms"))
