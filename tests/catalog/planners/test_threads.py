"""The default planner varies threads where that may pay, and no more than that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import World, findings, play

from sartor.catalog.contracts import Outcome
from sartor.jobs import MeasureResult
from sartor.thread_counts import ThreadFact, Way
from sartor.types import Refusal

EASY = (("accuracy.min", 0.75), ("latency_p95_ms.max", 3.0), ("size_mb.max", 5.0))


class Threaded(World):
    """Work is shared out among threads, and each thread but the first costs ``meeting`` milliseconds a call."""

    def __init__(self, meeting, **options):
        super().__init__(**options)
        self.meeting = meeting

    def _measure(self, job, dice):
        result, seconds = super()._measure(job, dice)
        threads = job.pipeline.threads

        def scaled(one):
            if not one.metric.name.startswith("latency"):
                return one
            value = (one.value - 0.2) / threads + 0.2 + self.meeting * (threads - 1)
            return replace(one, value=value, low=value * 0.98, high=value * 1.02)

        return MeasureResult(tuple(scaled(one) for one in result.measurements), result.latency_parts_ms), seconds


def probes(actions):
    return [a for a in actions if a.stage == "measure" and a.purpose == "probe"]


def fewer(actions):
    return [a for a in probes(actions) if a.job.pipeline.threads < 2]


def test_where_threads_cost_more_than_they_bring_one_is_chosen_and_confirmed():
    known = findings(EASY)
    actions = play(known, Threaded(meeting=5.0))
    decision = known.decision()
    assert decision.status == "met"
    assert decision.chosen.endswith("/1-thread")
    trained = [a for a in actions if a.stage == "measure" and a.job.trained and a.subject == decision.chosen]
    assert {a.job.pipeline.threads for a in trained} == {1}
    record = next(r for r in known.records() if r.candidate.id == decision.chosen)
    assert record.candidate.fewer
    if record.parent:
        assert not record.parent.endswith("-thread"), "the parent is the one of the search"
    references = [a for a in actions if a.stage == "measure" and a.job.pipeline.runtime == "torch"]
    assert {a.job.pipeline.threads for a in references} == {2}, "what one would have run uses all threads"


def test_a_limit_that_only_fewer_threads_meet_is_met():
    known = findings((("accuracy.min", 0.75), ("latency_p95_ms.max", 1.0)))
    play(known, Threaded(meeting=5.0))
    assert known.decision().status == "met"
    assert known.decision().chosen.endswith("/1-thread")


def test_where_threads_pay_two_networks_are_asked_and_the_longer_ones_are_not():
    known = findings(EASY)
    actions = play(known, Threaded(meeting=-0.05))
    assert known.decision().status == "met"
    assert not known.decision().chosen.endswith("-thread")
    ways = [(a.job.pipeline.precision, a.job.pipeline.runtime) for a in fewer(actions)]
    assert 0 < len(ways) < 0.5 * (len(probes(actions)) - len(ways))


def test_probing_is_not_doubled_where_fewer_threads_always_win():
    known = findings(EASY)
    actions = play(known, Threaded(meeting=5.0))
    assert len(fewer(actions)) <= len(probes(actions)) - len(fewer(actions))


def test_what_earlier_runs_know_of_the_device_spares_the_question():
    way = [Way("image-classification", runtime, precision, 1) for runtime in ("onnxruntime", "openvino")
           for precision in ("fp32", "int8", "bf16")]  # fmt: skip
    known = findings(EASY)
    known.thread_facts = tuple(ThreadFact(graph, one, 0.01, 2, 2) for graph in "ab" for one in way)
    assert not fewer(play(known, Threaded(meeting=-0.05)))


def test_with_one_thread_allowed_there_is_nothing_to_vary():
    known = findings(EASY)
    known.requirement = replace(known.requirement, target=replace(known.requirement.target, threads=1))
    assert all(not r.candidate.fewer for r in known.records())
    play(known, Threaded(meeting=5.0))
    assert all(not r.candidate.fewer for r in known.records())


@pytest.mark.parametrize("limits", [EASY, (("latency_p95_ms.max", 0.001),)])
def test_what_is_declined_with_fewer_threads_is_a_reason_and_no_end(limits):
    class Declines(World):
        def _do(self, action, key):
            if action.stage == "measure" and action.job.pipeline.threads == 1:
                return Outcome(key, None, Refusal("CRASHED", "pretend crash"), 1.0, False)
            return super()._do(action, key)

    known = findings(limits)
    play(known, Declines())
    assert known.decision().status == ("met" if limits == EASY else "infeasible")
    alone = [r for r in known.records() if r.candidate.fewer]
    assert alone
    assert all(r.refusals[0].code == "CRASHED" for r in alone)
