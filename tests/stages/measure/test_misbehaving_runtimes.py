"""Crash, hang, lack of memory and lies of a runtime are reasons with a code; nothing is left running."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sartor.codec import canonical_json
from sartor.errors import Unsupported
from sartor.stages.measure import evaluate, measure, timing

pytestmark = pytest.mark.usefixtures("fakes")


def test_a_steady_fake_is_measured(prepared, measure_job):
    result = measure(measure_job(runtime="steady"), prepared[0])
    assert result.latency_parts_ms["model"] >= 0.5


@pytest.mark.parametrize(
    ("runtime", "code", "words"),
    [
        ("crashes", "CRASHED", "SIGSEGV"),
        ("crashes", "CRASHED", "bad kernel 17"),
        ("raises", "CRASHED", "RuntimeError: kernel not found"),
        ("exits", "CRASHED", "exit code 0"),
        ("greedy", "OOM", "ran out of memory"),
        ("greedy-native", "OOM", "bad_alloc"),
        ("killed", "OOM", "killed"),
        ("declines", "NO_BF16", "this machine has no bf16"),
        ("nan", "NO_ANSWER", "not finite"),
    ],
)
def test_misbehaviour_is_a_refusal(runtime, code, words, prepared, measure_job):
    with pytest.raises(Unsupported) as refusal:
        measure(measure_job(runtime=runtime), prepared[0])
    assert refusal.value.code == code
    assert words in refusal.value.detail
    assert "\n" not in refusal.value.detail


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_precision_that_is_not_effective_is_a_refusal(precision, prepared, measure_job):
    with pytest.raises(Unsupported, match=f"NO_{precision.upper()}: pretends ran the model in fp32"):
        measure(measure_job(runtime="pretends", precision=precision), prepared[0])


def test_what_a_runtime_prints_does_no_harm(prepared, measure_job):
    assert measure(measure_job(runtime="chatty"), prepared[0]).measurements


def test_a_crash_after_the_result_costs_nothing(prepared, measure_job):
    assert measure(measure_job(runtime="crashes-at-exit"), prepared[0]).measurements


def test_evaluation_of_a_crash_is_a_refusal_too(prepared, evaluate_job):
    with pytest.raises(Unsupported, match="CRASHED"):
        evaluate(evaluate_job(runtime="crashes"), prepared[0])


def children_of(process):
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def timed_children():
    return [child for child in children_of(os.getpid()) if "time_child" in " ".join(child.cmdline())]


def test_a_hang_is_ended(prepared, measure_job, monkeypatch):
    monkeypatch.setattr(timing, "SILENCE_S", 1.5)
    started = time.monotonic()
    with pytest.raises(Unsupported, match=r"TIMEOUT: one step of the model did not end within 1.5 s"):
        measure(measure_job(runtime="hangs"), prepared[0])
    assert time.monotonic() - started < 30
    assert timed_children() == []


STAGE = """
import json, sys
from pathlib import Path
from sartor.codec import from_plain
from sartor.evidence import Workspace
from sartor.jobs import MeasureJob
from sartor.stages.measure import measure
measure(from_plain(MeasureJob, json.loads(sys.argv[2])), Workspace(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_dies_with_a_killed_stage_and_the_job_can_be_done_again(
    how, prepared, measure_job, monkeypatch, tmp_path
):
    hang = tmp_path / "hang"
    hang.touch()
    monkeypatch.setenv("FAKE_HANG", str(hang))
    job = measure_job(runtime="hangs")
    stage = subprocess.Popen([sys.executable, "-c", STAGE, str(prepared[0].root), canonical_json(job)])
    deadline = time.monotonic() + 60
    found = []
    while not found and time.monotonic() < deadline:
        found = [child for child in children_of(stage.pid) if "time_child" in " ".join(child.cmdline())]
        time.sleep(0.05)
    assert found, "the stage never started its child"
    stage.send_signal(how)
    stage.wait()
    _, alive = psutil.wait_procs(found, timeout=10)
    assert alive == []
    hang.unlink()
    assert measure(job, prepared[0]).measurements
