"""Our upper bounds of percentiles against the early stopping of MLPerf's LoadGen, its package as the referee.

LoadGen (Reddi et al. 2020, arXiv:1911.02549) lets n queries of which t are over the target latency pass at percentile p
when I(p - d; n - t, t + 1) <= 1 - c: so many passes would be too unlikely if a share of only p - d were under. It uses
c = 0.99 and d = 0. Ours are two-sided at 2c - 1 = 0.98.
"""

import json
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc

from sartor.intervals import percentile, percentile_ranks
from sartor.metrics import COST_METRICS, index
from sartor.stages.decide.judge import judge
from sartor.types import Candidate, Limit, Measurement, Network, Record

CONFIDENCE = 0.98
METRIC = index(COST_METRICS)["latency_p95_ms"]


def is_met(latencies, q, limit):
    """Our verdict on a limit of a percentile, of measured and trained timings."""
    value, low, high = percentile(sorted(latencies), q, CONFIDENCE)
    if high is None:
        return False  # such a percentile is left out
    known = Measurement(METRIC, value, low, high, len(latencies), "measured", CONFIDENCE)
    record = Record(Candidate(Network("m", "", {}, (1,), 1), "none", "r", "fp32", 1), (known,))
    limit = Limit(METRIC.name, "max", limit, "limits.latency_p95_ms.max")
    return judge(record, limit, {METRIC.name: METRIC}).outcome == "met"


@given(st.integers(1, 3000), st.floats(0, 0.3), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.integers(0, 2**32))
def test_the_published_rule_gives_the_same_verdicts(n, share, q, seed):
    generator = random.Random(seed)
    over = round(share * n * 2 * (1 - q))
    latencies = [generator.uniform(2, 30) if i < over else generator.lognormvariate(-3, 0.5) % 1 for i in range(n)]
    passes = betainc(n - over, over + 1, q) <= 1 - 0.99 if over < n else False
    assert is_met(latencies, q, 1.0) == passes


def run_loadgen(folder, scenario, n, q, slow=(), target_ns=0, qps=8000.0):
    """Latencies in ns that LoadGen saw (ascending), and its log's entries; query numbers in ``slow`` take 3 ms."""
    loadgen = pytest.importorskip("mlperf_loadgen", reason="the referee: pip install mlcommons-loadgen")
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count, settings.max_query_count = 0, n, n
    settings.single_stream_expected_latency_ns, settings.single_stream_target_latency_percentile = 1000, q
    settings.server_target_qps, settings.server_target_latency_ns = qps, target_ns
    settings.server_target_latency_percentile = q
    generator, waiting, seen = random.Random(n), [], 0

    def finish(later_than):
        while waiting and waiting[0][0] <= later_than:
            complete(waiting.pop(0)[1])

    def complete(number):
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(number, 0, 0)])

    def issue(samples):
        nonlocal seen
        for sample in samples:
            seen += 1
            if seen - 1 in slow:
                waiting.append((time.perf_counter() + 0.003, sample.id))
            else:
                end = time.perf_counter_ns() + generator.lognormvariate(9, 1) * (scenario == "SingleStream")
                while time.perf_counter_ns() < end:
                    pass
                complete(sample.id)
        finish(time.perf_counter())

    def flush():
        time.sleep(0.004 if waiting else 0)
        finish(float("inf"))

    system = loadgen.ConstructSUT(issue, flush)
    library = loadgen.ConstructQSL(8, 8, lambda _: None, lambda _: None)
    logs = loadgen.LogSettings()
    logs.log_output.outdir, logs.log_output.copy_summary_to_stdout, logs.enable_trace = str(folder), False, True
    try:
        loadgen.StartTestWithLogSettings(system, library, settings, logs, "")
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    trace = (folder / "mlperf_log_trace.json").read_text()
    lines = (folder / "mlperf_log_detail.txt").read_text().splitlines()
    entries = (json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith(":::MLLOG"))
    return sorted(map(int, re.findall(r'"complete_ns":(\d+)', trace))), {e["key"]: e["value"] for e in entries}


@pytest.mark.parametrize(
    ("n", "q", "slow"),
    [(300, 0.9, 10), (300, 0.9, 18), (300, 0.9, 19), (300, 0.9, 30), (50, 0.9, 0), (40, 0.9, 0), (110, 0.95, 1)]
    + [(470, 0.99, 0), (700, 0.99, 1), (700, 0.99, 2)],
)
def test_the_referee_gives_the_same_verdict_on_a_target(tmp_path, n, q, slow):
    places = set(random.Random(0).sample(range(n), slow))
    latencies, log = run_loadgen(tmp_path, "Server", n, q, places, target_ns=2_500_000)
    assert len(latencies) == n
    assert sum(one > 2_500_000 for one in latencies) >= slow
    assert is_met(latencies, q, 2_500_000) == log["early_stopping_met"]


@pytest.mark.parametrize(("n", "q"), [(64, 0.9), (300, 0.9), (500, 0.95), (700, 0.99), (400, 0.5)])
def test_the_referees_estimate_is_one_rank_above_our_bound(tmp_path, n, q):
    """It counts the latency it reports among those over: the next order statistic."""
    latencies, log = run_loadgen(tmp_path, "SingleStream", n, q)
    rank = percentile_ranks(n, q, CONFIDENCE)[1]
    assert log["early_stopping_latency_ss"] == latencies[rank + 1]
