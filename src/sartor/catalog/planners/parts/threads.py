"""Fewer threads than the target allows, as further ways to run a network: tried where they may pay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.thread_counts import ThreadFact, Way, best_of, facts_of, likely, next_count
from sartor.types import Candidate, Network, Record

CLOSE = 1.1  # times the fastest: ways that fewer threads might make the fastest
MOST_WAYS = 2  # of a network, whose threads are varied

Probe = Callable[[Candidate], Step[None]]


class Threads:
    """Varies the threads of a network's fastest ways, led by what is known of graphs like it on this device."""

    def __init__(self, situation: Situation, shop: Workshop) -> None:
        self.now, self.shop = situation, shop
        self.most = situation.requirement.target.threads

    def try_fewer(self, network: Network, probe: Probe) -> Step[None]:
        """Probe a network, measured with the most threads, with fewer of them, downhill from the likely winner."""
        if self.most == 1:
            return
        measured = [r for r in self._with_most(network) if value_of(r, "latency_p50_ms")]
        ordered = sorted(measured, key=lambda r: (value_of(r, "latency_p50_ms"), r.candidate.id))
        close = [r for r in ordered if value_of(r, "latency_p50_ms") <= CLOSE * value_of(ordered[0], "latency_p50_ms")]
        for record in close[:MOST_WAYS]:
            hint = likely(self._facts(), self._way(record), value_of(record, "latency_p50_ms"), self.most)
            asked: set[int] = set()
            while threads := next_count(self._by_threads(record), self.most, hint):
                if threads in asked:  # it was declined
                    break
                asked.add(threads)
                yield from probe(replace(record.candidate, threads=threads, fewer=True))

    def _with_most(self, network: Network) -> list[Record]:
        return [r for r in self.shop.of(network) if not r.candidate.fewer and not r.notes.get("reference")]

    def _by_threads(self, record: Record) -> dict[int, float]:
        """Median milliseconds of a way by the threads it was measured with."""
        mine = (record.candidate.runtime, record.candidate.precision)
        return {
            r.candidate.threads: value_of(r, "latency_p50_ms")
            for r in self.shop.of(record.candidate.network)
            if (r.candidate.runtime, r.candidate.precision) == mine and value_of(r, "latency_p50_ms")
        }

    def _way(self, record: Record) -> Way:
        asked = self.now.requirement
        return Way(asked.task, record.candidate.runtime, record.candidate.precision, asked.target.batch)

    def _facts(self) -> tuple[ThreadFact, ...]:
        """Of this run so far, and of earlier ones."""
        ours = facts_of(
            (r.candidate.network.id, self._way(r), r.candidate.threads, value_of(r, "latency_p50_ms"))
            for r in self.now.records()
            if value_of(r, "latency_p50_ms")
            and not r.notes.get("reference")
            and not any(m.noisy for m in r.measurements)
        )
        return (*ours, *self.now.thread_facts)


def one_of_each_way(records: Sequence[Record]) -> list[Record]:
    """Records of a network, each way with the number of threads that it did best with; measured ones before others."""
    ways: dict[tuple[str, str], dict[int, Record]] = defaultdict(dict)
    for record in records:
        ways[record.candidate.runtime, record.candidate.precision][record.candidate.threads] = record
    chosen = []
    for way in ways.values():
        ms = {threads: value for threads, record in way.items() if (value := value_of(record, "latency_p50_ms"))}
        chosen.append(way[best_of(ms)] if ms else way[max(way)])
    return chosen
