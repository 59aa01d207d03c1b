"""How many threads are worth having: what was measured on a device tells what to try first for the next graph.

Threads are started and met again at every layer, so a small graph is often as fast, or faster, on fewer of them. Which
way it goes depends on the runtime, the precision and the length of a call; a class of graphs is a call of about the
same length, in the same way, for the same task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sartor.codec import from_plain
from sartor.jobs import MeasureJob, MeasureResult

if TYPE_CHECKING:
    from sartor.evidence import Evidence  # reading facts needs no database until there is one to read from

TIE = 1.03  # times as slow is as fast: the noise floor of a ratio (docs/concepts.md); then fewer threads are better
ALIKE = 2.0  # calls that are at most so many times as long are of one class
ENOUGH = 2  # graphs of a class that had no use for fewer threads, before the next is not asked any more


@dataclass(frozen=True)
class Way:
    """How a graph is run, its threads apart."""

    task: str
    runtime: str
    precision: str
    batch: int


@dataclass(frozen=True)
class ThreadFact:
    """One graph, measured with several numbers of threads on one device.

    Args:
        graph: names it; a graph counts once.
        ms: its median call with ``most`` threads.
        best: the fewest threads with which it was as fast as it gets.
        most: the most threads that it was measured with.
    """

    graph: str
    way: Way
    ms: float
    best: int
    most: int


def counts(most: int) -> tuple[int, ...]:
    """The numbers of threads that may be tried: powers of two, and the most."""
    return (*(1 << power for power in range(most.bit_length()) if 1 << power < most), most)


def best_of(ms: Mapping[int, float]) -> int:
    """The fewest threads that are as fast as the fastest, within noise; ``ms`` by number of threads, not empty."""
    fastest = min(ms.values())
    return min(threads for threads, value in ms.items() if value <= TIE * fastest)


def likely(facts: Iterable[ThreadFact], way: Way, ms: float, most: int) -> int:
    """The number of threads that did best for graphs like this one; 0 where nothing is known.

    ``most`` is answered only on the word of ``ENOUGH`` graphs that are no longer: a longer call has more to share out.

    Args:
        facts: what is known.
        way: how the graph is run.
        ms: its call with ``most`` threads.
        most: threads that the target allows.
    """
    known = [fact for fact in facts if fact.way == way and fact.most == most]
    near = [fact for fact in known if fact.best < most and fact.ms >= ms / ALIKE]
    if near:
        return min(near, key=lambda fact: (max(fact.ms / ms, ms / fact.ms), fact.graph)).best
    spoken = {fact.graph for fact in known if fact.best == most and fact.ms <= ms * ALIKE}
    return most if len(spoken) >= ENOUGH else 0


def next_count(ms: Mapping[int, float], most: int, hint: int) -> int:
    """The next number of threads to try for a graph; 0 when there is none worth trying.

    From the likely winner (or half the threads) downhill: fewer and more beside the best so far, until both are known.

    Args:
        ms: what was measured so far by number of threads, ``most`` among them.
        most: threads that the target allows.
        hint: of :func:`likely`.
    """
    if most not in ms or hint == most:
        return 0
    ladder = counts(most)
    if len(ms) == 1:
        return hint if hint in ladder else ladder[-2] if len(ladder) > 1 else 0
    place = ladder.index(best_of(ms))
    beside = [ladder[there] for there in (place - 1, place + 1) if 0 <= there < len(ladder)]
    return next((threads for threads in beside if threads not in ms), 0)


def facts_of(measured: Iterable[tuple[str, Way, int, float]]) -> tuple[ThreadFact, ...]:
    """Facts from measurements (graph, way, threads, ms), of graphs measured with several numbers of threads."""
    graphs: dict[tuple[str, Way], dict[int, float]] = defaultdict(dict)
    for graph, way, threads, ms in measured:
        graphs[graph, way][threads] = ms
    return tuple(
        ThreadFact(graph, way, ms[max(ms)], best_of(ms), max(ms)) for (graph, way), ms in graphs.items() if len(ms) > 1
    )


def earlier_facts(evidence: Evidence, device: str, run: str, started: float) -> tuple[ThreadFact, ...]:
    """What other runs had found on a device when this one was first begun; noisy measurements say nothing.

    This run's own are left out: continued, it must plan as it did, and comes to them again.
    """
    measured: list[tuple[str, Way, int, float]] = []
    for entry in evidence.of_stage("measure"):
        job = entry.job
        if entry.refusal or entry.run == run or entry.created >= started or job["device"] != device:
            continue
        measured += _measured(from_plain(MeasureJob, job), from_plain(MeasureResult, entry.result))
    return facts_of(measured)


def _measured(job: MeasureJob, result: MeasureResult) -> Sequence[tuple[str, Way, int, float]]:
    pipeline = job.pipeline
    way = Way(pipeline.task, pipeline.runtime, pipeline.precision, pipeline.batch)
    return [
        (job.artifact, way, pipeline.threads, one.value)
        for one in result.measurements
        if one.metric.name == "latency_p50_ms" and not one.noisy
    ]
