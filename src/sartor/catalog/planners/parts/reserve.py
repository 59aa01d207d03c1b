"""What must be kept of the budget for after a training: files, scores on validation, confirmation, delivery."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.schedule import Effort
from sartor.catalog.planners.parts.threads import one_of_each_way
from sartor.catalog.planners.parts.workshop import UNCOMPRESSED, Workshop, last_cost, value_of
from sartor.types import Candidate, Limit, Measurement, Network, Record

CONFIRM_SECONDS = 4.0  # timed window per process, or …
CONFIRM_SHARE = 0.01  # … this share of a small budget, but …
CONFIRM_LEAST_S = 0.6  # … never less than this
CONFIRM_PROCESSES, FEWEST_PROCESSES = 3, 2
REST_SHARE = 0.35  # of the time left may be kept for after training; where that is too little, less is done then
REFERENCE_SHARE = 0.08  # of the time left may be kept for what is nice to know: the reference, explanations
EXPLAINED_S = 3.0  # beyond the start of a process


class Reserve:
    """Seconds to keep, and how much is done with them: less of it where the budget is small."""

    def __init__(self, situation: Situation, shop: Workshop, forecast: Forecast, effort: Effort) -> None:
        self.now, self.shop, self.forecast, self.effort = situation, shop, forecast, effort
        self._slowest: tuple[tuple[Record, ...], float, float] = ((), math.nan, 0.0)  # records, left: what is kept

    def deployments(self, network: Network, share: float = REST_SHARE) -> int:
        """Ways to run a trained network that are scored: as many as a share of the time left allows, one at least."""
        most = self.effort.deployments
        while most > 1 and self._after(network, most) > share * self.now.left_s():
            most -= 1
        return most

    def after(self, network: Network | None = None) -> float:
        """Seconds from a network's weights to a delivered answer; of the slowest in the race where none is given."""
        if network is None:
            records, left = self.now.records(), self.now.left_s()
            if self._slowest[0] is not records or self._slowest[1] != left:
                slowest = max((self.after(one) for one in self.fitting()), default=self.forecast.delivering())
                self._slowest = records, left, slowest
            return self._slowest[2]
        most = self.deployments(network)
        whole = self._after(network, most)
        if most == 1 and whole > REST_SHARE * self.now.left_s():
            whole = min(whole, self._least_after(network))
        return whole + self._nice(network)

    def _after(self, network: Network, most: int) -> float:
        return self._judged_and_confirmed(self.to_deploy(network, most))

    def _least_after(self, network: Network) -> float:
        """Where a compressed way is the fastest, but the time is short: what its parent takes, scored before it."""
        openings = self.now.open_candidates()
        ways = self.to_deploy(network, 1)
        parents = [r for r in ways if not r.parent and r.candidate.id in openings and self.is_likely(r)]
        return self._judged_and_confirmed(parents or ways)

    def is_likely(self, record: Record) -> bool:
        """True when the best guess of every cost keeps its limit."""
        return all(cost is None or limit.holds(cost.value) for limit, cost in self._costs(record))

    def is_sure(self, record: Record) -> bool:
        """True when every cost keeps its limit whatever its noise."""
        known = ((limit, cost) for limit, cost in self._costs(record) if cost is not None)
        return all(limit.holds(cost.high if limit.bound == "max" else cost.low) for limit, cost in known)

    def _costs(self, record: Record) -> list[tuple[Limit, Measurement | None]]:
        return [(limit, last_cost(record, limit.metric)) for limit in self.now.requirement.limits]

    def _judged_and_confirmed(self, records: Sequence[Record]) -> float:
        confirmed = max((self.confirming(record) for record in records), default=0.0)
        unmeasured = [r.candidate for r in records if not value_of(r, "latency_p50_ms")]
        probed = sum(self.forecast.timing(c, self.effort.probe_seconds, 1) for c in unmeasured)
        return self.forecast.deploying(records) + probed + confirmed + self.forecast.delivering()

    def judging(self, network: Network) -> float:
        """Seconds from the weights of a network that breaks a limit to its score in one way, and to the delivery."""
        records = self.to_deploy(network, 1, even_if_ruled_out=True)
        return self.forecast.deploying(records) + self.forecast.delivering()

    def to_deploy(self, network: Network, most: int, *, even_if_ruled_out: bool = False) -> list[Record]:
        """A network's fastest ways that nothing speaks against, measured or estimated: each parent before its child.

        One that was measured is among them, as it is known to fit.
        """
        openings = self.now.open_candidates()
        of_network = self.shop.of(network)
        open_ones = [r for r in of_network if even_if_ruled_out or r.candidate.id in openings]
        ways = sorted(one_of_each_way([r for r in open_ones if not self.shop.can_wait(r)]), key=_by_speed)
        sure = next((r for r in ways if value_of(r, "latency_p50_ms")), None)
        chosen = ways[:most] if sure is None or sure in ways[:most] else [*ways[: most - 1], sure]
        parents = {r.parent for r in chosen if r.parent}
        chosen += [r for r in of_network if r.candidate.id in parents and r not in chosen]
        return sorted(chosen, key=lambda r: (bool(r.parent), r.candidate.id))

    def parents(self, network: Network) -> frozenset[str]:
        """Candidates of a network that others still in the race are compressed from."""
        openings = self.now.open_candidates()
        return frozenset(r.parent for r in self.shop.of(network) if r.parent and r.candidate.id in openings)

    def confirming(self, record: Record) -> float:
        """Seconds that confirming a candidate takes, the least where the whole of it is too much for the time left."""
        whole = self.forecast.confirming(record, self.confirm_seconds(), CONFIRM_PROCESSES)
        return whole if whole <= REST_SHARE * self.now.left_s() else self.least_confirming(record)

    def least_confirming(self, record: Record) -> float:
        """What confirming takes at least: the test split and a timing in two processes."""
        candidate, forecast = record.candidate, self.forecast
        timing = forecast.timing(candidate, self.confirm_seconds(), FEWEST_PROCESSES)
        return forecast.evaluating(candidate, "test") + timing

    def processes(self, candidate: Candidate) -> int:
        """Fresh processes of a trained timing: three, where there is time for them."""
        whole = self.forecast.timing(candidate, self.confirm_seconds(), CONFIRM_PROCESSES)
        return CONFIRM_PROCESSES if self.has_time_for(whole) else FEWEST_PROCESSES

    def confirm_seconds(self) -> float:
        """The timed window of each of them."""
        return min(CONFIRM_SECONDS, max(CONFIRM_LEAST_S, CONFIRM_SHARE * self.now.requirement.budget.seconds))

    def has_time_for(self, seconds: float) -> bool:
        """True where so much and the delivery fit into what is left."""
        return self.now.left_s() >= seconds + self.forecast.delivering()

    def reference(self, candidate: Candidate) -> float:
        """Seconds to time the same network in torch and to compare with it."""
        torch = Candidate(candidate.network, UNCOMPRESSED, "torch", "fp32", self.now.requirement.target.threads)
        timed = self.forecast.timing(torch, self.confirm_seconds(), 1)
        return self.forecast.making(torch) + timed + self.forecast.comparing(candidate, "torch")

    def explaining(self, candidate: Candidate) -> float:
        """Seconds to explain a few answers."""
        return self.forecast.start(candidate.runtime) + EXPLAINED_S

    def _nice(self, network: Network) -> float:
        """Seconds for what is nice to know, where they are a small share of what is left."""
        candidate = next((r.candidate for r in self.shop.of(network)), None)
        quick = self.now.requirement.budget.effort == "quick"
        wanted = (self.reference(candidate) * (not quick) + self.explaining(candidate)) if candidate else 0.0
        return wanted if wanted <= REFERENCE_SHARE * self.now.left_s() else 0.0

    def fitting(self) -> list[Network]:
        """Networks, no baselines, that no limit on cost is believed to rule out.

        One of its ways was measured, or a larger network of its family was in the same way: what that keeps, it keeps.
        Its own measurement follows when it was trained.
        """
        openings = self.now.open_candidates()
        records = [r for r in self.now.records() if r.candidate.id in openings and not r.notes.get("baseline")]
        measured: dict[tuple[str, str, str, str], list[Network]] = {}
        for record in records:
            if value_of(record, "latency_p50_ms"):
                measured.setdefault(_way(record.candidate), []).append(record.candidate.network)
        found = {
            r.candidate.network.id: r.candidate.network
            for r in records
            if any(self._is_within(r.candidate.network, other) for other in measured.get(_way(r.candidate), ()))
        }
        return list(found.values())

    def possible(self) -> list[Network]:
        """Networks, no baselines, with a candidate that nothing rules out, measured or not."""
        openings = self.now.open_candidates()
        found = {
            r.candidate.network.id: r.candidate.network
            for r in self.now.records()
            if r.candidate.id in openings and not r.notes.get("baseline")
        }
        return list(found.values())

    def _is_within(self, network: Network, other: Network) -> bool:
        """True when a network is another, or costs no more of anything that is counted."""
        if network.id == other.id:
            return True
        ours, theirs = self.now.cost_of(network.id), self.now.cost_of(other.id)
        if ours is None or theirs is None:
            return False
        return ours.work <= theirs.work and ours.parameters <= theirs.parameters and ours.layers <= theirs.layers


def _way(candidate: Candidate) -> tuple[str, str, str, str]:
    """A family and how it is run."""
    return candidate.network.model, candidate.compressor, candidate.runtime, candidate.precision


def _by_speed(record: Record) -> tuple[float, str]:
    latency = [m.value for m in record.measurements if m.metric.name == "latency_p50_ms"]
    return latency[-1] if latency else math.inf, record.candidate.id
