"""The main job through the command line on real small data: met, infeasible, killed, interrupted, out of space."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from sartor.run import load_run

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "sartor.cli", "run"]
FAST = ["search.models=[linear-pixels, majority-class]", "budget.time=40s", "budget.effort=quick"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Six hundred handwritten digits as PNG files in class folders, and a requirement beside them."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for place, (pixels, label) in enumerate(zip(data.images[:600], data.target[:600], strict=True)):
        split = "test" if place % 4 == 0 else "train"
        path = folder / "data" / split / str(label) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(path)
    (folder / "req.yaml").write_text(
        "task: image-classification\n"
        "data: {train: data/train, test: data/test}\n"
        "target: {threads: 1}\n"
        "limits: {accuracy: {min: 0.6}, latency_p95_ms: {max: 200}, size_mb: {max: 1}, memory_peak_mb: {max: 600}}\n"
    )
    return folder


def arguments(digits, home, *more):
    return [
        *COMMAND,
        str(digits / "req.yaml"),
        *FAST,
        *more,
        "--workspace",
        str(home / "ws"),
        "--runs",
        str(home / "runs"),
    ]


def run(digits, home, *more, **options):
    return subprocess.run(
        arguments(digits, home, *more), capture_output=True, text=True, timeout=280, cwd=digits, check=False, **options
    )


def wait_until(condition, seconds=120):
    """Wait for something to happen, however slow the machine is; its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def workers_of(process):
    return wait_until(lambda: psutil.Process(process.pid).children())


def the_run(home):
    return next(path for path in (home / "runs").iterdir() if path.is_dir())


def finished_work(home):
    with sqlite3.connect(f"file:{home / 'ws' / 'evidence.db'}?mode=ro", uri=True) as database:
        return dict(database.execute("SELECT key, created FROM evidence").fetchall())


@pytest.fixture(scope="module")
def done(digits, tmp_path_factory):
    home = tmp_path_factory.mktemp("done")
    return home, run(digits, home)


def test_the_main_job_delivers_a_package_that_meets_everything(done):
    home, ended = done
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "MET" in ended.stdout
    file = load_run(the_run(home))
    assert file.decision.status == "met"
    assert all(v.outcome == "met" and v.final for v in file.decision.verdicts)
    assert {f.candidate for f in file.decision.fates} == {r.candidate.id for r in file.records}
    for name in ("report.html", "package/model.onnx", "package/MANIFEST.json", "package/pipeline.json"):
        assert (the_run(home) / name).is_file()
    shipped = json.loads((the_run(home) / "package" / "MANIFEST.json").read_text())
    assert shipped


def test_the_same_command_again_repeats_nothing_and_decides_alike(digits, done):
    home, _ = done
    before, decision = finished_work(home), load_run(the_run(home)).decision
    ended = run(digits, home)
    assert ended.returncode == 0
    assert finished_work(home) == before
    assert load_run(the_run(home)).decision == decision


def test_changed_limits_reuse_the_evidence(digits, done):
    home, _ = done
    before = {key for key, _ in finished_work(home).items()}
    ended = run(digits, home, "limits.accuracy.min=0.5")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with sqlite3.connect(home / "ws" / "evidence.db") as database:
        fresh = database.execute("SELECT key, stage FROM evidence").fetchall()
    assert {stage for key, stage in fresh if key not in before} <= {"measure", "compare", "evaluate"}


def test_what_if_decides_without_computing(done):
    home, _ = done
    before = finished_work(home)
    words = subprocess.run(
        [sys.executable, "-m", "sartor.cli", "explain", str(the_run(home)), "limits.latency_p95_ms.max=0.0001"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "INFEASIBLE" in words.stdout, words.stdout + words.stderr
    assert finished_work(home) == before


def test_an_impossible_limit_ends_with_a_certificate_and_no_model(digits, tmp_path):
    ended = run(digits, tmp_path, "limits.latency_p95_ms.max=0.001")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "INFEASIBLE" in ended.stdout
    file = load_run(the_run(tmp_path))
    certificate = file.decision.certificate
    assert certificate is not None
    assert certificate.binding == ("limits.latency_p95_ms.max",)
    assert certificate.best["limits.latency_p95_ms.max"].basis == "measured"
    assert certificate.relaxations
    assert not (the_run(tmp_path) / "package").exists()


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_same_command_continues(digits, tmp_path, seed):
    moments = random.Random(seed)
    kept: dict[str, float] = {}
    for _ in range(3):
        process = subprocess.Popen(
            arguments(digits, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=digits
        )
        time.sleep(moments.uniform(0.5, 9))
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        if (tmp_path / "ws" / "evidence.db").is_file():
            now = finished_work(tmp_path)
            assert kept.items() <= now.items()
            kept = now
    ended = run(digits, tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert kept.items() <= finished_work(tmp_path).items()
    assert load_run(the_run(tmp_path)).decision.status == "met"


def test_a_killed_worker_costs_at_most_the_action_in_flight(digits, tmp_path):
    process = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=digits
    )
    for victim in workers_of(process):
        victim.kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output


def test_ctrl_c_says_that_nothing_is_lost_and_continues(digits, tmp_path):
    process = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=digits
    )
    workers_of(process)
    time.sleep(1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert run(digits, tmp_path).returncode == 0


def test_two_runs_of_the_same_requirement_do_not_mix(digits, tmp_path):
    first = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=digits
    )
    try:
        wait_until(lambda: [path for path in (tmp_path / "runs").glob("*/.lock") if path.read_text()])
        second = run(digits, tmp_path)
        assert second.returncode == 1
        assert f"in use by process {first.pid}" in second.stderr
    finally:
        first.kill()
        first.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
@pytest.mark.parametrize("kilobytes", [300, 1200])
def test_a_full_disk_is_told_and_loses_nothing(digits, tmp_path, kilobytes):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ended = run(digits, small)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "no space left" in ended.stderr
        assert "Traceback" not in ended.stderr
        subprocess.run(["mount", "-o", "remount,size=300m", str(small)], check=True)
        again = run(digits, small)
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_a_folder_that_cannot_be_written_is_named(digits, tmp_path):
    (tmp_path / "ws").write_text("a file where the workspace should be")
    ended = run(digits, tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert str(tmp_path / "ws") in ended.stderr


def test_a_runtime_that_the_target_lacks_is_one_sentence(digits, done, tmp_path):
    home, _ = done
    profile = json.loads(next((home / "ws" / "devices").glob("*.json")).read_text())
    profile["runtimes"].pop("openvino", None)
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(profile))
    ended = run(digits, tmp_path, f"target.device={bare}", "search.runtimes=[openvino]")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "openvino" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_profile_of_another_machine_is_not_measured_here(digits, done, tmp_path):
    home, _ = done
    profile = json.loads(next((home / "ws" / "devices").glob("*.json")).read_text())
    profile["id"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(profile))
    ended = run(digits, tmp_path, f"target.device={tmp_path / 'other.json'}")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "another machine" in ended.stderr


def test_a_search_for_int8_alone_keeps_its_parents_to_compare_with(digits, tmp_path):
    words = "search.models=[mobile]", "search.precisions=[int8]", "search.runtimes=[onnxruntime]"
    ended = run(digits, tmp_path, *words, "limits.accuracy.min=0.2", "budget.time=60s")
    assert ended.returncode in (0, 2, 3), ended.stdout + ended.stderr
    file = load_run(the_run(tmp_path))
    assert {f.code for f in file.decision.fates if "/fp32/" in f.candidate} == {"REFERENCE"}
    assert "/fp32/" not in file.decision.chosen
