"""``measure`` on real runtimes: what it returns, and that the numbers mean what they say."""

import subprocess
import sys

import pytest

from sartor.codec import digest, from_plain, to_plain
from sartor.energy import counters
from sartor.errors import Refused, StorageError, Unsupported
from sartor.jobs import MeasureResult
from sartor.metrics import COST_METRICS
from sartor.stages.measure import measure

NAMES = {metric.name for metric in COST_METRICS} - ({"energy_mj"} if not counters() else set())


_done = {}


def result_of(job, prepared):
    """The result of a job, run once for all tests here."""
    key = digest(job)
    if key not in _done:
        _done[key] = measure(job, prepared[0])
    return _done[key]


def measured(result):
    return {measurement.metric.name: measurement for measurement in result.measurements}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_cost_metric_with_interval_and_provenance(runtime, prepared, measure_job):
    job = measure_job(runtime=runtime, seconds=0.6)
    result = measure(job, prepared[0])
    found = measured(result)
    assert set(found) == NAMES
    for measurement in found.values():
        assert 0 <= measurement.low <= measurement.value <= measurement.high
        assert measurement.noisy or measurement.low > 0
        assert measurement.basis == "measured"
        assert (measurement.artifact, measurement.device) == (job.artifact, "device")
        assert measurement.trained
    assert found["latency_p50_ms"].value <= found["latency_p95_ms"].value <= found["latency_p99_ms"].value
    conditions = found["latency_p50_ms"].conditions
    assert conditions["threads"] == 1
    assert conditions["effective_precision"] == "fp32"
    assert conditions["runtime_version"]
    assert sum(conditions["calls"]) == found["latency_p50_ms"].n
    assert conditions["min_ms"] <= found["latency_p50_ms"].value
    assert 20 < found["memory_peak_mb"].value < 400
    assert 50 < found["cold_start_ms"].value < 30_000
    assert set(result.latency_parts_ms) == {"decode", "prepare", "model", "answer"}
    assert from_plain(MeasureResult, to_plain(result)) == result


def test_size_is_model_and_pipeline(prepared, measure_job):
    job = measure_job()
    found = measured(result_of(job, prepared))["size_mb"]
    model_bytes = prepared[0].objects.path(job.artifact).stat().st_size
    assert model_bytes / 1e6 < found.value < (model_bytes + 2000) / 1e6
    assert found.low == found.value == found.high


def test_random_weights_are_marked(prepared, measure_job):
    assert not any(m.trained for m in measure(measure_job(trained=False), prepared[0]).measurements)


def test_scratch_is_gone_afterwards(prepared, measure_job):
    job = measure_job()
    result_of(job, prepared)
    assert not (prepared[0].root / "scratch" / digest(job)).exists()


def test_int8_is_read_back_from_both_runtimes(prepared, model, measure_job):
    quantised = model(quantised=True)
    for runtime in ("onnxruntime", "openvino"):
        result = measure(measure_job(quantised, runtime=runtime, precision="int8"), prepared[0])
        assert result.measurements[0].conditions["effective_precision"] == "int8"


def test_a_float_file_is_not_int8(prepared, measure_job):
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(Unsupported, match="NO_INT8.* ran the model in fp32 instead of int8"):
            measure(measure_job(runtime=runtime, precision="int8"), prepared[0])


def test_onnxruntime_has_no_bf16(prepared, measure_job):
    with pytest.raises(Unsupported, match="NO_BF16"):
        measure(measure_job(precision="bf16"), prepared[0])


def test_a_damaged_model_is_refused_not_crashed_on(prepared, model, measure_job):
    with pytest.raises((Refused, Unsupported)):
        measure(measure_job(model(b"\x08\x08garbage" * 30)), prepared[0])


def test_an_object_that_changed_is_noticed(prepared, model, measure_job):
    artifact = model(width=8)
    path = prepared[0].objects.path(artifact)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(StorageError, match="has changed"):
        measure(measure_job(artifact), prepared[0])
    path.unlink()


def test_a_batch_that_the_graph_does_not_take(prepared, measure_job):
    with pytest.raises(Unsupported, match="RUNTIME_FAILED"):
        measure(measure_job(batch=3), prepared[0])


def test_the_timed_child_loads_no_trainer_and_little_else():
    code = (
        "import sys, sartor.stages.measure.time_child, sartor.catalog.tasks.image_classification\n"
        "from sartor import registry; registry.get('runtimes', 'onnxruntime').version()\n"
        "print([m for m in ('torch', 'psutil', 'sqlite3', 'pydantic', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_latency_grows_with_the_work(prepared, model, measure_job):
    small, large = (
        measured(measure(measure_job(model(width=width), seconds=0.5), prepared[0]))["latency_p50_ms"].conditions
        for width in (8, 2048)
    )
    assert large["min_ms"] > small["min_ms"]  # the fastest call: a busy machine hardly moves it


@pytest.mark.slow
def test_several_processes_give_the_hull(prepared, measure_job):
    found = measured(measure(measure_job(processes=3), prepared[0]))["memory_peak_mb"]
    assert found.n >= 3
    assert found.low <= found.value <= found.high
