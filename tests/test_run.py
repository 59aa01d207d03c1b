"""The main job through the command line on real small data: met, infeasible, decided again, refused."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pytest

from running import ONE_CANDIDATE, ONE_RUNTIME, count_as_probed, finished_work, run, the_run
from sartor.run import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(digits, tmp_path_factory):
    home = tmp_path_factory.mktemp("done")
    count_as_probed(home / "ws")  # a run that looks at the machine by itself: test_run_faults.py
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
    again = {stage for key, stage in fresh if key not in before}
    assert again <= {"measure", "compare", "evaluate"}, again  # of another finalist, what was not confirmed yet


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
    count_as_probed(tmp_path / "ws")
    ended = run(digits, tmp_path, *ONE_CANDIDATE, "limits.latency_p95_ms.max=0.001")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "INFEASIBLE" in ended.stdout
    file = load_run(the_run(tmp_path))
    certificate = file.decision.certificate
    assert certificate is not None
    assert certificate.binding == ("limits.latency_p95_ms.max",)
    assert certificate.best["limits.latency_p95_ms.max"].basis == "measured"
    assert certificate.relaxations
    assert not (the_run(tmp_path) / "package").exists()


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
    count_as_probed(tmp_path / "ws")
    words = "search.models=[resnet9]", "search.precisions=[int8]", ONE_RUNTIME
    ended = run(digits, tmp_path, *words, "limits.accuracy.min=0.2", "budget.time=30s")
    assert ended.returncode in (0, 2, 3), ended.stdout + ended.stderr
    file = load_run(the_run(tmp_path))
    assert {f.code for f in file.decision.fates if "/fp32/" in f.candidate} == {"REFERENCE"}
    assert "/fp32/" not in file.decision.chosen
