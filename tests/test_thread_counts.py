"""How many threads: what is tried, what is believed, what is not asked any more."""

from __future__ import annotations

import time

import pytest

from sartor.codec import to_plain
from sartor.evidence import Evidence
from sartor.jobs import MeasureJob, MeasureResult
from sartor.metrics import COST_METRICS, index
from sartor.thread_counts import ThreadFact, Way, best_of, counts, earlier_facts, facts_of, likely, next_count
from sartor.types import Measurement, Pipeline

WAY = Way("image-classification", "onnxruntime", "fp32", 1)


def fact(graph, ms, best, most=8, way=WAY):
    return ThreadFact(graph, way, ms, best, most)


@pytest.mark.parametrize(
    ("most", "ladder"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_powers_of_two_and_the_most_are_tried(most, ladder):
    assert counts(most) == ladder


def test_fewer_threads_win_a_tie():
    assert best_of({1: 1.02, 2: 1.0}) == 1
    assert best_of({1: 1.05, 2: 1.0}) == 2


def walk(speed, most, hint=0):
    """What is tried of a graph whose call takes ``speed(threads)``, and the answer."""
    ms = {most: speed(most)}
    tried = []
    while threads := next_count(ms, most, hint):
        assert threads not in ms
        tried.append(threads)
        ms[threads] = speed(threads)
    return tried, best_of(ms)


def test_downhill_to_the_best_and_one_beyond():
    assert walk(lambda threads: 8 / threads, 8) == ([4], 8)  # a large graph: one look
    assert walk(lambda threads: 1 + threads, 8) == ([4, 2, 1], 1)
    assert walk(lambda threads: abs(threads - 4) + 1, 8) == ([4, 2], 4)


def test_the_likely_winner_is_tried_first():
    assert walk(lambda threads: 1 + threads, 32, hint=1) == ([1, 2], 1)
    assert walk(lambda threads: abs(threads - 2) + 1, 32, hint=2) == ([2, 1, 4], 2)
    assert walk(lambda threads: 8 / threads, 8, hint=8) == ([], 8)


def test_one_thread_leaves_nothing_to_try():
    assert walk(lambda threads: 1.0, 1) == ([], 1)


def test_two_graphs_no_longer_than_this_say_that_all_threads_pay():
    known = [fact("a", 1.0, 8), fact("b", 2.0, 8)]
    assert likely(known, WAY, 3.0, 8) == 8
    assert likely(known[:1], WAY, 3.0, 8) == 0, "one is not enough"
    assert likely(known, WAY, 0.3, 8) == 0, "shorter calls are another matter"
    assert likely([*known[:1], fact("a", 1.0, 8)], WAY, 3.0, 8) == 0, "a graph counts once"


def test_the_nearest_that_did_well_on_fewer_says_how_many():
    known = [fact("a", 0.1, 1), fact("b", 1.0, 4), fact("c", 50.0, 8), fact("d", 60.0, 8)]
    assert likely(known, WAY, 0.15, 8) == 1
    assert likely(known, WAY, 1.5, 8) == 4
    assert likely(known, WAY, 100.0, 8) == 8


@pytest.mark.parametrize(
    "way",
    [
        Way("text-classification", "onnxruntime", "fp32", 1),
        Way("image-classification", "openvino", "fp32", 1),
        Way("image-classification", "onnxruntime", "int8", 1),
        Way("image-classification", "onnxruntime", "fp32", 8),
    ],
)
def test_other_ways_say_nothing(way):
    known = [fact("a", 1.0, 1), fact("b", 1.0, 1)]
    assert likely(known, way, 1.0, 8) == 0
    assert likely(known, WAY, 1.0, 4) == 0, "nor do other numbers of threads"


def test_a_graph_seen_with_one_number_of_threads_is_no_fact():
    assert facts_of([("a", WAY, 2, 1.0)]) == ()
    assert facts_of([("a", WAY, 2, 1.0), ("a", WAY, 1, 1.0)]) == (fact("a", 1.0, 1, most=2),)


def test_what_earlier_runs_measured_on_the_device_is_known(tmp_path):
    evidence = Evidence(tmp_path / "evidence.db")
    latency = index(COST_METRICS)["latency_p50_ms"]

    def measured(graph, threads, ms, *, device="here", run="other", noisy=False):
        pipeline = Pipeline(WAY.task, (), (8, 8), "model.onnx", WAY.runtime, WAY.precision, threads, 1)
        job = MeasureJob(graph, pipeline, "data", device, 0.95, 1.0)
        result = MeasureResult((Measurement(latency, ms, ms, ms, 100, "measured", noisy=noisy),), {})
        key = f"{graph}{threads}{device}{run}"
        evidence.add(
            key=key, stage="measure", job=to_plain(job), result=to_plain(result), seconds=1.0, run=run, refusal=None
        )

    for threads, ms in ((1, 1.0), (2, 2.0)):
        measured("known", threads, ms)
        measured("elsewhere", threads, ms, device="there")
        measured("our own", threads, ms, run="mine")
        measured("noisy", threads, ms, noisy=threads == 1)
    later = time.time() + 1
    assert earlier_facts(evidence, "here", "mine", later) == (fact("known", 2.0, 1, most=2),)
    assert earlier_facts(evidence, "here", "mine", later - 1000) == (), "what came after it began is not"
    evidence.close()
