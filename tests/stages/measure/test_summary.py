"""From timings to measurements: intervals, hulls, and when a machine was too noisy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.cpu_load import CpuTimes, load_between, read_cpu_times
from sartor.intervals import percentile, percentile_ranks
from sartor.jobs import MeasureJob
from sartor.stages.measure.summary import Observation, calls_to_bound, measurements_of, parts_of, read_observation
from sartor.stages.measure.windows import Timings
from sartor.types import Pipeline

PIPELINE = Pipeline("image-classification", ("a", "b"), (8, 8), "model.onnx", "onnxruntime", "fp32", 2, 4)
JOB = MeasureJob("artifact", PIPELINE, "data", "device", 0.95, 1.0)
QUIET = {"foreign_cores": 0.05, "stolen_cores": 0.0, "share": 0.025}


def observation(milliseconds, *, window=100, share=0.02, last_spread=0.01, peak=100_000_000, cold=500.0, slowdown=1.0):
    timings = Timings()
    for value in milliseconds:
        timings.add((0, 0, round(value * 1e6), 0))
    timings.ends = [*range(window, len(timings.model), window), len(timings.model)]
    facts = {
        "ends": timings.ends,
        "cold_start_ms": cold,
        "load_ms": 100.0,
        "warm_up_calls": 10,
        "spread": last_spread,
        "last_spread": last_spread,
        "load_at_start": QUIET,
        "load": {**QUIET, "share": share},
        "autogroups": True,
        "peak_memory_bytes": peak,
        "effective_precision": "fp32",
        "runtime_version": "1",
    }
    return Observation(timings, facts, slowdown)


def measured(*observations, job=JOB):
    return {m.metric.name: m for m in measurements_of(observations, job, 2_000_000)}


def test_percentiles_are_order_statistics():
    values = [1 + index / 1000 for index in range(1000)]
    found = measured(observation(values))
    for name, q in (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99)):
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(percentile(values, q, 0.95))
        assert found[name].n == 1000


def test_throughput_counts_samples_not_calls():
    found = measured(observation([2.0] * 500))["throughput_per_s"]
    assert found.value == pytest.approx(4 * 1000 / 2.0)
    assert found.low == pytest.approx(found.value)


def test_throughput_lies_between_its_windows():
    found = measured(observation([1.0] * 100 + [3.0] * 100))["throughput_per_s"]
    assert (found.low, found.value, found.high) == pytest.approx((4000 / 3, 2000, 4000))


def test_a_percentile_without_an_upper_bound_is_left_out():
    few = measured(observation([1.0] * 100))
    assert "latency_p99_ms" not in few
    assert {"latency_p50_ms", "latency_p95_ms", "memory_peak_mb"} <= set(few)
    assert "latency_p95_ms" not in measured(observation([1.0] * 20))


def test_too_few_calls_per_process_are_taken_together():
    found = measured(*(observation([1.0 + process / 10] * 30) for process in range(3)))
    assert found["latency_p95_ms"].n == 90
    assert found["latency_p95_ms"].high == 1.2
    assert "latency_p99_ms" not in found


def test_hull_over_processes_with_the_median_as_value():
    found = measured(*(observation([value] * 400, peak=int(value * 1e8), cold=value) for value in (1.0, 1.2, 1.1)))
    p50, peak = found["latency_p50_ms"], found["memory_peak_mb"]
    assert (p50.low, p50.value, p50.high) == (1.0, 1.1, 1.2)
    assert (peak.low, peak.value, peak.high, peak.n) == (100.0, 110.0, 120.0, 3)
    assert (found["cold_start_ms"].low, found["cold_start_ms"].high) == (1.0, 1.2)
    assert p50.conditions["processes"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 0.4}, "others used 40%"),
        ({"last_spread": 0.3}, "windows differ by 30%"),
        ({"slowdown": 1.7}, "the processor ran 1.70 times slower than usual"),
    ],
)
def test_noise_marks_times_but_not_memory_and_size(changes, words):
    found = measured(observation([1.0] * 400, **changes))
    assert found["latency_p50_ms"].noisy
    assert found["throughput_per_s"].noisy
    assert found["cold_start_ms"].noisy
    assert not found["memory_peak_mb"].noisy
    assert not found["size_mb"].noisy
    assert words in " ".join(found["latency_p50_ms"].conditions["noise"])


def test_the_interval_of_a_noisy_timing_reaches_to_what_a_quiet_machine_could_show():
    found = measured(observation([1.0] * 40 + [6.0] * 360, share=0.5))
    p50, throughput, cold = (found[name] for name in ("latency_p50_ms", "throughput_per_s", "cold_start_ms"))
    assert (p50.low, p50.value, p50.high) == (0.5, 6.0, 6.0)
    assert throughput.high == 8000.0
    assert throughput.low <= throughput.value < 1000
    assert (cold.low, cold.value) == (0.0, 500.0)
    assert found["memory_peak_mb"].low == found["memory_peak_mb"].high


def test_standing_still_is_noise():
    assert "stood still for 30.0 s" in observation([1.0] * 400 + [30_000.0]).noise[0]
    assert observation([1.0] * 400 + [8.0]).noise == ()
    assert observation([2000.0] * 10).noise == ()


def test_noisy_processes_are_dropped_when_another_was_quiet():
    found = measured(observation([9.0] * 400, share=0.5), observation([1.0] * 400))["latency_p50_ms"]
    assert not found.noisy
    assert found.high == 1.0
    assert found.conditions["processes_dropped_as_noisy"] == 1
    assert parts_of([observation([9.0] * 400, share=0.5), observation([1.0] * 400)])["model"] == 1.0


def test_quiet_conditions_name_no_noise():
    conditions = measured(observation([1.0] * 400))["latency_p50_ms"].conditions
    assert "noise" not in conditions
    assert conditions["threads"] == 2
    assert conditions["min_ms"] == conditions["max_ms"] == 1.0


def test_random_weights_and_place_are_noted():
    job = replace(JOB, trained=False)
    assert all((m.trained, m.device, m.artifact) == (False, "device", "artifact") for m in measured_of(job))


def measured_of(job):
    return measurements_of([observation([1.0] * 400)], job, 1)


@given(st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999]))
def test_calls_to_bound_a_percentile_are_the_fewest(confidence):
    for q in (0.95, 0.99):
        n = calls_to_bound(q, confidence)
        assert percentile_ranks(n, q, confidence)[1] is not None
        assert percentile_ranks(n - 1, q, confidence)[1] is None


@given(
    st.lists(st.lists(st.floats(0.01, 100), min_size=8, max_size=600), min_size=1, max_size=4),
    st.sampled_from([0.9, 0.95]),
)
def test_measurements_hold_their_values(processes, confidence):
    job = replace(JOB, confidence=confidence)
    for measurement in measurements_of([observation(values) for values in processes], job, 10):
        assert measurement.low <= measurement.value <= measurement.high
        assert measurement.confidence == confidence
        assert 0 < measurement.high < float("inf")


def test_timings_survive_the_file(tmp_path):
    timings = Timings()
    for call in range(5):
        timings.add((1000 + call, 2000, 3000, 4000))
    with (tmp_path / "timings.f64").open("wb") as file:
        for part in (timings.decode, timings.prepare, timings.model, timings.answer):
            part.tofile(file)
    timings.ends = [2, 5]
    assert read_observation(tmp_path, {"ends": [2, 5]}, 1.0).timings == timings


def test_load_is_what_others_took():
    before = CpuTimes(wall=10.0, busy=100.0, own=1.0, stolen=0.0)
    after = CpuTimes(wall=12.0, busy=103.0, own=2.0, stolen=0.4)
    load = load_between(before, after, cores=4)
    assert load.foreign_cores == pytest.approx(1.0)
    assert load.stolen_cores == pytest.approx(0.2)
    assert load.share == pytest.approx(1.2 / 4)


def test_load_is_never_negative():
    before = CpuTimes(10.0, 100.0, 1.0, 0.0)
    assert load_between(before, CpuTimes(11.0, 100.5, 1.9, 0.0), 2).share == 0.0


def test_counters_of_this_machine_move_forward():
    first = read_cpu_times()
    sum(range(10**6))
    second = read_cpu_times()
    assert second.wall > first.wall
    assert second.own > first.own
    assert second.busy >= first.busy
